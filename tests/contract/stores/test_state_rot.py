"""A value that rotted on a sound page is damage like any other: told, refused or set aside."""

from __future__ import annotations

import sqlite3
import struct
from contextlib import closing
from pathlib import Path

import pytest

from exporter.config import load
from exporter.daemon.application import Application
from exporter.errors import StateUnavailable
from exporter.metrics import families as f
from tests.tools.commands import command
from tests.tools.scripted import Rig, build, done
from tests.tools.system import TOKEN_ENV, account, configure
from tests.tools.views import scraped

BAD_TEXT = "CAST(x'41ff42' AS TEXT)"
# The tables have no row ids, so that a row is named by its key.
OF_ONE_SERIES = (
    " WHERE (family, labels) ="
    " (SELECT family, labels FROM series WHERE family LIKE 'cicd_build%' LIMIT 1)"
)
OF_ONE_PIPELINE = " WHERE labels = (SELECT min(labels) FROM pipeline)"
LOADED = {
    "cursor-msgpack": "UPDATE target SET cursor = x'c1'",
    "cursor-shape": "UPDATE target SET cursor = x'80'",
    "cursor-text": "UPDATE target SET cursor = 'what'",
    "repo-utf-8": f"UPDATE target SET repo = {BAD_TEXT}",
    "repo-without-account": "UPDATE target SET account = 99",
    "account-utf-8": f"UPDATE account SET name = {BAD_TEXT}",
    "build-msgpack": "UPDATE active SET build = x'c1'",
    "build-cut-off": "UPDATE active SET build = substr(build, 1, length(build) - 3)",
    "build-utf-8": "UPDATE active SET build = CAST(replace(build, 'acme', x'fffefffe') AS BLOB)",
    "build-without-repo": "UPDATE active SET target = 99",
    "vector-cut-off": "UPDATE series SET vector = substr(vector, 1, 5)",
    "vector-empty": "UPDATE series SET vector = x''",
    "vector-longer": "UPDATE series SET vector = vector || vector",
    "vector-nan": f"UPDATE series SET vector = x'{struct.pack('<d', float('nan')).hex()}'"
    " WHERE length(vector) = 8",
    "vector-negative": f"UPDATE series SET vector = x'{struct.pack('<d', -1.0).hex()}'"
    " WHERE length(vector) = 8",
    "vector-text": "UPDATE series SET vector = 'what'",
    "held-cut-off": "UPDATE series SET held = x'00'",
    "labels-fewer": "UPDATE series SET labels = 'a' || char(31) || 'b'" + OF_ONE_SERIES,
    "labels-none": "UPDATE series SET labels = ''" + OF_ONE_SERIES,
    "labels-more": "UPDATE series SET labels = labels || char(31) || 'more'",
    "labels-utf-8": f"UPDATE series SET labels = {BAD_TEXT}" + OF_ONE_SERIES,
    "family": "UPDATE series SET family = 'cicd_buildz_total'" + OF_ONE_SERIES,
    "pipeline-fewer-labels": "UPDATE pipeline SET labels = 'a' || char(31)" + OF_ONE_PIPELINE,
    "pipeline-utf-8": f"UPDATE pipeline SET labels = {BAD_TEXT}" + OF_ONE_PIPELINE,
    "pipeline-without-repo": "UPDATE pipeline SET target = 99",
    "facts-msgpack": "UPDATE pipeline SET facts = x'c1'",
    "facts-shape": "UPDATE pipeline SET facts = x'80'",
    "bounds-cut-off": "UPDATE cicd_exporter_meta SET value = x'00' WHERE key LIKE 'bounds %'",
    "bounds-in-disorder": "UPDATE cicd_exporter_meta"
    f" SET value = x'{struct.pack('<2d', 2.0, 1.0).hex()}' WHERE key LIKE 'bounds %'",
    "limit-text": "UPDATE cicd_exporter_meta SET value = 'what' WHERE key = 'series_limit'",
    "listed-text": "UPDATE attempt SET listed = 'what'",
    "ended-blob": "UPDATE attempt SET ended = x'00'",
    "conclusion-blob": "UPDATE attempt SET conclusion = x'00'",
    "flags-text": "UPDATE attempt SET flags = 'what'",
    "pruned-text": "UPDATE account SET pruned_to = 'what'",
    "polling-without-account": "INSERT INTO account_polling VALUES (99, x'80')",
    "polling-of-no-repo": "INSERT INTO repo_polling VALUES (99, 'acme/shop', x'80')",
}


