"""The GitHub provider: recorded answers, an emulated API, its costs, and Apps."""

from __future__ import annotations

import asyncio
import base64
import functools
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from starlette.responses import HTMLResponse, Response

from exporter.demo.serve import serving
from exporter.errors import Gone, ProviderError, Refused, TryLater
from exporter.http import Api, Pace
from exporter.metrics import families as f
from exporter.model import Build, Ref, Status
from exporter.poller import walk
from exporter.poller.ground import Rules
from exporter.providers import Query, Repo, catalogue
from exporter.providers.github import WORDS, GitHub
from exporter.providers.github.app import App
from exporter.providers.github.memo import Memo
from exporter.providers.github.payload import (
    Run,
    Runs,
    Task,
    to_build,
    to_job,
    with_jobs,
    without_jobs,
)
from exporter.record import Cursor
from exporter.times import instant
from tests import golden, hostile
from tests.emulators.github import TOKEN, Hub, iso, said
from tests.scripted import DAY, Rig

SHOP = Repo("acme/shop", default_branch="main")
RUNS = "/repos/acme/shop/actions/runs"
LATEST = f"{RUNS}?per_page=30&exclude_pull_requests=true"
CREATED, BEGUN, ENDED = "2026-11-20T09:00:00Z", "2026-11-20T09:00:12Z", "2026-11-20T09:05:42Z"


def at(text: str) -> float:
    seconds = instant(text)
    assert seconds is not None
    return seconds


def run(**fields: Any) -> Run:
    """A completed first attempt, unless `fields` differ."""
    known = {
        "id": 9001234567,
        "name": "CI",
        "path": ".github/workflows/ci.yml@main",
        "head_branch": "main",
        "event": "push",
        "status": "completed",
        "conclusion": "success",
        "run_number": 412,
        "run_attempt": 1,
        "created_at": CREATED,
        "run_started_at": CREATED,
        "updated_at": ENDED,
        "repository": {"full_name": "acme/shop"},
        "head_repository": {"full_name": "acme/shop"},
    }
    return msgspec.convert({**known, **fields}, Run)


def build(**fields: Any) -> Build:
    return to_build(run(**fields), SHOP)


def task(**fields: Any) -> Task:
    """A completed job, unless `fields` differ."""
    known = {
        "id": 1,
        "name": "test",
        "status": "completed",
        "conclusion": "success",
        "run_attempt": 1,
        "created_at": "2026-11-20T09:00:02Z",
        "started_at": BEGUN,
        "completed_at": "2026-11-20T09:05:40Z",
    }
    return msgspec.convert({**known, **fields}, Task)


def github(**keys: Any) -> GitHub:
    keys = {"token_env": "T", "repos": ["acme/shop"]} | keys
    return GitHub(name="acme", provider="github", **keys)


# -- recorded answers


def test_every_recorded_run_and_job_is_understood(shared: Path) -> None:
    folder = shared / "recordings" / "github"
    runs = dict(golden.lines(folder, "workflow_runs.jsonl")) | sent(folder, "workflow_run")
    jobs = dict(golden.lines(folder, "jobs.jsonl")) | sent(folder, "workflow_job")
    page = msgspec.json.decode(b'{"workflow_runs":[' + b",".join(runs.values()) + b"]}", type=Runs)
    builds = [to_build(item, SHOP) for item in page.items]
    tasks = [msgspec.json.decode(line, type=Task) for line in jobs.values()]

    assert page.rejected == 0
    golden.check(
        "github",
        {key: golden.told(without_jobs(build)) for key, build in zip(runs, builds, strict=True)}
        | {
            key: golden.told(to_job(task, build_of(task)))
            for key, task in zip(jobs, tasks, strict=True)
        },
    )


def sent(folder: Path, kind: str) -> dict[str, bytes]:
    """The objects that webhooks carried: those of the REST API, by the line's key."""
    return {
        key: bytes(msgspec.json.decode(line, type=dict[str, msgspec.Raw])[kind])
        for key, line in golden.lines(folder, f"webhook_{kind}.jsonl")
    }


def build_of(task: Task) -> Build:
    return build(run_attempt=task.run_attempt)


def test_no_recorded_word_is_unknown(shared: Path) -> None:
    folder = shared / "recordings" / "github"
    for name, into, read in (
        ("workflow_runs.jsonl", Run, lambda item: to_build(item, SHOP)),
        ("jobs.jsonl", Task, lambda item: to_job(item, build())),
    ):
        for _, line in golden.lines(folder, name):
            assert () == read(msgspec.json.decode(line, type=into)).unmapped


def test_every_documented_word_has_its_meaning(shared: Path) -> None:
    folder = shared / "openapi" / "github"
    for name in ("api.github.com.actions.json", "ghes-3.19.actions.json"):
        described = json.loads((folder / name).read_text())
        job = described["components"]["schemas"]["job"]["properties"]
        states = described["components"]["parameters"]["workflow-run-status"]["schema"]["enum"]
        conclusions = {*WORDS.conclusion, *WORDS.holds}

        assert set(job["status"]["enum"]) <= WORDS.status.keys()
        assert {word for word in job["conclusion"]["enum"] if word} <= conclusions
        assert set(states) <= WORDS.status.keys() | conclusions


