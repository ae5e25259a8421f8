"""What is remembered of a pipeline is what its latest builds say, in whatever order they arrive."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.metrics import facts
from exporter.metrics.labels import build_info
from exporter.model import CONCLUSIONS, FAILING, OTHER, Build, BuildKey, Status
from tests.tools.scripted import build, done

MOMENTS = st.none() | st.sampled_from([1.0, 2.0, 3.0, 4.0])
ENDED = st.builds(
    Build,
    key=st.just(BuildKey("k")),
    repo=st.just("r"),
    status=st.just(Status.COMPLETED),
    attempt=st.integers(1, 2),
    number=st.none() | st.integers(0, 3),
    conclusion=st.sampled_from([*CONCLUSIONS, "neutral"]),
    created_at=MOMENTS,
    started_at=MOMENTS,
    completed_at=MOMENTS,
    commit=st.none() | st.sampled_from(["a1", "b2"]),
    default_branch=st.none() | st.just("main"),
    branch=st.sampled_from(["main", "x"]),
)


def after(builds: Iterable[Build]) -> facts.Facts:
    known = facts.Facts(touched=0.0)
    for each in builds:
        word, info = each.conclusion or OTHER, build_info(each)
        known = facts.completed(known, each, conclusion=word, now=0.0, info=info)
    return known


@given(st.lists(ENDED, max_size=8), st.randoms(use_true_random=False))
def test_the_facts_do_not_depend_on_the_order_of_arrival(builds: list[Build], random: Any) -> None:
    shuffled = builds[:]
    random.shuffle(shuffled)

    assert after(builds) == after(shuffled)


@given(st.lists(ENDED, min_size=1, max_size=8))
def test_the_facts_are_those_of_the_latest_builds(builds: list[Build]) -> None:
    known = after(builds)
    latest = max(b.order for b in builds)
    passes = [b.order for b in builds if b.conclusion == "passed"]
    failures = [b.order for b in builds if b.conclusion in FAILING]

    assert known.conclusion in {b.conclusion for b in builds if b.order == latest}
    assert known.completed_at in {b.completed_at for b in builds if b.order == latest}
    assert known.passed == max(passes, default=None)
    assert known.streak == sum(not passes or order >= max(passes) for order in failures)


def ended(at: float, conclusion: str, **values: Any) -> Build:
    return done(build("k", created_at=at - 10, started_at=at - 5, **values), conclusion, after=5)


@pytest.mark.parametrize(
    ("words", "streak"),
    [
        ("", 0),
        ("p", 0),
        ("f", 1),
        ("ff", 2),
        ("pfte", 3),
        ("pffcsrnf", 3),
        ("ffpf", 1),
        ("ffp", 0),
    ],
)
def test_a_streak_counts_what_broke_since_the_last_pass(words: str, streak: int) -> None:
    meant = {
        "p": "passed",
        "f": "failed",
        "t": "timeout",
        "e": "error",
        "c": "cancelled",
        "s": "skipped",
        "r": "partial",
        "n": "neutral",
    }
    builds = [ended(100.0 + i, meant[word]) for i, word in enumerate(words)]

    assert after(builds).streak == after(reversed(builds)).streak == streak


def test_a_late_pass_splits_a_streak() -> None:
    failed = [ended(at, "failed") for at in (100.0, 200.0, 300.0)]

    assert after([*failed, ended(250.0, "passed")]).streak == 1
    assert after([*failed, ended(50.0, "passed")]).streak == 3


def test_a_long_streak_is_counted_to_the_end() -> None:
    failed = [ended(float(at), "failed") for at in range(100, 1100)]

    assert after(failed).streak == 1000
    assert after([*failed, ended(2000.0, "passed")]).streak == 0
    assert after([*failed, ended(1090.5, "passed")]).streak == 9
    assert len(msgspec.msgpack.encode(after(failed))) < 10_000


def test_builds_that_end_together_are_counted_each() -> None:
    assert after([ended(100.0, "failed"), ended(100.0, "failed")]).streak == 2


@pytest.mark.parametrize(
    ("before", "now", "conclusion", "streak"),
    [
        (ended(100.0, "failed", number=1), ended(100.0, "passed", number=1), "passed", 0),
        (ended(100.0, "failed", number=1), ended(190.0, "cancelled", number=1), "cancelled", 0),
        (ended(100.0, "failed", number=1), ended(190.0, "error", number=1), "error", 1),
        (ended(100.0, "passed", number=1), ended(90.0, "failed", number=1), "failed", 0),
        (ended(100.0, "passed", number=1), ended(190.0, "failed", number=1), "failed", 1),
        (ended(100.0, "passed"), ended(100.0, "failed"), "failed", 1),
        (ended(100.0, "failed"), ended(100.0, "cancelled"), "cancelled", 0),
    ],
)
def test_a_corrected_build_takes_the_place_of_what_it_was(
    before: Build, now: Build, conclusion: str, streak: int
) -> None:
    known = facts.corrected(after([before]), now, conclusion=now.conclusion or "", now=0.0)

    assert (known.conclusion, known.streak) == (conclusion, streak)


def test_a_correction_takes_back_one_failure_of_two_that_ended_together() -> None:
    known = after([ended(100.0, "failed"), ended(100.0, "failed")])

    known = facts.corrected(known, ended(100.0, "cancelled"), conclusion="cancelled", now=0.0)

    assert known.streak == 1


def test_the_last_duration_is_of_the_latest_build_that_has_one() -> None:
    timed = ended(100.0, "passed")
    untimed = msgspec.structs.replace(ended(200.0, "passed"), started_at=None)
    backwards = msgspec.structs.replace(ended(300.0, "passed"), started_at=400.0)

    assert after([timed, untimed, backwards]).duration == 5.0
