"""Azure DevOps' projects are found, and a page to sign in is told as what it is."""

from __future__ import annotations

import asyncio
import time

import pytest
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from exporter.demo.serve import serving
from exporter.errors import ProviderError, Refused
from exporter.http import Api, RetryPolicy
from exporter.metrics import families as f
from exporter.providers import Query, Repo, catalogue
from exporter.providers.azure_devops import AzureDevOps
from tests.tools.azure_devops_station import provider, station
from tests.tools.emulators import azure_devops
from tests.tools.emulators.rig import entries

# -- repos


def test_projects_are_discovered_but_for_the_excluded_and_the_unborn() -> None:
    world = azure_devops.AzureDevOps()
    for project in ("shop", "my tools", "attic", "new", "other"):
        world.run(project=project)
    world.states["new"] = "createPending"
    rig = station(world, "acme/*", exclude=["acme/at*", "acme/other/shop"])

    requests = rig.polled()

    assert ["acme/shop", "acme/my tools", "acme/other"] == rig.entries
    assert 3 == sum("_apis/projects" in request for request in requests)
    assert 2 == rig.value(f.BUILDS)
    assert 1 == rig.value(f.BUILDS, repo="acme/my tools/shop")


def test_an_entry_with_a_repository_counts_only_its_builds() -> None:
    world = azure_devops.AzureDevOps()
    world.run("api")
    world.run("web")
    world.run()["repository"] = {"id": "octo/api", "type": "GitHub"}
    rig = station(world, "acme/shop/API", "acme/shop/octo/api")

    rig.polled()

    assert (1, 1, 2) == (
        rig.value(f.BUILDS, repo="acme/shop/API"),
        rig.value(f.BUILDS, repo="acme/shop/octo/api"),
        rig.value(f.BUILDS),
    )


def test_a_project_covers_its_repositories() -> None:
    assert ["acme/Shop"] == entries(provider(), "acme/Shop", "Acme/shop/api")
    assert ["acme/shop", "acme/shop-2"] == entries(provider(), "acme/shop", "acme/shop-2")
    assert ["acme/SHOP"] == entries(provider("acme/*"), "acme/shop", "acme/SHOP")


@pytest.mark.parametrize("entry", ["acme/shop", "acme/*", "acme/my tools/octo/api"])
def test_a_good_entry_has_no_fault(entry: str) -> None:
    assert [] == AzureDevOps.faults({"repos": [entry]})


@pytest.mark.parametrize(
    "entry", ["acme", "*", "acme/", "/shop", "acme/shop/*", "acme/sh*p", "acme/shop/", "*/shop"]
)
def test_a_bad_entry_is_told(entry: str) -> None:
    assert [("repos", 1)] == [
        place for place, _ in AzureDevOps.faults({"repos": ["acme/shop", entry]})
    ]


def test_odd_items_are_left_out_and_counted() -> None:
    world = azure_devops.AzureDevOps()
    world.run()
    world.projects["shop"].append(
        {"id": "x", **{k: v for k, v in world.run().items() if k != "id"}}
    )
    world.projects["shop"][1]["definition"] = 7

    async def read() -> tuple[int, int]:
        async with serving(world.app()) as url:
            api = station(world).api(url)
            page = (
                await provider()
                .connect(api)
                .page(Repo("acme/shop"), Query(since=time.time() - 9000, size=30))
            )
            await api.aclose()
            return len(page.builds), page.rejected

    assert (2, 1) == asyncio.run(read())


# -- authentication


def test_the_token_is_sent_with_any_user_name() -> None:
    assert "Basic OnRvaw==" == provider().headers("tok")["Authorization"]
    assert "Basic bWU6dG9r" == provider(username="me").headers("tok")["Authorization"]
    assert "Authorization" not in provider().headers(None)


SIGN_IN = HTMLResponse("<html><title>Azure DevOps Services | Sign In</title>", 203)


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        (SIGN_IN, Refused, "token is probably wrong"),
        (RedirectResponse("https://spsprodweu.example/_signin", 302), Refused, "check the token"),
        (Response(status_code=401), Refused, "401"),
    ],
)
def test_a_page_to_sign_in_is_told_as_what_it_is(
    answer: Response, kind: type[ProviderError], said: str
) -> None:
    app = Starlette(routes=[Route("/{rest:path}", lambda request: answer)])

    async def read() -> None:
        async with serving(app) as url:
            api = Api(
                root=url,
                headers=lambda: provider().headers("pat"),
                timeout=5.0,
                retries=RetryPolicy(attempts=1),
            )
            try:
                await provider().connect(api).page(Repo("acme/shop"), Query(since=0.0, size=30))
            finally:
                await api.aclose()

    with pytest.raises(kind, match=said) as caught:
        asyncio.run(read())
    assert caught.value.account_wide


def test_the_catalogue_has_it_and_a_reload_sees_no_change() -> None:
    assert catalogue()["azure_devops"] is AzureDevOps
    assert provider() == provider()
    assert provider() != provider("acme/other")
    assert "https://host/tfs" == provider(url="https://host/tfs/").root
