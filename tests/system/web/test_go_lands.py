"""`/go` in a real browser: from the labels of each provider's emulated builds to their pages."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from exporter.demo import World
from tests.tools.emulated import run
from tests.tools.emulators import (
    azure_devops,
    bitbucket,
    buddy,
    circleci,
    github,
    gitlab,
    jenkins,
    travis,
)
from tests.tools.emulators.unified import EmulatorThread
from tests.tools.serving import ServerThread
from tests.tools.system import TOKEN_ENV, Exporter, configure, eventually
from tests.tools.system import account as unified

PAGES = "/pages"
"""Below which the provider's pages are; all but Buddy's are made of this root."""


class Place(NamedTuple):
    """A provider's API with one finished build."""

    app: Starlette
    prefix: str
    entry: str
    page: str
    """Where the build's page is, below the root of the pages."""
    username: str | None = None


Make = Callable[[str], Place]
"""Of the root of the provider's pages."""


def of_github(root: str) -> Place:
    hub = github.Hub()
    hub.tokens.add("demo")
    hub.repo("acme/shop")
    ident = hub.begin()
    hub.end(ident)
    return Place(hub.app, "/api/v3", "acme/shop", f"/acme/shop/actions/runs/{ident}")


def of_gitlab(root: str) -> Place:
    world = gitlab.World()
    world.projects["acme/shop"] = {}
    pipeline = world.ran("acme/shop", time.time() - 100, 60.0, "success")
    return Place(world.app(), "/api/v4", "acme/shop", f"/acme/shop/-/pipelines/{pipeline.id}")


def of_circleci(root: str) -> Place:
    world = circleci.CircleCI()
    pipeline = world.run()
    (workflow,) = world.workflows[pipeline["id"]]
    page = f"/pipelines/github/acme/shop/{pipeline['number']}/workflows/{workflow['id']}"
    return Place(world.app(), "/api/v2", "gh/acme/shop", page)


def of_azure_devops(root: str) -> Place:
    world = azure_devops.AzureDevOps()
    build = world.run()
    page = f"/acme/shop/_build/results?buildId={build['id']}"
    return Place(world.app(), "", "acme/shop", page)


def of_bitbucket(root: str) -> Place:
    world = bitbucket.Bitbucket()
    world.run()
    return Place(world.app(), "/2.0", "acme/shop", "/acme/shop/pipelines/results/1")


def of_jenkins(root: str) -> Place:
    world = jenkins.Jenkins()
    world.run("team/shop")
    return Place(world.app(), "", "team/shop", "/job/team/job/shop/1/", "me")


def of_travis(root: str) -> Place:
    world = travis.World()
    build = world.ran("acme/shop", time.time() - 100, 60.0, "passed")
    return Place(world.app(), "", "acme/shop", f"/github/acme/shop/builds/{build.id}")


def of_buddy(root: str) -> Place:
    world = buddy.Buddy()
    page = "/acme/shop/pipelines/pipeline/100/execution/1"
    world.run(world.pipeline(), html_url=f"{root}{page}")
    return Place(world.app(), "/api", "acme/shop", page)


NATIVE: dict[str, Make] = {
    "azure_devops": of_azure_devops,
    "bitbucket": of_bitbucket,
    "buddy": of_buddy,
    "circleci": of_circleci,
    "github": of_github,
    "gitlab": of_gitlab,
    "jenkins": of_jenkins,
    "travis": of_travis,
}


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """The root of a provider's pages, of which there is every one."""

    async def page(request: Request) -> Response:
        return PlainTextResponse("a page")

    with ServerThread(Starlette(routes=[Route("/{path:path}", page)])) as server:
        yield f"{server.url}{PAGES}"


def led(browser: Browser, file: Path) -> str:
    """Where the browser ends that asks for the page of the one build there is."""
    with Exporter(file) as exporter:

        def logged() -> dict[str, Any]:
            (build,) = json.loads(exporter.get("/builds.json").body)["builds"] or (None,)
            assert build is not None
            return dict(build)

        build = eventually(logged)
        labels = {name: build[name] for name in ("account", "repo", "workflow", "branch")}
        page = browser.new_page()
        try:
            page.goto(f"{exporter.url}/go?{urlencode({**labels, 'build': 'last'})}")
            return page.url
        finally:
            page.close()


@pytest.mark.parametrize("provider", NATIVE)
def test_a_browser_lands_at_the_builds_page(
    provider: str, site: str, browser: Browser, tmp_path: Path
) -> None:
    place = NATIVE[provider](site)

    with ServerThread(place.app) as api:
        keys = {
            "name": "acme",
            "provider": provider,
            "url": f"{api.url}{place.prefix}",
            "token_env": TOKEN_ENV,
            "web_url": site,
            "repos": [place.entry],
        }
        if place.username is not None:
            keys["username"] = place.username
        assert led(browser, configure(tmp_path, [keys])) == f"{site}{place.page}"


def test_a_browser_lands_there_for_the_unified_api_too(
    site: str, browser: Browser, tmp_path: Path
) -> None:
    with EmulatorThread(World()) as emulator:
        emulator.world.open("acme", "github", "acme/shop")
        emulator.world.add("acme", "acme/shop", run(number=7, created_at=time.time() - 100))
        keys = unified("acme", "github", emulator.url, ["acme/shop"], web_url=site)

        assert led(browser, configure(tmp_path, [keys])) == f"{site}/acme/shop/actions/runs/7"
