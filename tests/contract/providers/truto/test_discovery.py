"""A wildcard finds the repos that are there, in use and not excluded."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from exporter.providers import Repo
from exporter.schedule.discovery import name_fault
from tests.contract.providers.truto import ACCOUNT, FakeApi, listed, truto

REPO = {"id": 1, "name": "shop", "status": "active", "default_branch": "main"}
# fmt: off
DISCOVERIES: list[tuple[str, str, str, dict[str, str], list[Any], list[Repo]]] = [
    (
        "github", "acme/*", "repos", {"owner": "acme"},
        [
            REPO, REPO | {"name": "acme/api", "default_branch": "refs/heads/dev"},
            REPO | {"name": "old", "status": "inactive"},
            REPO | {"name": "archived", "remote_data": {"archived": True}},
            REPO | {"name": "disabled", "remote_data": {"disabled": True}},
            REPO | {"name": "secret"}, REPO | {"remote_data": {"full_name": "other/shop"}},
            REPO | {"name": "web", "remote_data": {"full_name": "Acme/web"}}, {"name": "no id"},
        ],
        [Repo("acme/shop", "main"), Repo("acme/api", "dev"), Repo("acme/web", "main")],
    ),
    (
        "azuredevops", "*", "workspaces", {}, [{"id": "ws-1", "name": "Shop"}, {"id": "ws-2"}],
        [Repo("ws-1"), Repo("ws-2")],
    ),
    (
        "bitbucket", "acme/*", "repos", {"workspace_id": "acme"},
        [
            {"id": "{u1}", "name": "The Shop", "remote_data": {"slug": "the-shop"}},
            {"id": "{u2}", "name": "api", "default_branch": None},
            {
                "id": "{u3}", "name": "web",
                "remote_data": {"full_name": "team/web", "workspace": {"slug": "acme"}},
            },
            {"id": "{u4}", "name": "web", "remote_data": {"full_name": "other/web"}},
        ],
        [Repo("acme/the-shop"), Repo("acme/api"), Repo("acme/web")],
    ),
    (
        "jenkins", "*", "workflow", {},
        [
            {"id": "folder/shop", "name": "shop"},
            {"id": "off", "remote_data": {"buildable": False}},
            {"id": "grey", "remote_data": {"color": "disabled"}},
        ],
        [Repo("folder/shop")],
    ),
    (
        "travisci", "*", "repos", {},
        [REPO | {"id": 15_022_857}, REPO | {"id": 2, "remote_data": {"active": False}}],
        [Repo("15022857", "main")],
    ),
]
# fmt: on


@pytest.mark.parametrize(
    ("integration", "pattern", "resource", "scope", "items", "expected"), DISCOVERIES
)
def test_a_wildcard_discovers(integration, pattern, resource, scope, items, expected):
    provider = truto(integration, repos=[pattern], exclude=["acme/secret"])
    pages = [listed(*items[:1], next_cursor="2"), listed(next_cursor="3"), listed(*items[1:])]
    api: Any = FakeApi(**{resource: pages})

    assert expected == asyncio.run(provider.connect(api).discover(pattern))
    asked = {"integrated_account_id": ACCOUNT, "limit": 100, **scope}
    assert [asked, asked | {"next_cursor": "2"}, asked | {"next_cursor": "3"}] == [
        params for path, params in api.calls if path == resource
    ]


@pytest.mark.parametrize(
    ("integration", "name", "taken"),
    [
        ("azuredevops", "Web Shop", True),
        ("azuredevops", "0f3c9a51-7a52-4a5e-9f0f-0f8f6f1f2f3f", True),
        ("azuredevops", "..", False),
        ("azuredevops", "a/b", False),
        ("jenkins", "team shop/api/feature%2Fx", True),
        ("jenkins", "team/../admin", False),
        ("jenkins", "team/a%2F..%2Fb", False),
        ("github", "acme/shop.js", True),
        ("github", "acme/..", False),
        ("github", "acme/a b", False),
        ("bitbucket", "{0f3c9a51-7a52-4a5e-9f0f-0f8f6f1f2f3f}/web", True),
        ("bitbucket", "acme/..", False),
        ("travisci", "15022857", True),
        ("travisci", "../user", False),
    ],
)
def test_names_are_those_that_the_system_behind_gives(integration, name, taken):
    assert taken == (name_fault(truto(integration), name) is None)
