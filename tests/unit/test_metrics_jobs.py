"""What is shown of the jobs of a name is what the latest of them say, however they arrive."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.ledger.rows import Findings, JobCompleted
from exporter.metrics import facts, gauges, jobs
from exporter.metrics import families as f
from exporter.metrics.jobs import JobEnds, JobTable
from exporter.metrics.labels import MAX_BYTES
from exporter.model import CONCLUSIONS, FAILING, Build, BuildKey, Job, Status
from tests.tools.views import PIPELINE, SHOWN, a_view

MOMENTS = st.none() | st.sampled_from([1.0, 2.0, 3.0, 4.0])
ENDED = st.builds(
    JobCompleted,
    build=st.builds(
        Build,
        key=st.just(BuildKey("k")),
        repo=st.just("acme/shop"),
        status=st.sampled_from([Status.COMPLETED, Status.IN_PROGRESS]),
        attempt=st.integers(1, 2),
        number=st.none() | st.integers(0, 3),
        started_at=MOMENTS,
    ),
    job=st.builds(
        Job,
        id=st.just("1"),
        name=st.sampled_from(["test", "lint"]),
        status=st.just(Status.COMPLETED),
        attempt=st.integers(1, 2),
        conclusion=st.none() | st.sampled_from([*CONCLUSIONS, "neutral"]),
        created_at=MOMENTS,
        started_at=MOMENTS,
        completed_at=MOMENTS,
    ),
)


def ends(table: JobTable | None) -> dict[str, JobEnds]:
    return {} if table is None else table.ends


def after(news: Iterable[JobCompleted], *, size: int = 100) -> JobTable | None:
    """The table after these, so many a commit, as it comes back from a state."""
    known, left = facts.Facts(touched=0.0), list(news)
    while left:
        batch, left = left[:size], left[size:]
        known = facts.decode(facts.encode(facts.jobs_ended(known, batch, now=0.0)))
    return known.jobs


@given(st.lists(ENDED, max_size=8), st.integers(1, 8), st.randoms(use_true_random=False))
def test_neither_the_order_of_arrival_nor_that_of_commits_matters(
    news: list[JobCompleted], size: int, random: Any
) -> None:
    shuffled = news[:]
    random.shuffle(shuffled)

    assert after(news) == after(shuffled, size=size)


def order(news: JobCompleted) -> tuple[float, int, int]:
    job, build = news.job, news.build
    times = [at for at in (job.completed_at, job.started_at, job.created_at) if at is not None]
    number = -1 if build.number is None else build.number
    return (times[0] if times else 0.0, number, max(job.attempt, build.attempt))


@given(st.lists(ENDED.filter(lambda news: news.build.attempt == 1), max_size=8))
def test_a_streak_is_what_failed_since_the_last_pass(news: list[JobCompleted]) -> None:
    known = ends(after(news))

    assert known.keys() == {each.job.name for each in news}
    for name, found in known.items():
        of_name = [each for each in news if each.job.name == name]
        passes = [order(each) for each in of_name if each.job.conclusion == "passed"]
        failures = [order(each) for each in of_name if each.job.conclusion in FAILING]
        times = [each.job.completed_at for each in of_name if each.job.completed_at is not None]
        assert found.streak == sum(not passes or at >= max(passes) for at in failures)
        assert found.completed_at == max(times, default=None)


def ended(at: float, conclusion: str | None, name: str = "test", **values: Any) -> JobCompleted:
    """A job that ran for five seconds, in a build of its own."""
    build = Build(
        key=BuildKey(f"{at}"),
        repo="acme/shop",
        workflow="CI",
        branch="main",
        status=Status.COMPLETED,
        started_at=at - 6,
        attempt=values.get("attempt", 1),
    )
    known = {"started_at": at - 5, "completed_at": at, **values}
    key, status = f"{name}{at}", Status.COMPLETED
    job = Job(id=key, name=name, status=status, conclusion=conclusion, **known)
    return JobCompleted(build, job)


@pytest.mark.parametrize(
    ("words", "streak"),
    [("p", 0), ("f", 1), ("pfte", 3), ("fcsnf", 2), ("fcs", 1), ("ffpcs", 0), ("?f?", 1)],
)
def test_what_was_cancelled_or_skipped_neither_heals_nor_breaks(words: str, streak: int) -> None:
    meant = {"p": "passed", "f": "failed", "t": "timeout", "e": "error", "c": "cancelled"}
    meant |= {"s": "skipped", "n": "neutral"}
    news = [ended(100.0 + n, meant.get(word)) for n, word in enumerate(words)]

    known = ends(after(news))["test"]

    assert (known.streak, known.completed_at) == (streak, 99.0 + len(words))


def test_a_job_carried_over_from_an_earlier_attempt_says_nothing() -> None:
    before = ended(100.0, "failed")
    again = ended(300.0, "passed", attempt=2)
    carried = ended(300.0, "passed", attempt=2, started_at=95.0, completed_at=100.0)

    assert after([before, carried]) == after([before])
    assert after([carried]) is None
    assert ends(after([before, again]))["test"].streak == 0


def test_a_long_streak_is_counted_to_the_end_and_stays_small() -> None:
    failed = [ended(float(at), "failed") for at in range(100, 1100)]

    assert ends(after(failed))["test"].streak == 1000
    assert ends(after([*failed, ended(2000.0, "passed")]))["test"].streak == 0
    assert ends(after([*failed, ended(1090.5, "passed")]))["test"].streak == 9
    assert len(msgspec.msgpack.encode(after(failed))) < 2000


def test_five_hundred_green_jobs_take_fifty_bytes_each_and_their_names() -> None:
    news = [ended(100.0 + n, "passed", f"job {n:03}") for n in range(500)]

    table = after(news)

    assert table is not None
    assert table.count == 500
    assert len(table.packed) < 500 * 50


def test_a_job_that_has_not_ended_for_long_is_forgotten_and_one_without_times_is_not() -> None:
    table = after(
        [
            ended(100.0, "failed", "renamed"),
            ended(300.0, "failed"),
            ended(400.0, "failed", "timeless", started_at=None, completed_at=None),
            ended(100.0, "cancelled", "started", completed_at=None),
        ]
    )

    assert ends(jobs.without_old(table, before=200.0)).keys() == {"test", "timeless", "started"}
    assert jobs.without_old(table, before=50.0) is table
    assert jobs.without_old(None, before=50.0) is None
    assert jobs.without_old(after([ended(100.0, "failed")]), before=200.0) is None


def test_names_are_labels() -> None:
    name = "odd \n" + "x" * 300
    known = ends(after([ended(100.0, "failed", name), ended(101.0, "failed", name)]))

    ((label, found),) = known.items()
    assert found.streak == 2
    assert "\n" not in label
    assert len(label.encode()) <= MAX_BYTES


def test_they_are_shown_beside_the_series_of_the_job() -> None:
    view = a_view()
    view.learn(Findings(jobs=[ended(100.0, "failed"), ended(101.0, "cancelled", "lint")]))

    shown = {
        (name, labels[5:]): value
        for name, labels, value in view.gauges(200.0)
        if labels[:5] == PIPELINE and name in gauges.ENDED_JOBS
    }

    assert shown == {
        (f.JOB_STREAK.name, ("test",)): 1.0,
        (f.JOB_STREAK.name, ("lint",)): 0.0,
        (f.JOB_LAST_COMPLETED.name, ("test",)): 100.0,
        (f.JOB_LAST_COMPLETED.name, ("lint",)): 101.0,
    }


def test_where_there_is_no_room_new_jobs_are_not_shown_and_known_ones_go_on() -> None:
    """Their counters fold; a streak of several jobs together would say nothing."""
    view = a_view(limit=200)
    view.learn(Findings(jobs=[ended(100.0, "failed")]), SHOWN)
    crowd = [ended(100.0, "failed", f"job {n}") for n in range(200)]
    view.learn(Findings(jobs=[ended(101.0, "failed"), *crowd]), SHOWN)
    view.learn(Findings(jobs=[ended(102.0, "failed"), ended(102.0, "failed", "late")]), SHOWN)

    shown = {(name, labels): value for name, labels, value in view.gauges(200.0)}

    assert shown == {
        (f.JOB_STREAK.name, (*PIPELINE, "test")): 3.0,
        (f.JOB_LAST_COMPLETED.name, (*PIPELINE, "test")): 102.0,
    }
    assert sum(v[0] for k, v in view.stored() if k.family == f.JOBS.name) == 204
