"""Native buckets are state like the rest of a series: counted once, held alike, never lost."""

from __future__ import annotations

import time
from collections import Counter
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

from exporter.ledger.rows import SeriesKey, SparseBuckets
from exporter.metrics import families as f
from exporter.metrics import native
from exporter.metrics.buckets import Buckets
from exporter.outputs.prometheus import Exposition, Health
from tests.contract.stores.test_state_upgrade import SCHEMAS, old
from tests.contract.stores.test_zero_hold import HOLD, Held
from tests.tools import stores
from tests.tools.scripted import Rig, build, done
from tests.tools.stores import ON_A_FILE
from tests.unit.exposition.messages import Native, natives

pytestmark = pytest.mark.usefixtures("store")


def shown(rig: Rig, family: f.Family = f.BUILD_DURATION) -> dict[str, Native]:
    """What a scrape has in native buckets, by the last label."""
    body = Exposition(rig.view, list, Health()).text("protobuf")
    return {labels[-1]: found for labels, found in natives(body, family.name).items()}


def lasted(rig: Rig, *seconds: float) -> None:
    """Builds that took so long are over, and found by the next poll."""
    known = rig.provider._builds
    for each in seconds:
        known.append(done(build(str(len(known))), after=each))
    rig.poll()


def stored(rig: Rig) -> dict[SeriesKey, SparseBuckets]:
    return {x.series: x.spread for x in rig.ledger.load().series if x.spread is not None}


def in_memory(rig: Rig) -> dict[SeriesKey, SparseBuckets]:
    found = {}
    for series in rig.view.series.values():
        spread = (series.group.spreads or {}).get(series.own)
        if spread is not None:
            found[series.key] = spread
    return found


def at(*seconds: float) -> dict[int, int]:
    return dict(Counter(map(native.bucket, seconds)))


def test_native_buckets_survive_a_crash(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "s.db", native=True)
    lasted(rig, 7, 8, 8)
    before = shown(rig)
    rig.restart()

    assert before == shown(rig) == {"passed": (3, 0, at(7, 8, 8))}
    assert shown(rig, f.BUILD_QUEUE) == {"main": (3, 0, at(1, 1, 1))}
    lasted(rig, 100)
    assert shown(rig) == {"passed": (4, 0, at(7, 8, 8, 100))}
    rig.crash()


@ON_A_FILE
def test_what_is_not_committed_is_in_no_native_bucket(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "s.db", native=True)
    lasted(rig, 7)
    rig.sqlite._db.execute(
        "CREATE TRIGGER full BEFORE INSERT ON native BEGIN SELECT RAISE(ABORT, 'full'); END"
    )
    with pytest.raises(Exception, match="full"):
        lasted(rig, 8)

    assert shown(rig) == {"passed": (1, 0, at(7))}
    assert rig.value(f.BUILDS) == 1
    rig.sqlite._db.execute("DROP TRIGGER full")
    rig.poll()
    assert shown(rig) == {"passed": (2, 0, at(7, 8))}
    rig.crash()


def test_what_is_held_back_is_in_no_native_bucket_until_its_hold_is_over(tmp_path: Path) -> None:
    rig = Held(tmp_path / "s.db", native=True)
    rig.poll()
    lasted(rig, 7, 8)
    assert shown(rig) == {"passed": (0, 0, {})}
    rig.restart()
    assert shown(rig) == {"passed": (0, 0, {})}

    rig.wait(1)
    rig.get()
    rig.wait(HOLD)
    rig.release()
    assert shown(rig) == {"passed": (2, 0, at(7, 8))}
    rig.restart()
    assert shown(rig) == {"passed": (2, 0, at(7, 8))}
    rig.crash()


def test_what_was_counted_before_is_shown_at_the_ends_of_the_classic_buckets(
    tmp_path: Path,
) -> None:
    rig = Rig(tmp_path / "s.db")  # buckets up to 10, 60 seconds and more
    lasted(rig, 7, 8, 20, 100)
    assert rig.rows("SELECT count(*) FROM native") == [(0,)]
    rig.rules = msgspec.structs.replace(rig.rules, native=True)
    rig.restart()

    ends = {native.bucket(10): 2, native.bucket(60): 1, native.bucket(60) + 1: 1}
    assert shown(rig) == {"passed": (4, 0, ends)}
    lasted(rig, 7)
    assert shown(rig) == {"passed": (5, 0, ends | at(7))}
    rig.crash()


