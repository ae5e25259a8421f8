"""What becomes of the state file when it is missing, taken, foreign, broken, newer or full."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from exporter.errors import StateRefused, StateUnavailable
from exporter.ledger import LedgerConfig
from exporter.ledger.sqlite import schema
from exporter.ledger.sqlite.ledger import open_ledger
from exporter.metrics import families as f
from exporter.metrics.buckets import Buckets
from tests.tools.scripted import DAY, Rig, build, done


def _open(path: Path, on_corrupt: Any = "fail") -> None:
    open_ledger(f"sqlite:///{path}", LedgerConfig(30 * DAY, DAY), on_corrupt=on_corrupt).close()


def _fill(path: Path, builds: int = 3) -> None:
    rig = Rig(path)
    rig.provider._builds = [done(build(str(n))) for n in range(builds)]
    rig.poll()
    rig.crash()


@pytest.mark.parametrize("content", [None, b""])
def test_an_absent_or_empty_file_is_a_new_state(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "s.db"
    if content is not None:
        path.write_bytes(content)

    _open(path)

    assert path.read_bytes().startswith(b"SQLite format 3\0")


def test_each_commit_is_on_the_disk_before_it_is_shown(tmp_path: Path) -> None:
    for _ in range(2):  # made, and opened again
        ledger = open_ledger(f"sqlite:///{tmp_path}/s.db", LedgerConfig(DAY, DAY))
        assert ledger._db.execute("PRAGMA synchronous").fetchone() == (2,), "FULL"
        assert ledger._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        ledger.close()


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "s.db")
    code = (
        "import sys; from pathlib import Path\n"
        "from tests.contract.stores.test_state_file import _open\n"
        "try: _open(Path(sys.argv[1]))\n"
        "except Exception as error: print(type(error).__name__, error)"
    )

    second = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "s.db")],
        capture_output=True,
        text=True,
        check=True,
    )

    assert second.stdout.startswith("StateRefused state file")
    assert "in use by another process" in second.stdout
    rig.provider._builds = [done(build("1"))]
    rig.poll()
    assert rig.value(f.BUILDS) == 1
    rig.crash()


def test_a_file_left_by_kill_9_opens_again(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    code = (
        "from tests.tools.scripted import *; from pathlib import Path; import sys, os\n"
        "rig = Rig(Path(sys.argv[1])); rig.provider._builds = [done(build('1'))]\n"
        "rig.poll(); os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(path)], check=False)

    assert killed.returncode == -9
    rig = Rig(path)
    assert rig.value(f.BUILDS) == 1
    rig.crash()


@pytest.mark.parametrize("content", [b"dear diary\n", b"x" * 100_000, "{}ü".encode()])
@pytest.mark.parametrize("on_corrupt", ["fail", "quarantine"])
def test_a_text_file_is_foreign_and_left_alone(
    tmp_path: Path, content: bytes, on_corrupt: str
) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)

    with pytest.raises(StateRefused, match="not a state of cicd-exporter"):
        _open(path, on_corrupt)

    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("on_corrupt", ["fail", "quarantine"])
def test_another_programs_database_is_left_alone(tmp_path: Path, on_corrupt: str) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE guests (name TEXT)")
    other.close()
    before = path.read_bytes()

    with pytest.raises(StateRefused, match="not a state of cicd-exporter"):
        _open(path, on_corrupt)

    assert path.read_bytes() == before


def test_a_newer_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    _fill(path)
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    db.close()
    before = path.read_bytes()

    with pytest.raises(StateRefused, match="written by a newer cicd-exporter"):
        _open(path, "quarantine")

    assert path.read_bytes() == before


def _break_pages(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(3 * 4096))


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 + 100)


def _overwrite_head(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"\xff\x00garbage" * 80)


def _overwrite(path: Path) -> None:
    path.write_bytes(b"\x00\xfe\xff" + os.urandom(20_000))


DAMAGES = [_break_pages, _truncate, _overwrite_head, _overwrite]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_corrupt_file_stops_the_start(tmp_path: Path, damage: Any) -> None:
    path = tmp_path / "s.db"
    _fill(path, 200)
    damage(path)
    before = path.read_bytes()

    with pytest.raises(StateRefused, match="is corrupt"):
        _open(path)

    assert path.read_bytes() == before


@pytest.mark.parametrize("damage", DAMAGES)
def test_quarantine_sets_a_corrupt_file_aside_and_counts_from_0(
    tmp_path: Path, damage: Any
) -> None:
    path = tmp_path / "s.db"
    _fill(path, 200)
    damage(path)
    broken = path.read_bytes()

    rig = Rig(path, on_corrupt="quarantine")
    rig.provider._builds = [done(build(str(n))) for n in range(3)]
    rig.poll()

    aside = [p for p in tmp_path.iterdir() if ".corrupt-" in p.name and not p.name.endswith("-shm")]
    assert [p.read_bytes() for p in aside] == [broken]
    assert rig.value(f.BUILDS) == 0
    assert rig.gauge(f.LAST_CONCLUSION, conclusion="passed") == 1
    rig.provider._builds.append(done(build("new")))
    rig.poll()
    assert rig.value(f.BUILDS) == 1
    rig.crash()


def test_memory_shows_history_in_gauges_only() -> None:
    rig = Rig(None)
    rig.provider._builds = [done(build(str(n)), "failed") for n in range(3)]
    rig.poll()

    assert rig.value(f.BUILDS) == 0
    assert rig.gauge(f.STREAK) == 3
    rig.crash()


def test_once_shows_history_in_memory_too() -> None:
    rig = Rig(None, hold=False)
    rig.provider._builds = [done(build(str(n)), "failed") for n in range(3)]
    rig.poll()

    assert rig.value(f.BUILDS) == 3
    rig.crash()


def test_an_unwritable_state_counts_nothing_and_loses_nothing(tmp_path: Path) -> None:
    """The disk is full: SQLite's own limit on pages stands in for it."""
    rig = Rig(tmp_path / "s.db", size=400)
    rig.provider._builds = [done(build("1"))]
    rig.poll()
    db = rig.ledger._db
    pages = db.execute("PRAGMA page_count").fetchone()[0]
    db.execute(f"PRAGMA max_page_count = {pages}")
    rig.provider._builds = [done(build(f"uuid-{n}", workflow=f"w{n}")) for n in range(300)]

    with pytest.raises(StateUnavailable, match="cannot be written"):
        rig.poll()

    assert not rig.recorder.state_ok
    assert rig.value(f.BUILDS) == 1
    db.execute("PRAGMA max_page_count = 1000000")
    rig.poll()
    rig.poll()
    assert rig.recorder.state_ok
    assert rig.value(f.BUILDS) == 301
    rig.crash()


def test_changed_buckets_start_that_histogram_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "s.db"
    _fill(path)

    rig = Rig(path, buckets=Buckets((1.0, 2.0, 3.0), (5.0,)))

    assert rig.value(f.BUILD_DURATION) == 0
    assert rig.value(f.BUILD_QUEUE) == 3
    assert rig.value(f.BUILDS) == 3
    assert [vars(r)["metric"] for r in caplog.records if "buckets have changed" in r.message] == [
        f.BUILD_DURATION.name,
        f.JOB_DURATION.name,
    ]
    rig.crash()


def test_retention_forgets_and_never_counts_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(tmp_path / "s.db", retention=30 * DAY)
    old = done(build("1"))
    rig.provider._builds = [old]
    rig.poll()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 31 * DAY)

    rig.run(rig.recorder.sweep)
    rig.memory.deep_at = None
    rig.poll()

    assert rig.ledger._db.execute("SELECT count(*) FROM attempt").fetchone()[0] == 0
    assert rig.value(f.BUILDS) == 0  # its series are gone with it
    rig.provider._builds = [done(build("2", created_at=now + 31 * DAY, started_at=None))]
    rig.poll()
    assert rig.value(f.BUILDS) == 1
    rig.crash()
