"""What is shown is made of rows: however they come, and however often, it is the same."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.ledger.rows import Changes, Cursor, Findings, Target
from exporter.metrics import cardinality, facts
from exporter.metrics import families as f
from exporter.metrics.cardinality import Mark
from exporter.model import OTHER
from exporter.outputs.prometheus import Exposition, Health
from tests.tools.scripted import build
from tests.tools.views import PIPELINE, ViewWithRows, a_view, job_done, shown_gauges, some_findings

NOW = 1e6
TARGETS = [
    Target(1, "acme", "a", Cursor(0.0, since=1.0)),
    Target(2, "acme", "b", Cursor(0.0, since=1.0)),
    Target(3, "acme", "c", Cursor(0.0)),
]
"""The first walk of the last one goes on."""

History = list[tuple[Findings, int, int]]
"""News, which target they are of, and how many unfinished builds of it end with them."""

LIMITS = st.sampled_from([60, 120, 200, 400, 100_000])
HOLDS = st.sampled_from([0.0, 60.0])
HISTORIES = st.lists(
    st.tuples(some_findings(), st.integers(0, 2), st.integers(0, 3)), min_size=1, max_size=5
)


def lived(history: History, limit: int, hold: float) -> tuple[ViewWithRows, list[Changes]]:
    """A view after such news, and what was applied."""
    view = a_view(limit, hold, native=True, clock=lambda: 5.0)
    applied = []
    for news, n, ended in history:
        target = TARGETS[n]
        running = [key for number, key in view.unfinished if number == target.id]
        applied.append(view.learn(news, target, closed=running[:ended], now=NOW))
    return view, applied


def shown(view: ViewWithRows) -> tuple[list[bytes], object]:
    """What a scrape shows, by any order of its series; exemplars and drops are memory alone."""
    view.dropped.clear()
    text = Exposition(view, lambda: (), Health(), clock=lambda: NOW).text()
    groups = [view.others, *(g for known in view.pipelines.values() for g in known.groups)]
    rows = sorted(series.row[:4] for group in groups for series in group.series())
    spreads = sorted(
        (group.labels, own, spread)
        for group in groups
        for own, spread in (group.spreads or {}).items()
    )
    lines = sorted(line for line in text.splitlines() if line.startswith(b"cicd_"))
    return [line for line in lines if b"process" not in line], (rows, spreads, view.samples)


@given(HISTORIES, LIMITS, HOLDS, st.data())
@settings(deadline=None, max_examples=40)
def test_to_apply_once_more_changes_nothing(
    history: History, limit: int, hold: float, data: st.DataObject
) -> None:
    view, applied = lived(history, limit, hold)
    before = shown(view)

    again = data.draw(st.integers(0, len(applied) - 1))
    for changes in applied[again:]:
        view.apply(changes)
        view.apply(changes)
    assert shown(view) == before

    view.apply(view.snapshot())
    assert shown(view) == before


@given(HISTORIES, LIMITS, HOLDS)
@settings(deadline=None, max_examples=40)
def test_what_has_lived_shows_what_a_fresh_one_loads(
    history: History, limit: int, hold: float
) -> None:
    view, _ = lived(history, limit, hold)

    fresh = a_view(limit, hold, native=True, clock=lambda: 5.0)
    fresh.apply(view.snapshot())

    assert shown(fresh) == shown(view)


def test_rows_of_accounts_that_are_not_configured_are_not_shown() -> None:
    view, _ = lived([(Findings(anomalies=["reopened"]), 0, 0)], 1000, 0.0)
    view.learn(Findings(completed=[]), TARGETS[0], now=NOW)
    everything = view.snapshot()

    other = a_view()
    other.configure(other.rules, {"globex": "scripted"})
    other.apply(everything)

    assert not other.pipelines
    assert not other.targets
    assert {key.family for key, _ in other.stored()} == {f.ANOMALIES.name}


def test_an_account_that_comes_back_is_shown_as_it_was() -> None:
    view = a_view(native=True)
    view.learn(Findings(active=[build("1")], jobs=job_done().jobs), TARGETS[0], now=NOW)
    before = shown(view)

    rules = view.rules
    view.configure(rules, {})
    assert not view.pipelines
    view.configure(rules, {"acme": "scripted"})
    view.apply(view.snapshot())

    assert shown(view) == before


def test_a_running_build_is_shown_where_there_is_a_pipeline_for_it() -> None:
    view = a_view()
    view.learn(Findings(active=[build("1"), build("2", branch="x")]))
    row = view.table.pipelines[PIPELINE]

    view.apply(Changes(forgotten=[PIPELINE]))
    assert shown_gauges(view, f.ACTIVE) == {(*PIPELINE[:4], OTHER, "in_progress"): 2.0}

    view.apply(Changes(pipelines=[row]))
    assert shown_gauges(view, f.ACTIVE) == {
        (*PIPELINE[:4], OTHER, "in_progress"): 1.0,
        (*PIPELINE, "in_progress"): 1.0,
    }


def test_a_pipeline_that_is_marked_as_evicted_is_not_shown() -> None:
    view = a_view(1000)
    view.learn(Findings(jobs=job_done().jobs))
    row = view.table.pipelines[PIPELINE]
    known = cardinality.marked(facts.decode(row.facts), Mark.EVICTED, 1000)

    view.apply(Changes(pipelines=[row._replace(facts=facts.encode(known))]))
    assert not view.pipelines
    assert not view.samples

    view.apply(view.snapshot())
    assert [*view.pipelines] == [PIPELINE]
    assert {key for key, _ in view.stored()} == {*view.table.series}