EVENTS = (  # "Events that trigger workflows"; `dynamic` is what Pages and Dependabot run by
    "branch_protection_rule check_run check_suite create delete deployment deployment_status"
    " discussion discussion_comment dynamic fork gollum image_version issue_comment issues label"
    " merge_group milestone page_build public pull_request pull_request_comment"
    " pull_request_review pull_request_review_comment pull_request_target push registry_package"
    " release repository_dispatch schedule status watch workflow_call workflow_dispatch"
    " workflow_run"
)


@pytest.mark.parametrize("event", EVENTS.split())
def test_every_documented_event_is_known(event: str) -> None:
    assert () == build(event=event).unmapped


# -- runs


def test_a_run_becomes_a_build() -> None:
    assert build(run_started_at=BEGUN) == Build(
        key="9001234567",
        native_id="9001234567",
        repo="acme/shop",
        default_branch="main",
        workflow="CI",
        branch="main",
        number=412,
        trigger="push",
        status=Status.COMPLETED,
        conclusion="passed",
        created_at=at(CREATED),
        started_at=at(BEGUN),
        completed_at=at(ENDED),
    )


@pytest.mark.parametrize(
    ("native", "status", "conclusion"),
    [
        (("queued", None), Status.QUEUED, None),
        (("requested", None), Status.QUEUED, None),
        (("pending", None), Status.QUEUED, None),
        (("waiting", None), Status.WAITING, None),
        (("in_progress", None), Status.IN_PROGRESS, None),
        (("in_progress", "success"), Status.IN_PROGRESS, None),
        (("completed", "success"), Status.COMPLETED, "passed"),
        (("completed", "failure"), Status.COMPLETED, "failed"),
        (("completed", "timed_out"), Status.COMPLETED, "timeout"),
        (("completed", "cancelled"), Status.COMPLETED, "cancelled"),
        (("completed", "skipped"), Status.COMPLETED, "skipped"),
        (("completed", "startup_failure"), Status.COMPLETED, "error"),
        (("completed", "neutral"), Status.COMPLETED, "neutral"),
        (("completed", "stale"), Status.COMPLETED, "stale"),
        (("completed", "action_required"), Status.WAITING, None),
        (("completed", "exploded"), Status.COMPLETED, "other"),
        (("completed", None), Status.COMPLETED, None),
        (("paused", None), Status.IN_PROGRESS, None),
        (("paused", "success"), Status.COMPLETED, "passed"),
    ],
)
def test_where_a_run_stands(
    native: tuple[str, str | None], status: Status, conclusion: str | None
) -> None:
    found = build(status=native[0], conclusion=native[1])

    assert (status, conclusion) == (found.status, found.conclusion)
    assert (found.completed_at is None) == (status is not Status.COMPLETED)


@pytest.mark.parametrize(
    ("fields", "workflow"),
    [
        ({"name": "Build & test"}, "Build & test"),
        ({"name": None}, "ci.yml"),
        ({"name": ""}, "ci.yml"),
        ({"name": None, "path": None}, ""),
        ({"name": ".github/workflows/x.yml"}, ".github/workflows/x.yml"),
        ({"path": "dynamic/pages/pages-build-deployment", "name": "pages"}, "pages"),
        (
            {"path": "dynamic/dependabot/dependabot-updates", "name": "npm in /. - Update #123"},
            "dependabot-updates",
        ),
    ],
)
def test_what_the_workflow_is_called(fields: dict[str, Any], workflow: str) -> None:
    assert workflow == build(**fields).workflow


FORK: dict[str, Any] = {"head_repository": {"full_name": "somebody/shop"}}


@pytest.mark.parametrize(
    ("fields", "ref", "trigger"),
    [
        ({}, Ref.BRANCH, "push"),
        ({"event": "schedule"}, Ref.BRANCH, "cron"),
        ({"event": "workflow_dispatch"}, Ref.BRANCH, "web"),
        ({"event": "repository_dispatch"}, Ref.BRANCH, "api"),
        ({"event": "workflow_run"}, Ref.BRANCH, "workflow_run"),
        ({"event": "pull_request"}, Ref.PULL_REQUEST, "merge_request"),
        ({"event": "pull_request_target", **FORK}, Ref.PULL_REQUEST, "merge_request"),
        ({"event": "merge_group"}, Ref.PULL_REQUEST, "merge_request"),
        ({"event": "workflow_run", **FORK}, Ref.PULL_REQUEST, "workflow_run"),
        ({"event": "push", **FORK}, Ref.PULL_REQUEST, "merge_request"),
        ({"head_repository": None}, Ref.BRANCH, "push"),
        ({"head_repository": {"full_name": "Acme/Shop"}}, Ref.BRANCH, "push"),
        ({"event": "hatched"}, Ref.BRANCH, "other"),
        ({"event": None}, Ref.BRANCH, "other"),
    ],
)
def test_what_a_run_is_of(fields: dict[str, Any], ref: Ref, trigger: str) -> None:
    assert (ref, trigger) == (build(**fields).ref, build(**fields).trigger)