def rotten(path: Path, statement: str) -> None:
    """A sound file in which a value is no longer what it was."""
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(statement)
        assert db.execute("SELECT changes()").fetchone()[0] > 0
        assert db.execute("PRAGMA quick_check").fetchone()[0] == "ok"


def configured(path: Path, **state: str) -> Path:
    """A configuration that names this state."""
    one = account("acme", "github", "http://127.0.0.1:9", ["acme/shop"])
    return configure(path.parent, [one], state={"url": f"sqlite:///{path}", **state})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A state with what a state can hold."""
    rig = Rig(tmp_path / "state.db", zero_hold=60.0)
    rig.provider._builds = [done(build("1")), build("2")]
    rig.poll()
    rig.provider._builds.append(done(build("3", workflow="new")))
    rig.poll()
    rig.crash()
    return tmp_path / "state.db"


@pytest.mark.parametrize("statement", LOADED.values(), ids=LOADED)
def test_rot_is_told_by_verify_and_stops_the_start_in_one_line(
    path: Path, statement: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN_ENV, "demo")
    file = f"--config.file={configured(path)}"
    assert command("state", "verify", file).code == 0
    rotten(path, statement)
    before = path.read_bytes()

    verified, begun = command("state", "verify", file), command("once", file)

    assert (1, "") == (verified.code, verified.err)
    assert 0 < verified.out.count("\n") <= 20
    assert (1, "") == (begun.code, begun.out)
    assert begun.err.startswith(f"cicd-exporter: state file {path} is corrupt (")
    assert begun.err.endswith("or set state.on_corrupt to quarantine\n")
    assert begun.err.count("\n") == 1
    assert before[100:] == path.read_bytes()[100:]
    assert command("state", "info", file).err.count("Traceback") == 0


@pytest.mark.parametrize("statement", LOADED.values(), ids=LOADED)
def test_rot_is_set_aside_where_that_is_wanted(
    path: Path, statement: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN_ENV, "demo")
    rotten(path, statement)
    file = configured(path, on_corrupt="quarantine")

    assembly = Application(load(file))
    shown = scraped(assembly.recorder.view)
    assembly.ledger.close()

    assert 'conclusion="passed"' not in shown
    assert len(list(path.parent.glob("state.db.corrupt-*"))) == 1
    rig = Rig(path)
    rig.provider._builds = [done(build("1"))]
    rig.poll()
    assert rig.value(f.BUILDS) == 0  # like any other state that was lost
    rig.provider._builds.append(done(build("9")))
    rig.poll()
    assert rig.value(f.BUILDS) == 1
    rig.crash()


def test_rot_that_comes_while_it_runs_is_no_bug(path: Path) -> None:
    """Nothing is counted meanwhile, and nothing is lost."""
    rig = Rig(path)
    rig.poll()
    db = rig.ledger._db
    db.execute("CREATE TEMP TABLE sound AS SELECT family, labels, vector FROM series")
    db.execute("UPDATE series SET vector = x'00'")
    rig.provider._builds = [*rig.provider._builds, done(build("4"))]

    with pytest.raises(StateUnavailable, match="numbers of a series cannot be read"):
        rig.poll()

    assert not rig.recorder.state_ok
    db.execute(
        "UPDATE series SET vector = (SELECT vector FROM sound"
        " WHERE (family, labels) = (series.family, series.labels))"
    )
    rig.poll()
    assert rig.recorder.state_ok
    rig.crash()
