"""A view never shows more than its limit, its sums stay right, and what is idle is forgotten."""

from __future__ import annotations

import re
import time
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families as read_text

from exporter.ledger.rows import Findings, Target
from exporter.metrics import families as f
from exporter.metrics import gauges, increments
from exporter.metrics.buckets import Buckets
from exporter.metrics.families import Family
from exporter.metrics.grouping import sample_count
from exporter.metrics.labels import clean
from exporter.model import OTHER, Job, Status
from exporter.view.series_view import SeriesView
from tests.tools.scripted import BUCKETS, DAY, Rig, build, done
from tests.tools.views import (
    PIPELINE,
    SHOWN,
    a_view,
    completed,
    job_done,
    learn,
    limit_for,
    scraped,
    shown_gauges,
    some_findings,
)

# --- the draft ---


def content(view: SeriesView) -> bytes:
    """All that a view holds."""
    values = (
        [(key, s.vector, s.held, s.is_live) for key, s in view.series.items()],
        [(labels, known.facts, known.is_shown) for labels, known in view.pipelines.items()],
        view.active,
        view.dropped,
        view.samples,
    )
    return msgspec.msgpack.encode(values)


@given(
    st.lists(some_findings(), min_size=1, max_size=3),
    st.sampled_from([40, 200, 100_000]),
    st.sampled_from([0.0, 60.0]),
)
def test_a_draft_changes_nothing(history: list[Findings], limit: int, zero_hold: float) -> None:
    view = a_view(limit, zero_hold, clock=lambda: 5.0)
    for findings in history[:-1]:
        learn(view, findings)
    before = content(view)

    drafts = [view.drafted(SHOWN, history[-1], now=7.0) for _ in range(2)]

    assert drafts[0] == drafts[1]
    assert content(view) == before


# --- the limit ---


def exposed(view: SeriesView) -> Counter[str]:
    """How many samples of each build and job family a scrape shows."""
    return samples(scraped(view))


def samples(shown: str) -> Counter[str]:
    """How many samples of each build and job family are in a text."""
    names = re.findall(r"^(cicd_(?:builds?|jobs?)_\w+)", shown, re.MULTILINE)
    return Counter(re.sub("_(bucket|sum|count)$", "", name) for name in names)


def room_of(view: SeriesView) -> int:
    """How many samples a view may show, counted anew."""
    groups = [group for known in view.pipelines.values() for group in known.groups]
    series = [s for group in groups for s in group.series()]
    gauges_shown = sum(gauges.room_for(known.facts) for known in view.pipelines.values())
    return gauges_shown + sum(sample_count(s.vector) for s in series)


def total(view: SeriesView, family: Family) -> float:
    """What a counter has counted, held or shown."""
    vectors = [
        vector
        for key, series in view.series.items()
        if key.family == family.name
        for vector in (series.vector, series.held)
        if vector is not None
    ]
    return sum(vector[0] for vector in vectors)


@given(st.lists(some_findings(), max_size=5), st.integers(1, 400), st.sampled_from([0.0, 60.0]))
def test_no_more_samples_are_exposed_than_the_limit(
    history: list[Findings], limit: int, zero_hold: float
) -> None:
    view = a_view(limit, zero_hold)
    for findings in history:
        learn(view, findings)

        assert exposed(view).total() <= view.samples == room_of(view) <= limit


@given(st.lists(some_findings(), max_size=8), st.integers(150, 600))
def test_sums_stay_right_at_the_limit(history: list[Findings], limit: int) -> None:
    view, free = a_view(limit), a_view()
    for findings in history:
        learn(view, findings)
        learn(free, findings)

    for family in (f.BUILDS, f.RETRIES, f.JOBS, f.MISSING):
        assert total(view, family) == total(free, family)
    assert free.dropped.total() == 0
    if view.series.keys() >= free.series.keys():
        assert view.dropped.total() == 0


