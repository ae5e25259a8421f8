"""The travis provider: recorded builds, documented words, and truth against an emulator."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from starlette.responses import HTMLResponse

from exporter.demo.serve import serving
from exporter.errors import Malformed, Refused, TryLater
from exporter.http import Api
from exporter.metrics import families as f
from exporter.model import BuildKey, Ref, Status
from exporter.payload import each
from exporter.providers import Query, Repo, Site, catalogue
from exporter.providers.travis import WORDS, Travis
from exporter.providers.travis.mapping import BuildItem, JobItem, to_build, to_job
from tests.tools import golden
from tests.tools.emulators.rig import Station, emulator
from tests.tools.emulators.travis import World

SHOP = "acme/shop"
LIST = "/repo/acme%2Fshop/builds"
STATES = ["created", "queued", "received", "started", "passed", "failed", "errored", "canceled"]
SITE, PLACE = Site("https://app.travis-ci.com"), "github/acme/shop"
CREDENTIAL = ("Authorization", "token demo")


def travis(**keys: Any) -> Travis:
    return Travis(**{"name": "acme", "provider": "travis", "repos": [SHOP], **keys})


def station(world: World, **keys: Any) -> Station:
    for entry in keys.get("repos", [SHOP]):
        if "*" not in entry:
            world.repos.setdefault(entry, {})
    return Station(travis(**keys), world.app(), "")


def seconds(rig: Station, family: f.Family) -> float:
    """The sum of all that a histogram has observed."""
    return sum(vector[-1] for key, vector in rig.view.stored() if key.family == family.name)


def paths(requests: list[str]) -> list[str]:
    return [request.partition("?")[0] for request in requests]


# --- what recorded objects become ---


def recorded(shared: Path) -> Iterator[tuple[str, Any]]:
    folder = shared / "recordings" / "travis"
    for key, line in golden.lines(folder, "builds.jsonl"):
        yield key, to_build(only(line, BuildItem), Repo(SHOP), SITE)
    for key, line in golden.lines(folder, "builds_pages.jsonl"):
        for number, raw in enumerate(msgspec.json.decode(line)["builds"]):
            item = only(msgspec.json.encode(raw), BuildItem)
            yield f"{key}.{number}", to_build(item, Repo(SHOP), SITE)
    for key, line in golden.lines(folder, "jobs.jsonl"):
        yield key, to_job(only(line, JobItem), SITE, PLACE)


def only(line: bytes, into: Any) -> Any:
    [item], rejected = each([msgspec.Raw(line)], into)
    assert rejected == 0
    return item


def test_recorded_builds_and_jobs_become_what_a_reader_expects(shared):
    golden.check("travis", {key: golden.told(run) for key, run in recorded(shared)})


def test_no_recorded_word_is_unknown(shared):
    assert {word for _, run in recorded(shared) for word in run.unmapped} == set()


# --- words ---


@pytest.mark.parametrize("state", STATES)
def test_every_documented_state_has_a_meaning(state):
    build = to_build(BuildItem(id=1, state=state), Repo(SHOP), SITE)

    assert build.unmapped == ()
    assert (build.status is Status.COMPLETED) == (state in WORDS.conclusion)


def test_a_build_that_is_only_said_to_be_finished_is_completed_without_a_conclusion():
    build = to_build(BuildItem(id=1, state="finished"), Repo(SHOP), SITE)

    assert (build.status, build.conclusion, build.unmapped) == (Status.COMPLETED, None, ())


def test_every_documented_event_has_a_meaning():
    assert {"push", "pull_request", "cron", "api"} <= WORDS.trigger.keys()


def test_an_errored_build_is_the_system_s_fault():
    assert to_build(BuildItem(id=1, state="errored"), Repo(SHOP), SITE).conclusion == "error"


@pytest.mark.parametrize(
    ("fields", "ref", "branch"),
    [
        ({"event_type": "push", "branch": {"name": "main"}}, Ref.BRANCH, "main"),
        ({"event_type": "pull_request", "branch": {"name": "main"}}, Ref.PULL_REQUEST, "main"),
        ({"event_type": "push", "branch": {"name": "v1"}, "tag": {"name": "v1"}}, Ref.TAG, "v1"),
        ({"event_type": "push", "branch": None, "tag": {"name": "v1"}}, Ref.TAG, "v1"),
        ({"event_type": "cron", "branch": None}, Ref.BRANCH, None),
    ],
)
def test_what_a_build_ran_for(fields, ref, branch):
    build = to_build(BuildItem(id=1, state="passed", **fields), Repo(SHOP), SITE)

    assert (build.ref, build.branch) == (ref, branch)


def test_a_job_is_named_by_its_stage_and_its_place():
    numbered = JobItem(id=1, number="389.12", state="passed")

    assert to_job(numbered, SITE, PLACE).name == "12"
    assert (
        to_job(msgspec.structs.replace(numbered, stage={"name": "Test"}), SITE, PLACE).name
        == "Test 12"
    )


# --- configuration ---


@pytest.mark.parametrize(("entry", "good"), [("a/b", True), ("a/*", True), ("a", False)])
def test_an_entry_is_a_repo_or_all_of_an_owner(entry, good):
    assert (Travis.faults({"repos": [entry]}) == []) is good


@pytest.mark.parametrize("entry", ["*", "a/**", "a/b*", "a/b/c", "*/b", "/b"])
def test_no_entry(entry):
    [(place, fault)] = Travis.faults({"repos": [entry]})

    assert place == ("repos", 0)
    assert "owner/repo" in fault


def test_the_version_is_a_header_and_the_token_may_be_missing():
    assert travis().headers(None) == {"Travis-API-Version": "3"}
    assert travis().headers("s3cret") == {
        "Travis-API-Version": "3",
        "Authorization": "token s3cret",
    }
    assert catalogue()["travis"].anonymous


def test_memories_make_no_difference():
    assert travis() == travis()
    assert travis() != travis(jobs=True)


# --- truth ---


def test_what_is_counted_is_what_ran():
    world, now = World(), float(int(time.time()))
    world.ran(SHOP, now - 900, 60.0, "passed", jobs=3)
    world.ran(SHOP, now - 800, 30.0, "failed", event="cron", branch="release/1")
    world.ran(SHOP, now - 700, 20.0, "errored", event="api")
    world.ran(SHOP, now - 600, 10.0, "canceled", event="pull_request")
    world.ran(SHOP, now - 500, 40.0, "passed", tag="v1", branch="v1")
    rig = station(world)
    rig.polled()

    def count(branch: str, trigger: str, conclusion: str) -> float:
        labels = {"branch": branch, "trigger": trigger, "conclusion": conclusion}
        return rig.value(f.BUILDS, repo=SHOP, workflow="", **labels)

    assert rig.value(f.BUILDS) == 5
    assert count("main", "push", "passed") == 1
    assert count("other", "cron", "failed") == 1
    assert count("main", "api", "error") == 1
    assert count("pull_request", "merge_request", "cancelled") == 1
    assert count("tag", "push", "passed") == 1
    assert (rig.value(f.BUILD_DURATION), seconds(rig, f.BUILD_DURATION)) == (5, 160.0)
    assert (rig.value(f.BUILD_QUEUE), seconds(rig, f.BUILD_QUEUE)) == (5, 15.0)
    assert rig.value(f.JOBS) == 0
    assert rig.value(f.RETRIES) == rig.value(f.MISSING) == rig.value(f.ANOMALIES) == 0


def test_a_burst_between_two_polls_is_counted_whole():
    world = World()
    rig = station(world)
    rig.polled()
    now = time.time()
    for number in range(200):
        world.ran(SHOP, now - 300 + number, 5.0, "passed")
    rig.polled()

    assert rig.value(f.BUILDS) == 200


def test_a_poll_costs_one_request_whatever_is_new():
    world = World()
    rig = station(world, jobs=True)
    rig.polled()
    taken = [paths(rig.polled())]
    made = world.build(SHOP, time.time(), jobs=2)
    for state in ("queued", "started", "passed"):
        made.turns(state)
        taken.append(paths(rig.polled()))

    assert taken == [[LIST]] * 4
    assert (rig.value(f.BUILDS), rig.value(f.JOBS)) == (1, 2)
    assert rig.gauge(f.ACTIVE, status="queued") == rig.gauge(f.ACTIVE, status="in_progress") == 0


def test_an_old_running_build_is_read_by_itself():
    world, now = World(), time.time()
    made = world.build(SHOP, now - 7200)
    made.turns("started", now - 7190)
    for number in range(150):
        world.ran(SHOP, now - 7000 + number, 5.0, "passed")
    rig = station(world)
    rig.polled()
    made.turns("failed")

    assert paths(rig.polled()) == [LIST, f"/build/{made.id}"]
    assert rig.value(f.BUILDS, conclusion="failed") == 1


def test_a_build_that_is_cancelled_before_it_starts_is_counted_without_a_start():
    world = World()
    rig = station(world)
    made = world.build(SHOP, time.time() - 5)
    rig.polled()
    made.turns("canceled")
    rig.polled()
    rig.polled()

    assert rig.value(f.BUILDS, conclusion="cancelled") == 1
    assert rig.value(f.MISSING, field="duration") == 1
    assert rig.gauge(f.ACTIVE, status="queued") == 0


# --- restarts ---


@pytest.mark.parametrize("tells", [True, False], ids=["told", "untold"])
@pytest.mark.parametrize("polled", [True, False], ids=["watched", "between polls"])
def test_a_restart_is_another_attempt(tells, polled):
    world, now = World(tells=tells), float(int(time.time()))
    rig = station(world)
    made = world.ran(SHOP, now - 300, 60.0, "failed")
    rig.polled()
    for start, conclusion in ((now - 200, "errored"), (now - 100, "passed")):
        made.restart(start - 5)
        if polled:
            rig.polled()
        made.turns("started", start)
        if polled:
            rig.polled()
            assert rig.gauge(f.ACTIVE, status="in_progress") == 1
        made.turns(conclusion, start + 30)
        rig.polled()
    rig.polled()

    assert rig.value(f.BUILDS) == 3
    assert [rig.value(f.BUILDS, conclusion=c) for c in ("failed", "error", "passed")] == [1, 1, 1]
    assert rig.value(f.RETRIES) == 2
    assert rig.value(f.MISSING, field="attempt") == 0  # each run has a key of its own
    assert (rig.value(f.BUILD_QUEUE), seconds(rig, f.BUILD_DURATION)) == (1, 120.0)
    assert rig.gauge(f.LAST_CONCLUSION, conclusion="passed") == 1
    assert rig.gauge(f.ACTIVE, status="queued") in (None, 0)
    assert rig.gauge(f.ACTIVE, status="in_progress") in (None, 0)


@pytest.mark.parametrize("tells", [True, False], ids=["told", "untold"])
def test_a_restart_is_counted_once_by_all_processes(tmp_path, tells):
    world, now = World(tells=tells), float(int(time.time()))
    rig = station(world, jobs=True)
    rig.crash()
    rig.url = f"sqlite:///{tmp_path}/state.db"
    rig.start()

    def reborn() -> None:
        rig.restart()
        rig.native = travis(jobs=True)
        rig.memories.clear()
        rig.polled()

    made = world.ran(SHOP, now - 300, 60.0, "failed", jobs=2)
    rig.polled()
    made.restart(now - 205)
    made.turns("started", now - 200)
    rig.polled()
    made.turns("passed", now - 150)
    rig.polled()
    assert rig.value(f.BUILDS) == 2
    for _ in range(2):
        reborn()
    made.restart(now - 105)
    reborn()
    made.turns("started", now - 100)
    reborn()
    made.turns("passed", now - 90)
    reborn()
    reborn()

    assert rig.value(f.BUILDS) == 3
    assert rig.value(f.JOBS) == 6
    assert rig.gauge(f.ACTIVE, status="queued") in (None, 0)
    assert rig.gauge(f.ACTIVE, status="in_progress") in (None, 0)


@pytest.mark.parametrize("tells", [True, False], ids=["told", "untold"])
def test_of_a_restarted_job_the_others_are_not_counted_again(tells):
    world, now = World(tells=tells), float(int(time.time()))
    rig = station(world, jobs=True)
    made = world.build(SHOP, now - 300, jobs=3)
    made.turns("started", now - 290)
    for place, state in enumerate(("passed", "failed", "passed")):
        made.turns(state, now - 280 + place, only=place)
    rig.polled()
    made.restart(now - 205, only=1)
    rig.polled()
    made.turns("started", now - 200, only=1)
    rig.polled()
    made.turns("passed", now - 190, only=1)
    rig.polled()

    assert (rig.value(f.BUILDS), rig.value(f.RETRIES)) == (2, 1)
    jobs = {place: rig.value(f.JOBS, job_name=place) for place in ("1", "2", "3")}
    assert jobs == {"1": 1, "2": 2, "3": 1}
    assert rig.value(f.JOBS, job_name="2", conclusion="passed") == 1


def test_a_build_that_is_restarted_while_it_runs_is_counted_as_it_ended():
    world, now = World(), float(int(time.time()))
    rig = station(world)
    made = world.build(SHOP, now - 300)
    made.turns("started", now - 290)
    rig.polled()
    made.restart(now - 200)
    rig.polled()
    made.turns("started", now - 190)
    rig.polled()
    made.turns("passed", now - 100)
    rig.polled()

    assert (rig.value(f.BUILDS), seconds(rig, f.BUILD_DURATION)) == (1, 90.0)
    assert rig.gauge(f.ACTIVE, status="queued") == rig.gauge(f.ACTIVE, status="in_progress") == 0


def test_an_answer_torn_by_a_restart_is_still_the_run_that_it_shows():
    """The build was read before the restart, its jobs after it."""
    world, now = World(), float(int(time.time()))
    rig = station(world)
    made = world.ran(SHOP, now - 300, 60.0, "failed")
    rig.polled()
    made.jobs[0].restarted = now - 10
    made.jobs[0].state = "created"
    rig.polled()

    assert (rig.value(f.BUILDS), rig.value(f.RETRIES)) == (1, 0)


# --- discovery ---


def test_an_owner_is_discovered_without_what_is_switched_off_or_excluded():
    world = World()
    world.repos = {
        "acme/shop": {},
        "acme/off": {"active": False},
        "acme/legacy-api": {},
        "other/shop": {},
    }
    rig = station(world, repos=["acme/*"], exclude=["acme/legacy-*"])
    world.ran(SHOP, time.time() - 60, 5.0, "passed", branch="trunk")
    rig.polled()

    assert rig.entries == [SHOP]
    assert rig.value(f.BUILDS, repo=SHOP, branch="trunk") == 1


def test_a_large_owner_is_discovered_whole():
    world = World()
    world.repos = {f"acme/r{number}": {} for number in range(230)}
    rig = station(world, repos=["acme/*"])
    repos = asked(rig, lambda api: rig.source(api).discover("acme/*"))

    assert [repo.entry for repo in repos] == list(world.repos)
    assert len(rig.app.state.requests) == 3


# --- trouble ---


def asked(rig: Station, what: Callable[[Api], Awaitable[Any]]) -> Any:
    """What the provider answers, asked without the machinery around it."""

    async def ask() -> Any:
        async with serving(rig.app) as url:
            api = rig.api(url)
            try:
                return await what(api)
            finally:
                await api.aclose()

    return asyncio.run(ask())


def first_page(answer: Any) -> Any:
    app = emulator({"/{rest:path}": lambda _: answer}, CREDENTIAL)
    rig = Station(travis(), app, "")
    return asked(rig, lambda api: rig.source(api).page(Repo(SHOP), Query(since=0.0, size=30)))


def test_a_limit_is_obeyed():
    rig = station(World(limited=True))

    with pytest.raises(TryLater) as caught:
        rig.polled()
    assert (caught.value.reason, caught.value.delay) == ("rate_limited", 60.0)


def test_a_sign_in_page_is_told_as_what_it_is():
    with pytest.raises(Refused, match="login page") as caught:
        first_page(HTMLResponse("<html>Sign in</html>"))
    assert caught.value.reason == "unauthorized"


def test_an_error_in_place_of_the_list_is_no_empty_list():
    with pytest.raises(Malformed, match="no list"):
        first_page({"@type": "error", "error_type": "not_found"})


def test_one_odd_build_spoils_no_page_and_one_odd_job_no_build():
    jobs = [{"id": None}, {"id": 7, "number": "3.1", "state": "passed"}, {"id": 8}]
    ended = {"id": 5, "state": "passed", "finished_at": "2026-11-20T10:00:00Z", "jobs": jobs}
    timeless = {"id": 6, "state": "passed"}
    page = first_page({"builds": [{"id": None}, timeless, ended]})

    assert (page.rejected, [build.key for build in page.builds]) == (
        1,
        [BuildKey("6"), BuildKey("5")],
    )
    assert page.next is None


def test_a_list_that_does_not_say_where_it_goes_on_ends_with_a_short_page():
    def following(count: int) -> str | None:
        builds = [{"id": number, "state": "passed"} for number in range(1, count + 1)]
        page = first_page({"builds": builds})
        found: str | None = page.next
        return found

    assert (following(29), following(30)) == (None, "30")


def test_a_list_that_counts_by_ids_is_followed():
    """Some installations take the last id for the offset."""
    builds = [{"id": 5, "state": "passed"}]
    page = first_page({"builds": builds, "@pagination": {"next": {"offset": 5, "limit": 1}}})

    assert page.next == "5"
