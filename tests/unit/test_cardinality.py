"""The two steps in which increments go elsewhere when there is no room, and what is remembered."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.ledger.rows import Completed, Cursor, Findings, SeriesKey
from exporter.metrics import cardinality
from exporter.metrics import families as f
from exporter.metrics.cardinality import Mark
from exporter.metrics.facts import Facts
from exporter.model import OTHER, Job, Status
from exporter.view.series_view import SeriesView
from tests.tools.scripted import Rig, build, done
from tests.tools.views import PIPELINE, SHOWN, a_view, learn, shown_gauges, some_findings

NOWHERE = (*PIPELINE[:2], OTHER, OTHER, OTHER)
BRANCH_OTHER = (*PIPELINE[:4], OTHER)


@pytest.mark.parametrize(
    ("family", "own", "folded"),
    [
        (f.BUILDS, ("push", "failed"), [("push", "failed"), (OTHER, "failed"), (OTHER, OTHER)]),
        (f.RETRIES, (), [(), ()]),
        (f.BUILD_DURATION, ("failed",), [("failed",), ("failed",)]),
        (f.JOBS, ("lint", "failed"), [(OTHER, "failed"), (OTHER, "failed"), (OTHER, OTHER)]),
        (f.JOB_QUEUE, ("lint",), [(OTHER,), (OTHER,)]),
    ],
)
def test_an_increment_goes_to_the_branch_other_and_then_to_the_catch_all(
    family: f.Family, own: tuple[str, ...], folded: list[tuple[str, ...]]
) -> None:
    found = [place.series for place in cardinality.places(SeriesKey(family.name, PIPELINE + own))]

    at = [PIPELINE, BRANCH_OTHER, NOWHERE, NOWHERE]
    labels = [home + rest for home, rest in zip(at, [own, *folded], strict=False)]
    assert found == [SeriesKey(family.name, each) for each in labels]


def conclusions(view: SeriesView) -> Counter[tuple[str, str]]:
    """How many builds and jobs were counted, by their conclusions."""
    found = Counter[tuple[str, str]]()
    for key, series in view.series.items():
        if key.family in (f.BUILDS.name, f.JOBS.name):
            found[key.family, key.labels[-1]] += int(series.vector[0])
    return +found


@given(st.lists(some_findings(), max_size=8), st.integers(200, 600))
def test_conclusions_stay_right_at_the_limit(history: list[Findings], limit: int) -> None:
    view, free = a_view(limit), a_view()
    for findings in history:
        learn(view, findings)
        learn(free, findings)

    assert conclusions(view) == conclusions(free)


# --- marks of older versions ---


@pytest.mark.parametrize("bit", range(10))
def test_a_pipeline_that_took_no_more_of_some_series_is_full(bit: int) -> None:
    known = Facts(touched=1.0, marks=1 << bit | Mark.EVICTED, marked_at=100)

    assert cardinality.marks(known, 100) == Mark.FULL | Mark.EVICTED
    assert cardinality.marks(known, 101) == Mark.NONE


@pytest.mark.parametrize("marks", [1, 3, 7, 15, 63, 63 | Mark.OVERFLOW])
def test_a_state_that_was_folded_before_is_read_and_goes_on(tmp_path: Path, marks: int) -> None:
    rig = Rig(tmp_path / "s.db", series_limit=500)
    rig.provider._builds = [done(build("1")), done(build("2", branch="x"))]
    rig.poll()
    encode = msgspec.msgpack.Encoder().encode
    for labels in (PIPELINE, BRANCH_OTHER):
        known = msgspec.structs.replace(
            rig.view.pipelines[labels].facts, marks=marks, marked_at=500
        )
        sql = "UPDATE pipeline SET facts = ? WHERE labels = ?"
        rig.ledger._db.execute(sql, (encode(known), "\x1f".join(labels)))
    rig.restart()

    rig.provider._builds += [
        done(build("3")),
        done(build("4"), "neutral"),
        done(build("5", branch="x"), "neutral"),
    ]
    rig.poll()

    assert rig.value(f.BUILDS) == 5
    assert rig.value(f.BUILDS, branch="main", conclusion="passed") == 2
    assert rig.value(f.BUILDS, workflow=OTHER, conclusion="neutral") == 2
    rig.rules = msgspec.structs.replace(rig.rules, series_limit=501)
    rig.restart()
    rig.provider._builds.append(done(build("6"), "neutral"))
    rig.poll()
    assert rig.value(f.BUILDS, branch="main", conclusion="neutral") == 1
    rig.crash()


def shown_jobs(limit: int, *names: str) -> dict[tuple[bool, str], float]:
    """Gauges of queued jobs at a limit: whether they are in their own pipeline, and their names."""
    jobs = tuple(Job(id=name, name=name, status=Status.QUEUED) for name in names)
    view = a_view(limit)
    learn(view, Findings(active=[build("1")]))
    learn(view, Findings(active=[build("1", jobs=jobs)]))
    gauges = shown_gauges(view, f.JOBS_ACTIVE)
    return {(labels[:5] == PIPELINE, labels[5]): value for labels, value in gauges.items()}


@pytest.mark.parametrize("names", [("build",), ("build", "test"), ("build", "lint", "test")])
def test_gauges_of_jobs_fold_one_by_one_and_keep_their_names_only_at_home(
    names: tuple[str, ...],
) -> None:
    states = [shown_jobs(limit, *names) for limit in range(1, 200)]

    kinds = [state for n, state in enumerate(states) if state != states[n - 1]]
    assert kinds[-1] == {(True, name): 1 for name in names}
    assert {(True, OTHER): 1} | {(True, name): 1 for name in names[:-1]} in kinds
    for state in kinds:
        assert all(state.values())  # no name is shown that no job has
        assert sum(state.values()) in (0, len(names))
        assert {name for (is_home, name) in state if not is_home} <= {OTHER}


# --- what is fixed ---


def test_the_marks_have_the_numbers_that_states_hold() -> None:
    assert (Mark.FULL, Mark.OVERFLOW, Mark.EVICTED) == (1, 1024, 2048)


@pytest.mark.parametrize(
    ("limit", "kept_free"),
    [(1, 1), (100, 25), (102, 26), (4000, 1000), (8000, 1000), (10_000, 1000), (20_000, 2000)],
)
def test_a_tenth_of_the_limit_is_reserved_and_more_of_a_small_one(
    limit: int, kept_free: int
) -> None:
    assert cardinality.reserve(limit) == kept_free
    assert cardinality.most_apart_from_folded(limit) == limit - kept_free * 5 / 8


@pytest.mark.parametrize(
    ("family", "own", "shares"),
    [
        (f.JOBS, ("lint", "failed"), [1.0, 5 / 8, 1 / 16, 0.0]),
        (f.JOB_QUEUE, ("lint",), [1.0, 5 / 8, 1 / 8]),
    ],
)
def test_a_coarser_place_may_use_more_of_the_reserve(
    family: f.Family, own: tuple[str, ...], shares: list[float]
) -> None:
    found = [*cardinality.places(SeriesKey(family.name, PIPELINE + own))]

    assert [place.kept for place in found] == shares
    assert [place.is_last for place in found] == [False] * (len(shares) - 1) + [True]


def test_the_catch_all_is_the_last_that_may_count_for_a_pipeline() -> None:
    homes = cardinality.pipelines(PIPELINE)

    assert [*homes][-1] == cardinality.catch_all(*PIPELINE[:2]) == NOWHERE
    assert [*homes.values()] == [1.0, 5 / 8, 1 / 8]
    assert cardinality.is_catch_all(NOWHERE)
    assert not cardinality.is_catch_all(BRANCH_OTHER)


@pytest.mark.parametrize("is_exposed", [False, True])
def test_an_increment_of_a_new_series_is_held_back_once_the_repo_is_shown(
    is_exposed: bool,
) -> None:
    target = SHOWN if is_exposed else msgspec.structs.replace(SHOWN, cursor=Cursor(0.0))
    view = a_view(zero_hold=60.0)

    change = view.drafted(target, Findings(completed=[Completed(done(build("1")))]), now=1e9)

    (row,) = (row for row in change.series if row.series.labels[5:] == ("push", "passed"))
    assert (row.vector, row.held, row.is_live) == (
        ((0.0,), (1.0,), False) if is_exposed else ((1.0,), None, True)
    )
    assert row.created_at == (1e9 if is_exposed else None)
