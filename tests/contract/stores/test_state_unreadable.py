"""Whatever goes wrong with the database leaves the ledger as an error of ours, and is shown."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from exporter.errors import StateUnavailable
from exporter.http.response_cache import ResponseCache
from exporter.http.stored import Limits, ResponseChanges, ResponseKey, StoredLimits, StoredResponse
from exporter.ledger import Ledger, Transaction
from exporter.ledger.build_log import BuildFilter, LoggedBuild
from exporter.ledger.polling import AccountPolling, PollingChanges, RepoPolling
from exporter.ledger.rows import (
    AttemptKey,
    Cursor,
    PipelineRow,
    RowChanges,
    SeriesKey,
    SeriesRow,
    Target,
    Touched,
)
from exporter.metrics import families as f
from exporter.model import BuildKey
from tests.tools.scripted import DAY, Rig, build, done

KEY = SeriesKey("cicd_builds_total", ("a", "b", "c", "d", "e", "push", "passed"))
ANSWER = StoredResponse(ResponseKey("u", "s"), "etag", b"packed", b"reader", 1.0)
CHANGES = RowChanges((PipelineRow(1, KEY.labels[:5], b""),), (SeriesRow(KEY, (1.0,)),), samples=1)
ACCOUNT = AccountPolling(1.0, b"whose", (60.0, 900.0))
REPO = RepoPolling(1.0, 2.0, 1.0, 1.0, 60.0, (60.0, 60.0, 900.0))
LOGGED = LoggedBuild(
    provider="a", account="b", repo="c", workflow="d", branch="e", conclusion="passed"
)
Call = Callable[[Any, Target], object]
READS: dict[str, Call] = {
    "load": lambda ledger, target: ledger.load(),
    "counted": lambda ledger, target: ledger.counted(target, [build("1")]),
    "responses": lambda ledger, target: ledger.responses("acme"),
    "build_log": lambda ledger, target: ledger.build_log().builds(BuildFilter()),
}
WRITES: dict[str, Call] = {
    "target": lambda tx, target: tx.target("acme", "acme/other", Cursor(floor=0.0)),
    "reconcile": lambda tx, target: tx.reconcile(target, [done(build("1"))], now=time.time()),
    "close": lambda tx, target: tx.close(target, [AttemptKey(BuildKey("1"), 1)]),
    "log": lambda tx, target: tx.log(
        target, [(AttemptKey(BuildKey("1"), 1), LOGGED)], now=time.time()
    ),
    "load": lambda tx, target: tx.load(Touched([KEY.labels[:5]], [KEY]), accounts=["acme"]),
    "save": lambda tx, target: tx.save("acme", CHANGES),
    "advance_cursor": lambda tx, target: tx.advance_cursor(target, Cursor(floor=1.0)),
    "release": lambda tx, target: tx.release([KEY]),
    "snapshot": lambda tx, target: tx.snapshot(),
    "pipelines": lambda tx, target: tx.pipelines(),
    "series_of": lambda tx, target: tx.series_of([KEY.labels[:5]], [KEY.family]),
    "forget": lambda tx, target: tx.forget([KEY.labels[:5]], [KEY.family]),
    "count_samples": lambda tx, target: tx.count_samples({"acme": 7}),
    "check_buckets": lambda tx, target: tx.check_buckets(f.BUILD_QUEUE.name, (1.0,)),
    "set_series_limit": lambda tx, target: tx.set_series_limit(7),
    "save_responses": lambda tx, target: tx.save_responses("acme", ResponseChanges([ANSWER], [])),
    "save_limits": lambda tx, target: tx.save_limits(
        [StoredLimits(b"whose", Limits(9e9))], now=time.time()
    ),
    "save_polling": lambda tx, target: tx.save_polling(
        "acme", PollingChanges(ACCOUNT, {"acme/shop": REPO})
    ),
    "prune": lambda tx, target: tx.prune(now=time.time()),
}
"""How each method is called; `target` is one that there is."""
Fault = Callable[[Rig], None]


def broken_disk(rig: Rig) -> None:
    """Every statement fails in its midst, as on a disk that cannot be read."""
    rig.sqlite._db.set_progress_handler(lambda: 1, 1)


def closed(rig: Rig) -> None:
    """SQLite has let go of the file."""
    rig.sqlite._db.close()


FAULTS = pytest.mark.parametrize("fault", [broken_disk, closed])


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    rig = Rig(tmp_path / "s.db", zero_hold=60.0)
    rig.provider._builds = [done(build("1")), build("2")]
    rig.poll()
    return rig


def target_of(rig: Rig) -> Target:
    (target,) = rig.view.targets.values()
    return target


def methods(contract: type) -> set[str]:
    return {name for name, _ in inspect.getmembers(contract, inspect.isfunction) if name[0] != "_"}


def test_every_method_is_tried() -> None:
    assert methods(Ledger) == {*READS, "configure", "look", "transaction", "close"}
    of_several_processes = {"save_report", "put_rules"}  # test_shared
    assert methods(Transaction) - of_several_processes == {*WRITES}


@FAULTS
@pytest.mark.parametrize("name", READS)
def test_what_cannot_be_read_is_unavailable(rig: Rig, fault: Fault, name: str) -> None:
    target = target_of(rig)
    fault(rig)

    with pytest.raises(StateUnavailable, match="the state cannot be read"):
        READS[name](rig.ledger, target)
    rig.ledger.close()


@FAULTS
@pytest.mark.parametrize("name", WRITES)
def test_what_cannot_be_written_is_unavailable_and_leaves_nothing(
    rig: Rig, fault: Fault, name: str
) -> None:
    target = target_of(rig)
    before = rig.ledger.load()

    def transaction() -> None:
        with rig.ledger.transaction() as tx:
            fault(rig)
            WRITES[name](tx, target)
            tx.set_series_limit(8)  # whatever it needed the database for: this does

    with pytest.raises(StateUnavailable, match=r"the state cannot be (read|written)"):
        transaction()

    rig.crash()
    rig.start()
    assert rig.ledger.load() == before
    rig.crash()


def look(rig: Rig) -> Any:
    return rig.recorder.look()


@FAULTS
@pytest.mark.parametrize(
    "work",
    [
        lambda rig: rig._poll(),
        lambda rig: rig.recorder.counted(target_of(rig), [build("1")]),
        lambda rig: rig.recorder.change(
            replace(rig.rules, series_limit=7), rig.accounts, retention=DAY
        ),
        lambda rig: rig.recorder.sweep(),
        lambda rig: rig.recorder.look(),
    ],
    ids=["poll", "counted", "change", "sweep", "look"],
)
def test_who_asks_for_it_is_told_and_the_state_is_not_ok(
    rig: Rig, fault: Fault, work: Callable[[Rig], Any]
) -> None:
    fault(rig)

    with pytest.raises(StateUnavailable):
        rig.run(lambda: work(rig))

    assert not rig.recorder.state_ok
    rig.ledger.close()


def test_answers_that_cannot_be_read_are_asked_for_anew(rig: Rig) -> None:
    broken_disk(rig)
    answers = ResponseCache()

    rig.run(lambda: rig.recorder.load_responses("acme", answers))

    assert not answers.is_new
    assert not rig.recorder.state_ok
    rig.sqlite._db.set_progress_handler(None, 1)
    rig.provider._builds.append(done(build("3")))
    rig.poll()
    assert rig.recorder.state_ok
    rig.crash()
