"""A state goes from a file into a database and back, and is the same."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from exporter.errors import StateRefused
from exporter.ledger import opening
from exporter.metrics import families as f
from tests.tools import postgres, stores
from tests.tools.scripted import Rig, build, done

ENDS = ("passed", "failed")


def lived(path: Path) -> Rig:
    """A rig whose state has something in every table that a life fills."""
    rig = Rig(path, size=100, native=True, jobs=True)
    now = time.time()
    rig.provider._builds = [
        done(build(key, created_at=now - 900 + n, started_at=now - 890 + n), ENDS[n % 2])
        for n, key in enumerate(["1", "007", "7", "a-b", "9007199254740993"])
    ]
    rig.poll()
    rig.provider._builds.append(build("running"))
    rig.poll()
    return rig


def test_there_and_back_nothing_is_lost_and_counting_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = lived(tmp_path / "s.db")
    before, facts = dict(rig.view.stored()), dict(rig.view.pipelines)
    rig.crash()
    database, schema = postgres.shared().url, postgres.schema_of(f"sqlite:///{tmp_path}/s.db")

    there = opening.copy(f"sqlite:///{tmp_path}/s.db", database, schema=schema)

    assert there["attempt"].rows == 5
    assert there["active"].rows == 1
    with monkeypatch.context() as patch:
        patch.setattr(stores, "kind", "postgres")
        rig.start()
        assert before == dict(rig.view.stored())
        assert facts.keys() == rig.view.pipelines.keys()
        rig.provider._builds[-1] = done(rig.provider._builds[-1])
        rig.provider._builds.append(done(build("new")))
        rig.poll()
        assert rig.value(f.BUILDS) == 7
        after = dict(rig.view.stored())
        rig.crash()

    back = opening.copy(database, f"sqlite:///{tmp_path}/back.db", schema=schema)

    assert back["attempt"].rows == 7
    rig.url = f"sqlite:///{tmp_path}/back.db"
    rig.start()
    assert after == dict(rig.view.stored())
    rig.provider._builds.append(done(build("newer")))
    rig.poll()
    assert rig.value(f.BUILDS) == 8
    rig.crash()
    again = opening.copy(f"sqlite:///{tmp_path}/s.db", f"sqlite:///{tmp_path}/2.db", schema=schema)
    assert again == there, "file to file"


def test_a_state_that_is_not_empty_is_not_overwritten(tmp_path: Path) -> None:
    for name in ("one.db", "two.db"):
        lived(tmp_path / name).crash()

    with pytest.raises(StateRefused, match="the state to copy to is not empty"):
        opening.copy(f"sqlite:///{tmp_path}/one.db", f"sqlite:///{tmp_path}/two.db", schema="x")


def test_a_copy_that_ends_half_way_leaves_the_target_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lived(tmp_path / "s.db").crash()
    schema, url = postgres.schema_of(tmp_path), postgres.shared().url
    with monkeypatch.context() as patch:
        patch.setattr("exporter.ledger.sql.ledger.SqlLedger._filled", lambda _: 1 / 0)
        patch.setattr("exporter.ledger.postgres.ledger.PostgresLedger._filled", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            opening.copy(f"sqlite:///{tmp_path}/s.db", url, schema=schema)

    copied = opening.copy(f"sqlite:///{tmp_path}/s.db", url, schema=schema)

    assert copied["attempt"].rows == 5


def test_a_state_in_use_is_not_copied(tmp_path: Path) -> None:
    rig = lived(tmp_path / "s.db")

    with pytest.raises(StateRefused, match="is in use by another process"):
        opening.copy(f"sqlite:///{tmp_path}/s.db", f"sqlite:///{tmp_path}/2.db", schema="x")

    rig.crash()
