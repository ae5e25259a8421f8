"""The build log: what is finished is there with all that is known of it, newest first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.ledger import Ledger, LedgerConfig
from exporter.ledger.build_log import BuildFilter, LoggedBuild, PipelineSummary, Which
from exporter.ledger.rows import AttemptKey, Cursor
from exporter.ledger.sql import build_log as tables
from exporter.ledger.sqlite.ledger import open_ledger
from exporter.model import FAILING, BuildKey
from tests.tools.build_logs import MAIN, WHOLE, a_build, record

SIDE = ("github", "acme", "acme/shop", "CI", "other")
ELSEWHERE = ("gitlab", "zenith", "zenith/site", "", "main")
KEPT = 3
DAY = 86400.0
CONFIG = LedgerConfig(retention=30 * DAY, lookback=DAY, gauges_only=False, builds=KEPT)


def listed(ledger: Ledger, limit: int = 100, **wanted: Any) -> list[LoggedBuild]:
    page = ledger.build_log().builds(BuildFilter(**wanted), limit=limit)
    assert page.next is None
    return page.builds


@pytest.fixture(params=["memory", "file"])
def reopened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Ledger]]:
    """Opens the store anew, as a restart does."""
    url = "memory:" if request.param == "memory" else f"sqlite:///{tmp_path}/s.db"
    opened: list[Ledger] = []

    def reopen() -> Ledger:
        if url != "memory:" or not opened:
            while opened:
                opened.pop().close()
            opened.append(open_ledger(url, CONFIG))
        return opened[0]

    yield reopen
    for ledger in opened:
        ledger.close()


@pytest.fixture
def ledger(reopened: Callable[[], Ledger]) -> Ledger:
    return reopened()


def test_a_build_is_read_as_it_was_written(reopened: Callable[[], Ledger]) -> None:
    bare = a_build(ELSEWHERE, None, "other")
    record(reopened(), ("1", WHOLE), ("2", bare))

    assert listed(reopened()) == [bare, WHOLE]  # one without a time is as new as its row


def test_a_build_that_ended_again_is_replaced(ledger: Ledger) -> None:
    record(ledger, ("1", a_build(MAIN, 100.0, "failed")), ("2", a_build(MAIN, 150.0)))
    again = a_build(MAIN, 200.0, "passed", title="retried")

    record(ledger, ("1", again))

    assert listed(ledger) == [again, a_build(MAIN, 150.0)]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, {"a", "b", "c"}),
        ({"provider": "gitlab"}, {"c"}),
        ({"account": "acme"}, {"a", "b"}),
        ({"repo": "acme/shop"}, {"a", "b"}),
        ({"repo": "acme/shop", "branch": "main"}, {"a"}),
        ({"repo": "acme/shop", "branch": "feature/x"}, {"b"}),
        ({"branch": "feature/x"}, {"b"}),
        ({"branch": "other"}, {"b"}),
        ({"workflow": ""}, {"c"}),
        ({"workflow": "CI", "conclusion": "failed"}, {"b"}),
        ({"commit": "abc"}, {"a", "b"}),
        ({"commit": "abcd"}, {"a"}),
        ({"commit": "%"}, set()),
        ({"since": 200.0}, {"b", "c"}),
        ({"until": 200.0}, {"a"}),
        ({"since": 150.0, "until": 250.0}, {"b"}),
        ({"accounts": ("zenith",)}, {"c"}),
        ({"accounts": ()}, set()),
        ({"repo": "acme"}, set()),
    ],
)
def test_builds_are_filtered(ledger: Ledger, wanted: dict[str, Any], found: set[str]) -> None:
    record(
        ledger,
        ("a", a_build(MAIN, 100.0, title="a", commit="abcd1")),
        ("b", a_build(SIDE, 200.0, "failed", title="b", commit="abc", ref="feature/x")),
        ("c", a_build(ELSEWHERE, 300.0, title="c")),
    )

    assert {build.title for build in listed(ledger, **wanted)} == found


def test_pages_have_neither_gap_nor_double_while_builds_arrive(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "_SCANNED", 7)
    pipelines = [("github", "acme", "acme/shop", str(n), "main") for n in range(60)]
    there = [a_build(labels, 100.0 + n // 4, title=str(n)) for n, labels in enumerate(pipelines)]
    record(ledger, *((str(n), build) for n, build in enumerate(there)))

    seen, cursor = [], None
    for turn in range(100):
        page = ledger.build_log().builds(BuildFilter(provider="github"), limit=5, cursor=cursor)
        seen += page.builds
        record(ledger, (f"new {turn}", a_build(MAIN, 1000.0 + turn, title="new")))
        cursor = page.next
        if cursor is None:
            break

    times = [build.completed_at or 0.0 for build in seen]
    assert times == sorted(times, reverse=True)
    assert Counter(build.title for build in seen) == Counter(build.title for build in there)


def test_what_matches_rarely_is_found_by_going_on(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "_SCANNED", 10)
    record(ledger, ("old", a_build(ELSEWHERE, 1.0, "failed")))
    for n in range(35):
        record(ledger, (str(n), a_build((*MAIN[:3], str(n), "main"), 10.0 + n)))

    found: list[LoggedBuild] = []
    log, cursor, turns = ledger.build_log(), None, 0
    while turns == 0 or cursor is not None:
        page = log.builds(BuildFilter(conclusion="failed"), limit=5, cursor=cursor)
        found, cursor, turns = found + page.builds, page.next, turns + 1

    assert [build.completed_at for build in found] == [1.0]
    assert turns == 4


@pytest.mark.parametrize(
    "cursor", ["", "x", "_", "1_", "zz_1", "nan_x", "0x1p+0_-1", "1_1_1", "1" * 99]
)
def test_what_is_no_cursor_is_refused(ledger: Ledger, cursor: str) -> None:
    with pytest.raises(ValueError, match="no cursor"):
        ledger.build_log().builds(BuildFilter(), cursor=cursor)


def test_failed_builds_outlive_others_and_the_last_pass_outlives_all(ledger: Ledger) -> None:
    record(ledger, ("f", a_build(MAIN, 50.0, "failed")), ("p", a_build(MAIN, 60.0, "passed")))
    for n in range(4 * KEPT):
        record(ledger, (str(n), a_build(MAIN, 100.0 + n, "cancelled")))

    words = Counter(build.conclusion for build in listed(ledger))

    assert words.pop("failed") == words.pop("passed") == 1
    assert KEPT <= words["cancelled"] <= 2 * KEPT


def test_retention_forgets_and_spares(reopened: Callable[[], Ledger]) -> None:
    now = 100 * DAY
    record(reopened(), ("1", a_build(MAIN, 60 * DAY, "failed")), ("2", a_build(MAIN, 90 * DAY)))
    record(reopened(), ("1", a_build(ELSEWHERE, 60 * DAY, "failed")))

    with reopened().transaction() as tx:
        tx.prune(now=now, spared=["zenith"])

    assert [build.pipeline for build in listed(reopened())] == [MAIN, ELSEWHERE]
    with reopened().transaction() as tx:
        tx.prune(now=now)
    assert [build.pipeline for build in listed(reopened())] == [MAIN]
    assert reopened().build_log().pipelines("zenith", "zenith/site") == []
    assert reopened().build_log().pipelines("acme", "acme/shop") == [MAIN]


def test_nothing_is_logged_of_a_transaction_that_fails(ledger: Ledger) -> None:
    def broken_off() -> None:
        with ledger.transaction() as tx:
            target = tx.target("acme", "acme/shop", Cursor(floor=0.0))
            tx.log(target, [(AttemptKey(BuildKey("1"), 1), a_build(MAIN, 1.0))], now=2.0)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        broken_off()

    assert listed(ledger) == []


_ENDS = st.lists(
    st.tuples(
        st.sampled_from(
            ["passed", "failed", "timeout", "error", "cancelled", "skipped", "neutral"]
        ),
        st.integers(1, 12),  # several end in one second
    ),
    min_size=1,
    max_size=25,
)


@given(ends=_ENDS, order=st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_named_builds_are_those_of_the_whole_history_in_any_order_of_arrival(
    ends: list[tuple[str, int]], order: Any
) -> None:
    history = [
        (str(n), a_build(MAIN, float(at), word, number=n)) for n, (word, at) in enumerate(ends)
    ]
    arrived = [*history]
    order.shuffle(arrived)
    ledger = open_ledger("memory:", LedgerConfig(1e9, DAY, gauges_only=False, builds=100))
    for one in arrived:
        record(ledger, one)

    assert ledger.build_log().summaries([MAIN, SIDE]) == {MAIN: by_hand([b for _, b in history])}
    ledger.close()


@given(ends=_ENDS)
@settings(max_examples=150, deadline=None)
def test_named_builds_survive_pruning(ends: list[tuple[str, int]]) -> None:
    history = sorted(
        (a_build(MAIN, float(at), word, number=n) for n, (word, at) in enumerate(ends)),
        key=lambda build: (build.completed_at, build.number),
    )
    ledger = open_ledger("memory:", CONFIG)
    for n, build in enumerate(history):
        record(ledger, (str(n), build))
        assert ledger.build_log().summaries([MAIN])[MAIN] == by_hand(history[: n + 1])
    ledger.close()


def by_hand(history: list[LoggedBuild]) -> PipelineSummary:
    ordered = sorted(history, key=lambda b: (b.completed_at, b.number))
    since: list[LoggedBuild] = []
    passed = failed = None
    for build in ordered:
        if build.conclusion == "passed":
            passed, since = build, []
        elif build.conclusion in FAILING:
            failed = build
            since.append(build)
    return PipelineSummary(
        last=ordered[-1],
        last_passed=passed,
        last_failed=failed,
        first_failed=since[0] if since else None,
        failures=len(since),
    )


def test_a_named_build_is_found_by_its_name(ledger: Ledger) -> None:
    record(ledger, ("1", a_build(MAIN, 1.0, "failed")), ("2", a_build(MAIN, 2.0)))

    found = ledger.build_log().summaries([MAIN])[MAIN]

    assert {which: getattr(found.find(which), "completed_at", None) for which in Which} == {
        Which.LAST: 2.0,
        Which.LAST_PASSED: 2.0,
        Which.LAST_FAILED: 1.0,
        Which.FIRST_FAILED: None,
    }