def test_a_start_that_is_the_creation_tells_nothing_of_the_queue() -> None:
    done = without_jobs(build())
    running = without_jobs(build(status="in_progress", conclusion=None))
    second = without_jobs(build(run_attempt=2, run_started_at=BEGUN))

    assert (None, 342.0) == (done.queue, done.duration)
    assert (at(CREATED), None) == (running.created_at, running.started_at)
    assert (None, 330.0) == (second.queue, second.duration)


def test_a_queued_run_has_not_started() -> None:
    assert build(status="queued", run_attempt=2, run_started_at=BEGUN).started_at is None


def test_a_run_that_was_touched_after_more_than_it_may_last_has_no_known_end() -> None:
    touched = build(updated_at="2027-01-20T09:05:42Z")

    assert (Status.COMPLETED, None) == (touched.status, touched.completed_at)
    assert touched.time == at(CREATED)


@pytest.mark.parametrize(
    "odd",
    [
        {"name": 5, "path": [], "head_branch": {}, "event": 1.5},
        {"repository": "x", "head_repository": [1]},
        {"repository": {"full_name": 7}, "head_repository": True},
        {"run_number": "x", "run_attempt": -3, "created_at": {}, "updated_at": False},
        {"run_attempt": None, "run_started_at": None, "run_number": None},
    ],
)
def test_an_odd_field_spoils_no_run(odd: dict[str, Any]) -> None:
    assert (Status.COMPLETED, 1) == (build(**odd).status, build(**odd).attempt)


def test_an_odd_item_spoils_no_page() -> None:
    sound = json.dumps({"id": 7, "status": "queued"})
    raw = f'{{"total_count":5,"workflow_runs":[3,null,{{"id":"x"}},{{}},{sound}]}}'
    page = msgspec.json.decode(raw, type=Runs)

    assert [7] == [item.id for item in page.items]
    assert (4, 5) == (page.rejected, page.listed)
    assert page == msgspec.json.decode(msgspec.json.encode(page), type=Runs)


# -- jobs


@pytest.mark.parametrize(
    ("fields", "status", "conclusion", "duration", "queue"),
    [
        ({}, Status.COMPLETED, "passed", 328.0, 10.0),
        ({"conclusion": "failure"}, Status.COMPLETED, "failed", 328.0, 10.0),
        ({"conclusion": "timed_out"}, Status.COMPLETED, "timeout", 328.0, 10.0),
        ({"conclusion": "skipped"}, Status.COMPLETED, "skipped", None, 10.0),
        ({"created_at": None}, Status.COMPLETED, "passed", 328.0, None),
        (
            {"conclusion": "cancelled", "created_at": BEGUN},
            Status.COMPLETED,
            "cancelled",
            None,
            None,
        ),
        (
            {"status": "queued", "conclusion": None, "created_at": BEGUN, "completed_at": None},
            Status.QUEUED,
            None,
            None,
            None,
        ),
        ({"status": "waiting", "conclusion": None}, Status.WAITING, None, None, None),
        ({"status": "in_progress", "conclusion": None}, Status.IN_PROGRESS, None, None, 10.0),
        ({"conclusion": "action_required"}, Status.WAITING, None, None, None),
    ],
)
def test_what_a_job_tells(
    fields: dict[str, Any],
    status: Status,
    conclusion: str | None,
    duration: float | None,
    queue: float | None,
) -> None:
    job = to_job(task(**fields), build())

    assert (status, conclusion) == (job.status, job.conclusion)
    assert (duration, queue) == (job.duration, job.queue)


NOW = at(ENDED) + 3600


def test_with_jobs_the_times_are_theirs() -> None:
    tasks = [
        task(),
        task(id=2, started_at="2026-11-20T09:00:09Z", completed_at="2026-11-20T09:05:00Z"),
        task(id=3, conclusion="skipped", started_at=CREATED, completed_at=ENDED),
    ]
    done = with_jobs(build(), tasks, now=NOW)

    assert (9.0, 331.0) == (done.queue, done.duration)
    assert ["1", "2", "3"] == [job.id for job in done.jobs]


def test_a_run_none_of_whose_jobs_ran_keeps_its_own_times() -> None:
    assert 342.0 == with_jobs(build(conclusion="startup_failure"), [], now=NOW).duration
    skipped = with_jobs(build(conclusion="skipped"), [task(conclusion="skipped")], now=NOW)
    assert (None, None) == (skipped.duration, skipped.queue)


def test_a_run_cancelled_in_the_queue_has_no_duration() -> None:
    queued = task(conclusion="cancelled", started_at="2026-11-20T09:00:02Z")
    found = with_jobs(build(conclusion="cancelled"), [queued], now=NOW)

    assert (None, None) == (found.duration, found.queue)
    assert found.completed_at == at("2026-11-20T09:05:40Z")


def test_jobs_of_an_earlier_attempt_are_left_to_it() -> None:
    second = build(run_attempt=2, run_started_at="2026-11-20T10:00:00Z")
    created, ended = "2026-11-20T10:00:01Z", "2026-11-20T10:03:00Z"
    tasks = [
        task(id=1),  # listed as it was
        task(id=2, run_attempt=2, created_at=created),  # listed again as one of this attempt
        task(id=3, run_attempt=2, created_at=None),  # the same, at an old server
        task(id=4, run_attempt=2, created_at=created, started_at=created, completed_at=ended),
    ]
    found = with_jobs(second, tasks, now=NOW)

    assert ["4"] == [job.id for job in found.jobs]
    assert (179.0, None) == (found.duration, found.queue)


