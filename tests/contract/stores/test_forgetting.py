"""What is forgotten is gone for good, so it is never forgotten because one clock is wrong."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from email.utils import formatdate
from pathlib import Path

import pytest

from exporter.metrics import families as f
from exporter.recorder.clocks import Agreement, Clocks, agreement
from tests.contract.stores.test_state_upgrade import old
from tests.tools import reloading
from tests.tools.reloading import Inside, Stage, assert_counted, eventually, run
from tests.tools.scripted import DAY, Rig, build, done
from tests.tools.stores import ON_A_FILE

pytestmark = pytest.mark.usefixtures("store")

HOUR = 3600.0
NOW = 1_800_000_000.0
stage = reloading.stage


@pytest.fixture
def jump(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Puts our wall clock so many seconds ahead of the true time."""
    real = time.time

    def set_ahead(seconds: float) -> None:
        monkeypatch.setattr(time, "time", lambda: real() + seconds)

    return set_ahead


# --- what clocks agree on ---


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [
        ({"a": NOW}, Agreement(NOW, frozenset())),
        ({"a": NOW + 60, "b": NOW - 60}, Agreement(NOW - 60, frozenset())),
        ({"a": NOW, "b": NOW + 40 * DAY}, Agreement(NOW, frozenset({"b"}))),
        ({"a": NOW, "b": NOW - 40 * DAY}, Agreement(NOW - 40 * DAY, frozenset({"b"}))),
        ({"a": NOW, "b": None}, Agreement(NOW, frozenset({"b"}))),
        ({"b": NOW + 40 * DAY}, None),
        ({"a": NOW + 40 * DAY, "b": NOW - 40 * DAY}, None),
        ({"a": None}, None),
        ({}, None),
    ],
)
def test_only_what_all_clocks_call_old_is_old(
    theirs: dict[str, float | None], expected: Agreement | None
) -> None:
    assert agreement(NOW, theirs) == expected


def test_an_account_far_from_our_clock_is_told_once_until_that_is_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watch = Clocks()
    for skew in (0.0, 2 * HOUR, 2 * HOUR, 0.0, -2 * HOUR):
        watch.look(NOW, 1.0, {"a": NOW + skew, "b": NOW, "c": None})

    told = [(vars(record)["account"], vars(record)["seconds"]) for record in caplog.records]
    assert told == [("a", 7200), ("a", -7200)]


def test_a_clock_is_steady_when_it_was_not_set_for_ten_minutes() -> None:
    watch = Clocks()
    for at in range(0, 600, 30):
        assert not watch.is_steady(float(at))
        watch.look(NOW + at + at / 30, float(at), {})  # corrected by a second each time
    assert watch.is_steady(620.0)
    watch.look(NOW - DAY, 630.0, {})
    assert not watch.is_steady(640.0)


# --- one wrong Date header ---


@pytest.mark.parametrize("ahead", [40 * DAY, 3650 * DAY, -40 * DAY])
def test_a_wrong_date_deletes_no_counter_and_ends_no_counting(
    stage: Stage, ahead: float, caplog: pytest.LogCaptureFixture
) -> None:
    stage.write("one", "two")

    async def sweep(inside: Inside) -> None:
        inside.assembly.housekeeping._sweep_at = 0.0
        await inside.assembly.housekeeping.sweep()

    async def work(inside: Inside) -> None:
        (one,) = (a for a in inside.schedule.accounts if a.provider.name == "one")
        await eventually(lambda: assert_counted(inside, one=2, two=2))
        right = one.api._note

        def wrong(headers: Mapping[str, str]) -> None:
            right({**headers, "date": formatdate(time.time() + ahead, usegmt=True)})

        one.api._note = wrong  # type: ignore[method-assign]

        def assert_skewed(expected: float) -> None:
            assert one.api.stats.clock_skew == pytest.approx(expected, abs=10)

        await eventually(lambda: assert_skewed(ahead))
        await sweep(inside)
        assert_counted(inside, one=2, two=2)
        stage.build("one")
        await eventually(lambda: assert_counted(inside, one=3, two=2))

        one.api._note = right  # type: ignore[method-assign]
        await eventually(lambda: assert_skewed(0))
        stage.build("one")
        stage.build("two")
        await eventually(lambda: assert_counted(inside, one=4, two=3))
        await sweep(inside)
        assert_counted(inside, one=4, two=3)
        scrape = inside.scrape()
        assert scrape.total("cicd_exporter_anomalies_total") == 0
        assert scrape.total("cicd_build_duration_seconds_count", account="one") == 4

    run(stage, work)
    told = [vars(r)["account"] for r in caplog.records if "far apart" in r.message]
    assert told == ["one"]

    async def again(inside: Inside) -> None:
        await sweep(inside)
        stage.build("one")
        await eventually(lambda: assert_counted(inside, one=5, two=3))

    run(stage, again)