def test_at_the_limit_increments_fold_into_what_is_there() -> None:
    there = [completed(branch="x"), completed(branch="main")]
    view = a_view(limit_for(*there))
    for findings in there:
        learn(view, findings)

    learn(view, completed(branch="release/1"))

    builds = {
        k.labels[2:]: s.vector[0] for k, s in view.series.items() if k.family == f.BUILDS.name
    }
    assert builds["acme/shop", "CI", OTHER, "push", "passed"] == 2
    assert view.dropped == {f.BUILDS.name: 1, f.BUILD_DURATION.name: 1, f.BUILD_QUEUE.name: 1}


def test_what_has_no_room_goes_to_its_branch_other_and_then_to_the_catch_all() -> None:
    view = a_view(limit=120)
    learn(view, completed(branch="main"))

    for number in range(20):
        learn(view, completed(branch=f"release/{number}"))
        learn(view, completed(repo=f"acme/{number}", workflow=f"w{number}"))

    builds = Counter[tuple[str, ...]]()
    for key, series in view.series.items():
        if key.family == f.BUILD_DURATION.name:
            builds[key.labels[2:5]] += int(sum(series.vector[:-1]))
    assert +builds == {
        ("acme/shop", "CI", "main"): 1,
        ("acme/shop", "CI", "release/0"): 1,
        ("acme/shop", "CI", OTHER): 19,
        ("acme/0", "w0", OTHER): 1,
        ("acme/1", "w1", OTHER): 1,
        (OTHER, OTHER, OTHER): 18,
    }


def test_nothing_is_shown_of_the_latest_of_builds_that_were_folded() -> None:
    view = a_view(limit_for(completed()))
    learn(view, completed())

    learn(view, completed(repo="acme/other", conclusion="failed"))

    assert total(view, f.BUILDS) == 2
    assert {labels[:5] for labels in shown_gauges(view, f.LAST_CONCLUSION)} == {PIPELINE}
    assert {labels[:5] for labels in shown_gauges(view, f.STREAK)} == {PIPELINE}


def test_what_has_no_room_at_all_is_refused_and_leaves_nothing_behind() -> None:
    view = a_view(limit=1)

    for number in range(20):
        learn(view, completed(repo=f"acme/{number}"))
        learn(view, job_done(build("1", repo=f"acme/{number}")))

    nowhere = ("scripted", "acme", OTHER, OTHER, OTHER)
    assert [*view.pipelines] == [nowhere]
    assert [*view.series] == [(f.BUILDS.name, (*nowhere, OTHER, OTHER))]
    assert total(view, f.BUILDS) == 20
    assert view.dropped[f.BUILDS.name] == view.dropped[f.JOBS.name] == 20


def test_unfinished_jobs_that_have_no_room_are_counted_as_other() -> None:
    jobs = tuple(Job(id=str(n), name=f"job {n}", status=Status.QUEUED) for n in range(100))
    view = a_view(limit=100)

    learn(view, Findings(active=[build("1", jobs=jobs)]))

    active = shown_gauges(view, f.JOBS_ACTIVE)
    assert shown_gauges(view, f.ACTIVE) == {(*PIPELINE, "in_progress"): 1.0}
    assert sum(active.values()) == 100
    assert active[*PIPELINE, OTHER, "queued"] > 1
    assert exposed(view).total() <= 100


def test_the_sizes_are_those_of_the_scrape() -> None:
    view = a_view()
    learn(view, completed(jobs=(Job(id="1", name="t", status=Status.QUEUED),)))
    learn(view, job_done())

    (size,) = [x for x in read_text(scraped(view)) if x.name == f.SERIES.name]
    sizes = {sample.labels["metric"]: int(sample.value) for sample in size.samples}
    assert {name: size for name, size in sizes.items() if size} == exposed(view)
    assert sizes.keys() == {x.name for x in f.FAMILIES if x.labels[:5] == f.PIPELINE}