def test_a_run_is_complete_when_its_jobs_are_or_some_minutes_have_passed() -> None:
    tasks = [task(), task(id=2, status="in_progress", conclusion=None, completed_at=None)]

    moments_ago = with_jobs(build(), tasks, now=at(ENDED) + 5)
    long_ago = with_jobs(build(), tasks, now=NOW)

    assert (Status.IN_PROGRESS, None) == (moments_ago.status, moments_ago.completed_at)
    assert (Status.COMPLETED, "passed") == (long_ago.status, long_ago.conclusion)


# -- against an emulated GitHub


class Desk(Rig):
    """An account that is polled as often as a test says, with one client all the while."""

    def __init__(self, hub: Hub, **keys: Any) -> None:
        super().__init__(None, hold=False, lookback=DAY)
        self.hub = hub
        self.native = github(**keys)
        self.token: str | None = TOKEN
        self.memories: dict[str, walk.Memory] = {}
        self.found: list[Repo] = []

    async def __aenter__(self) -> Self:
        self.recorder._turn = asyncio.Lock()
        self._stack = AsyncExitStack()
        url = await self._stack.enter_async_context(serving(self.hub.app))
        self.api = Api(
            root=f"{url}/api/v3",
            headers=lambda: self.native.headers(self.token),
            timeout=5.0,
            pace=Pace(attempts=1),
        )
        self._stack.push_async_callback(self.api.aclose)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()
        self.crash()

    async def discovered(self) -> list[str]:
        await self.native.renew(self.api)
        self.found = []
        for entry in self.native.repos:
            wild = self.native.is_wildcard(entry)
            self.found += await self.native.discover(self.api, entry) if wild else [Repo(entry)]
        return [repo.entry for repo in self.found]

    async def polled(self, *, deep: bool = False) -> list[str]:
        """Poll every repo; the requests that it took."""
        if not self.found:
            await self.discovered()
        if deep:
            self.memories.clear()
        before = len(self.hub.requests)
        for repo in self.found:
            await self.native.renew(self.api)
            cursor = Cursor(floor=time.time() - self.lookback)
            target = await self.recorder.target("acme", repo.entry, cursor)
            reader = walk.Reader(
                self.native, self.api, self.recorder, Rules(self.lookback, 30 * DAY, DAY, 900.0)
            )
            memory = self.memories.setdefault(repo.entry, walk.Memory())
            await walk.Walk(reader, repo=repo, target=target, memory=memory).run()
        return self.hub.requests[before:]

    @property
    def free(self) -> int:
        """Requests so far that counted against no limit."""
        return self.hub.statuses.count(304)

    def seconds(self, family: f.Family) -> float:
        """The sum of a histogram."""
        return sum(v[-1] for key, v in self.book.stored() if key.family == family.name)


Test = Callable[..., Awaitable[None]]


def live(test: Test) -> Callable[..., None]:
    """Run a test in an event loop."""

    @functools.wraps(test)
    def run_it(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))  # type: ignore[arg-type]

    return run_it


@pytest.fixture
def hub() -> Hub:
    hub = Hub()
    hub.repo("acme/shop")
    return hub


@live
async def test_every_build_is_counted_once_with_its_true_times(hub: Hub) -> None:
    words = {
        "success": "passed",
        "failure": "failed",
        "cancelled": "cancelled",
        "timed_out": "timeout",
        "skipped": "skipped",
        "startup_failure": "error",
        "neutral": "neutral",
    }
    for number in range(120):
        hub.end(hub.begin(ago=3600 + number), list(words)[number % 7], after=10 + number)
    running = hub.begin(ago=30)
    async with Desk(hub) as desk:
        assert [f"{RUNS}?per_page=100&exclude_pull_requests=true"] == (await desk.polled())[:1]
        assert 1 == desk.gauge(f.ACTIVE, status="in_progress")
        hub.end(running, after=25)
        for _ in range(3):
            await desk.polled(deep=True)

        assert 121 == desk.value(f.BUILDS)
        for place, conclusion in enumerate(words.values()):
            expected = len(range(place, 120, 7)) + (conclusion == "passed")
            assert expected == desk.value(f.BUILDS, conclusion=conclusion)
        ran = [10 + n for n in range(120) if n % 7 != 4]
        assert len(ran) + 1 == desk.value(f.BUILD_DURATION)
        assert sum(ran) + 25 == desk.seconds(f.BUILD_DURATION)
        assert 0 == desk.value(f.BUILD_QUEUE)
        assert len(ran) + 1 == desk.value(f.MISSING, field="queue")


@live
async def test_an_idle_repo_costs_requests_that_count_against_no_limit(hub: Hub) -> None:
    for number in range(60):
        hub.end(hub.begin(ago=7200 + number))
    async with Desk(hub) as desk:
        await desk.polled()
        await desk.polled()
        left, free = hub.remaining, desk.free

        assert [LATEST] * 5 == [r for _ in range(5) for r in await desk.polled()]
        assert (left, free + 5) == (hub.remaining, desk.free)
        assert 60 == desk.value(f.BUILDS)
        assert 304 in {int(code) for code in desk.api.stats.requests}


