"""`cicd_build_last_info` tells of the latest build alone, and only where it is asked for."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from exporter.metrics import families as f
from exporter.metrics import gauges
from exporter.metrics.labels import build_info
from exporter.model import Build
from tests.tools.scripted import Rig, build, done

pytestmark = pytest.mark.usefixtures("store")

SHA = "0123456789abcdef0123456789abcdef01234567"


def ended(number: int, ago: float, conclusion: str = "passed", **values: Any) -> Build:
    """A build that ended so many seconds ago."""
    at = time.time() - ago
    known = {"number": number, "commit": SHA, "triggered_by": "a bot"}
    known |= {"url": f"https://ci.example/{number}", "created_at": at - 9, "started_at": at - 8}
    return done(build(str(number), **{**known, **values}), conclusion, after=8)


def shown(rig: Rig) -> list[tuple[str, ...]]:
    """Number, attempt, commit, who began it, and address of each series."""
    told = rig.view.gauges(time.time())
    return [labels[5:] for name, labels, value in told if name == f.LAST_INFO.name and value == 1]


@pytest.fixture
def rig(tmp_path: Path) -> Any:
    made = Rig(tmp_path / "s.db", web_url="https://ci.example")
    made.rules = replace(made.rules, build_info=True)
    made.restart()
    yield made
    made.crash()


def test_the_latest_build_by_completion_is_told_and_no_other(rig: Rig) -> None:
    rig.provider._builds = [ended(7, 30), ended(8, 60)]
    rig.poll()
    seventh = ("7", "1", SHA, "a bot", "https://ci.example/7")

    assert shown(rig) == [seventh]
    rig.provider._builds += [ended(6, 90)]
    rig.poll()
    assert shown(rig) == [seventh]
    rig.provider._builds += [ended(9, 10, attempt=2)]
    rig.poll()
    assert shown(rig) == [("9", "2", SHA, "a bot", "https://ci.example/9")]


def test_it_survives_a_restart(rig: Rig) -> None:
    rig.provider._builds = [ended(7, 30)]
    rig.poll()
    before = shown(rig)

    rig.restart()

    assert shown(rig) == before != []
    assert rig.view.samples == sum(rig.ledger.load().samples.values())


def test_it_comes_with_the_next_build_once_asked_for_and_goes_at_once(rig: Rig) -> None:
    def configure(*, build_info: bool) -> None:
        rig.rules = replace(rig.rules, build_info=build_info)
        rig.view.configure(rig.rules, rig.accounts)

    configure(build_info=False)
    rig.provider._builds = [ended(7, 30)]
    rig.poll()
    configure(build_info=True)
    assert shown(rig) == []
    rig.provider._builds += [ended(8, 20)]
    rig.poll()
    assert len(shown(rig)) == 1
    configure(build_info=False)
    assert shown(rig) == []
    rig.provider._builds += [ended(9, 10)]
    rig.poll()
    configure(build_info=True)
    assert shown(rig) == []


def test_where_there_is_no_room_for_it_the_other_gauges_go_on(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "s.db")
    rig.provider._builds = [ended(7, 30)]
    rig.poll()
    rig.rules = replace(rig.rules, build_info=True, series_limit=rig.view.samples + 10)
    rig.view.configure(rig.rules, rig.accounts)

    rig.provider._builds += [ended(8, 10, "failed")]
    rig.poll()

    assert shown(rig) == []
    assert rig.gauge(f.STREAK) == 1
    rig.crash()


def test_what_is_not_known_is_empty_and_a_long_address_is_left_out() -> None:
    unknown = build("1", url="https://ci.example/" + "x" * 200)

    assert build_info(unknown) == ("", "1", "", "", "")
    assert gauges.LATEST[-1] == f.LAST_INFO.name
    assert len(build_info(unknown)) == len(f.LAST_INFO.labels) - len(f.PIPELINE)


def test_names_that_strangers_wrote_are_clean_labels() -> None:
    hostile = build("1", triggered_by='x"\n\x1b[31m' + "y" * 300, commit="\0")

    *_, commit, author, _ = build_info(hostile)

    assert commit == "\ufffd"
    assert author.isprintable()
    assert len(author.encode()) <= 200
