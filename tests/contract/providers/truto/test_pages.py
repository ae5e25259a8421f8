"""A list is asked for as its integration wants, and bad items cost only themselves."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from exporter.errors import Gone, Malformed
from exporter.model import Build, BuildKey, Status
from exporter.providers.truto import payload
from exporter.providers.truto.payload import Envelope, listing
from tests.contract.providers.truto import (
    ACCOUNT,
    AZURE,
    GITHUB,
    FakeApi,
    detail,
    job,
    listed,
    one,
    page,
    refresh,
    remote,
    truto,
)


@pytest.mark.parametrize(
    ("body", "following"),
    [
        ({"result": [GITHUB], "next_cursor": None}, None),
        ({"result": [GITHUB], "next_cursor": ""}, None),
        ({"result": [GITHUB]}, None),
        ({"results": [GITHUB], "next_cursor": "c/2+=&x"}, "c/2+=&x"),
        ({"result": [GITHUB], "next_cursor": 2}, "2"),
    ],
)
def test_a_list_ends_without_a_cursor(body, following):
    found = page(truto("github"), FakeApi(builds=body))

    assert ("9001234567", following) == (found.builds[0].key.id, found.next)


def test_an_empty_page_may_have_a_successor():
    found = page(truto("github"), FakeApi(builds=listed(next_cursor="c")))

    assert ((), "c") == (found.builds, found.next)


@pytest.mark.parametrize(
    "body", [{}, {"result": None}, {"result": {"a": GITHUB}}, {"errors": []}, [], None]
)
def test_an_answer_without_a_list_is_not_no_builds(body):
    with pytest.raises(Malformed) as caught:
        page(truto("github"), FakeApi(builds=body))

    assert "bad_shape" == caught.value.reason


def test_an_item_that_cannot_be_understood_is_left_out_and_counted():
    bad: list[Any] = [
        {},
        {"id": None},
        {"id": ""},
        {"id": " "},
        {"id": []},
        {"id": True},
        "text",
        None,
        3,
        GITHUB | {"status": {"name": "completed"}},
        GITHUB | {"conclusion": 5},
        GITHUB | {"started_at": {}},
        GITHUB | {"attempts": "many"},
        GITHUB | {"attempts": []},
    ]
    found = page(truto("github"), FakeApi(builds=listed(*bad, GITHUB)))

    assert (len(bad), 1) == (found.rejected, len(found.builds))


def test_bytes_that_are_no_text_spoil_nothing():
    raw = b'{"result":[{"id":1,"name":"a\xff"},{"id":2,"x":"\xff"},{"id":[],"name":"\xff"}]}'
    found = listing(msgspec.json.decode(raw, type=Envelope), payload.Run)

    assert (["a\ufffd", None], 1) == ([item.name for item in found.items], found.rejected)


def test_times_that_are_none_and_absurd_numbers_are_no_values():
    build = one(
        "github",
        GITHUB | {"started_at": "0001-01-01T00:00:00Z", "created_at": "soon", "number": 10**30},
    )

    assert (None, None, None) == (build.started_at, build.created_at, build.number)


def test_a_page_is_asked_for_with_its_size_and_cursor():
    api = FakeApi(builds=listed())
    page(truto("github"), api, token="c/2+=&x")

    assert [
        (
            "builds",
            {
                "integrated_account_id": ACCOUNT,
                "owner": "acme",
                "repo_id": "shop",
                "limit": 30,
                "next_cursor": "c/2+=&x",
            },
        )
    ] == api.calls


# fmt: off
SCOPES: list[tuple[str, str, str, dict[str, str]]] = [
    ("github", "builds", "acme/shop", {"owner": "acme", "repo_id": "shop"}),
    ("azuredevops", "builds", "ws", {"workspace_id": "ws"}),
    ("azuredevops", "builds", "ws/a/b", {"workspace_id": "ws", "repo": "a/b"}),
    ("bitbucket", "builds", "acme/shop", {"workspace_id": "acme", "repo": "shop"}),
    ("circleci", "builds", "gh/acme/shop", {"repo_id": "gh/acme/shop"}),
    ("jenkins", "builds", "folder/shop", {"workflow_id": "folder/shop"}),
    ("travisci", "builds", "15022857", {"repo_id": "15022857"}),
    (
        "buddy", "jobs", "acme/shop/deploy",
        {"workspace": "acme", "project": "shop", "repo": "shop", "workflow": "deploy"},
    ),
]
# fmt: on


@pytest.mark.parametrize(("integration", "resource", "entry", "scope"), SCOPES)
def test_a_list_is_scoped_as_its_integration_wants(integration, resource, entry, scope):
    api = FakeApi(builds=listed(), jobs=listed())
    page(truto(integration), api, entry)

    ((path, params),) = api.calls
    assert (resource, {"integrated_account_id": ACCOUNT, "limit": 30, **scope}) == (path, params)


# fmt: off
JOB_SCOPES: list[tuple[str, dict[str, str], dict[str, str] | None]] = [
    ("github", {"owner": "acme", "repo_id": "shop"}, {"owner": "acme", "repo_id": "shop"}),
    ("azuredevops", {"workspace_id": "ws"}, None),
    (
        "bitbucket", {"workspace_id": "acme", "repo": "shop"},
        {"workspace_id": "acme", "repo": "shop", "build": "{b 1}"},
    ),
    (
        "circleci", {"project_slug": "gh/acme/shop", "repo_id": "gh/acme/shop"},
        {"project_slug": "gh/acme/shop"},
    ),
    ("travisci", {"repo_id": "15022857"}, {}),
]
# fmt: on


@pytest.mark.parametrize(("integration", "scope", "single"), JOB_SCOPES)
def test_jobs_are_listed_for_a_build_under_both_its_names(integration, scope, single):
    api = FakeApi(
        jobs=[listed(job(1, status="in_progress"), next_cursor="2"), listed(job(2))], jobs__1=job(1)
    )
    provider = truto(integration, jobs=True)
    build = Build(key=BuildKey("k"), native_id="{b 1}", repo="r", status=Status.IN_PROGRESS)

    known = detail(provider, api, build)
    detail(provider, api, build, known)

    names = {"build_id": "{b 1}", "build": "{b 1}"}
    bare = {"truto_ignore_remote_data": "true"} if integration == "github" else {}
    first = {"integrated_account_id": ACCOUNT, **scope, **names, **bare, "limit": 100}
    assert [("jobs", first), ("jobs", {**first, "next_cursor": "2"})] == api.calls[:2]
    again = (
        ("jobs", first)
        if single is None
        else ("jobs/1", {"integrated_account_id": ACCOUNT, **single, **bare})
    )
    assert again == api.calls[2]


def test_ids_are_quoted_in_paths():
    api = FakeApi()
    known = Build(key=BuildKey("k"), native_id="{b/1}", repo="acme/shop", status=Status.QUEUED)
    with pytest.raises(Gone):
        refresh(truto("bitbucket"), api, known)

    assert ["builds/%7Bb%2F1%7D"] == api.paths


def test_only_the_entrys_own_repo_counts_whatever_the_api_filters():
    mine = AZURE | {"id": 1, "repo": "Shop"}
    by_id = remote(AZURE | {"id": 2, "repo": None}, repository={"id": "shop"})
    other = AZURE | {"id": 3, "repo": "other"}
    unsaid = AZURE | {"id": 4, "repo": None}
    found = page(
        truto("azuredevops"), FakeApi(builds=listed(mine, by_id, other, unsaid)), "ws/shop"
    )

    assert [("ws/1", "ws/Shop"), ("ws/2", "ws/shop"), ("ws/4", "ws/shop")] == [
        (build.key.id, build.repo) for build in found.builds
    ]
    assert 0 == found.rejected


def test_excluded_repos_are_left_out():
    provider = truto("azuredevops", exclude=["ws/old-*"])
    found = page(
        provider, FakeApi(builds=listed(AZURE | {"repo": "old-shop"}, AZURE | {"repo": "shop"}))
    )

    assert ["ws/shop"] == [build.repo for build in found.builds]