def test_a_lowered_limit_hides_the_idlest_and_a_raised_one_shows_them_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Rig(tmp_path / "s.db")
    for number in range(4):
        rig.provider._builds = [done(build(str(number), repo=f"acme/{number}"))]
        rig.poll()
    rules = rig.rules

    limit = limit_for(*(completed(repo=f"acme/{number}") for number in range(2)))
    rig.rules = msgspec.structs.replace(rules, series_limit=limit)
    rig.restart()

    assert exposed(rig.view).total() <= limit
    assert {labels[2] for labels in rig.view.pipelines} == {"acme/2", "acme/3"}
    assert "series_limit" in caplog.text

    rig.provider._builds = [done(build("9", repo="acme/0"))]
    rig.poll()
    assert (rig.value(f.BUILDS), rig.view.dropped[f.BUILDS.name]) == (3, 1)
    rig.rules = rules
    rig.restart()

    assert rig.value(f.BUILDS) == 5
    assert rig.value(f.BUILDS, repo="acme/0", branch="main") == 1
    assert rig.value(f.BUILDS, repo="acme/0", branch=OTHER) == 1
    rig.crash()


# --- forgetting ---


def test_an_idle_pipeline_is_forgotten_and_comes_back_from_0(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(tmp_path / "s.db", zero_hold=120.0, clock=lambda: 0.0)
    rig.provider._builds = [done(build("1")), done(build("2", branch="x"))]
    rig.poll()
    now = time.time()

    monkeypatch.setattr(time, "time", lambda: now + 29 * DAY)
    rig.provider._builds = [done(build("3", branch="x"))]
    rig.poll()
    rig.run(rig.recorder.sweep)
    assert rig.value(f.BUILDS, branch="main") == 1
    monkeypatch.setattr(time, "time", lambda: now + 31 * DAY)
    rig.run(rig.recorder.sweep)

    assert {labels[4] for labels in rig.view.pipelines} == {OTHER}
    assert {key.labels[4] for key, _ in rig.view.stored()} == {OTHER}
    assert rig.view.samples == room_of(rig.view)
    rig.restart()
    assert {labels[4] for labels in rig.view.pipelines} == {OTHER}
    rig.provider._builds = [done(build("4"))]
    rig.poll()
    main = {key.labels[5:]: s for key, s in rig.view.series.items() if key.labels[4] == "main"}
    assert main["push", "passed"].vector == (0.0,)
    assert main["push", "passed"].held == (1.0,)
    rig.crash()


def test_a_pipeline_with_an_unfinished_build_is_not_idle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(tmp_path / "s.db")
    rig.provider._builds = [build("1")]
    rig.poll()
    now = time.time()

    monkeypatch.setattr(time, "time", lambda: now + 31 * DAY)
    rig.run(rig.recorder.sweep)

    assert PIPELINE in rig.view.pipelines
    rig.crash()


# --- buckets ---


def test_changed_buckets_start_their_histogram_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Rig(tmp_path / "s.db")
    rig.provider._builds = [done(build(str(n))) for n in range(3)]
    rig.poll()
    caplog.clear()

    rig.restart()
    assert caplog.text == ""
    rig.rules = msgspec.structs.replace(rig.rules, buckets=Buckets((20.0,), BUCKETS.queue))
    rig.restart()

    assert rig.value(f.BUILD_DURATION) == 0
    assert rig.value(f.BUILD_QUEUE) == 3
    assert rig.value(f.BUILDS) == 3
    told = [record.__dict__["metric"] for record in caplog.records]
    assert told == [f.BUILD_DURATION.name, f.JOB_DURATION.name]

    rig.provider._builds.append(done(build("9")))
    rig.poll()
    assert rig.value(f.BUILD_DURATION) == 1
    rig.crash()


@pytest.mark.parametrize("account", ["acme", "a\nb", "a\x1fb", "x" * 300], ids=ascii)
def test_a_gap_is_counted_for_the_account(account: str) -> None:
    view = a_view()

    view.configure(view.rules, {account: "scripted"})

    events = [increments.count(f.GAPS, "scripted", account)]
    view.learn(Findings(), Target(1, account, "r", SHOWN.cursor), now=0.0, events=events)

    ((key, vector),) = view.stored()
    assert (key.family, key.labels, vector) == (f.GAPS.name, ("scripted", clean(account)), (1.0,))
