"""How many statements a step of the recorder takes: few, and not more for more builds."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from exporter.metrics import families as f
from exporter.model import Build, Job, Status
from tests.tools.scripted import Rig, build, done

BUILDS, JOBS = 100, 10
MOST, MOST_AGAIN = 25, 12


class Counting:
    """A connection that counts what it is asked for between BEGIN and COMMIT."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self.steps: list[list[str]] = []
        self.plans: dict[str, str] = {}
        """How SQLite finds the rows that each query asks for."""

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        if sql.startswith("BEGIN"):
            self.steps.append([])
        self.steps[-1].append(sql)
        if sql.startswith("SELECT"):
            plan = self._db.execute(f"EXPLAIN QUERY PLAN {sql}", *values)
            self.plans[sql] = "; ".join(row[-1] for row in plan)
        return self._db.execute(sql, *values)

    def executemany(self, sql: str, rows: Iterable[Any]) -> sqlite3.Cursor:
        self.steps[-1].append(sql)
        return self._db.executemany(sql, rows)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)


@contextmanager
def counting(rig: Rig) -> Iterator[Counting]:
    """The statements of all steps of a rig."""
    opened = rig.sqlite._opened
    counter = Counting(opened.connection)
    counter.steps.append([])
    rig.sqlite._opened = opened._replace(connection=counter)  # type: ignore[arg-type]
    try:
        yield counter
    finally:
        rig.sqlite._opened = opened


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path / "state.db", size=2 * BUILDS)
    yield rig
    rig.crash()


def completed(number: int) -> Build:
    """A build with its jobs, all of them over."""
    begun = build(f"id {number}")
    at = begun.time
    assert at is not None
    jobs = tuple(
        Job(
            id=f"{number}-{n}",
            name=f"job {n}",
            status=Status.COMPLETED,
            conclusion="passed",
            created_at=at,
            started_at=at + 1,
            completed_at=at + 10,
        )
        for n in range(JOBS)
    )
    return replace(done(begun), jobs=jobs)


def test_rows_are_found_by_their_keys_however_many_there_are(rig: Rig) -> None:
    rig.provider._builds = [completed(number) for number in range(BUILDS)]
    with counting(rig) as counter:
        rig.poll()

    joined = {sql: plan for sql, plan in counter.plans.items() if "json_each" in sql}
    assert len(joined) >= 4
    for sql, plan in joined.items():
        assert re.search(r"SEARCH \w+ USING .*(key=\?|labels=\?|name=\?)", plan), sql


def steps(rig: Rig) -> list[list[str]]:
    """What each step of a poll asks for that writes builds, and what reads go before it."""
    with counting(rig) as counter:
        rig.poll()
    return counter.steps


def test_a_first_poll_takes_no_more_statements_for_more_builds(rig: Rig) -> None:
    rig.provider._builds = [completed(number) for number in range(BUILDS)]

    taken = steps(rig)

    assert rig.value(f.BUILDS) == BUILDS
    assert rig.value(f.JOBS) == BUILDS * JOBS
    assert [step for step in taken if len(step) > MOST] == []


def test_a_new_build_takes_as_many(rig: Rig) -> None:
    rig.provider._builds = [completed(number) for number in range(BUILDS)]
    rig.poll()
    rig.provider._builds.append(completed(BUILDS))

    taken = steps(rig)

    assert rig.value(f.BUILDS) == BUILDS + 1
    assert [step for step in taken if len(step) > MOST] == []


def test_what_is_read_again_after_a_restart_takes_half(rig: Rig) -> None:
    rig.provider._builds = [completed(number) for number in range(BUILDS)]
    rig.poll()
    rig.restart()

    taken = steps(rig)

    assert rig.value(f.BUILDS) == BUILDS
    assert [step for step in taken if len(step) > MOST_AGAIN] == []