@ON_A_FILE
@pytest.mark.parametrize("version", SCHEMAS)
def test_a_state_of_an_older_version_is_shown_whole(tmp_path: Path, version: int) -> None:
    path = tmp_path / "s.db"
    old(path, version, 3)  # 30 seconds each
    rig = Rig(path, native=True)

    assert shown(rig) == {"passed": (3, 0, {native.bucket(60): 3})}
    rig.crash()


def test_what_retention_forgets_leaves_nothing_behind(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "s.db", native=True)
    lasted(rig, 7)
    rig.run(lambda: rig.recorder.sweep(time.time() + 31 * 86400))

    assert shown(rig) == {}
    assert rows(rig) == 0


def test_changed_buckets_start_their_native_ones_anew(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "s.db", native=True)
    lasted(rig, 7)
    rig.rules = msgspec.structs.replace(rig.rules, buckets=Buckets((1.0, 2.0), (5.0,)))
    rig.restart()

    assert shown(rig) == {}
    assert shown(rig, f.BUILD_QUEUE) == {"main": (1, 0, at(1))}
    assert rows(rig) == 1


def rows(rig: Rig) -> int:
    """How many rows of native buckets the rig leaves in its state."""
    ((found,),) = rig.rows("SELECT count(*) FROM native")
    rig.crash()
    return int(found)


class Toggled(RuleBasedStateMachine):
    """Builds come, processes die and native histograms are turned on and off."""

    @initialize(hold=st.booleans())
    def begin(self, hold: bool) -> None:
        self.rig: Any = Held(None, native=True, hold=hold)
        self.rig.poll()
        self.shown: dict[str, Native] = {}
        self.exact = Counter[int]()
        """What was counted while native buckets were."""

    @rule(seconds=st.lists(st.sampled_from([0.0, 5.0, 10.0, 20.0, 100.0]), max_size=3))
    def builds_end(self, seconds: list[float]) -> None:
        lasted(self.rig, *seconds)
        if self.rig.view.rules.native:
            self.exact.update(map(native.bucket, seconds))

    @rule()
    def hold_ends(self) -> None:
        self.rig.wait(1)
        self.rig.get()
        self.rig.wait(HOLD)
        self.rig.release()

    @rule(on=st.booleans())
    def process_starts_again(self, on: bool) -> None:
        rig = self.rig
        rig.rules = msgspec.structs.replace(rig.rules, native=on)
        rig.ledger.configure(msgspec.structs.replace(rig.ledger.config, native=on))
        rig.recorder.view = rig.view.emptied(rig.rules)
        rig.recorder.start(["acme"])

    @invariant()
    @precondition(lambda self: hasattr(self, "rig") and self.rig.view.rules.native)
    def memory_is_the_ledger_and_no_bucket_goes_down(self) -> None:
        assert in_memory(self.rig) == stored(self.rig)
        found = shown(self.rig)  # which sees that the buckets add up to the count
        for name, known in self.shown.items():
            assert found[name].total >= known.total
            assert found[name].zeros >= known.zeros
            for number, count in known.buckets.items():
                assert found[name].buckets[number] >= count
        self.shown = found
        if not any(series.held for series in self.rig.view.series.values()):
            exact = {**self.exact}
            zeros = exact.pop(native.ZERO_BUCKET, 0)
            assert sum(x.zeros for x in found.values()) >= zeros
            for number, count in exact.items():
                assert sum(x.buckets.get(number, 0) for x in found.values()) >= count


TOGGLED = settings(
    max_examples=15,
    stateful_step_count=15,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def test_native_buckets_hold_what_was_counted_while_they_were_on(store: str) -> None:
    run_state_machine_as_test(Toggled, settings=stores.examples(TOGGLED, store))
