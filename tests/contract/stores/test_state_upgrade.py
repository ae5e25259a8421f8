"""A state file of an older version goes on as if it had always been one of today's."""

from __future__ import annotations

import hashlib
import re
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from exporter.errors import StateRefused
from exporter.ledger.rows import AttemptKey
from exporter.ledger.sqlite import schema
from exporter.metrics import families as f
from exporter.model import BuildKey, Job, Status
from tests.tools.scripted import Rig, build, done

SCHEMAS = {
    version: "".join(schema.STEPS[step] for step in range(version)) for version in (1, 2, 3, 4)
}
"""What files of older versions were made with."""
OLDER = pytest.mark.parametrize("version", SCHEMAS)


def old(path: Path, version: int, builds: int) -> None:
    """A file of that version in which so many builds are counted and one runs."""
    new = path.with_name("new.db")
    rig = Rig(new)
    rig.provider._builds = [*(done(build(str(n))) for n in range(builds)), build("runs")]
    rig.poll()
    rig.crash()
    copied(new, path, version)


def copied(new: Path, path: Path, version: int) -> None:
    """Put what a file of today's version holds into one of an older version."""
    with closing(sqlite3.connect(path)) as db:
        db.executescript(SCHEMAS[version])
        db.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {version}")
        db.execute("ATTACH ? AS new", (str(new),))
        db.create_function("key_of_4", 2, key_of_4)
        db.create_function("build_of_4", 1, build_of_4)
        for table in re.findall(r"CREATE TABLE (\w+)", SCHEMAS[version]):
            columns = [row[1] for row in db.execute(f"PRAGMA main.table_info({table})")]
            held = ", ".join(AS_IN_FORMAT_4.get((table, column), column) for column in columns)
            names = ", ".join(columns)
            db.execute(f"INSERT INTO main.{table} ({names}) SELECT {held} FROM new.{table}")
        db.commit()


AS_IN_FORMAT_4 = {
    ("attempt", "key"): "key_of_4(key, started)",
    ("job", "key"): "key_of_4(key, started)",
    ("job", "job"): "key_of_4(job, run)",
    ("active", "key"): "key_of_4(key, started)",
    ("active", "build"): "build_of_4(build)",
}
"""What held a start in its text up to format 4, from the columns of today."""


def key_of_4(key: str | int, started: int) -> str | int:
    return f"{key}@{started}" if started else key


def build_of_4(encoded: bytes) -> bytes:
    values = msgspec.msgpack.decode(encoded)
    key, started = values["key"]
    per_attempt = values.pop("key_per_attempt", False)
    values["key"] = f"{key}@{started or ''}" if per_attempt else key
    for job in values.get("jobs", ()):
        job["id"] = key_of_4(job["id"], job.pop("run", None) or 0)
    return msgspec.msgpack.encode(values)


def described(path: Path) -> Any:
    """The version and the tables of a file."""
    with closing(sqlite3.connect(path)) as db:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        tables = db.execute("SELECT name, sql FROM sqlite_master WHERE sql NOTNULL ORDER BY name")
        return version, tables.fetchall()


def test_what_older_files_were_made_with_does_not_change() -> None:
    assert hashlib.sha256(SCHEMAS[4].encode()).hexdigest() == (
        "928f676bd40e89b86663139244715f81b71dc0811fae31ed9c353102ea30a98f"
    )


@OLDER
def test_an_older_file_goes_on_counting(tmp_path: Path, version: int) -> None:
    path = tmp_path / "s.db"
    old(path, version, 3)
    assert described(path)[0] == version
    rig = Rig(path)

    assert rig.value(f.BUILDS) == 3
    assert rig.gauge(f.ACTIVE, status="in_progress") == 1
    rig.provider._builds = [done(build(key)) for key in ("0", "1", "2", "runs", "new")]
    rig.poll()
    assert rig.value(f.BUILDS) == 5
    rig.crash()


@OLDER
def test_a_build_whose_start_an_older_file_lacks_counts_once_it_is_known(
    tmp_path: Path, version: int
) -> None:
    path, new = tmp_path / "s.db", tmp_path / "new.db"
    start = int(time.time()) - 500
    key = BuildKey("shop#7")
    begun = build(key, number=7, key_per_attempt=True, partial=True)
    job = Job(id="1", name="test", status=Status.IN_PROGRESS, run=start)
    counted = replace(
        done(build(BuildKey("shop#6", start), number=6)), key_per_attempt=True, jobs=()
    )
    rig = Rig(new)
    rig.provider._builds = [replace(begun, partial=False, jobs=(job,)), counted]
    rig.poll()
    rig.crash()
    copied(new, path, version)

    rig = Rig(path)
    assert rig.gauge(f.ACTIVE, status="in_progress") == 1
    assert rig.recorder.view.active[1][AttemptKey(key, 1)].jobs == (job,)
    ended = replace(job, status=Status.COMPLETED, completed_at=start + 5.0)
    rig.provider._builds = [
        replace(done(begun), key=BuildKey("shop#7", start), partial=False, jobs=(ended,)),
        counted,
    ]
    for _ in range(2):
        rig.poll()
        assert rig.value(f.BUILDS) == 2
        assert rig.value(f.JOBS) == 1
        assert not rig.gauge(f.ACTIVE, status="in_progress")
        rig.restart()
    rig.crash()


@OLDER
def test_an_upgraded_file_is_no_other_than_a_new_one(tmp_path: Path, version: int) -> None:
    path = tmp_path / "s.db"
    old(path, version, 1)
    Rig(path).crash()

    assert described(path) == described(tmp_path / "new.db")
    assert described(path)[0] == schema.VERSION
    Rig(path).crash()


@pytest.mark.parametrize(
    ("version", "step"), [(v, step) for v in SCHEMAS for step in schema.STEPS if step >= v]
)
def test_an_upgrade_happens_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int, step: int
) -> None:
    path = tmp_path / "s.db"
    old(path, version, 3)
    before = described(path)
    halfway = schema.STEPS[step] + "INSERT INTO nowhere VALUES (1);"
    with monkeypatch.context() as patch:
        patch.setitem(schema.STEPS, step, halfway)
        with pytest.raises(StateRefused, match="cannot be opened"):
            Rig(path)

    assert described(path) == before
    rig = Rig(path)
    assert rig.value(f.BUILDS) == 3
    rig.crash()


def test_a_format_that_has_never_been_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    Rig(path).crash()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 0")

    with pytest.raises(StateRefused, match="is corrupt"):
        Rig(path)
