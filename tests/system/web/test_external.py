"""Pages below a path, as people reach them through a proxy that keeps or takes it away."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urljoin, urlsplit

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from exporter.demo.serve import serving
from exporter.status.ci import CiReport, RepoBuilds
from tests.system.web import Logged, Web, client, provider, served
from tests.system.web.test_status_page import Tags
from tests.tools.build_logs import MAIN, a_build, record

PATH = "/tools/cicd"
SHOP = ("github", "acme", "acme/shop")
EXTERNAL = f"https://ops.example{PATH}"


def stub(external_url: str | None = EXTERNAL) -> Logged:
    made = Logged(provider(), external_url=external_url)
    record(made.ledger, ("1", a_build(MAIN, 1000.0, url="https://ci.example/pages/1")))
    known = RepoBuilds(SHOP, url=None, error=None, was_read=True)
    made.builds = CiReport(now=0.0, accounts={"acme": "github"}, sites={}, repos={SHOP: known})
    return made


@contextlib.asynccontextmanager
async def proxied(to: str, *, strips: bool) -> AsyncIterator[str]:
    """The address of a proxy that serves what is below `PATH`, and nothing else."""
    async with httpx.AsyncClient(trust_env=False) as upstream:

        async def forward(request: Request) -> Response:
            path = request.url.path
            if not f"{path}/".startswith(f"{PATH}/"):
                return Response("not ours", 404)
            path = path.removeprefix(PATH) or "/" if strips else path
            query = f"?{request.url.query}" if request.url.query else ""
            answer = await upstream.get(f"{to}{path}{query}")
            kept = {
                name: answer.headers[name]
                for name in ("content-type", "location")
                if name in answer.headers
            }
            return Response(answer.content, answer.status_code, kept)

        async with serving(Starlette(routes=[Route("/{path:path}", forward)])) as url:
            yield url


async def crawled(c: httpx.AsyncClient, start: str) -> dict[str, int]:
    """The status of each address of this origin that pages from `start` on refer to."""
    found: dict[str, int] = {}
    wanted = {start}
    while wanted:
        path = wanted.pop()
        answer = await c.get(path, follow_redirects=False)
        found[path] = answer.status_code
        following = {answer.headers["location"]} if "location" in answer.headers else set()
        if answer.headers["content-type"].startswith("text/html"):
            tags = Tags(answer.text)
            named = ("href", "src", "action")
            following = {
                attrs[name] or "" for _, attrs in tags.tags for name in named & attrs.keys()
            }
        for link in following:
            if not urlsplit(link).netloc:
                wanted |= {urljoin(path, link).partition("#")[0]} - found.keys()
    return found


@pytest.mark.parametrize("strips", [False, True])
def test_all_links_lead_somewhere_through_a_proxy(strips: bool) -> None:
    async def main() -> dict[str, int]:
        async with (
            serving(served(stub())) as url,
            proxied(url, strips=strips) as proxy,
            client(proxy) as c,
        ):
            return await crawled(c, f"{PATH}/")

    found = asyncio.run(main())

    assert len(found) > 8
    assert {path: status for path, status in found.items() if status != 200} == {}
    assert [path for path in found if not path.startswith(f"{PATH}/")] == []


@pytest.mark.parametrize("external_url", [None, EXTERNAL, "https://ci.example/", f"{EXTERNAL}/"])
@pytest.mark.parametrize("start", ["/", "/status", "/builds"])
def test_all_links_lead_somewhere_without_a_proxy(external_url: str | None, start: str) -> None:
    async def main() -> dict[str, int]:
        async with serving(served(stub(external_url))) as url, client(url) as c:
            return await crawled(c, start)

    found = asyncio.run(main())

    assert {path: status for path, status in found.items() if status != 200} == {}
    assert any(path.startswith(f"{PATH}/") for path in found) == (EXTERNAL in (external_url or ""))


@pytest.mark.parametrize(
    "path", ["/", "/status", "/status.json", "/builds", "/builds.json", "/config"]
)
def test_a_page_answers_below_the_path_and_at_the_root(web: Web, path: str) -> None:
    for where in (path, f"{PATH}{path}"):
        assert web.ask("GET", where, stub()).status_code == 200
        assert web.ask("POST", where, stub()).status_code == 405


@pytest.mark.parametrize("path", ["/metrics", "/-/healthy", "/-/ready", "/-/reload", "/nothing"])
def test_what_programs_ask_for_answers_at_the_root_only(web: Web, path: str) -> None:
    assert web.ask("GET", f"{PATH}{path}", stub()).status_code == 404


def test_the_path_itself_leads_to_its_pages(web: Web) -> None:
    answer = web.ask("GET", f"{PATH}?account=a%2Fb", stub())

    assert (answer.status_code, answer.headers["location"]) == (302, f"{PATH}/?account=a%2Fb")
    assert web.ask("GET", f"{PATH}ernal/", stub()).status_code == 404


def test_an_alert_leads_to_the_build_below_the_path_too(web: Web) -> None:
    query = "account=acme&repo=acme/shop&workflow=CI&branch=main&build=last"

    answer = web.ask("GET", f"{PATH}/go?{query}", stub())

    assert (answer.status_code, answer.headers["location"]) == (302, "https://ci.example/pages/1")


def test_the_path_is_that_of_the_configuration_in_force(web: Web) -> None:
    shown = stub()
    shown.config = stub("https://ops.example/elsewhere").config

    assert web.ask("GET", f"{PATH}/status", shown).status_code == 404
    page = web.ask("GET", "/elsewhere/status", shown)
    assert '<a href="/elsewhere/status"' in page.text


def test_a_page_of_ours_comes_before_a_path_that_is_called_alike(web: Web) -> None:
    shown = stub("https://ops.example/docs")

    assert web.ask("GET", "/docs/METRICS.md", shown).status_code == 200
    assert web.ask("GET", "/docs/docs/METRICS.md", shown).status_code == 200
    assert web.ask("GET", "/docs/status", shown).status_code == 200


def test_metrics_are_linked_where_they_answer(web: Web) -> None:
    assert '<a href="/metrics">' in web.ask("GET", "/status", stub(None)).text
    assert "/metrics" not in web.ask("GET", "/status", stub()).text
