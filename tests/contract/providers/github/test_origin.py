"""What a run was for, who began it, and where people look at it."""

from __future__ import annotations

from typing import Any

import pytest

from exporter.model import Actor
from exporter.providers import Query, Repo
from exporter.providers.github.mapping import to_job
from tests.contract.providers.github import (
    SHOP,
    SITE,
    Desk,
    at,
    build,
    github,
    live,
    task,
)
from tests.tools.emulators.github import ALICE, Hub

PAGE = "https://github.com/acme/shop/actions/runs/9001234567"
BOT = {"login": "renovate[bot]", "type": "Bot"}
COMMIT = {"message": "Fix the cart\n\nIt was empty.", "timestamp": "2026-11-20T08:59:00Z"}


@pytest.mark.parametrize(
    ("fields", "known"),
    [
        ({"head_sha": "5f1c9a7e"}, {"commit": "5f1c9a7e"}),
        ({"head_commit": COMMIT}, {"title": "Fix the cart", "commit_at": at(COMMIT["timestamp"])}),
        ({"head_commit": COMMIT, "display_title": "Deploy 7"}, {"title": "Fix the cart"}),
        ({"head_commit": None, "display_title": "Deploy 7"}, {"title": "Deploy 7"}),
        ({"head_commit": {"message": ""}, "display_title": "Deploy 7"}, {"title": "Deploy 7"}),
        ({"actor": ALICE}, {"triggered_by": "alice", "triggered_by_type": Actor.USER}),
        (
            {"actor": ALICE, "triggering_actor": BOT},
            {"triggered_by": "renovate[bot]", "triggered_by_type": Actor.BOT},
        ),
        (
            {"actor": ALICE, "triggering_actor": None},
            {"triggered_by": "alice", "triggered_by_type": Actor.USER},
        ),
        ({"actor": {"login": "x[bot]"}}, {"triggered_by_type": Actor.BOT}),
        ({"actor": {"login": "x"}}, {"triggered_by": "x", "triggered_by_type": None}),
        ({"event": "pull_request", "pull_requests": [{"number": 12}]}, {"pull_request": 12}),
        ({"event": "pull_request", "pull_requests": [{"number": 1}] * 2}, {"pull_request": None}),
        ({"event": "pull_request", "pull_requests": []}, {"pull_request": None}),
        ({"event": "push", "pull_requests": [{"number": 12}]}, {"pull_request": None}),
        (
            {"event": "merge_group", "head_branch": "gh-readonly-queue/release/1.0/pr-34-5f1c9a7e"},
            {"pull_request": 34},
        ),
        ({"html_url": PAGE}, {"url": PAGE}),
        ({"html_url": None}, {"url": PAGE}),
        ({"html_url": "https://github.com.evil.example/x"}, {"url": PAGE}),
    ],
)
def test_what_a_run_says_of_its_origin(fields: dict[str, Any], known: dict[str, Any]) -> None:
    found = build(**fields)

    assert known == {field: getattr(found, field) for field in known}


def test_a_run_that_says_nothing_has_only_a_page() -> None:
    found = build()

    assert (None,) * 6 == (
        *(found.commit, found.commit_at, found.title),
        *(found.triggered_by, found.triggered_by_type, found.pull_request),
    )
    assert PAGE == found.url


def test_a_job_has_a_page_and_the_labels_of_its_runner() -> None:
    own = f"{PAGE}/job/1"
    labels = ["self-hosted", "gpu"]

    found = to_job(task(html_url=own, labels=labels), build(), SITE)
    bare = to_job(task(html_url="javascript:alert(1)", labels="gpu"), build(), SITE)
    odd = to_job(task(labels=[None, 7, " ", "gpu", {}] + ["x" * 10_000] * 100), build(), SITE)

    assert (own, ("self-hosted", "gpu")) == (found.url, found.labels)
    assert (own, ()) == (bare.url, bare.labels)
    assert "gpu" == odd.labels[0]
    assert len(odd.labels) <= 20
    assert max(map(len, odd.labels)) <= 400


@pytest.mark.parametrize(
    ("url", "root"),
    [
        (None, "https://github.com"),
        ("https://api.github.com/", "https://github.com"),
        ("https://api.acme.ghe.com", "https://acme.ghe.com"),
        ("https://git.acme.example/api/v3", "https://git.acme.example"),
        ("https://git.acme.example:8443/api/v3/", "https://git.acme.example:8443"),
    ],
)
def test_pages_are_at_the_site_of_the_api(url: str | None, root: str) -> None:
    account = github(url=url)

    assert root == account.web_root
    assert f"{root}/acme/shop/actions" == account.page_of(Repo("acme/shop"))
    assert "https://x.example/gh" == github(url=url, web_url="https://x.example/gh/").web_root


@live
async def test_each_attempt_that_is_polled_has_its_own_author_and_page(hub: Hub) -> None:
    number = hub.begin(ago=600.0)
    hub.end(number)
    hub.again(number, triggering_actor=BOT)
    hub.end(number)
    async with Desk(hub, web_url="https://github.invalid") as desk:
        page = await desk.source.page(SHOP, Query(since=0.0, size=30))

    first, second = page.builds
    own = f"https://github.invalid/acme/shop/actions/runs/{number}"
    assert (f"{own}/attempts/1", "alice") == (first.url, first.triggered_by)
    assert (own, "renovate[bot]") == (second.url, second.triggered_by)
    assert {"Fix the cart"} == {first.title, second.title}
