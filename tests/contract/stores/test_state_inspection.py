"""What is told of a state, also beside the exporter that has it, and that nothing is touched."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.errors import StateRefused
from exporter.ledger import LedgerConfig
from exporter.ledger.rows import Cursor
from exporter.ledger.sqlite import inspection
from exporter.ledger.sqlite.ledger import SqliteLedger, open_ledger
from exporter.ledger.sqlite.schema import VERSION
from exporter.metrics import soundness
from exporter.model import Build, BuildKey, Status
from tests.conftest import ROOT
from tests.tools.commands import command
from tests.tools.system import configure

DAY = 86400.0
HOLD = """
import sys
from exporter.ledger import LedgerConfig
from exporter.ledger.sqlite.ledger import open_ledger
ledger = open_ledger(f"sqlite:///{sys.argv[1]}", LedgerConfig(1e6, 1e5))
print("held", flush=True)
sys.stdin.read()
"""
WRITE = """
import itertools, sys
from tests.contract.stores.test_state_inspection import DAY, LedgerConfig, build, open_ledger, write
ledger = open_ledger(f"sqlite:///{sys.argv[1]}", LedgerConfig(30 * DAY, DAY))
ledger._db.execute("PRAGMA wal_autocheckpoint = 8")
for number in itertools.count(100):
    write(ledger, build(number))
    if number == 100:
        print("begun", flush=True)
"""


def build(number: int, status: Status = Status.COMPLETED) -> Build:
    now = time.time()
    return Build(
        key=BuildKey(str(number)),
        attempt=1,
        number=number,
        repo="acme/shop",
        workflow="CI",
        branch="main",
        trigger="push",
        status=status,
        conclusion="passed" if status is Status.COMPLETED else None,
        created_at=now - 100,
        started_at=now - 90,
        completed_at=now - 10 if status is Status.COMPLETED else None,
    )


def write(ledger: SqliteLedger, *builds: Build) -> None:
    now = time.time()
    with ledger.transaction() as tx:
        target = tx.target("acme", "acme/shop", Cursor(floor=now - DAY))
        tx.reconcile(target, builds, now=now)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A state with five builds of one repo, of which one still runs."""
    file = tmp_path / "state.db"
    with contextlib.closing(
        open_ledger(f"sqlite:///{file}", LedgerConfig(30 * DAY, DAY))
    ) as ledger:
        write(ledger, *(build(n) for n in range(4)), build(9, Status.IN_PROGRESS))
    return file