@live
async def test_a_hundred_idle_repos_cost_a_hundred_free_requests() -> None:
    hub = Hub()
    for number in range(100):
        hub.repo(f"acme/r{number}")
        hub.end(hub.begin(f"acme/r{number}", ago=7200))
    async with Desk(hub, repos=["acme/*"]) as desk:
        await desk.polled()
        await desk.polled()
        left = hub.remaining

        assert 100 == len(await desk.polled())
        assert left == hub.remaining


@live
async def test_a_new_build_costs_nothing_beside_the_page(hub: Hub) -> None:
    async with Desk(hub) as desk:
        await desk.polled()
        await desk.polled()
        build = hub.begin()
        assert [LATEST] == await desk.polled()
        hub.end(build)
        assert [LATEST] == await desk.polled()
        assert 1 == desk.value(f.BUILDS)


@live
async def test_a_burst_between_two_polls_is_counted_whole(hub: Hub) -> None:
    async with Desk(hub) as desk:
        await desk.polled()
        for number in range(200):
            hub.end(hub.begin(ago=50 + number / 10), after=20)

        requests = await desk.polled()

        assert 200 == desk.value(f.BUILDS, conclusion="passed")
        assert [LATEST, *(f"{LATEST}&page={n}" for n in range(2, 8))] == requests


@live
async def test_a_page_goes_on_where_it_ended_whatever_the_size_of_the_next(hub: Hub) -> None:
    for number in range(45):
        hub.end(hub.begin(ago=50 + number))
    async with Desk(hub) as desk:
        first = await desk.native.page(desk.api, SHOP, Query(since=0.0, size=20))
        second = await desk.native.page(desk.api, SHOP, Query(0.0, 100, first.next))
        third = await desk.native.page(desk.api, SHOP, Query(0.0, 100, second.next))

        keys = [build.key for page in (first, second, third) for build in page.builds]
        assert 45 == len(keys) == len(set(keys))
        assert third.next is None


@live
async def test_an_unfinished_run_beyond_the_first_page_is_read_by_itself(hub: Hub) -> None:
    slow = hub.begin(ago=5000)
    for number in range(40):
        hub.end(hub.begin(ago=4000 + number))
    async with Desk(hub) as desk:
        await desk.polled()
        single = f"{RUNS}/{slow}?exclude_pull_requests=true"
        assert [LATEST, single] == await desk.polled()
        desk.memories["acme/shop"].checked.clear()
        free = desk.free
        assert [LATEST, single] == await desk.polled()
        assert free + 2 == desk.free
        desk.memories["acme/shop"].checked.clear()
        hub.end(slow, "failure", after=4900)
        await desk.polled()

        assert 1 == desk.value(f.BUILDS, conclusion="failed")
        assert 41 == desk.value(f.BUILDS)


# -- run again


@live
async def test_attempts_between_two_polls_are_fetched_and_counted_once_each(hub: Hub) -> None:
    build = hub.begin(ago=500)
    async with Desk(hub) as desk:
        await desk.polled()
        hub.end(build, "failure", after=100)
        hub.again(build, ago=350)
        hub.end(build, "timed_out", after=110)
        hub.again(build, ago=200)
        hub.end(build, "success", after=120)

        attempts = [f"{RUNS}/{build}/attempts/{n}?exclude_pull_requests=true" for n in (1, 2)]
        assert {LATEST, *attempts} == set(await desk.polled())
        assert [LATEST] == await desk.polled()

        assert 3 == desk.value(f.BUILDS)
        for conclusion in ("failed", "timeout", "passed"):
            assert 1 == desk.value(f.BUILDS, conclusion=conclusion)
        assert 2 == desk.value(f.RETRIES)
        assert 330 == desk.seconds(f.BUILD_DURATION)
        assert 0 == desk.value(f.MISSING, field="attempt")
        assert 0 == desk.gauge(f.ACTIVE, status="in_progress")


@live
async def test_a_run_started_again_long_after_is_found_by_the_deep_walk(hub: Hub) -> None:
    build = hub.begin(ago=50_000)
    hub.end(build, "failure")
    for number in range(40):
        hub.end(hub.begin(ago=40_000 + number))
    async with Desk(hub) as desk:
        await desk.polled()
        hub.again(build, ago=10)
        await desk.polled()
        assert 41 == desk.value(f.BUILDS)
        await desk.polled(deep=True)
        assert 1 == desk.gauge(f.ACTIVE, status="in_progress")
        hub.end(build)
        await desk.polled()

        assert (42, 1) == (desk.value(f.BUILDS), desk.value(f.RETRIES))


@live
async def test_earlier_attempts_of_old_runs_are_not_asked_for(hub: Hub) -> None:
    build = hub.begin(ago=3 * DAY)
    hub.end(build)
    hub.again(build, ago=2 * DAY)
    hub.end(build)
    async with Desk(hub) as desk:
        assert [f"{RUNS}?per_page=100&exclude_pull_requests=true"] == await desk.polled()
        assert 0 == desk.value(f.BUILDS)


