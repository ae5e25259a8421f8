"""Found are the repos that are wanted, all of them, each once."""

from __future__ import annotations

import pytest

from exporter.errors import Gone
from exporter.http import Api
from exporter.providers.github import GitHub
from tests.contract.providers.github import Desk, github, live
from tests.tools import hostile
from tests.tools.emulators.github import Hub, said
from tests.tools.emulators.rig import entries


@live
async def test_an_owner_s_repos_are_found_but_for_what_is_not_wanted() -> None:
    hub = Hub()
    for number in range(120):
        hub.repo(f"acme/r{number}")
    hub.repo("acme/old", archived=True)
    hub.repo("acme/off", disabled=True)
    hub.repo("acme/sandbox-1")
    async with Desk(hub, repos=["acme/*"], exclude=["acme/sandbox-*"]) as desk:
        assert [f"acme/r{number}" for number in range(120)] == await desk.discovered()
        assert "trunk" == desk.found[0].default_branch
        pages = ["/orgs/acme/repos?type=all&per_page=100"]
        assert [*pages, f"{pages[0]}&page=2", "/orgs/acme"] == hub.requests


@live
async def test_a_user_s_repos_are_found_the_private_ones_too() -> None:
    hub = Hub()
    hub.repo("jane/site")
    hub.repo("jane/diary", private=True)
    hub.repo("acme/shop", private=True)
    async with Desk(hub, repos=["jane/*"]) as desk:
        assert ["jane/site", "jane/diary"] == await desk.discovered()
        hub.broken["/user/repos"] = said(403, "Resource not accessible by integration")
        assert ["jane/site"] == await desk.discovered()
    async with Desk(hub, repos=["jane/*"], token_env=None) as desk:
        desk.token = None
        before = len(hub.requests)
        assert ["jane/site"] == await desk.discovered()
        assert 2 == len(hub.requests) - before


@live
async def test_a_short_page_of_repos_may_have_a_next_one() -> None:
    link = '<https://api.github.invalid/x?per_page=100&page=2>; rel="next", <...>; rel="last"'
    pages = [hostile.http(f'[{{"full_name":"acme/r{n}"}}]', link=link) for n in (1, 2)]
    async with hostile.Server(*pages) as server:
        api = Api(root=server.root, headers=dict, timeout=5.0)
        found = await github().connect(api).discover("acme/*")
        await api.aclose()

    assert ["acme/r1", "acme/r2"] == [repo.entry for repo in found]
    assert 2 == len(server.requests)


@live
async def test_nobody_s_repos_are_no_repos() -> None:
    hub = Hub()
    hub.broken["/users/"] = said(404, "Not Found")
    async with Desk(hub, repos=["nobody/*"]) as desk:
        with pytest.raises(Gone):
            await desk.discovered()


@pytest.mark.parametrize("entry", ["acme", "acme/", "/shop", "a/b/c", "*", "*/shop", "acme/s*"])
def test_an_entry_of_another_shape_is_a_fault(entry: str) -> None:
    faults = GitHub.faults({"repos": ["acme/shop", entry, "acme/*"]})

    what = f"must be owner/name or owner/* (got {entry!r})"
    assert [(("repos", 1), what)] == faults


def test_a_repo_is_polled_once_however_its_name_is_written() -> None:
    names = ["acme/shop", "Acme/Shop", "acme/shop2"]

    for named in names[:2]:  # as the configuration does
        assert [named, "acme/shop2"] == entries(github(repos=[named]), *names)
