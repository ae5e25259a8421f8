"""What happened over time to people with repos at Travis CI."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from exporter.demo.serve import serving
from exporter.errors import ProviderError
from exporter.metrics import families as f
from exporter.providers import Repo, Site
from exporter.providers.travis.mapping import BuildItem, to_build
from tests.contract.providers.test_travis import SHOP, seconds, station, travis
from tests.tools.emulators.rig import Station, iso
from tests.tools.emulators.travis import World

Restart = Callable[[Station], None]


def goes_on(rig: Station) -> None:
    """The exporter is not restarted."""


PROCESSES = pytest.mark.parametrize("between", [goes_on, Station.restart], ids=["same", "restarts"])


def begin(world: World, path: Path, **keys: Any) -> Station:
    world.repos.setdefault(SHOP, {})
    return Station(travis(**keys), world.app(), "", path=path / "state.db")


@PROCESSES
@pytest.mark.parametrize("tells", [True, False], ids=["told", "untold"])
@pytest.mark.parametrize("watched", [True, False], ids=["queued before", "met at its end"])
def test_a_build_that_errored_before_it_began_counts_once(
    tmp_path: Path, between: Restart, tells: bool, watched: bool
) -> None:
    """No machine was found for a build, so it has neither a start nor an end."""
    world = World(tells=tells)
    rig = begin(world, tmp_path, jobs=True)
    world.ran(SHOP, time.time() - 2000, 5.0, "passed")
    made = world.build(SHOP, time.time() - 1000)
    if watched:
        rig.polled()
        assert 1 == rig.gauge(f.ACTIVE, status="queued")
    made.errs(time.time() - 900)
    for _ in range(3):
        rig.polled()
        between(rig)

    assert 1 == rig.value(f.BUILDS, conclusion="error")
    assert 2 == rig.value(f.BUILDS) == rig.value(f.JOBS)
    assert 1 == rig.value(f.MISSING, field="duration")
    assert 1 == rig.gauge(f.LAST_CONCLUSION, conclusion="error")
    assert rig.gauge(f.ACTIVE, status="queued") in (None, 0)
    assert 0 == rig.value(f.ANOMALIES)


@PROCESSES
@pytest.mark.parametrize("seen", ["all", "ends", "last"])
def test_a_build_that_never_began_is_run_again_and_passes(
    tmp_path: Path, between: Restart, seen: str
) -> None:
    """A build errored before it began; somebody restarts it, twice."""
    world, now = World(), float(int(time.time()))
    rig = begin(world, tmp_path)
    made = world.build(SHOP, now - 1000)

    def polled(when: str) -> None:
        if when in {"all": ("step", "end"), "ends": ("end",), "last": ()}[seen]:
            between(rig)
            rig.polled()

    polled("step")
    made.errs(now - 900)
    polled("end")
    made.restart(now - 805)
    polled("step")
    made.errs(now - 800)
    polled("end")
    made.restart(now - 705)
    polled("step")
    made.turns("started", now - 700)
    polled("step")
    made.turns("passed", now - 600)
    polled("end")
    for _ in range(2):
        between(rig)
        rig.polled()

    ran = {"all": 3, "ends": 3, "last": 1}[seen]
    assert ran == rig.value(f.BUILDS)
    assert ran - 1 == rig.value(f.BUILDS, conclusion="error")
    assert (2 if ran == 3 else 1) == rig.value(f.RETRIES)
    assert (1, 100) == (rig.value(f.BUILD_DURATION), seconds(rig, f.BUILD_DURATION))
    assert 0 == rig.value(f.BUILD_QUEUE)
    assert rig.gauge(f.ACTIVE, status="queued") in (None, 0)
    assert 1 == rig.gauge(f.LAST_CONCLUSION, conclusion="passed")


@PROCESSES
def test_a_run_that_failed_is_restarted_and_errs_before_it_begins(
    tmp_path: Path, between: Restart
) -> None:
    """The second run of a build finds no machine, and the third one passes."""
    world, now = World(), float(int(time.time()))
    rig = begin(world, tmp_path, jobs=True)
    made = world.build(SHOP, now - 1010, jobs=2)
    made.turns("started", now - 1000)
    made.turns("passed", now - 950, only=0)
    made.turns("failed", now - 900, only=1)
    rig.polled()
    made.restart(now - 805, only=1)
    made.errs(now - 800, only=1)
    for _ in range(2):
        between(rig)
        rig.polled()
    made.restart(now - 705, only=1)
    made.turns("started", now - 700, only=1)
    made.turns("passed", now - 600, only=1)
    for _ in range(2):
        between(rig)
        rig.polled()

    counted = {c: rig.value(f.BUILDS, conclusion=c) for c in ("failed", "error", "passed")}
    assert {"failed": 1, "error": 1, "passed": 1} == counted
    assert 2 == rig.value(f.RETRIES)
    assert (1, 3) == (rig.value(f.JOBS, job_name="1"), rig.value(f.JOBS, job_name="2"))
    assert 1 == rig.gauge(f.LAST_CONCLUSION, conclusion="passed")


@PROCESSES
@pytest.mark.parametrize("lost", [("begun",), ("begun", "ended")], ids=["start", "all times"])
def test_a_build_that_loses_its_times_is_still_the_one_that_was_counted(
    tmp_path: Path, between: Restart, lost: tuple[str, ...]
) -> None:
    """A build is listed without its start for a while."""
    world, now = World(), float(int(time.time()))
    rig = begin(world, tmp_path)
    made = world.ran(SHOP, now - 900, 60.0, "failed")
    known = {name: getattr(made, name) for name in lost}
    rig.polled()
    for values in (dict.fromkeys(lost), known):
        for name, value in values.items():
            setattr(made, name, value)
        between(rig)
        rig.polled()

    assert 1 == rig.value(f.BUILDS)
    assert (1, 60) == (rig.value(f.BUILD_DURATION), seconds(rig, f.BUILD_DURATION))


def test_a_stuck_build_without_jobs_is_as_old_as_its_last_change() -> None:
    """A build was created and nothing has happened since, not even to its jobs."""
    changed = time.time() - 8 * 86400
    item = BuildItem(id=5, state="created", updated_at=iso(changed))

    assert changed == pytest.approx(to_build(item, Repo(SHOP), Site(None)).time or 0.0, abs=0.01)


def test_old_builds_without_any_time_are_no_news_at_the_first_poll() -> None:
    """A repo that is new here has a build of long ago that tells no time at all."""
    world, now = World(), time.time()
    rig = station(world, repos=[SHOP])
    old = world.build(SHOP, now - 40 * 86400)
    old.errs(now - 40 * 86400)
    old.jobs, old.changed = [], None
    for days in (35, 34):
        world.ran(SHOP, now - days * 86400, 5.0, "passed")
    again = world.build(SHOP, now - 34 * 86400)
    again.errs(now - 34 * 86400)
    again.jobs, again.changed = [], None
    world.ran(SHOP, now - 900, 5.0, "passed")

    rig.polled()

    assert 1 == rig.value(f.BUILDS, conclusion="passed")
    assert 1 == rig.value(f.BUILDS, conclusion="error")  # it may have ended lately


@pytest.mark.parametrize("numbered", [True, False])
def test_a_job_waits_for_a_machine_only_once_the_stage_before_has_ended(numbered: bool) -> None:
    """Three stages: two jobs of 600 s, a deployment 20 s later, and a report 5 s after that."""
    world, now = World(), float(int(time.time()))
    rig = station(world, jobs=True)
    made = world.build(SHOP, now - 1800, jobs=4)
    spans = (
        ("Test", 1, 1780, 1180),
        ("Test", 1, 1770, 1200),
        ("Deploy", 2, 1160, 1100),
        ("Report", 3, 1095, 1090),
    )
    for job, (stage, number, begun, ended) in zip(made.jobs, spans, strict=True):
        job.stage, job.stage_number = stage, number if numbered else None
        job.begun, job.ended, job.state = now - begun, now - ended, "passed"
    made.begun, made.ended, made.state = now - 1780, now - 1090, "passed"

    rig.polled()

    queued = {
        key.labels[-1]: vector[-1]
        for key, vector in rig.view.stored()
        if key.family == f.JOB_QUEUE.name
    }
    assert {"Test 1": 20, "Test 2": 30, "Deploy 3": 20, "Report 4": 5} == queued


def test_a_job_that_did_not_wait_for_a_stage_has_no_known_queue_time() -> None:
    """A stage began although a job before it, which may fail, still runs."""
    world, now = World(), float(int(time.time()))
    rig = station(world, jobs=True)
    made = world.build(SHOP, now - 1800, jobs=2)
    for number, (job, begun, ended) in enumerate(
        zip(made.jobs, (1780, 1700), (1000, 1500), strict=True), 1
    ):
        job.stage, job.stage_number = f"Stage {number}", number
        job.begun, job.ended, job.state = now - begun, now - ended, "passed"
    made.begun, made.ended, made.state = now - 1780, now - 1000, "passed"

    rig.polled()

    assert (2, 1) == (rig.value(f.JOBS), rig.value(f.JOB_QUEUE))


def test_a_repo_in_two_spellings_is_polled_once() -> None:
    """Somebody writes the owner as the site shows it, somebody else in small letters."""
    native = travis(repos=["Acme/Shop", "acme/shop"])

    assert native.identity("Acme/Shop") == native.identity("acme/shop")


@PROCESSES
def test_a_build_that_was_cancelled_before_it_began_counts_once(
    tmp_path: Path, between: Restart
) -> None:
    """A newer push cancels a build that still waits for a machine."""
    world = World()
    rig = begin(world, tmp_path)
    made = world.build(SHOP, time.time() - 1000)
    rig.polled()
    made.errs(time.time() - 900)
    made.state = made.jobs[0].state = "canceled"
    for _ in range(3):
        between(rig)
        rig.polled()

    assert (1, 1) == (rig.value(f.BUILDS), rig.value(f.BUILDS, conclusion="cancelled"))
    assert rig.gauge(f.ACTIVE, status="queued") in (None, 0)


@PROCESSES
def test_a_build_that_never_begins_nor_ends_leaves_the_gauges_and_counts_nowhere(
    tmp_path: Path, between: Restart
) -> None:
    """A build is stuck as `created` for eight days, and a younger one for an hour."""
    world, now = World(), time.time()
    rig = begin(world, tmp_path)
    world.ran(SHOP, now - 900, 5.0, "passed")
    for age in (8 * 86400, 3600):
        world.build(SHOP, now - age)
    for _ in range(3):
        between(rig)
        rig.polled()

    assert (1, 1) == (rig.value(f.BUILDS), rig.gauge(f.ACTIVE, status="queued"))


def test_a_branch_that_was_deleted_takes_no_build_with_it() -> None:
    """A branch is gone by the time its build is listed."""
    world, now = World(), time.time()
    rig = station(world, repos=[SHOP])
    world.ran(SHOP, now - 900, 5.0, "failed", branch=None)

    rig.polled()

    assert 1 == rig.value(f.BUILDS, branch="", conclusion="failed")


def test_one_repo_that_fails_hides_no_other() -> None:
    """One of three repos answers with errors for good."""
    world, now = World(), time.time()
    slugs = [SHOP, "acme/api", "acme/web"]
    rig = station(world, repos=slugs)
    for slug in slugs:
        world.ran(slug, now - 900, 5.0, "passed")
    world.failing.add("acme/api")
    found = rig.run(lambda: _each(rig))

    assert 2 == rig.value(f.BUILDS)
    assert [False] == [error.account_wide for error in found]


async def _each(rig: Station) -> list[ProviderError]:
    """Poll each repo by itself, as the process does; what failed."""
    failed = []
    async with serving(rig.app) as url:
        api = rig.api(url)
        for entry in rig.native.repos:
            try:
                await rig._one(api, Repo(entry))
            except ProviderError as error:
                failed.append(error)
        await api.aclose()
    return failed


def test_a_group_of_a_merge_queue_is_no_branch_of_its_own() -> None:
    """A repo gets a merge queue, whose branches are made for one build each."""
    world, now = World(), time.time()
    rig = station(world, repos=[SHOP])
    world.ran(SHOP, now - 900, 5.0, "passed", branch="gh-readonly-queue/main/pr-7-01234567")

    rig.polled()

    assert 1 == rig.value(f.BUILDS, branch="merge_queue")