@pytest.mark.parametrize("status", [404, 403, 500])
@live
async def test_an_attempt_that_is_not_to_be_had_is_told_as_missing(hub: Hub, status: int) -> None:
    build = hub.begin(ago=3000)
    hub.end(build, "failure")
    hub.again(build)
    hub.end(build)
    hub.broken["/attempts/1"] = said(status, "no")
    async with Desk(hub) as desk:
        if status == 500:  # that may pass, so nothing is counted yet
            for _ in range(2):
                with pytest.raises(TryLater):
                    await desk.polled()
        await desk.polled()

        assert (1, 1) == (desk.value(f.BUILDS), desk.value(f.MISSING, field="attempt"))
        assert 0 == len([r for r in await desk.polled() if "attempts" in r])


@live
async def test_an_attempt_that_fails_for_now_is_counted_later(hub: Hub) -> None:
    build = hub.begin(ago=3000)
    hub.end(build, "failure")
    hub.again(build)
    hub.end(build)
    hub.broken["/attempts/1"] = said(502, "no")
    async with Desk(hub) as desk:
        with pytest.raises(TryLater):
            await desk.polled()
        assert 0 == desk.value(f.BUILDS)
        hub.broken.clear()
        await desk.polled()

        assert (2, 0) == (desk.value(f.BUILDS), desk.value(f.MISSING, field="attempt"))


@live
async def test_an_approval_is_waited_for_and_the_run_goes_on(hub: Hub) -> None:
    build = hub.begin(event="pull_request", **FORK)
    hub.end(build, "action_required", after=0)
    async with Desk(hub) as desk:
        await desk.polled()
        assert (0, 1) == (desk.value(f.BUILDS), desk.gauge(f.ACTIVE, status="waiting"))
        hub.again(build, ago=5)
        await desk.polled()
        assert 1 == desk.gauge(f.ACTIVE, status="in_progress")
        assert 0 == desk.gauge(f.ACTIVE, status="waiting")
        hub.end(build)
        await desk.polled()

        assert 1 == desk.value(f.BUILDS, conclusion="passed", branch="pull_request")


@live
async def test_read_again_by_itself_a_build_stays_the_attempt_it_was(hub: Hub) -> None:
    build = hub.begin()
    async with Desk(hub) as desk:
        page = await desk.native.page(desk.api, SHOP, Query(0.0, 30))
        known = page.builds[0]
        assert known == await desk.native.refresh(desk.api, SHOP, known)
        hub.end(build, "failure")
        hub.again(build)
        failed = await desk.native.refresh(desk.api, SHOP, known)
        assert (1, "failed") == (failed.attempt, failed.conclusion)

        held = hub.begin()
        hub.end(held, "action_required")
        known = (await desk.native.page(desk.api, SHOP, Query(0.0, 30))).builds[0]
        assert Status.WAITING is known.status
        hub.again(held)
        assert 2 == (await desk.native.refresh(desk.api, SHOP, known)).attempt
        with pytest.raises(Gone):
            await desk.native.refresh(desk.api, SHOP, msgspec.structs.replace(known, native_id="1"))


def test_what_is_remembered_is_bounded() -> None:
    memo = Memo()
    for number in range(6000):
        memo.keep((number, 1), None)

    assert (0, 1) not in memo
    assert (5999, 1) in memo
    assert Memo() == memo


# -- with jobs


def job(number: int, run_attempt: int, begun: float, **fields: Any) -> dict[str, Any]:
    times = {
        "created_at": iso(begun),
        "started_at": iso(begun + 4),
        "completed_at": iso(begun + 24),
    }
    named = {"id": number, "name": f"job {number % 10}", "run_attempt": run_attempt}
    return {**named, "status": "completed", "conclusion": "success", **times, **fields}


@live
async def test_jobs_are_counted_once_and_tell_the_times_of_their_builds(hub: Hub) -> None:
    begun = int(time.time()) - 60
    build = hub.begin(ago=60)
    waiting = {"status": "queued", "conclusion": None, "completed_at": None}
    hub.jobs[build, 1] = [job(1, 1, begun), job(2, 1, begun, **waiting)]
    async with Desk(hub, jobs=True) as desk:
        path = f"{RUNS}/{build}/attempts/1/jobs?per_page=100"
        await desk.polled()
        assert [LATEST, path] == await desk.polled()
        free = desk.free
        assert [LATEST, path] == await desk.polled()
        assert free + 2 == desk.free
        assert (1, 1) == (desk.value(f.JOBS), desk.gauge(f.JOBS_ACTIVE, status="queued"))

        hub.jobs[build, 1][1] = job(2, 1, begun + 10)
        hub.end(build, after=50)
        assert [LATEST, path] == await desk.polled()
        assert [LATEST] == await desk.polled()

        assert (2, 1) == (desk.value(f.JOBS), desk.value(f.BUILDS))
        assert (40, 8) == (desk.seconds(f.JOB_DURATION), desk.seconds(f.JOB_QUEUE))
        assert (30, 4) == (desk.seconds(f.BUILD_DURATION), desk.seconds(f.BUILD_QUEUE))


