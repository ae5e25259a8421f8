"""Two ledgers on one state, as two workers have them: rows decide, not what one remembers."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.metrics import facts
from exporter.metrics import families as f
from exporter.model import Build, Status
from exporter.view.series_view import SeriesView
from tests.tools.scripted import Rig, build, done
from tests.tools.views import PIPELINE
from tests.unit.test_series_view import room_of


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[tuple[Rig, Rig]]:
    made = pair(tmp_path / "s.db")
    yield made
    for rig in made:
        rig.crash()


def pair(path: Path, **options: float) -> tuple[Rig, Rig]:
    """Two workers whose first walks have ended."""
    both = tuple(Rig(path, alone=False, **options) for _ in range(2))
    for rig in both:
        rig.poll()
    return both[0], both[1]


def found(rig: Rig, *builds: Build) -> None:
    """One of the workers polls and finds these."""
    rig.provider._builds = [*builds]
    rig.poll()


def fresh(rig: Rig) -> SeriesView:
    """What a process shows that loads the state now."""
    view = SeriesView(rig.rules, rig.accounts)
    view.apply(rig.ledger.load())
    return view


def numbers(view: SeriesView) -> Counter[tuple[str, str]]:
    """What was counted, held or shown, by family and conclusion."""
    counted = Counter[tuple[str, str]]()
    for key, series in view.series.items():
        for vector in (series.vector, series.held or (0.0,)):
            counted[key.family, key.labels[-1]] += int(
                sum(vector[:-1]) if vector[1:] else vector[0]
            )
    return +counted


def test_facts_and_counters_are_those_of_both(workers: tuple[Rig, Rig]) -> None:
    one, other = workers

    for n in range(6):
        found((one, other)[n % 2], done(build(str(n), number=n), "failed"))
    found(one, done(build("6", number=6)), build("7", number=7))
    found(other, done(build("8", number=8), "failed"))

    view = fresh(one)
    known = view.pipelines[PIPELINE].facts
    assert (known.streak, known.statuses) == (1, (Status.IN_PROGRESS,))
    assert known.passed is not None
    assert numbers(view)[f.BUILDS.name, "failed"] == 7
    assert numbers(view)[f.BUILDS.name, "passed"] == 1
    assert other.value(f.BUILDS, conclusion="failed") == 7  # it shows what it has touched


def test_a_build_that_both_find_is_counted_once(workers: tuple[Rig, Rig]) -> None:
    one, other = workers
    running = build("1")
    found(one, running)
    found(other, running)

    found(one, done(running))
    found(other, done(running))

    view = fresh(one)
    assert numbers(view)[f.BUILDS.name, "passed"] == 1
    assert not any(view.active.values())


def test_what_one_holds_back_the_other_releases_with_its_own(tmp_path: Path) -> None:
    one, other = pair(tmp_path / "s.db", zero_hold=60.0)
    found(one, done(build("1")))
    found(other, done(build("2")))
    assert numbers(fresh(one))[f.BUILDS.name, "passed"] == 2
    held = [key for key, series in other.view.series.items() if series.held is not None]

    with other.ledger.transaction() as tx:
        tx.release(held)
    found(one, done(build("3")))

    (row,) = (
        r for r in one.ledger.load().series if r.series.family == f.BUILDS.name and any(r.vector)
    )
    assert (row.vector, row.held, row.is_live) == ((3.0,), None, True)
    for rig in (one, other):
        rig.crash()


@given(
    st.lists(
        st.tuples(
            st.integers(0, 1), st.sampled_from("abcdef"), st.sampled_from(["passed", "neutral"])
        ),
        max_size=12,
    ),
    st.sampled_from([100, 200, 400]),
)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_limit_holds_for_both_together(polls: list[tuple[int, str, str]], limit: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        workers = pair(Path(folder, "s.db"), series_limit=limit)
        for n, (who, workflow, conclusion) in enumerate(polls):
            found(workers[who], done(build(str(n), workflow=workflow), conclusion))

        view = fresh(workers[0])
        counted = numbers(view)
        truth = Counter(conclusion for _, _, conclusion in polls)
        assert {word: counted[f.BUILDS.name, word] for word in truth} == truth
        used = sum(workers[1].ledger.load().samples.values())
        assert used == view.samples == room_of(view) <= limit
        for row in workers[0].ledger.load().pipelines:
            assert facts.decode(row.facts).touched > 0
        for rig in workers:
            rig.crash()
