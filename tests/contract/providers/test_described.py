"""What people read of a build: its commit, author, title and page, for every provider.

Each story is told by an emulator in the shape of recorded answers, polled over HTTP, and read
from the build log.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import asdict

from exporter.config.reference import DESCRIPTIONS
from exporter.demo import JobRun, Run
from exporter.ledger.build_log import BuildFilter, LoggedBuild
from exporter.model import Ref
from exporter.providers import Repo, Site, catalogue
from exporter.providers.travis import Travis
from exporter.providers.truto import INTEGRATIONS
from tests.contract.field.test_truto import Scene
from tests.contract.providers.hosted_stories import HOSTED
from tests.contract.providers.told import COMMITTED, Told
from tests.contract.providers.truto import ACCOUNT, ENTRIES, truto
from tests.tools import bitbucket_station, buddy_station, jenkins_station
from tests.tools.emulators import bitbucket, buddy, jenkins, travis
from tests.tools.emulators.jenkins import changes, checkout, person
from tests.tools.emulators.rig import COMMIT, Station

NOW = float(int(time.time()))
HOUR_AGO = NOW - 3600.0
STEP = "9b079475-6fed-40bb-b591-711351c12f71"


def on_bitbucket(path: Path) -> Station:
    world = bitbucket.Bitbucket()
    made = world.run(
        result="FAILED",
        build_number=77,
        target={
            "type": "pipeline_pullrequest_target",
            "source": "feature/cart",
            "destination": "main",
            "selector": {"type": "pull-requests", "pattern": "**"},
            "commit": {"type": "commit", "hash": COMMIT},
            "pullrequest": {"type": "pullrequest", "id": 12, "title": "Let people buy"},
        },
    )
    world.steps[made["uuid"]][0]["uuid"] = f"{{{STEP}}}"
    return bitbucket_station.station(world, path=path, jobs=True)


def on_travis(path: Path) -> Station:
    world = travis.World()
    world.ran(
        "acme/shop", HOUR_AGO, 60, "failed", event="pull_request", pull_request=12, login="bot[bot]"
    )
    account = Travis(name="acme", provider="travis", repos=["acme/shop"], jobs=True)
    return Station(account, world.app(), "", path=path)


def on_buddy(path: Path) -> Station:
    world = buddy.Buddy(modern=True)
    pipeline = world.pipeline()
    made = world.run(pipeline, status="FAILED", pull_request={"number": 12})
    world.action(
        made,
        "test",
        "FAILED",
        start_date=made["start_date"],
        finish_date=made["finish_date"],
    )
    return buddy_station.station(world, path=path, jobs=True)


def on_jenkins(path: Path) -> Station:
    world = jenkins.Jenkins()
    world.job("team/shop", jenkins.MULTIBRANCH)
    library = checkout("refs/remotes/origin/main", "0" * 40)
    world.run(
        "team/shop/PR-12",
        result="FAILURE",
        timestamp=int(HOUR_AGO * 1000),
        actions=[person("dev-1", "Dev One"), library, checkout("PR-12", COMMIT), {}],
        changeSets=changes("Begin", "Add the cart", last=COMMIT, at=HOUR_AGO - 60),
    )
    stage = {"id": "6", "name": "test", "status": "FAILED", "startTimeMillis": int(HOUR_AGO * 1000)}
    world.stage_view("team/shop/PR-12", 1, "FAILED", stage | {"durationMillis": 9000})
    return jenkins_station.station(world, path=path, url="https://ci.example/tools", jobs=True)


def behind(integration: str, entry: str = "", **fields: Any) -> Callable[[Path], Station]:
    """A build of a pull request behind the unified API."""

    def play(path: Path) -> Station:
        keys = {"jobs": True, "repos": [entry or ENTRIES[integration]]} | fields.pop("keys", {})
        scene = Scene(integration, path.parent, keys)
        scene.entry = keys["repos"][0]
        scene.world.open(ACCOUNT, integration, scene.entry)
        created = scene.clock.now - 3600
        job = JobRun(
            id="17",
            name="test",
            created_at=created,
            started_at=created + 9,
            completed_at=created + 60,
            conclusion="failed",
        )
        known: dict[str, Any] = {
            "id": "9001234567",
            "number": 77,
            "created_at": created,
            "started_at": created + 9,
            "completed_at": created + 60,
            "conclusion": "failed",
            "ref": Ref.PULL_REQUEST,
            "trigger": "merge_request",
            "branch": "feature/cart",
            "actor": "dev-1",
            "commit": COMMIT,
            "committed_at": created - 60,
            "title": "Add the cart",
            "workflow": "",
            "jobs": (job,),
        }
        scene.add(Run(**known | fields))
        return scene.rig

    return play


UUID = "{1f0e2d3c-4b5a-6978-8796-a5b4c3d2e1f0}"
AUTHOR = {"triggered_by": "dev-1", "triggered_by_type": "user"}
CHANGE = {"commit": COMMIT, "title": "Add the cart", "pull_request": 12}
RUN = {"commit": COMMIT, "title": "Add the cart", "pull_request": 77, **AUTHOR}
STORIES = (
    Told(
        "bitbucket",
        "",
        on_bitbucket,
        {
            **CHANGE,
            "title": "Let people buy",
            "triggered_by": "Dev One",
            "triggered_by_type": "user",
            "url": "https://bitbucket.org/acme/shop/pipelines/results/77",
            "job_url": (f"https://bitbucket.org/acme/shop/pipelines/results/77/steps/%7B{STEP}%7D"),
        },
    ),
    Told(
        "travis",
        "",
        on_travis,
        {
            **CHANGE,
            **COMMITTED,
            "triggered_by": "bot[bot]",
            "triggered_by_type": "bot",
            "url": "https://app.travis-ci.com/github/acme/shop/builds/1000",
            "job_url": "https://app.travis-ci.com/github/acme/shop/jobs/1001",
        },
    ),
    Told(
        "buddy",
        "",
        on_buddy,
        {
            **CHANGE,
            **COMMITTED,
            "triggered_by": "Dev One",
            "triggered_by_type": "user",
            "url": f"https://app.buddy.works/acme/100/{1:024x}",
            "job_url": f"https://app.buddy.works/acme/100/{1:024x}/action/0",
        },
    ),
    Told(
        "jenkins",
        "",
        on_jenkins,
        {
            **CHANGE,
            **COMMITTED,
            "triggered_by": "Dev One",
            "triggered_by_type": "user",
            "url": "https://ci.example/tools/job/team/job/shop/job/PR-12/1/",
            "job_url": ("https://ci.example/tools/job/team/job/shop/job/PR-12/1/execution/node/6/"),
        },
    ),
    Told(
        "truto",
        "github",
        behind("github", workflow="CI"),
        {
            **RUN,
            **COMMITTED,
            "url": "https://github.com/acme/shop/actions/runs/9001234567",
            "job_url": "https://github.com/acme/shop/actions/runs/9001234567/job/17",
        },
    ),
    Told(
        "truto",
        "azuredevops",
        behind("azuredevops", "ws/shop", workflow="ci"),
        {
            **RUN,
            "url": "https://dev.azure.com/acme/ws/_build/results?buildId=9001234567",
            "job_url": (
                "https://dev.azure.com/acme/ws/_build/results?buildId=9001234567&view=logs&j=17"
            ),
        },
    ),
    Told(
        "truto",
        "bitbucket",
        behind("bitbucket", id=UUID, workflow="pull-requests"),
        {
            **RUN,
            "url": "https://bitbucket.org/acme/shop/pipelines/results/77",
            "job_url": "https://bitbucket.org/acme/shop/pipelines/results/77/steps/%7B17%7D",
        },
    ),
    Told(
        "truto",
        "circleci",
        behind("circleci"),
        {
            **RUN,
            "url": "https://app.circleci.com/pipelines/github/acme/shop/77",
            "job_url": "https://app.circleci.com/jobs/github/acme/shop/17",
        },
    ),
    Told(
        "truto",
        "jenkins",
        behind(
            "jenkins",
            id="77",
            branch="PR-77",
            trigger="web",
            keys={"web_url": "https://ci.example/tools", "jobs": False},
        ),
        {
            **RUN,
            **COMMITTED,
            "url": "https://ci.example/tools/job/folder/job/shop/77/",
        },
    ),
    Told(
        "truto",
        "travisci",
        behind("travisci"),
        {
            **RUN,
            **COMMITTED,
            "url": "https://app.travis-ci.com/github/acme/repo-15022857/builds/9001234567",
            "job_url": "https://app.travis-ci.com/github/acme/repo-15022857/jobs/17",
        },
    ),
)
EVERY = (*STORIES, *HOSTED)
NAMES = [f"{told.provider} {told.kind}".strip() for told in EVERY]


def logged(rig: Station) -> LoggedBuild:
    """The one build of the log after a poll."""
    rig.polled()
    [build] = rig.ledger.build_log().builds(BuildFilter()).builds
    return build


def read(build: LoggedBuild) -> dict[str, Any]:
    """What people read of a logged build, as stories have it."""
    every = asdict(build) | {"job_url": build.jobs[0].url if build.jobs else None}
    wanted = {*DESCRIPTIONS, "triggered_by_type"} & every.keys()
    known = {field: every[field] for field in wanted if every[field] is not None}
    if build.commit_at is not None:
        began = build.started_at if build.created_at is None else build.created_at
        assert began is not None
        assert build.commit_at == pytest.approx(began - 60, abs=15)
        known |= COMMITTED
    return known


@pytest.mark.parametrize("told", EVERY, ids=NAMES)
def test_a_build_is_logged_with_its_commit_author_title_and_page(
    tmp_path: Path, told: Told
) -> None:
    assert read(logged(told.plays(tmp_path / "state.db"))) == told.fields


@pytest.mark.parametrize("told", EVERY, ids=NAMES)
def test_the_reference_lists_what_is_told(told: Told) -> None:
    fields = told.fields.keys() - {"triggered_by_type"}
    described = {*catalogue()[told.provider].described[told.kind].split()}

    assert fields == described - {"job_labels"}  # which the log leaves out


def test_each_described_field_has_a_column() -> None:
    for provider in catalogue().values():
        for fields in provider.described.values():
            assert set(fields.split()) <= DESCRIPTIONS.keys()


# -- sites


@pytest.mark.parametrize(
    ("provider", "url", "web_root"),
    [
        ("bitbucket", None, "https://bitbucket.org"),
        ("travis", None, "https://app.travis-ci.com"),
        ("travis", "https://travis.acme.example/api", "https://travis.acme.example"),
        ("buddy", None, "https://app.buddy.works"),
        ("buddy", "https://api.eu.buddy.works", "https://eu.buddy.works"),
        ("buddy", "https://api.asia.buddy.works/", "https://asia.buddy.works"),
        ("buddy", "https://buddy.acme.example/api", "https://buddy.acme.example"),
        ("jenkins", "https://ci.example/tools/", "https://ci.example/tools"),
    ],
)
def test_the_root_of_the_pages_follows_from_that_of_the_api(
    provider: str, url: str | None, web_root: str
) -> None:
    keys: dict[str, Any] = {"name": "acme", "provider": provider, "token_env": "T", "url": url}
    account = catalogue()[provider](**keys, repos=["acme/shop"])

    assert account.web_root == web_root


@pytest.mark.parametrize(
    ("integration", "page"),
    [
        ("github", "https://github.com/acme/shop/actions"),
        ("azuredevops", None),
        ("bitbucket", "https://bitbucket.org/acme/shop/pipelines"),
        ("circleci", "https://app.circleci.com/pipelines/github/acme/shop"),
        ("jenkins", None),
        ("travisci", None),
        ("buddy", "https://app.buddy.works/acme/shop/pipelines"),
    ],
)
def test_behind_the_unified_api_pages_are_those_of_the_ci_system(
    integration: str, page: str | None
) -> None:
    assert truto(integration).page_of(Repo(ENTRIES[integration])) == page


def test_a_web_url_names_the_organization_and_the_controller() -> None:
    azure = truto("azuredevops", web_url="https://dev.azure.com/acme/")
    jenkins_ = truto("jenkins", web_url="https://ci.example")

    assert azure.page_of(Repo("ws/shop")) == "https://dev.azure.com/acme/ws/_build"
    assert jenkins_.page_of(Repo("folder/a b")) == "https://ci.example/job/folder/job/a%20b/"
    assert INTEGRATIONS.keys() == ENTRIES.keys()
    assert Site(truto("jenkins").web_root).own("https://ci.example/job/shop/1/") is None
