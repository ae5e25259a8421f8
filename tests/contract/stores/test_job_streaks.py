"""Streaks of jobs are in the state: right over polls, restarts and what retention forgets."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from exporter.ledger.rows import Cursor
from exporter.metrics import families as f
from exporter.model import Build, Job, Status
from tests.tools.scripted import DAY, Rig, build, done

pytestmark = pytest.mark.usefixtures("store")

HOUR = 3600.0


def with_jobs(ago: float, **conclusions: str) -> Build:
    """A build that ended so many seconds ago, with its jobs."""
    at = time.time() - ago
    begun = build(f"{ago}", created_at=at - 60, started_at=at - 59)
    jobs = tuple(
        Job(
            id=f"{name}{ago}",
            name=name,
            status=Status.COMPLETED,
            conclusion=word,
            started_at=at - 50,
            completed_at=at - 1,
        )
        for name, word in conclusions.items()
    )
    return replace(done(begun, "failed", after=58), jobs=jobs)


@pytest.fixture
def rig(tmp_path: Path) -> Any:
    made = Rig(tmp_path / "s.db", jobs=True, retention=2 * DAY)
    made.provider._builds = [with_jobs(60, test="failed", lint="passed")]
    made.poll()
    yield made
    made.crash()


def test_a_streak_goes_on_over_a_restart_and_counts_nothing_twice(rig: Rig) -> None:
    for _ in range(2):
        rig.restart()
        rig.poll()
        assert rig.gauge(f.JOB_STREAK, job_name="test") == 1
        assert rig.gauge(f.JOB_STREAK, job_name="lint") == 0
    rig.provider._builds += [with_jobs(30, test="timeout", lint="skipped")]
    rig.poll()
    assert rig.gauge(f.JOB_STREAK, job_name="test") == 2
    rig.restart()
    assert rig.gauge(f.JOB_STREAK, job_name="test") == 2


def test_a_late_pass_splits_a_streak_and_the_newest_end_stays(rig: Rig) -> None:
    rig.provider._builds += [with_jobs(30, test="failed")]
    rig.poll()
    newest = rig.gauge(f.JOB_LAST_COMPLETED, job_name="test")
    rig.restart()
    rig.provider._builds += [with_jobs(45, test="passed")]
    rig.poll()

    assert rig.gauge(f.JOB_STREAK, job_name="test") == 1
    assert rig.gauge(f.JOB_LAST_COMPLETED, job_name="test") == newest


def test_a_crash_in_the_middle_of_a_commit_leaves_the_streak_as_it_was(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.provider._builds += [with_jobs(30, test="failed")]
    monkeypatch.setattr(
        "exporter.ledger.sql.ledger.SqlTransaction.advance_cursor", lambda *_: 1 / 0
    )
    with pytest.raises(ZeroDivisionError):
        rig.poll()
    monkeypatch.undo()
    rig.restart()
    assert rig.gauge(f.JOB_STREAK, job_name="test") == 1
    rig.poll()
    assert rig.gauge(f.JOB_STREAK, job_name="test") == 2


def test_a_job_that_is_gone_for_the_retention_is_forgotten_and_leaves_its_room(rig: Rig) -> None:
    now = time.time()
    rig.provider._builds += [with_jobs(30, test="failed")]
    rig.poll()
    target = rig.run(lambda: rig.recorder.target("acme", "acme/shop", Cursor(0.0)))
    later = done(build("later", created_at=now + DAY, started_at=now + DAY))
    rig.run(lambda: rig.recorder.record(target, [later], cursor=target.cursor, now=now + DAY))
    used = sum(rig.ledger.load().samples.values())

    rig.run(lambda: rig.recorder.sweep(now + 2 * DAY - 45, is_steady=True))

    assert rig.gauge(f.JOB_STREAK, job_name="test") == 2
    assert rig.gauge(f.JOB_STREAK, job_name="lint") is None
    assert used - sum(rig.ledger.load().samples.values()) == 2
    rig.restart()
    assert rig.gauge(f.JOB_STREAK, job_name="lint") is None
    assert rig.gauge(f.JOB_STREAK, job_name="test") == 2


def test_without_jobs_there_are_none(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "s.db")
    rig.provider._builds = [done(build("1"))]
    rig.poll()

    assert rig.gauge(f.STREAK) == 0
    assert rig.gauge(f.JOB_STREAK) is None
    rig.crash()
