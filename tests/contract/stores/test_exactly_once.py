"""Every completed attempt is counted once, whatever happens on the way."""

from __future__ import annotations

import random
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from exporter.errors import StateUnavailable
from exporter.ledger.rows import SeriesKey
from exporter.metrics import families as f
from exporter.model import CONCLUSIONS, Build, Status
from tests.tools import stores
from tests.tools.scripted import Rig, build, done

pytestmark = pytest.mark.usefixtures("store")


class Life(RuleBasedStateMachine):
    """Builds come, finish and are run again while polls, crashes and restarts interleave."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.rig = Rig(Path(self._folder.name, "state.db"))
        self.listed: dict[str, Build] = {}
        self.finished = 0
        self.shown: dict[SeriesKey, tuple[float, ...]] = {}
        self.random = random.Random(0)
        self._serial = 0

    def _list(self) -> None:
        builds = list(self.listed.values())
        duplicates = self.random.sample(builds, k=min(2, len(builds)))
        self.rig.provider._builds = builds + duplicates

    @rule(count=st.integers(1, 5), age=st.floats(0, 500))
    def begin(self, count: int, age: float) -> None:
        for _ in range(count):
            self._serial += 1
            at = time.time() - age
            key = str(self._serial) if self._serial % 2 else f"uuid-{self._serial}"
            self.listed[key] = build(key, created_at=at, started_at=at + 1)

    @precondition(lambda self: self._running())
    @rule(data=st.data(), conclusion=st.sampled_from(CONCLUSIONS))
    def finish(self, data: st.DataObject, conclusion: str) -> None:
        key = data.draw(st.sampled_from(self._running()))
        self.listed[key] = done(self.listed[key], conclusion)
        self.finished += 1

    @precondition(lambda self: self._ended())
    @rule(data=st.data())
    def run_again(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(self._ended()))
        before = self.listed[key]
        self.listed[key] = build(
            key, created_at=before.created_at, started_at=time.time(), attempt=before.attempt + 1
        )

    @rule(seed=st.integers(0, 99), arrivals=st.integers(0, 2))
    def poll(self, seed: int, arrivals: int) -> None:
        self.random = random.Random(seed)
        self._list()
        self.rig.provider._on_page = lambda: self._arrive(arrivals)
        self.rig.poll()

    def _arrive(self, count: int) -> None:
        """New builds shift the pages while they are being read."""
        if count and self._serial < 200:
            self.begin(count, 0.0)
            self._list()

    @rule(commit=st.integers(0, 3), late=st.booleans())
    def die_in_a_poll(self, commit: int, late: bool) -> None:
        """Killed right before or right after a commit."""
        self._list()
        self.rig.provider._on_page = lambda: None
        left = commit
        begin = self.rig.ledger.transaction

        class Killed(BaseException):
            pass

        @contextmanager
        def deadly(*accounts):
            nonlocal left
            left -= 1
            with begin(*accounts) as tx:
                yield tx
                if left < 0 and not late:
                    raise Killed
            if left < 0:
                raise Killed

        self.rig.ledger.transaction = deadly  # type: ignore[method-assign]
        with suppress(Killed):
            self.rig.poll()
        self.rig.restart()

    @rule(commit=st.integers(0, 2))
    def disk_is_full(self, commit: int) -> None:
        """A commit that fails leaves nothing behind, in memory neither."""
        self._list()
        self.rig.provider._on_page = lambda: None
        left = commit
        begin = self.rig.ledger.transaction

        @contextmanager
        def failing(*accounts):
            nonlocal left
            left -= 1
            try:
                with begin(*accounts) as tx:
                    yield tx
                    if left < 0:
                        raise ZeroDivisionError
            except ZeroDivisionError:
                raise StateUnavailable("full") from None

        self.rig.ledger.transaction = failing  # type: ignore[method-assign]
        try:
            self.rig.poll()
        except StateUnavailable:
            assert not self.rig.recorder.state_ok
        finally:
            self.rig.ledger.transaction = begin  # type: ignore[method-assign]

    @rule()
    def restart(self) -> None:
        before = dict(self.rig.view.stored())
        self.rig.restart()
        assert dict(self.rig.view.stored()) == before

    @invariant()
    def no_counter_goes_down(self) -> None:
        now = dict(self.rig.view.stored())
        for key, vector in self.shown.items():
            assert all(b >= a for a, b in zip(vector, now[key], strict=True)), key
        self.shown = now

    @invariant()
    def nothing_is_counted_twice(self) -> None:
        assert self._counted() <= self.finished

    def teardown(self) -> None:
        try:
            self.rig.provider._on_page = lambda: None
            self._list()
            self.rig.poll()  # may only end a walk that was broken off
            self.rig.poll()
            assert sum(map(len, self.rig.view.active.values())) == len(self._running())
            # What a re-run hides between two polls is told once that re-run completes.
            for key in self._running():
                self.listed[key] = done(self.listed[key])
                self.finished += 1
            self._list()
            self.rig.poll()
            assert self._counted() == self.finished
            assert not any(self.rig.view.active.values())
        finally:
            self.rig.crash()
            self._folder.cleanup()

    def _counted(self) -> float:
        """Counted attempts and those that a re-run hid between two polls."""
        return self.rig.value(f.BUILDS) + self.rig.value(f.MISSING, field="attempt")

    def _running(self) -> list[str]:
        return [k for k, b in self.listed.items() if b.status is not Status.COMPLETED]

    def _ended(self) -> list[str]:
        return [k for k, b in self.listed.items() if b.status is Status.COMPLETED]


LIFE = settings(
    max_examples=40,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def test_every_attempt_counts_once_whatever_happens(store: str) -> None:
    run_state_machine_as_test(Life, settings=stores.examples(LIFE, store))


def test_history_counts_before_the_series_are_shown(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "s.db", zero_hold=120.0)
    rig.provider._builds = [done(build(str(n))) for n in range(7)]

    rig.poll()

    assert rig.value(f.BUILDS, conclusion="passed") == 7
    rig.crash()


def test_a_reread_of_a_counted_build_is_no_news_after_a_restart(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "s.db")
    rig.provider._builds = [done(build("1"))]

    rig.poll()
    rig.restart()
    rig.poll()

    assert rig.value(f.BUILDS) == 1
    assert rig.value(f.BUILD_DURATION) == 1
    rig.crash()


def test_a_reopened_build_is_an_anomaly_and_not_counted_again(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "s.db")
    ended = done(build("1"))
    for listed in (ended, build("1"), ended, build("1"), ended):
        rig.provider._builds = [listed]
        rig.poll()

    assert rig.value(f.BUILDS) == 1
    assert rig.value(f.ANOMALIES, kind="reopened") == 1
    rig.crash()


def test_each_attempt_keeps_its_own_conclusion(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "s.db")
    first = done(build("1"), "failed")
    second = msgspec.structs.replace(
        done(build("1", attempt=2, started_at=time.time() - 10)), conclusion="passed"
    )
    for listed in (first, second):
        rig.provider._builds = [listed]
        rig.poll()

    assert rig.value(f.BUILDS, conclusion="failed") == 1
    assert rig.value(f.BUILDS, conclusion="passed") == 1
    assert rig.value(f.RETRIES) == 1
    assert rig.value(f.BUILD_QUEUE) == 1
    rig.crash()


def test_an_attempt_that_fell_between_two_polls_is_told_as_missing_once(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "s.db")
    for attempt in (2, 3):
        rig.provider._builds = [done(build("1", attempt=attempt, started_at=time.time() - 40))]
        rig.poll()

    assert rig.value(f.BUILDS) == 2
    assert rig.value(f.MISSING, field="attempt") == 1
    rig.crash()