@live
async def test_jobs_carried_over_into_a_new_attempt_are_not_counted_again(hub: Hub) -> None:
    begun = int(time.time()) - 3000
    build = hub.begin(ago=3000)
    hub.jobs[build, 1] = [job(1, 1, begun), job(2, 1, begun, conclusion="failure")]
    hub.end(build, "failure", after=40)
    hub.again(build, ago=1000)
    again = begun + 2000
    carried = {"created_at": iso(again), "id": 11}
    hub.jobs[build, 2] = [{**job(1, 2, begun), **carried}, job(12, 2, again)]
    hub.end(build, after=40)
    async with Desk(hub, jobs=True) as desk:
        await desk.polled()
        await desk.polled(deep=True)

        assert (2, 3) == (desk.value(f.BUILDS), desk.value(f.JOBS))
        assert (2, 1) == (
            desk.value(f.JOBS, conclusion="passed"),
            desk.value(f.JOBS, conclusion="failed"),
        )
        assert 40 == desk.seconds(f.BUILD_DURATION)


@live
async def test_all_pages_of_jobs_are_read(hub: Hub) -> None:
    build = hub.begin(ago=600)
    hub.jobs[build, 1] = [job(n, 1, time.time() - 600) for n in range(250)]
    hub.end(build, after=40)
    async with Desk(hub, jobs=True) as desk:
        requests = await desk.polled()

        assert 3 == len([r for r in requests if "jobs" in r])
        assert 250 == desk.value(f.JOBS)


@live
async def test_without_its_jobs_a_build_is_counted_by_the_run(hub: Hub) -> None:
    hub.end(hub.begin(ago=600), after=40)
    async with Desk(hub, jobs=True) as desk:
        await desk.polled()

        assert (1, 40) == (desk.value(f.BUILDS), desk.seconds(f.BUILD_DURATION))
        assert 0 == desk.value(f.BUILD_QUEUE)


# -- which repos


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
        assert [*pages, f"{pages[0]}&page=2"] == hub.requests


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
        found = await github().discover(api, "acme/*")
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
    covered = {n for n in names for wide in names if wide != n and github().covers(wide, n)}

    assert {"acme/shop"} == covered


# -- who asks


def test_the_credential_is_a_bearer_token_or_none() -> None:
    kinds = "application/vnd.github+json, application/json"
    accept = {"Accept": kinds, "X-GitHub-Api-Version": "2022-11-28"}

    assert {**accept, "Authorization": "Bearer s3cret"} == github().headers("s3cret")
    assert accept == github(token_env=None).headers(None)
    assert GitHub.anonymous
    assert catalogue()["github"] is GitHub


@pytest.mark.parametrize(
    ("answer", "kind", "reason", "account_wide"),
    [
        (said(401, "Bad credentials"), Refused, "unauthorized", True),
        (said(403, "Resource not accessible by token"), Refused, "forbidden", False),
        (said(403, "API rate limit exceeded for user"), TryLater, "rate_limited", True),
        (said(403, "You have exceeded a secondary rate limit"), TryLater, "rate_limited", True),
        (said(429, "slow down", **{"retry-after": "60"}), TryLater, "rate_limited", True),
        (said(404, "Not Found"), Gone, "not_found", False),
        (HTMLResponse("<html>Sign in"), Refused, "unauthorized", True),
    ],
)
@live
async def test_what_a_refusal_means(
    hub: Hub, answer: Response, kind: type[ProviderError], reason: str, account_wide: bool
) -> None:
    hub.broken["/runs"] = answer
    async with Desk(hub) as desk:
        with pytest.raises(kind) as caught:
            await desk.polled()

        assert (reason, account_wide) == (caught.value.reason, caught.value.account_wide)
        assert TOKEN not in str(caught.value)


@live
async def test_a_new_token_is_asked_everything_anew(hub: Hub) -> None:
    async with Desk(hub) as desk:
        await desk.polled()
        await desk.polled()
        hub.tokens, desk.token = {"ghp_new"}, "ghp_new"
        free = desk.free
        await desk.polled()
        assert free == desk.free
        await desk.polled()
        assert free + 1 == desk.free


# -- Apps


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def pem(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, password: bytes | None = None
) -> bytes:
    encryption = (
        serialization.BestAvailableEncryption(password)
        if password
        else serialization.NoEncryption()
    )
    traditional = serialization.PrivateFormat.TraditionalOpenSSL
    return key.private_bytes(serialization.Encoding.PEM, traditional, encryption)


@pytest.fixture
def app(tmp_path: Path, key: rsa.RSAPrivateKey) -> dict[str, Any]:
    file = tmp_path / "app.pem"
    file.write_bytes(pem(key))
    return {"id": 12345, "private_key_file": str(file), "installation_id": 67890}