def pruned_to(rig: Rig) -> float | None:
    ((found,),) = rig.rows("SELECT pruned_to FROM account")
    return None if found is None else float(found)


def test_each_account_is_forgotten_by_itself(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "s.db")
    rig.provider._builds = [done(build("1"))]
    rig.poll()
    now = time.time()

    assert rig.run(lambda: rig.recorder.sweep(now, spared={"acme"}))
    assert pruned_to(rig) is None
    assert rig.run(lambda: rig.recorder.sweep(now))
    assert pruned_to(rig) == pytest.approx(now - 30 * DAY)
    assert rig.run(lambda: rig.recorder.sweep(now - HOUR))
    assert pruned_to(rig) == pytest.approx(now - 30 * DAY)  # it never goes back
    rig.crash()


def test_a_leap_since_the_last_time_needs_a_steady_clock(tmp_path: Path) -> None:
    """A machine that boots in 2040 beside a server with the same clock forgets nothing at once."""
    rig = Rig(tmp_path / "s.db")
    rig.provider._builds = [done(build("1"))]
    rig.poll()
    now = time.time()
    assert rig.run(lambda: rig.recorder.sweep(now))
    rig.restart()

    assert not rig.run(lambda: rig.recorder.sweep(now + 5000 * DAY))
    assert rig.value(f.BUILDS) == 1
    assert rig.run(lambda: rig.recorder.sweep(now + 7 * DAY))
    assert rig.value(f.BUILDS) == 1
    assert rig.run(lambda: rig.recorder.sweep(now + 40 * DAY, is_steady=True))
    assert rig.value(f.BUILDS) == 0
    rig.crash()


# --- a state that was damaged so ---


@ON_A_FILE
@pytest.mark.parametrize("ahead", [10 * DAY, 3650 * DAY])
@pytest.mark.parametrize("version", [3, 4])
def test_a_state_that_forgot_the_future_counts_again(
    tmp_path: Path, ahead: float, version: int
) -> None:
    path = tmp_path / "s.db"
    later = time.time() + ahead
    if version == 3:
        old(path, 3, 0)
    else:
        Rig(path).crash()
        rig = Rig(path)
        rig.poll()
        rig.crash()
    with closing(sqlite3.connect(path)) as db, db:
        if version == 3:
            db.execute("INSERT INTO cicd_exporter_meta VALUES ('pruned_to', ?)", (later,))
        else:
            db.execute("UPDATE account SET pruned_to = ?", (later,))
    rig = Rig(path)
    rig.provider._builds = [done(build("new"))]
    rig.poll()

    assert rig.value(f.BUILDS) == 1
    now = time.time()
    assert rig.run(lambda: rig.recorder.sweep(now, is_steady=True))
    assert pruned_to(rig) == pytest.approx(now - 30 * DAY)
    rig.poll()
    assert rig.value(f.BUILDS) == 1
    rig.crash()


# --- what a wrong clock has marked ---


@pytest.mark.parametrize("theirs", [-60 * DAY, 60 * DAY, 0.0])
@pytest.mark.parametrize("ours", [-5000 * DAY, 5000 * DAY, 0.0])
def test_what_was_counted_by_wrong_clocks_is_not_counted_again_by_right_ones(
    tmp_path: Path, jump: Callable[[float], None], theirs: float, ours: float
) -> None:
    rig = Rig(tmp_path / "s.db")
    real = time.time
    rig.poll()
    rig.provider._builds = [done(build("1"))]
    jump(ours)
    rig.remote.now = lambda: real() + theirs  # type: ignore[method-assign]
    rig.poll()
    counted = rig.value(f.BUILDS)
    assert counted == 1 or (theirs, ours) != (0.0, 0.0)

    jump(0.0)
    rig.remote.now = real  # type: ignore[method-assign]
    for _ in range(2):
        assert rig.run(lambda: rig.recorder.sweep(is_steady=True))
        rig.memory.deep_at = None
        rig.poll()
        assert rig.value(f.BUILDS) == 1
    rig.crash()
