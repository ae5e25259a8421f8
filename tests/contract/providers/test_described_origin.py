"""What builds of GitLab, CircleCI and Azure DevOps were for, who began them, and their pages."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from exporter.model import Actor, Build, Job
from exporter.providers import Provider, Repo, Site
from exporter.providers.azure_devops import ProjectPath, Run
from exporter.providers.azure_devops import mapping as azure
from exporter.providers.azure_devops.names import Names
from exporter.providers.azure_devops.timeline import Record, read_timeline
from exporter.providers.circleci import CircleCI
from exporter.providers.circleci import mapping as circleci
from exporter.providers.gitlab import mapping as gitlab
from exporter.times import instant
from tests.tools import azure_devops_station as azure_station
from tests.tools import gitlab_station

ALICE = {"triggered_by": "alice", "triggered_by_type": Actor.USER}


def told(run: Build | Job, names: dict[str, Any]) -> dict[str, Any]:
    return {name: getattr(run, name) for name in names}


# -- GitLab

PIPELINE = "https://gitlab.com/acme/shop/-/pipelines/7"


def pipeline(entry: str = "acme/shop", **fields: Any) -> Build:
    item = msgspec.convert({"id": 7, "status": "success", **fields}, gitlab.Pipeline)
    return gitlab.to_build(item, Repo(entry), Site("https://gitlab.com"))


@pytest.mark.parametrize(
    ("fields", "known"),
    [
        ({"sha": "5f1c9a7e"}, {"commit": "5f1c9a7e"}),
        ({"name": "Nightly"}, {"title": "Nightly"}),
        ({"user": {"username": "alice", "name": "Alice"}}, ALICE),
        (
            {"user": {"username": "project_7_bot_5f1c"}},
            {"triggered_by": "project_7_bot_5f1c", "triggered_by_type": Actor.BOT},
        ),
        ({"user": {"username": "group_7_bot"}}, {"triggered_by_type": Actor.BOT}),
        ({"user": {"username": "service_account_5f1c"}}, {"triggered_by_type": Actor.BOT}),
        ({"user": {"username": "robot"}}, {"triggered_by_type": Actor.USER}),
        ({"user": None}, {"triggered_by": None, "triggered_by_type": None}),
        ({"ref": "refs/merge-requests/53/head"}, {"pull_request": 53}),
        ({"ref": "refs/merge-requests/53/train"}, {"pull_request": 53}),
        ({"ref": "main"}, {"pull_request": None}),
        ({"web_url": PIPELINE}, {"url": PIPELINE}),
        ({"web_url": "http://gitlab.com/acme/shop/-/pipelines/7"}, {"url": PIPELINE}),
        ({"entry": "42", "web_url": PIPELINE}, {"url": PIPELINE}),
        ({"entry": "42"}, {"url": None}),
    ],
)
def test_what_a_pipeline_of_gitlab_says(fields: dict[str, Any], known: dict[str, Any]) -> None:
    assert known == told(pipeline(**fields), known)


def test_jobs_of_gitlab_know_the_commit_and_their_pages() -> None:
    own = {"id": "5f1c", "title": "Fix the cart", "committed_date": "2026-11-20T09:00:00Z"}
    other = {"id": "aaaa", "title": "Something else"}
    items = [
        gitlab.JobItem(id=1, name="lint", commit=other, web_url="https://elsewhere.example/1"),
        gitlab.JobItem(id=2, name="test", commit=own, tag_list=["gpu", None, "linux"]),
    ]
    shop, site = Repo("acme/shop"), Site("https://gitlab.com")

    build = gitlab.with_commit(pipeline(sha="5f1c", name="Nightly"), items)
    lint, test = gitlab.to_jobs(items, shop, site)

    assert ("5f1c", "Fix the cart") == (build.commit, build.title)
    assert instant("2026-11-20T09:00:00Z") == build.commit_at
    assert "https://gitlab.com/acme/shop/-/jobs/1" == lint.url
    assert ((), ("gpu", "linux")) == (lint.labels, test.labels)
    assert "Nightly" == gitlab.with_commit(pipeline(sha="5f1c", name="Nightly"), items[:1]).title


# -- CircleCI

SLUG = "gh/acme/shop"
WORKFLOW = "https://app.circleci.com/pipelines/github/acme/shop/7/workflows/w"
VALUES = {
    "commit_sha": "5f1c9a7e",
    "commit_title": "Fix the cart",
    "commit_timestamp": "2026-11-20T09:00:00Z",
    "user_username": "alice",
}


def workflows(*also: dict[str, Any], slug: str = SLUG, **fields: Any) -> tuple[Build, ...]:
    item = msgspec.convert({"id": "p", "number": 7, **fields}, circleci.Pipeline)
    listed = [{"id": "w", "status": "success", "started_by": "u-1"}, *also]
    found = [msgspec.convert(each, circleci.Workflow) for each in listed]
    return circleci.to_builds(item, found, Repo(slug), Site("https://app.circleci.com"))


@pytest.mark.parametrize(
    ("fields", "known"),
    [
        ({"vcs": {"revision": "5f1c9a7e"}}, {"commit": "5f1c9a7e"}),
        ({"vcs": {"commit": {"subject": "Fix the cart", "body": "x"}}}, {"title": "Fix the cart"}),
        ({"trigger": {"actor": {"login": "alice"}}}, ALICE),
        ({"trigger": {"actor": {"login": ""}}}, {"triggered_by": None, "triggered_by_type": None}),
        ({"trigger": {"actor": {"login": "Scheduled"}}}, {"triggered_by_type": Actor.BOT}),
        ({"trigger": {"actor": {"login": "renovate[bot]"}}}, {"triggered_by_type": Actor.BOT}),
        ({"trigger_parameters": {"git": {"checkout_sha": "5f1c9a7e"}}}, {"commit": "5f1c9a7e"}),
        (
            {"trigger_parameters": {"github_app": VALUES}},
            {
                **ALICE,
                "commit": "5f1c9a7e",
                "commit_at": instant("2026-11-20T09:00:00Z"),
                "title": "Fix the cart",
            },
        ),
        ({"trigger_parameters": {"gitlab": VALUES}}, {**ALICE, "title": "Fix the cart"}),
        ({"vcs": {"branch": "pull/12"}}, {"pull_request": 12}),
        ({"vcs": {"branch": "pull/12/head"}}, {"pull_request": 12}),
        ({"vcs": {"branch": "x", "review_id": "34"}}, {"pull_request": 34}),
        ({}, {"url": WORKFLOW, "commit": None, "title": None, "pull_request": None}),
        ({"number": None}, {"url": None}),
        ({"slug": "bb/acme/shop"}, {"url": WORKFLOW.replace("github", "bitbucket")}),
        (
            {"slug": "circleci/O1/P1"},
            {"url": WORKFLOW.replace("github/acme/shop", "circleci/O1/P1")},
        ),
    ],
)
def test_what_a_pipeline_of_circleci_says(fields: dict[str, Any], known: dict[str, Any]) -> None:
    assert known == told(workflows(**fields)[0], known)


def test_who_ran_a_workflow_again_is_known_if_the_same_user_began_the_pipeline() -> None:
    again = {"status": "failed", "tag": "rerun-workflow-from-failed"}
    trigger = {"actor": {"login": "alice"}}
    first, hers, somebodys = workflows(
        {"id": "w2", "started_by": "u-1", **again},
        {"id": "w3", "started_by": "u-2", **again},
        trigger=trigger,
    )

    assert ["alice", "alice", None] == [b.triggered_by for b in (first, hers, somebodys)]
    assert f"{WORKFLOW}3" == somebodys.url


def test_a_pipeline_without_workflows_has_a_page_too() -> None:
    item = circleci.Pipeline("p", number=7, state="errored")

    [build] = circleci.to_builds(item, [], Repo(SLUG), Site("https://app.circleci.com"))

    assert WORKFLOW.removesuffix("/workflows/w") == build.url


def test_a_job_of_circleci_has_a_page_if_it_has_a_number() -> None:
    job = circleci.to_job(circleci.Listed("j", job_number=3), WORKFLOW)
    approval = circleci.to_job(circleci.Listed("j", type="approval"), WORKFLOW)

    assert (f"{WORKFLOW}/jobs/3", None) == (job.url, approval.url)


# -- Azure DevOps

RESULTS = "https://dev.azure.com/acme/My%20shop/_build/results?buildId=7"
SERVICE = "Microsoft.VisualStudio.Services.TFS"
GITHUB = {"displayName": "GitHub", "uniqueName": None, "descriptor": "svc.MTBhNWRk"}


def built(**fields: Any) -> Build:
    place = ProjectPath.of("acme/My shop")
    run = msgspec.convert({"id": 7, "status": "completed", **fields}, Run)
    return azure.to_build(run, place, Names(), Site("https://dev.azure.com"))


@pytest.mark.parametrize(
    ("fields", "known"),
    [
        ({"sourceVersion": "5f1c9a7e"}, {"commit": "5f1c9a7e"}),
        ({"triggerInfo": {"ci.message": "Fix the cart\n\nx"}}, {"title": "Fix the cart"}),
        ({"triggerInfo": {"pr.title": "A new cart"}}, {"title": "A new cart"}),
        ({"triggerInfo": {}, "buildNumber": "20261120.7"}, {"title": None}),
        ({"requestedFor": {"displayName": "alice"}}, ALICE),
        (
            {"requestedFor": {"displayName": SERVICE}},
            {"triggered_by": SERVICE, "triggered_by_type": Actor.BOT},
        ),
        (
            {"requestedFor": {"displayName": "shop Build Service (acme)"}},
            {"triggered_by_type": Actor.BOT},
        ),
        ({"requestedFor": GITHUB}, {"triggered_by": "GitHub", "triggered_by_type": Actor.BOT}),
        ({"requestedFor": GITHUB, "triggerInfo": {"pr.sender.name": "alice"}}, ALICE),
        ({"triggerInfo": {"pr.sender.name": "alice"}}, ALICE),
        (
            {"requestedFor": {"displayName": "alice"}, "triggerInfo": {"pr.sender.name": "bob"}},
            ALICE,
        ),
        (
            {"requestedFor": GITHUB, "triggerInfo": {"pr.sender.name": "renovate[bot]"}},
            {"triggered_by": "renovate[bot]", "triggered_by_type": Actor.BOT},
        ),
        ({"triggerInfo": {"pr.number": "12", "pr.id": "4745208282"}}, {"pull_request": 12}),
        ({"sourceBranch": "refs/pull/12/merge"}, {"pull_request": 12}),
        ({"sourceBranch": "refs/heads/main"}, {"pull_request": None}),
        ({"_links": {"web": {"href": f"{RESULTS}&x=1"}}}, {"url": f"{RESULTS}&x=1"}),
        ({"_links": {"web": {"href": "https://azure.example/7"}}}, {"url": RESULTS}),
        ({}, {"url": RESULTS, "commit": None, "title": None, "triggered_by": None}),
    ],
)
def test_what_a_build_of_azure_devops_says(fields: dict[str, Any], known: dict[str, Any]) -> None:
    assert known == told(built(**fields), known)


def test_a_job_of_azure_devops_has_its_log_on_the_page_of_its_build() -> None:
    job = Record("cfa20e98-6997", type="Job", name="compile", state="completed")

    [found] = read_timeline([job], built(), now=0.0).jobs

    assert f"{RESULTS}&view=logs&j=cfa20e98-6997" == found.url


# -- sites


def circle(**keys: Any) -> CircleCI:
    return CircleCI(name="acme", provider="circleci", token_env="T", repos=[SLUG], **keys)


@pytest.mark.parametrize(
    ("account", "entry", "root", "page"),
    [
        (gitlab_station.gitlab(), "a/b", "https://gitlab.com", "a/b/-/pipelines"),
        (gitlab_station.gitlab(), "42", "https://gitlab.com", "projects/42"),
        (
            gitlab_station.gitlab(url="https://x.example/git/api/v4/"),
            "a/b/c",
            "https://x.example/git",
            "a/b/c/-/pipelines",
        ),
        (circle(), SLUG, "https://app.circleci.com", "pipelines/github/acme/shop"),
        (
            circle(url="https://ci.example/api/v2"),
            "bb/acme/shop",
            "https://ci.example",
            "pipelines/bitbucket/acme/shop",
        ),
        (
            azure_station.provider(),
            "acme/my%20shop/x",
            "https://dev.azure.com",
            "acme/my%20shop/_build",
        ),
        (
            azure_station.provider(url="https://tfs.example/tfs/"),
            "Main/shop",
            "https://tfs.example/tfs",
            "Main/shop/_build",
        ),
    ],
)
def test_pages_are_at_the_site_that_follows_from_the_api(
    account: Provider, entry: str, root: str, page: str
) -> None:
    assert root == account.web_root
    assert f"{root}/{page}" == account.page_of(Repo(entry))
    moved = account.model_copy(update={"web_url": "https://people.example/x/"})
    assert f"https://people.example/x/{page}" == moved.page_of(Repo(entry))
