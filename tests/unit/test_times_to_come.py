"""Times that are yet to come, by the provider's own clock, are no times."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from exporter.ledger.rows import Cursor
from exporter.metrics import families as f
from exporter.model import Build, Job, Status
from exporter.sync.window import (
    AHEAD,
    OVERLAP,
    SyncRules,
    corrected_floor,
    without_future_times,
)
from tests.tools.scripted import Clock, Rig, build, done


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path / "s.db")
    yield made
    made.crash()


class Ahead(Clock):
    """A provider's clock that is not right."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def now(self) -> float:
        return time.time() + self.seconds


def ended(key: str, *, ago: float, ahead: float = 0.0) -> Build:
    at = time.time() - ago + ahead
    return done(build(key, created_at=at, started_at=at + 1), after=5)


def test_a_build_that_ends_in_the_future_is_counted_and_has_no_duration(rig: Rig) -> None:
    odd = done(build("1"), "failed", after=7200)
    rig.provider._builds = [odd]

    rig.poll()
    rig.poll()

    assert rig.value(f.BUILDS, conclusion="failed") == 1
    assert rig.value(f.BUILD_DURATION) == 0
    assert rig.value(f.MISSING, field="duration") == 1
    assert rig.value(f.ANOMALIES, kind="future_time") == 1
    assert rig.gauge(f.LAST_COMPLETED) is None


def test_it_is_not_the_latest_build_until_then(rig: Rig) -> None:
    rig.provider._builds = [done(build("1"), "failed", after=7200), ended("2", ago=20)]

    rig.poll()

    assert rig.gauge(f.LAST_CONCLUSION, conclusion="passed") == 1
    assert rig.gauge(f.LAST_COMPLETED) == rig.provider._builds[1].completed_at


def test_a_running_build_of_the_future_has_no_age(rig: Rig) -> None:
    at = time.time() + 7200
    rig.provider._builds = [build("1", created_at=at, started_at=at)]

    rig.poll()

    assert rig.gauge(f.ACTIVE, status="in_progress") == 1
    assert rig.gauge(f.OLDEST_ACTIVE) is None
    rig.provider._builds = [ended("1", ago=20)]
    rig.poll()
    assert rig.value(f.BUILD_DURATION) == 1
    assert rig.value(f.ANOMALIES, kind="future_time") == 0


def test_a_job_that_ends_in_the_future_is_counted_and_has_no_duration(rig: Rig) -> None:
    at = time.time() - 60
    job = Job(
        id="1",
        name="test",
        status=Status.COMPLETED,
        conclusion="passed",
        started_at=at,
        completed_at=at + 7200,
    )
    rig.provider._builds = [done(build("1", jobs=(job,)))]

    rig.poll()
    rig.poll()

    assert rig.value(f.JOBS, conclusion="passed") == 1
    assert rig.value(f.JOB_DURATION) == 0
    assert rig.value(f.ANOMALIES, kind="future_job_time") == 1
    assert rig.value(f.BUILD_DURATION) == 1


def test_what_is_a_little_ahead_is_a_clock_among_many(rig: Rig) -> None:
    near = ended("1", ago=0, ahead=AHEAD - 60)

    assert without_future_times([near], time.time()) == (near,)


def test_the_provider_is_right_about_its_own_time(rig: Rig) -> None:
    rig.remote = Ahead(3600)
    rig.provider._builds = [ended("1", ago=60, ahead=3600)]
    target = rig.poll()

    assert rig.value(f.BUILD_DURATION) == 1
    assert rig.value(f.ANOMALIES) == 0
    assert target.cursor.since == pytest.approx(rig.remote.now(), abs=5)


@pytest.mark.parametrize("wrong", [-3600.0, 3600.0, 20 * 365 * 86400.0])
def test_a_clock_that_was_wrong_costs_no_build_once_it_is_right(rig: Rig, wrong: float) -> None:
    rig.provider._builds = [ended("1", ago=60)]
    rig.remote = Ahead(wrong)
    rig.poll()  # one that was met while our clock was ahead is begun anew
    target = rig.poll()
    assert target.cursor.since is not None
    assert target.cursor.since <= rig.remote.now()

    rig.remote = Clock()
    rig.provider._builds += [ended(f"new-{n}", ago=10 + n / 10) for n in range(50)]
    rig.poll()

    assert rig.value(f.BUILDS) == 51


def test_only_a_repo_of_which_nothing_was_read_gets_another_floor() -> None:
    rules = SyncRules(lookback=100.0, retention=1000.0, rerun_window=100.0, max_interval=900.0)
    ahead = Cursor(floor=50_000.0)

    assert corrected_floor(ahead, rules, now=5000.0) == Cursor(floor=4900.0)
    assert corrected_floor(Cursor(floor=4900.0 + OVERLAP), rules, now=5000.0) is None
    assert corrected_floor(replace(ahead, since=1.0), rules, now=5000.0) is None
    assert corrected_floor(replace(ahead, resume="2x30"), rules, now=5000.0) is None
