"""Stories of a failed build and its failed job at GitHub, GitLab, CircleCI and Azure DevOps."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from exporter.providers import Provider
from exporter.providers.circleci import CircleCI
from tests.contract.providers.github import github
from tests.contract.providers.told import COMMITTED, Told
from tests.tools import azure_devops_station, gitlab_station
from tests.tools.emulators import azure_devops, circleci, gitlab
from tests.tools.emulators import github as hub
from tests.tools.emulators.rig import COMMIT, TOKEN, Station, iso

BOT = {"login": "renovate[bot]", "type": "Bot"}
ALICE = {"triggered_by": "alice", "triggered_by_type": "user"}
WORKFLOW = "7a51e1dc-0000-4000-8000-000000000001"
GITLAB = "https://gitlab.invalid/acme/platform/shop/-"


def station(account: Provider, app: Any, prefix: str, path: Path) -> Station:
    return Station(account, app, prefix, path=path)


def on_github(path: Path) -> Station:
    """A pull request whose run failed, as a bot ran it."""
    world = hub.Hub()
    world.repo("acme/shop")
    world.tokens.add(TOKEN)
    commit = {"message": "Add the cart\n\nx", "timestamp": hub.iso(time.time() - 660)}
    run = world.begin(
        ago=600.0,
        event="pull_request",
        head_sha=COMMIT,
        head_commit=commit,
        triggering_actor=BOT,
        pull_requests=[{"number": 12}],
    )
    world.end(run, "failure")
    times = {"created_at": hub.iso(time.time() - 600), "completed_at": hub.iso(time.time() - 570)}
    job = {"id": 17, "name": "test", "status": "completed", "conclusion": "failure", **times}
    page = f"{hub.SITE}/acme/shop/actions/runs/{run}/job/17"
    world.jobs[(run, 1)] = [
        job | {"started_at": hub.iso(time.time() - 590), "html_url": page, "labels": ["gpu"]}
    ]
    world.app.state.requests = world.requests
    return station(github(jobs=True, web_url=hub.SITE), world.app, "/api/v3", path)


def on_gitlab(path: Path) -> Station:
    """The pipeline of a merge request, whose job tells the commit."""
    return _of_a_merge_request(path, jobs=True)


def on_gitlab_without_jobs(path: Path) -> Station:
    """The same; its title is the name that `workflow:name` gives it."""
    return _of_a_merge_request(path, jobs=False)


def _of_a_merge_request(path: Path, *, jobs: bool) -> Station:
    world = gitlab.World()
    made = world.ran(
        gitlab_station.SHOP,
        time.time() - 900,
        60.0,
        "failed",
        ref="refs/merge-requests/12/head",
        source="merge_request_event",
        title="Add the cart",
        name="Checks of 12",
    )
    world.job(made, "test", "failed", time.time() - 890, tags=("gpu",))
    world.projects.setdefault(gitlab_station.SHOP, {})
    account = gitlab_station.gitlab(jobs=jobs, web_url=gitlab.SITE)
    return station(account, world.app(), "/api/v4", path)


def on_circleci(path: Path) -> Station:
    """A workflow for a pull request."""
    world = circleci.CircleCI()
    commit = {"subject": "Add the cart", "body": ""}
    vcs = {"branch": "pull/12", "revision": COMMIT, "commit": commit}
    workflow = world.workflow(world.pipeline(vcs=vcs), id=WORKFLOW)
    world.end(workflow, status="failed")
    return station(_circleci(), world.app(), "/api/v2", path)


def on_circleci_with_an_app(path: Path) -> Station:
    """A workflow for a push that the GitHub App announced."""
    world = circleci.CircleCI()
    values = {
        "commit_sha": COMMIT,
        "commit_title": "Add the cart",
        "commit_timestamp": iso(time.time() - 3660),
        "user_username": "alice",
    }
    trigger = {"type": "github_app", "actor": {"login": ""}}
    pipeline = world.pipeline(vcs=None, trigger=trigger, trigger_parameters={"github_app": values})
    world.end(world.workflow(pipeline, id=WORKFLOW), status="failed")
    return station(_circleci(), world.app(), "/api/v2", path)


def _circleci() -> Provider:
    keys: dict[str, Any] = {"provider": "circleci", "token_env": "T", "repos": ["gh/acme/shop"]}
    return CircleCI(name="acme", jobs=True, **keys)


def on_azure_devops(path: Path) -> Station:
    """A build for a pull request of a person, which GitHub's App asked for."""
    world = azure_devops.AzureDevOps()
    world.run(
        result="failed",
        reason="pullRequest",
        sourceBranch="refs/pull/12/merge",
        sourceVersion=COMMIT,
        triggerInfo={"pr.number": "12", "pr.title": "Add the cart", "pr.sender.name": "alice"},
        requestedFor={"displayName": "GitHub", "uniqueName": None, "descriptor": "svc.MTBh"},
    )
    account = azure_devops_station.provider(jobs=True, web_url=azure_devops.SITE)
    return station(account, world.app(), "", path)


CHANGE = {"commit": COMMIT, "title": "Add the cart", "pull_request": 12}
RUN = f"{hub.SITE}/acme/shop/actions/runs/9000000001"
RESULTS = f"{azure_devops.SITE}/shop/_build/results?buildId=100"
PAGE = f"https://app.circleci.com/pipelines/github/acme/shop/1/workflows/{WORKFLOW}"
HOSTED = (
    Told(
        "github",
        "",
        on_github,
        {
            **CHANGE,
            **COMMITTED,
            "triggered_by": "renovate[bot]",
            "triggered_by_type": "bot",
            "url": RUN,
            "job_url": f"{RUN}/job/17",
        },
    ),
    Told(
        "gitlab",
        "",
        on_gitlab_without_jobs,
        {
            **CHANGE,
            **ALICE,
            "commit": f"{1000:040x}",
            "title": "Checks of 12",
            "url": f"{GITLAB}/pipelines/1000",
        },
    ),
    Told(
        "gitlab",
        "`jobs: true`",
        on_gitlab,
        {
            **CHANGE,
            **COMMITTED,
            **ALICE,
            "commit": f"{1000:040x}",
            "url": f"{GITLAB}/pipelines/1000",
            "job_url": f"{GITLAB}/jobs/1001",
        },
    ),
    Told(
        "circleci", "", on_circleci, {**CHANGE, **ALICE, "url": PAGE, "job_url": f"{PAGE}/jobs/1"}
    ),
    Told(
        "circleci",
        "GitHub App or GitLab",
        on_circleci_with_an_app,
        {
            "commit": COMMIT,
            "title": "Add the cart",
            **COMMITTED,
            **ALICE,
            "url": PAGE,
            "job_url": f"{PAGE}/jobs/1",
        },
    ),
    Told(
        "azure_devops",
        "",
        on_azure_devops,
        {**CHANGE, **ALICE, "url": RESULTS, "job_url": f"{RESULTS}&view=logs&j=100-compile"},
    ),
)
