"""What polls of a repo leave in the build log, through restarts and corrections."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from exporter.ledger.build_log import BuildFilter, LoggedBuild
from exporter.model import BuildKey
from tests.tools.scripted import Rig, build, done

pytestmark = pytest.mark.usefixtures("store")


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path / "s.db", size=10)
    yield rig
    rig.crash()


def log(rig: Rig) -> list[LoggedBuild]:
    return rig.ledger.build_log().builds(BuildFilter()).builds


def test_each_counted_attempt_is_logged_once_over_polls_and_restarts(rig: Rig) -> None:
    rig.provider._builds = [done(build(f"id {n}")) for n in range(3)] + [build("id 3")]
    for _ in range(2):
        rig.poll()
        rig.crash()
        rig.start()
        rig.poll()

    assert len(log(rig)) == 3
    assert {row.status for row in log(rig)} == {"completed"}


def test_what_strangers_wrote_is_clean_in_the_log(rig: Rig) -> None:
    hostile = replace(
        done(build("id 1")),
        title="\x1b[2J<script>\n" + "x" * 9000,
        triggered_by="a\u202eb",
        commit="\x00",
        url="javascript:alert(1)",
        branch="b\nc",
    )
    rig.provider._builds = [hostile]
    rig.poll()

    (row,) = log(rig)
    assert row.title == "\ufffd[2J<script>"
    assert row.triggered_by == "a\ufffdb"
    assert row.commit == "\ufffd"
    assert row.url is None
    assert row.ref == "b"


def test_a_build_that_ended_otherwise_is_logged_as_it_ended_last(rig: Rig) -> None:
    rig.provider._builds = [done(build("id 1"), conclusion="failed")]
    rig.poll()
    rig.provider._builds = [replace(rig.provider._builds[0], conclusion="passed", title="again")]
    rig.poll()

    (row,) = log(rig)
    assert (row.conclusion, row.title) == ("passed", "again")


def test_a_start_that_comes_to_be_known_renames_the_row(rig: Rig) -> None:
    ended = replace(done(build("id 1")), key_per_attempt=True, key=BuildKey("job#1"))
    rig.provider._builds = [ended]
    rig.poll()
    rig.provider._builds = [replace(ended, key=BuildKey.begun("job#1", ended.started_at or 1.0))]
    rig.poll()

    keys = rig.rows("SELECT key, started FROM build")
    assert keys == rig.rows("SELECT key, started FROM attempt")
    assert len(keys) == 1
    assert keys[0][1] > 0