def claims(jwt: str, key: rsa.RSAPrivateKey) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a token that `key` has signed."""
    signed, _, signature = jwt.rpartition(".")
    key.public_key().verify(unbase64(signature), signed.encode(), PKCS1v15(), SHA256())
    head, body = (json.loads(unbase64(part)) for part in signed.split("."))
    return head, body


def unbase64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@live
async def test_an_app_signs_for_a_token_that_is_used_for_its_life(
    hub: Hub, app: dict[str, Any], key: rsa.RSAPrivateKey
) -> None:
    hub.repo("acme/cart")
    hub.end(hub.begin())
    async with Desk(hub, token_env=None, app=app, repos=["acme/*"]) as desk:
        hub.tokens.clear()
        assert ["acme/shop", "acme/cart"] == await desk.discovered()
        for _ in range(3):
            await desk.polled()

        assert "POST /app/installations/67890/access_tokens" == hub.requests[0]
        assert "/installation/repositories?per_page=100" == hub.requests[1]
        assert 1 == len(hub.grants)
        assert 1 == desk.value(f.BUILDS)
        head, body = claims(hub.grants[0]["jwt"], key)
        assert {"alg": "RS256", "typ": "JWT"} == head
        assert "12345" == body["iss"]
        assert body["iat"] <= time.time() - 55
        assert time.time() < body["exp"] <= time.time() + 600


@live
async def test_an_app_s_token_is_renewed_before_it_ends(
    hub: Hub, app: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Desk(hub, token_env=None, app=app) as desk:
        clock = time.time()
        monkeypatch.setattr(desk.api, "now", lambda: clock)
        await asyncio.gather(*(desk.native.renew(desk.api) for _ in range(5)))
        first = desk.native.headers(None)
        clock += 3000
        await desk.native.renew(desk.api)
        assert (1, first) == (len(hub.grants), desk.native.headers(None))
        clock += 400
        await desk.native.renew(desk.api)

        assert 2 == len(hub.grants)
        assert first != desk.native.headers(None)
        assert len(first["Authorization"]) > 500


@live
async def test_an_app_s_token_that_is_refused_is_replaced(hub: Hub, app: dict[str, Any]) -> None:
    async with Desk(hub, token_env=None, app=app) as desk:
        await desk.polled()
        hub.tokens.clear()
        with pytest.raises(Refused):
            await desk.polled()
        await desk.polled()
        await desk.polled()

        assert 2 == len(hub.grants)


@live
async def test_an_app_s_key_may_be_replaced(
    hub: Hub, app: dict[str, Any], key: rsa.RSAPrivateKey
) -> None:
    other = rsa.generate_private_key(65537, 2048)
    async with Desk(hub, token_env=None, app=app) as desk:
        for signer in (key, other):
            await asyncio.to_thread(Path(app["private_key_file"]).write_bytes, pem(signer))
            desk.native._installation._until = 0.0
            await desk.native.renew(desk.api)

            assert "12345" == claims(hub.grants[-1]["jwt"], signer)[1]["iss"]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (said(401, "A JSON web token could not be decoded"), Refused),
        (said(403, "This installation has been suspended"), Refused),
        (said(404, "Not Found"), Gone),
        (said(503, "unavailable"), TryLater),
        (Response('{"token": "", "expires_at": "2026-11-20T09:00:00Z"}', 201), ProviderError),
        (Response('{"token": "ghs_secret", "expires_at": "soon"}', 201), ProviderError),
        (Response('{"token": "ghs_secret"}', 201), ProviderError),
    ],
)
@live
async def test_without_a_token_the_whole_account_is_in_trouble(
    hub: Hub, app: dict[str, Any], answer: Response, kind: type[ProviderError]
) -> None:
    hub.broken["access_tokens"] = answer
    async with Desk(hub, token_env=None, app=app) as desk:
        with pytest.raises(kind) as caught:
            await desk.native.renew(desk.api)

        assert caught.value.account_wide
        assert "ghs_secret" not in str(caught.value)
        with pytest.raises(Refused, match="no installation token yet"):
            desk.native.headers(None)


def test_nothing_prints_the_token_of_an_app(app: dict[str, Any]) -> None:
    provider = github(token_env=None, app=app)
    provider._installation._token = "ghs_secret"

    assert "ghs_secret" not in f"{provider!r} {provider} {provider._installation!r}"
    assert "ghs_secret" not in provider.model_dump_json()
    assert provider == github(token_env=None, app=app)
    assert provider != github(token_env=None, app={**app, "id": 1})


@pytest.mark.parametrize(
    "what", ["missing", "empty", "words", "locked", "elliptic", "public", "sound"]
)
def test_a_key_that_cannot_sign_is_a_fault_of_the_configuration(
    tmp_path: Path, key: rsa.RSAPrivateKey, what: str
) -> None:
    file = tmp_path / "app.pem"
    texts = {
        "empty": b"",
        "words": b"correct horse battery staple",
        "locked": pem(key, b"password"),
        "elliptic": pem(ec.generate_private_key(ec.SECP256R1())),
        "public": key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ),
        "sound": pem(key),
    }
    if what in texts:
        file.write_bytes(texts[what])
    app = App(id="Iv1.8a61f9b3a7aba766", private_key_file=str(file), installation_id=1)
    faults = GitHub.faults({"repos": ["acme/shop"], "app": app})

    if what == "sound":
        assert [] == faults
    else:
        ((place, text),) = faults
        assert ("app", "private_key_file") == place
        assert text.startswith(f"private_key_file {file} ")
        assert "horse" not in text
