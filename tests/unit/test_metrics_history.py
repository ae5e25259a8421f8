"""The history of a pipeline is its last builds by age, in few bytes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.metrics import facts, history
from exporter.model import CONCLUSIONS, OTHER
from tests.tools.scripted import build, done

ORDERS = st.tuples(st.floats(0, 1e12), st.integers(-1, 2**70), st.integers(1, 2**40))
WORDS = st.sampled_from([*CONCLUSIONS, "neutral"])


def of(*builds: tuple[tuple[float, int, int], str]) -> bytes:
    known = b""
    for order, word in builds:
        known = history.with_build(known, order, word)
    return known


@given(st.lists(st.tuples(ORDERS, WORDS), max_size=60), st.randoms(use_true_random=False))
def test_a_history_is_small_and_does_not_depend_on_the_order_of_arrival(
    builds: list[Any], random: Any
) -> None:
    shuffled = builds[:]
    random.shuffle(shuffled)

    known = of(*builds)

    assert known == of(*shuffled)
    assert len(history.merged([known])) == min(len(builds), history.KEPT)
    assert len(known) <= 11 * history.KEPT


@pytest.mark.parametrize("word", [*CONCLUSIONS, OTHER])
def test_a_named_conclusion_is_kept(word: str) -> None:
    assert [history.Ended(100, word)] == history.merged([of(((100.5, 7, 1), word))])


def test_a_word_of_one_provider_is_other_and_an_unknown_time_is_none() -> None:
    known = of(((0.0, -1, 1), "neutral"))

    assert [history.Ended(None, OTHER)] == history.merged([known])


def test_the_history_of_a_repo_is_that_of_its_pipelines_by_time() -> None:
    one = of(*(((float(at), at, 1), "passed") for at in range(0, 100, 2)))
    other = of(*(((float(at), at, 1), "failed") for at in range(1, 100, 2)))

    last = history.merged([one, other])

    assert [ended.at for ended in last] == list(range(80, 100))
    assert [ended.conclusion for ended in last[-2:]] == ["passed", "failed"]


@pytest.mark.parametrize("number", [7, None])
def test_a_corrected_build_is_drawn_once(number: int | None) -> None:
    def ended(word: str) -> Any:
        return done(build("k", number=number, created_at=90.0, started_at=95.0), word, after=5)

    known = facts.completed(facts.Facts(touched=0.0), ended("passed"), conclusion="passed", now=0)
    known = facts.corrected(known, ended("failed"), conclusion="failed", now=0)

    assert ["failed"] == [e.conclusion for e in history.merged([known.recent])]


def test_the_history_of_other_builds_stays_when_one_is_corrected() -> None:
    known = of(((100.0, 1, 1), "passed"), ((200.0, 2, 1), "failed"), ((300.0, 2, 2), "passed"))

    known = history.without(known, (250.0, 2, 1))

    assert [100, 300] == [ended.at for ended in history.merged([known])]
    assert history.without(known, (1.0, 9, 9)) == known
