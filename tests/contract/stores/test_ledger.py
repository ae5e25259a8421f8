"""The contract of a store of the ledger: each test runs over every store there is."""

from __future__ import annotations

import doctest
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from exporter import ledger as contract
from exporter.http.stored import Limits, ResponseChanges, ResponseKey, StoredLimits, StoredResponse
from exporter.ledger import Ledger, LedgerConfig, Transaction, opening
from exporter.ledger.rows import (
    AttemptKey,
    Changes,
    Cursor,
    PipelineRow,
    RowChanges,
    Rows,
    SeriesKey,
    SeriesRow,
    Snapshot,
    SparseBuckets,
    Target,
    Touched,
)
from exporter.ledger.sqlite.ledger import open_ledger
from exporter.model import BuildKey
from tests.tools import postgres
from tests.tools.scripted import DAY, build, done

CONFIG = LedgerConfig(retention=30 * DAY, lookback=DAY, native=True)
PIPELINE = ("github", "acme", "acme/shop", "CI", "main")
PASSED = SeriesKey("cicd_builds_total", (*PIPELINE, "push", "passed"))
RETRIES = SeriesKey("cicd_build_retries_total", PIPELINE)
QUEUE = SeriesKey("cicd_build_queue_seconds", PIPELINE)
LONGER = SeriesKey("cicd_builds_total", (*PIPELINE[:4], "main2", "push", "passed"))
"""Of a pipeline whose labels begin as those of the other do."""
FAMILIES = [PASSED.family, RETRIES.family, QUEUE.family]

Open = Callable[[], Ledger]
"""Opens the store, the same one each time."""


def in_memory(folder: Path) -> Open:
    opened = open_ledger("memory:", replace(CONFIG, gauges_only=False))
    return lambda: opened


def in_file(folder: Path) -> Open:
    return lambda: open_ledger(f"sqlite:///{folder}/s.db", CONFIG)


def in_shared_file(folder: Path) -> Open:
    return lambda: open_ledger(f"sqlite:///{folder}/s.db", CONFIG, alone=False)


def in_database(folder: Path) -> Open:
    server = postgres.shared()
    return lambda: opening.open_ledger(server.url, CONFIG, schema=postgres.schema_of(folder))


STORES = {
    "memory": in_memory,
    "file": in_file,
    "shared file": in_shared_file,
    "database": in_database,
}