@contextlib.contextmanager
def held(path: Path) -> Iterator[int]:
    """Another process has the state, as an exporter would; its id."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process.pid
        process.kill()


def prints(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


def test_what_is_in_a_state_is_told_and_nothing_is_touched(path) -> None:
    before = prints(path.parent)

    found = inspection.inspect(path)

    assert before == prints(path.parent)
    assert ({"acme": 1}, 4, 1) == (found.accounts, found.builds, found.active)
    assert found.logged == 0  # nothing decides here what is logged
    assert (VERSION, None, path.stat().st_size) == (found.format, found.holder, found.bytes)
    assert found.oldest == pytest.approx(time.time(), abs=60)
    assert inspection.damage(path, soundness.faults) == []


def test_a_state_in_use_is_read_and_its_owner_named(path) -> None:
    with held(path) as process:
        found = inspection.inspect(path)

        assert process == found.holder == inspection.holder(path)
        assert found.builds == 4
        assert inspection.damage(path, soundness.faults) == []
    assert inspection.holder(path) is None


def test_what_was_committed_a_moment_ago_is_seen(path) -> None:
    with contextlib.closing(
        open_ledger(f"sqlite:///{path}", LedgerConfig(30 * DAY, DAY))
    ) as ledger:
        seen = []
        for number in range(10, 20):
            write(ledger, build(number))
            seen.append(inspection.inspect(path).builds)

    assert seen == list(range(5, 15))


def test_looking_keeps_no_exporter_from_starting(path, monkeypatch) -> None:
    """At every file that is opened meanwhile, the state can be had."""
    taken = []
    copy = shutil.copyfile

    def copying(source: Path, to: Path) -> object:
        with contextlib.closing(open_ledger(f"sqlite:///{path}", LedgerConfig(30 * DAY, DAY))):
            taken.append(source.name)
        return copy(source, to)

    monkeypatch.setattr(shutil, "copyfile", copying)
    with contextlib.suppress(StateRefused):  # it changes whenever it is looked at
        inspection.inspect(path)

    assert "state.db" in taken


def test_a_state_that_is_written_all_the_time_is_sound_in_every_copy(path) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITE, str(path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "begun\n"
        counts = []
        for _ in range(15):
            assert inspection.damage(path, soundness.faults) == []
            counts.append(inspection.inspect(path).builds)
    finally:
        writer.kill()
        writer.wait(10)
        if writer.stdout is not None:
            writer.stdout.close()

    assert counts == sorted(counts)
    assert counts[-1] > counts[0]


def test_damage_is_told(path) -> None:
    with path.open("r+b") as file:
        file.seek(4096 * 2)
        file.write(os.urandom(4096 * 2))

    assert inspection.damage(path, soundness.faults) != []


def test_rows_without_what_they_belong_to_are_damage(path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("DELETE FROM target")

    assert inspection.damage(path, soundness.faults) == ["1 row(s) of active have no target"]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (None, "not found: `run` makes it"),
        (b"", "is empty: nothing has been kept yet"),
        (b"dear diary", "is not a state of cicd-exporter"),
    ],
    ids=["missing", "empty", "foreign"],
)
def test_what_is_no_state_is_refused(tmp_path, data, said) -> None:
    file = tmp_path / "s.db"
    if data is not None:
        file.write_bytes(data)

    with pytest.raises(StateRefused, match=said):
        inspection.inspect(file)
    with pytest.raises(StateRefused, match=said):
        inspection.damage(file, soundness.faults)


def test_a_newer_state_is_refused(path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("PRAGMA user_version = 99")

    with pytest.raises(StateRefused, match="written by a newer cicd-exporter"):
        inspection.inspect(path)


# --- the commands ---


def config(path: Path) -> Path:
    # Nobody but the exporter need have the token.
    account = {"name": "acme", "provider": "circleci", "token_env": "NO_SUCH", "repos": ["gh/a/b"]}
    return configure(path.parent, [account])


def test_info_is_told_to_people_and_programs_without_the_secrets(path) -> None:
    file = f"--config.file={config(path)}"

    table, data = command("state", "info", file), command("state", "info", file, "--format=json")

    assert (0, 0, "", "") == (table.code, data.code, table.err, data.err)
    told = dict(line.split(maxsplit=1) for line in table.out.splitlines())
    assert f"{path}" == told["file"]
    assert "4 completed, 1 not, 0 in the log" == told["builds"]
    assert "1 (acme 1)" == told["repos"]
    assert {"acme": 1} == json.loads(data.out)["accounts"]


def test_verify_is_exit_1_for_damage(path) -> None:
    file = f"--config.file={config(path)}"
    assert (0, f"{path}: sound\n", "") == command("state", "verify", file)

    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("DELETE FROM target")

    assert (1, "1 row(s) of active have no target\n", "") == command("state", "verify", file)


def test_a_state_that_is_not_there_is_one_line(tmp_path) -> None:
    ended = command("state", "info", f"--config.file={config(tmp_path / 'state.db')}")

    assert (1, "") == (ended.code, ended.out)
    assert ended.err.startswith(f"cicd-exporter: state file {tmp_path}/state.db not found")
    assert ended.err.count("\n") == 1


def test_a_state_in_memory_holds_nothing(tmp_path) -> None:
    file = configure(tmp_path, [], state={"url": "memory:"})
    file.write_text(file.read_text().replace('"accounts": []', '"accounts": [{}]'))

    info = command("state", "info", f"--config.file={file}")
    verify = command("state", "verify", f"--config.file={file}")

    assert (0, "state.url is memory: nothing is kept\n", "") == info
    assert (0, "state.url is memory: there is nothing to verify\n", "") == verify
