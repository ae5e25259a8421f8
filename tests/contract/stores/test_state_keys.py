"""Ids that look alike are different builds and different jobs: none of them is a number."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from exporter.ledger.sqlite.older_keys import rekeyed
from exporter.metrics import families as f
from exporter.model import Build, BuildKey, Job, Status
from tests.tools.scripted import Rig, build, done

pytestmark = pytest.mark.usefixtures("store")

ALIKE = (
    *("0", "00", "7", "07", "007", "+7", "-7", "7.0", " 7", "7_0", "70", "1e1", "10", "0x7"),
    *("\uff17", "\u0667", "9223372036854775807", "9223372036854775808", "7a", "7A"),
)
"""Spellings that a store or a language may take for one another."""


def test_builds_whose_ids_look_alike_are_counted_each_and_each_once(tmp_path: Path) -> None:
    at = time.time() - 60
    jobs = tuple(
        Job(
            id=key,
            name="test",
            status=Status.COMPLETED,
            conclusion="passed",
            started_at=at,
            completed_at=at + 10,
        )
        for key in ALIKE
    )
    rig = Rig(tmp_path / "s.db", size=100)
    rig.provider._builds = [
        *(build(f"{key}!") for key in ALIKE),
        *(done(build(key, jobs=jobs if key == "7" else ())) for key in ALIKE),
    ]

    for _ in range(2):
        rig.poll()
        assert rig.value(f.BUILDS) == len(ALIKE)
        assert rig.value(f.JOBS) == len(ALIKE)
        assert rig.gauge(f.ACTIVE, status="in_progress") == len(ALIKE)
        rig.restart()
    rig.crash()


def test_a_conclusion_that_was_lost_with_the_times_corrects_nothing(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "s.db")
    at = time.time() - 60
    key = BuildKey.begun("job#1", at)
    ended = done(build(key, key_per_attempt=True), conclusion="failed")
    lost = replace(ended, conclusion="passed", created_at=None, started_at=None, completed_at=None)

    for listed, known in (
        (ended, "failed"),
        (lost, "failed"),
        (replace(ended, conclusion="passed"), "passed"),
    ):
        rig.provider._builds = [listed]
        rig.poll()
        assert rig.gauge(f.LAST_CONCLUSION, conclusion=known) == 1, listed
    assert rig.value(f.BUILDS) == 1
    rig.crash()


@pytest.mark.parametrize(
    ("key", "has_own", "expected", "per_attempt"),
    [
        ("7", False, BuildKey("7"), False),
        ("7", True, BuildKey("7"), True),
        ("job#7@1600000000", False, BuildKey("job#7", 1_600_000_000), True),
        ("job#7@1600000000", True, BuildKey("job#7", 1_600_000_000), True),
    ],
)
def test_an_unfinished_build_of_an_older_format_keeps_what_its_key_says(
    key: str, has_own: bool, expected: BuildKey, per_attempt: bool
) -> None:
    old = {"key": key, "repo": "r", "status": "queued"} | ({"own_key": True} if has_own else {})

    build = msgspec.msgpack.decode(rekeyed(msgspec.msgpack.encode(old)), type=Build)

    assert (build.key, build.key_per_attempt) == (expected, per_attempt)


def test_ids_that_no_database_can_hold_count_once(tmp_path: Path, store: str) -> None:
    """A NUL ends text for some databases, and for others it is none."""
    job = Job(id="j\0", name="n\0", status=Status.COMPLETED, conclusion="pa\0")
    job = replace(job, completed_at=time.time() - 9)
    rig = Rig(tmp_path / "s.db", size=10, jobs=True)
    rig.provider._builds = [done(build("a\0b", jobs=(job,)), "fa\0iled"), build("c\0")]
    for _ in range(3):
        rig.poll()
        rig.restart()

    assert (rig.value(f.BUILDS), rig.value(f.JOBS)) == (1, 1)
    assert rig.gauge(f.ACTIVE, status="in_progress") == 1
    assert len(rig.rows("SELECT job FROM job")) == 1
    rig.crash()