@pytest.fixture(params=STORES)
def reopened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens the store anew, as a restart does."""
    how = STORES[request.param](tmp_path)
    before: list[Ledger] = []

    def reopen() -> Ledger:
        if request.param != "memory":
            while before:
                before.pop().close()
        before.append(how())
        return before[-1]

    yield reopen
    for opened in before:
        opened.close()


@pytest.fixture
def store(reopened: Open) -> Ledger:
    return reopened()


def lives(store: Ledger, reopened: Open) -> Iterator[Ledger]:
    """The store as it is, and after a restart."""
    yield store
    yield reopened()


def target_of(tx: Transaction, repo: str = "acme/shop") -> Target:
    return tx.target("acme", repo, Cursor(floor=0.0))


def saved(store: Ledger, *series: SeriesRow, samples: int = 0) -> Changes:
    """The changes after these rows were saved, with their pipelines."""
    with store.transaction() as tx:
        target = target_of(tx)
        labels = dict.fromkeys(row.series.labels[:5] for row in series)
        pipelines = tuple(PipelineRow(target.id, one, b"facts") for one in labels)
        tx.save("acme", RowChanges(pipelines, series, samples))
    return tx.changes


def loaded(store: Ledger, *keys: SeriesKey) -> Rows:
    with store.transaction() as tx:
        return tx.load(Touched([key.labels[:5] for key in keys], keys), accounts=["acme"])


def test_the_example_of_the_contract_is_right() -> None:
    failed, tried = doctest.testmod(contract)
    assert (failed, tried > 5) == (0, True)


# --- builds ---


def test_a_completed_build_is_news_once(store: Ledger) -> None:
    ended = done(build("1"))

    def found() -> list[Any]:
        with store.transaction() as tx:
            return tx.reconcile(target_of(tx), [ended], now=time.time()).completed

    assert [news.build for news in found()] == [ended]
    assert found() == []
    with store.transaction() as tx:
        target = target_of(tx)
    (row,) = store.counted(target, [ended])
    assert row is not None
    assert row.conclusion == "passed"


def test_an_attempt_with_a_key_of_its_own_is_counted_whatever_number_it_is_listed_with(
    store: Ledger,
) -> None:
    first = replace(done(build("1")), key=BuildKey("1", 1000), key_per_attempt=True)
    with store.transaction() as tx:
        target = target_of(tx)
        tx.reconcile(target, [first], now=time.time())

    (row,) = store.counted(target, [replace(first, attempt=2)])
    (none,) = store.counted(target, [replace(first, key=BuildKey("1", 2000), attempt=2)])

    assert row is not None
    assert none is None


def test_open_builds_are_rows_until_they_are_closed(store: Ledger, reopened: Open) -> None:
    first, second = build("1"), build("2")
    with store.transaction() as tx:
        target = target_of(tx)
        tx.reconcile(target, [first, second], now=time.time())
        assert tx.changes.open_builds == [(target.id, first), (target.id, second)]

    with store.transaction() as tx:
        tx.reconcile(target, [done(first)], now=time.time())
        tx.close(target, [AttemptKey(BuildKey("2"), 1)])
        closed = {key.key for _, key in tx.changes.closed}
    assert closed == {BuildKey("1"), BuildKey("2")}
    assert reopened().load().open_builds == []


def test_a_cursor_is_where_it_was_advanced_to(store: Ledger, reopened: Open) -> None:
    with store.transaction() as tx:
        target = target_of(tx)
        tx.advance_cursor(target, Cursor(floor=0.0, since=5.0))

    assert [each.cursor.since for each in reopened().load().targets] == [5.0]


# --- rows ---


def test_rows_are_as_they_were_saved_last(store: Ledger, reopened: Open) -> None:
    first = SeriesRow(PASSED, (1.0,), (2.0,), created_at=7.0)
    then = SeriesRow(PASSED, (3.0,), is_live=True, created_at=7.0)
    cells = SparseBuckets({1: 2}, {3: 4})
    spread = SeriesRow(QUEUE, (1.0, 0.0, 2.0), spread=cells)

    changes = saved(store, first, spread, samples=5)
    assert changes.series == [first, spread]
    assert loaded(store, PASSED, QUEUE, RETRIES).series == {PASSED: first, QUEUE: spread}
    saved(store, then, samples=-2)

    for each in lives(store, reopened):
        rows = loaded(each, PASSED, QUEUE, RETRIES)
        assert rows.series == {PASSED: then, QUEUE: spread}
        assert [row.facts for row in rows.pipelines.values()] == [b"facts"]
        assert rows.samples == 3


def test_nothing_is_kept_of_a_transaction_that_fails(store: Ledger, reopened: Open) -> None:
    row = SeriesRow(PASSED, (1.0,))
    saved(store, row, samples=1)

    def fails() -> None:
        with store.transaction() as tx:
            target = tx.target("globex", "globex/x", Cursor(floor=0.0))
            tx.reconcile(target, [done(build("1"))], now=time.time())
            tx.save("acme", RowChanges(series=(row._replace(vector=(9.0,)),), samples=9))
            tx.save("acme", RowChanges((PipelineRow(target.id, PIPELINE, b"other"),)))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()

    for each in lives(store, reopened):
        rows = loaded(each, PASSED)
        assert rows.series == {PASSED: row}
        assert rows.pipelines[PIPELINE].facts == b"facts"
        assert rows.samples == 1
        assert {target.account for target in each.load().targets} == {"acme"}


def test_what_is_held_enters_when_it_is_released(store: Ledger, reopened: Open) -> None:
    cells = SparseBuckets({1: 2}, {1: 1, 3: 4})
    saved(
        store,
        SeriesRow(PASSED, (1.0,), (2.0,), created_at=7.0),
        SeriesRow(QUEUE, (0.0, 0.0, 0.0), (1.0, 0.0, 2.0), spread=cells),
        SeriesRow(RETRIES, (0.0,)),
    )

    with store.transaction() as tx:
        tx.release([PASSED, QUEUE, LONGER])

    assert {row.series: row for row in tx.changes.series} == {
        PASSED: SeriesRow(PASSED, (3.0,), None, True, None, 7.0),
        QUEUE: SeriesRow(QUEUE, (1.0, 0.0, 2.0), None, True, SparseBuckets({1: 3, 3: 4})),
    }
    for each in lives(store, reopened):
        rows = loaded(each, PASSED, QUEUE, RETRIES).series
        assert [rows[key] for key in (PASSED, QUEUE)] == tx.changes.series
        assert not rows[RETRIES].is_live


def test_a_forgotten_pipeline_takes_its_own_series_along(store: Ledger, reopened: Open) -> None:
    gone = [SeriesRow(key, (1.0,)) for key in (PASSED, RETRIES)]
    kept = SeriesRow(LONGER, (1.0,))
    saved(store, *gone, kept)

    with store.transaction() as tx:
        assert sorted(tx.series_of([PIPELINE], FAMILIES)) == sorted(gone)
        tx.forget([PIPELINE], FAMILIES)
        assert tx.changes.forgotten == [PIPELINE]
        assert [row.labels for row in tx.pipelines()] == [LONGER.labels[:5]]

    assert loaded(store, PASSED, RETRIES).series == {}
    assert reopened().load().series == [kept]


def test_changed_buckets_drop_the_series_of_their_family_alone(store: Ledger) -> None:
    row, spread = SeriesRow(PASSED, (1.0,)), SeriesRow(QUEUE, (1.0, 0.0, 2.0))
    saved(store, row, spread)

    with store.transaction() as tx:
        assert tx.check_buckets(QUEUE.family, (5.0,))
        assert tx.check_buckets(QUEUE.family, (5.0,))
    saved(store, spread)
    with store.transaction() as tx:
        assert not tx.check_buckets(QUEUE.family, (6.0,))

    assert loaded(store, PASSED, QUEUE).series == {PASSED: row}
    assert store.load().bounds == {QUEUE.family: (6.0,)}


def test_samples_are_those_of_the_accounts_that_are_asked_for(store: Ledger) -> None:
    saved(store, SeriesRow(PASSED, (1.0,)), samples=3)
    with store.transaction() as tx:
        tx.target("globex", "globex/x", Cursor(floor=0.0))
        tx.save("globex", RowChanges(samples=4))

        def samples(*accounts: str) -> int:
            return tx.load(Touched([], []), accounts=accounts).samples

        assert (samples(), samples("acme"), samples("acme", "globex")) == (0, 3, 7)
        tx.count_samples({"acme": 5})
        assert samples("acme", "globex") == 9
    assert store.load().samples == {"acme": 5, "globex": 4}


def test_all_that_a_process_needs_is_in_the_snapshot(store: Ledger, reopened: Open) -> None:
    saved(store, SeriesRow(PASSED, (1.0,)))
    with store.transaction() as tx:
        tx.set_series_limit(700)
        tx.prune(now=1e9)
        limits = StoredLimits(b"whose", Limits(9e9))
        tx.save_limits([limits], now=1.0)
        within = tx.snapshot()

    snapshot: Snapshot = reopened().load()
    assert within == snapshot
    assert (snapshot.series_limit, snapshot.swept_at, snapshot.limits) == (700, 1e9, [limits])
    assert [row.labels for row in snapshot.pipelines] == [PIPELINE]


def test_responses_are_kept_where_the_rest_outlives_the_process(
    store: Ledger, reopened: Open, request: pytest.FixtureRequest
) -> None:
    kept = StoredResponse(ResponseKey("u", "s"), "etag", b"packed", b"reader", 1.0)
    with store.transaction() as tx:
        tx.save_responses("acme", ResponseChanges([kept], []))

    outlives = request.node.callspec.params["reopened"] != "memory"
    assert reopened().responses("acme") == ([kept] if outlives else [])
    assert reopened().responses("globex") == []


# --- configuration ---


def test_native_buckets_are_read_where_they_are_wanted(store: Ledger) -> None:
    row = SeriesRow(QUEUE, (1.0, 0.0, 2.0), spread=SparseBuckets({1: 1}))
    saved(store, row)

    store.configure(replace(CONFIG, native=False))
    assert loaded(store, QUEUE).series == {QUEUE: row._replace(spread=None)}
    store.configure(CONFIG)
    assert loaded(store, QUEUE).series == {QUEUE: row}


def test_what_ended_before_retention_is_no_news(store: Ledger) -> None:
    now = time.time()
    ended = done(build("1", created_at=now - 3 * DAY, started_at=now - 3 * DAY))

    def is_news() -> bool:
        with store.transaction() as tx:
            return bool(tx.reconcile(target_of(tx), [ended], now=now).completed)

    store.configure(replace(CONFIG, retention=2 * DAY))
    assert not is_news()
    store.configure(replace(CONFIG, retention=4 * DAY))
    assert is_news()
