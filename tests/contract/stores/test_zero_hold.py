"""A new series shows 0 to somebody, long enough, before its first increment: nothing is lost.

`increase()` cannot see an increment of a series whose first sample already has it.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from exporter.ledger.rows import SeriesKey, Vector
from exporter.metrics import families as f
from exporter.model import CONCLUSIONS, Build
from exporter.view.series_view import SeriesView
from tests.tools import stores
from tests.tools.scripted import Rig, build, done
from tests.tools.stores import ON_A_FILE

pytestmark = pytest.mark.usefixtures("store")

HOLD = 120.0


class Hands:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


class Held(Rig):
    """A rig whose clock stands still, and a Prometheus that comes when it is told to."""

    def __init__(self, path: Path | None, **options: Any) -> None:
        self.hands = Hands()
        super().__init__(path, **{"zero_hold": HOLD, "clock": self.hands, **options})

    def list(self, *builds: Build) -> None:
        """Add builds to those that are listed, and poll."""
        self.provider._builds.extend(builds)
        self.poll()

    def wait(self, seconds: float) -> None:
        self.hands.at += seconds

    def get(self) -> dict[SeriesKey, Vector]:
        """One GET of the telemetry path: the series of builds and jobs."""
        shown = {k: v for k, v in self.view.stored() if not k.family.startswith("cicd_exporter")}
        self.view.scraped()
        return shown

    def release(self) -> None:
        self.run(self.recorder.release)

    def held(self) -> float:
        """Builds that are held back."""
        series = [s for k, s in self.view.series.items() if k.family == f.BUILDS.name]
        return sum(s.held[0] for s in series if s.held is not None)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Held]:
    """After a first poll that found nothing."""
    made = Held(tmp_path / "state.db")
    made.poll()
    yield made
    made.crash()


def test_a_new_pipeline_shows_the_eight_named_conclusions_at_0(rig: Held) -> None:
    rig.list(done(build("1", trigger="cron"), "failed"))

    builds = {k.labels[5:]: v for k, v in rig.get().items() if k.family == f.BUILDS.name}
    assert builds == {("cron", conclusion): (0.0,) for conclusion in CONCLUSIONS}


def test_a_new_trigger_starts_at_0_too(rig: Held) -> None:
    rig.list(done(build("1")))
    rig.list(done(build("2", trigger="web")))

    assert {k.labels[5:]: v for k, v in rig.get().items() if k.family == f.BUILDS.name} == {
        (trigger, word): (0.0,) for trigger in ("push", "web") for word in CONCLUSIONS
    }


def get(rig: Held) -> None:
    rig.get()


def wait(seconds: float) -> Callable[[Held], None]:
    return lambda rig: rig.wait(seconds)


@pytest.mark.parametrize(
    ("happens", "shown"),
    [
        pytest.param([], 0, id="nothing"),
        pytest.param([get], 0, id="a GET and no time"),
        pytest.param([wait(HOLD)], 0, id="time and no GET"),
        pytest.param([wait(99 * HOLD)], 0, id="much time and no GET"),
        pytest.param([wait(1), get, wait(HOLD - 2)], 0, id="not yet the whole time"),
        pytest.param([wait(1), get, wait(HOLD - 1)], 1, id="a GET and the whole time"),
        pytest.param([wait(HOLD), get], 1, id="the whole time and a GET"),
    ],
)
def test_an_increment_waits_for_the_time_and_for_a_get(
    rig: Held, happens: list[Callable[[Held], None]], shown: float
) -> None:
    rig.get()  # before there is anything to see
    rig.list(done(build("1")))
    for step in happens:
        step(rig)
        assert rig.value(f.BUILDS) == 0

    rig.release()

    assert (rig.value(f.BUILDS), rig.held()) == (shown, 1 - shown)


def test_histograms_are_held_alike(rig: Held) -> None:
    rig.list(done(build("1"), after=30.0))
    rig.wait(1)
    before = {k.family: v for k, v in rig.get().items() if k.family.endswith("_seconds")}
    rig.wait(HOLD)
    rig.release()
    after = {k.family: v for k, v in rig.get().items() if k.family.endswith("_seconds")}

    assert before == {f.BUILD_DURATION.name: (0, 0, 0, 0), f.BUILD_QUEUE.name: (0, 0, 0)}
    assert after == {f.BUILD_DURATION.name: (0, 1, 0, 30), f.BUILD_QUEUE.name: (1, 0, 1)}


def test_all_that_is_held_comes_at_once(rig: Held) -> None:
    for key in "123":
        rig.list(done(build(key)))
        rig.wait(30)
        rig.get()
    rig.wait(30)

    rig.release()

    assert rig.value(f.BUILDS) == 3


def test_a_series_that_was_seen_takes_increments_at_once(rig: Held) -> None:
    rig.list(done(build("1")))
    rig.wait(HOLD)
    rig.get()
    rig.release()

    rig.list(done(build("2")), done(build("3"), "failed"))

    assert rig.value(f.BUILDS, conclusion="passed") == 2
    assert rig.value(f.BUILDS, conclusion="failed") == 1
    assert rig.held() == 0


def test_a_zero_that_was_seen_need_not_be_released_first(rig: Held) -> None:
    begun = build("1")
    rig.list(begun)
    rig.wait(HOLD)
    rig.get()

    rig.provider._builds = [done(begun)]
    rig.poll()

    assert (rig.value(f.BUILDS), rig.held()) == (1, 0)


def test_what_comes_before_the_release_is_released_with_the_rest(rig: Held) -> None:
    rig.list(done(build("1")))
    rig.wait(HOLD)
    rig.get()

    rig.list(done(build("2")))
    assert (rig.value(f.BUILDS), rig.held()) == (0, 2)
    rig.release()

    assert (rig.value(f.BUILDS), rig.held()) == (2, 0)


def test_a_conclusion_without_a_zero_is_held_in_a_pipeline_that_was_seen(rig: Held) -> None:
    rig.list(done(build("1")))
    rig.wait(HOLD)
    rig.get()
    rig.release()

    rig.list(done(build("2"), "neutral"))

    assert (rig.value(f.BUILDS, conclusion="neutral"), rig.held()) == (0, 1)


def test_what_is_held_survives_a_crash_and_the_hold_starts_anew(rig: Held) -> None:
    rig.list(done(build("1")))
    rig.wait(HOLD - 1)
    rig.get()

    rig.restart()
    rig.wait(2)
    rig.release()
    assert (rig.value(f.BUILDS), rig.held()) == (0, 1)
    rig.get()
    rig.wait(HOLD - 3)
    rig.release()
    assert (rig.value(f.BUILDS), rig.held()) == (0, 1)
    rig.wait(1)
    rig.release()

    assert (rig.value(f.BUILDS), rig.held()) == (1, 0)
    rig.restart()
    assert (rig.value(f.BUILDS), rig.held()) == (1, 0)


def test_a_series_that_was_seen_is_remembered_as_seen(rig: Held) -> None:
    rig.list(done(build("1")))
    rig.wait(HOLD)
    rig.get()
    rig.release()

    rig.restart()
    rig.list(done(build("2"), "failed"))

    assert rig.value(f.BUILDS) == 2


def test_history_is_not_held(tmp_path: Path) -> None:
    rig = Held(tmp_path / "s.db")

    rig.list(done(build("1")), done(build("2"), "failed"))

    assert (rig.value(f.BUILDS), rig.held()) == (2, 0)
    rig.list(done(build("3")), done(build("4"), "timeout"))
    assert (rig.value(f.BUILDS), rig.held()) == (3, 1)
    rig.crash()


def test_nothing_is_shown_before_the_first_walk_has_ended(tmp_path: Path) -> None:
    rig = Held(tmp_path / "s.db", size=2)
    shown: list[bool] = []
    rig.provider._on_page = lambda: shown.append(bool(rig.get()))

    rig.list(*(done(build(str(n))) for n in range(5)), build("x"))

    assert shown == [False, False, False]
    assert rig.get()
    assert rig.value(f.BUILDS) == 5
    rig.crash()


def test_a_walk_that_was_cut_short_shows_its_builds_when_it_has_ended(tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def kill() -> None:
        if cut.provider._requests[-1] == "page 2":
            raise Killed

    cut = Held(tmp_path / "s.db", size=2)
    cut.provider._on_page = kill
    with pytest.raises(Killed):
        cut.list(*(done(build(str(n))) for n in range(5)))
    cut.provider._on_page = lambda: None

    cut.restart()
    assert not cut.get()
    cut.poll()

    assert (cut.value(f.BUILDS), cut.held()) == (5, 0)
    cut.crash()


def test_a_hold_of_0_holds_nothing(tmp_path: Path) -> None:
    rig = Held(tmp_path / "s.db", zero_hold=0.0)
    rig.poll()

    rig.list(done(build("1")))

    assert (rig.value(f.BUILDS), rig.held()) == (1, 0)
    rig.crash()


@pytest.mark.parametrize("change", ["once", "zero_hold: 0"])
def test_what_was_held_is_released_where_nothing_is_held_back(rig: Held, change: str) -> None:
    rig.list(done(build("1")))
    assert rig.held() == 1
    if change == "once":
        rig.hold = False
    else:
        rig.rules = msgspec.structs.replace(rig.rules, zero_hold=0.0)

    rig.restart()
    rig.list(done(build("2")))
    rig.release()

    assert (rig.value(f.BUILDS), rig.held()) == (2, 0)


# --- a state that is lost ---


def quarantined(folder: Path, **options: Any) -> Held:
    """A rig on a state that counted a build and was damaged since."""
    path = folder / "s.db"
    before = Held(path)
    before.list(done(build("1")))
    before.crash()
    damaged = bytearray(path.read_bytes())
    damaged[4096:] = b"\x5a" * (len(damaged) - 4096)
    path.write_bytes(damaged)
    return Held(path, on_corrupt="quarantine", **options)


LOST: list[Any] = [
    pytest.param(lambda _, **options: Held(None, **options), id="memory"),
    pytest.param(quarantined, id="quarantined"),
]


@ON_A_FILE
@pytest.mark.parametrize("lost", LOST)
def test_history_feeds_only_the_gauges_where_it_may_have_been_counted(
    tmp_path: Path, lost: Callable[..., Held]
) -> None:
    rig = lost(tmp_path)

    rig.list(done(build("1")), done(build("2"), None), build("3"))

    assert rig.value(f.BUILDS) == rig.value(f.BUILD_DURATION) == rig.value(f.MISSING) == 0
    assert rig.gauge(f.LAST_CONCLUSION, conclusion="other") is not None
    assert rig.gauge(f.ACTIVE, status="in_progress") == 1
    assert {k.labels[6] for k in rig.get() if k.family == f.BUILDS.name} == {*CONCLUSIONS}

    rig.list(done(build("4")))
    rig.wait(HOLD)
    rig.get()
    rig.release()
    assert rig.value(f.BUILDS) == 1
    rig.crash()


@ON_A_FILE
@pytest.mark.parametrize("lost", LOST)
def test_once_counts_history_even_there(tmp_path: Path, lost: Callable[..., Held]) -> None:
    rig = lost(tmp_path, hold=False)

    rig.list(done(build("1")), done(build("2")))

    assert rig.value(f.BUILDS) == 2
    rig.crash()


# --- all together ---


class Life(RuleBasedStateMachine):
    """Polls, scrapes, waiting, crashes and releases in any order."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.rig = Held(Path(self._folder.name, "state.db"))
        self.truth: Counter[tuple[str, str]] = Counter()
        self.shown_since: dict[SeriesKey, float] = {}
        self.seen: dict[SeriesKey, Vector] = {}
        self.values: dict[SeriesKey, Vector] = {}
        self.history: set[SeriesKey] = set()
        self._serial = 0

    @initialize(count=st.integers(0, 3))
    def first_poll(self, count: int) -> None:
        self._finish("CI", "passed", count)
        self.rig.poll()
        self.history = {key for key, vector in self.rig.view.stored() if any(vector)}
        self._look()

    @rule(
        workflow=st.sampled_from(["CI", "nightly"]),
        conclusion=st.sampled_from(["passed", "neutral"]),
        count=st.integers(0, 2),
    )
    def poll(self, workflow: str, conclusion: str, count: int) -> None:
        self._finish(workflow, conclusion, count)
        self.rig.poll()
        self._look()

    def _finish(self, workflow: str, conclusion: str, count: int) -> None:
        self.truth[workflow, conclusion] += count
        for _ in range(count):
            self._serial += 1
            ended = done(build(str(self._serial), workflow=workflow), conclusion)
            self.rig.provider._builds = [ended, *self.rig.provider._builds[:5]]

    @rule(seconds=st.sampled_from([0.0, 1.0, HOLD / 2, HOLD]))
    def wait(self, seconds: float) -> None:
        self.rig.wait(seconds)

    @rule()
    def scrape(self) -> None:
        shown = self.rig.get()
        for key, vector in shown.items():
            if any(vector) and key not in self.history:
                assert key in self.seen, f"{key} was never seen at 0"
            self.seen.setdefault(key, vector)

    @precondition(lambda self: self.rig.view.due())
    @rule()
    def release(self) -> None:
        self.rig.release()
        self._look()

    @rule()
    def crash(self) -> None:
        opened = {key for key, series in self.rig.view.series.items() if series.is_live}
        self.rig.restart()
        self.shown_since = {k: at for k, at in self.shown_since.items() if k in opened}
        self._look()

    def _look(self) -> None:
        """An increment that is new is of a series that was at 0 for the time of the hold."""
        for key, vector in self.rig.view.stored():
            since = self.shown_since.setdefault(key, self.rig.hands.at)
            if any(vector) and not any(self.values.get(key, (0.0,))) and key not in self.history:
                assert self.rig.hands.at - since >= HOLD, key

    @invariant()
    def no_counter_goes_down(self) -> None:
        now = dict(self.rig.view.stored())
        for key, vector in self.values.items():
            assert all(b >= a for a, b in zip(vector, now[key], strict=True)), key
        self.values = now

    @invariant()
    def what_is_shown_and_what_is_held_is_the_truth(self) -> None:
        counted: Counter[tuple[str, str]] = Counter()
        for key, series in self.rig.view.series.items():
            if key.family == f.BUILDS.name:
                held = series.held[0] if series.held else 0.0
                counted[key.labels[3], key.labels[6]] += int(series.vector[0] + held)
        assert +counted == +self.truth

    @invariant()
    def a_process_that_loads_the_state_has_the_same_rows(self) -> None:
        fresh = SeriesView(self.rig.rules, self.rig.accounts, clock=self.rig.hands)
        fresh.apply(self.rig.ledger.load())
        rows = {key: series.row for key, series in fresh.series.items()}
        assert rows == {key: series.row for key, series in self.rig.view.series.items()}

    def teardown(self) -> None:
        try:
            self.rig.wait(1)
            self.rig.get()
            self.rig.wait(HOLD)
            self.rig.release()
            assert self.rig.held() == 0
            assert self.rig.value(f.BUILDS) == self.truth.total()
        finally:
            self.rig.crash()
            self._folder.cleanup()


LIFE = settings(
    max_examples=50,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def test_each_series_begins_at_zero_whatever_happens(store: str) -> None:
    run_state_machine_as_test(Life, settings=stores.examples(LIFE, store))


def test_the_real_clock_is_monotonic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(tmp_path / "s.db", zero_hold=HOLD)
    rig.poll()
    rig.provider._builds = [done(build("1"))]
    rig.poll()
    rig.view.scraped()
    now = time.time()

    monkeypatch.setattr(time, "time", lambda: now + 10 * HOLD)

    assert rig.view.due() == []
    rig.crash()
