"""A list that is too large, has no end or cannot be read costs a poll, and no build."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from exporter.errors import Malformed, ProviderError
from exporter.http import Api, ApiStats
from exporter.metrics import families as f
from exporter.model import Build
from exporter.providers import Page, Query, Repo
from exporter.sync import paginator
from exporter.sync.paginator import count
from tests.tools.scripted import Rig, Scripted, build, done


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path / "s.db")
    yield made
    made.crash()


Listing = Callable[[Query], Page]


@pytest.fixture
def asked(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Callable[[Listing], list[Query]]:
    """Lets the provider list what a function says, and tells what was asked for."""

    def begin(listing: Listing) -> list[Query]:
        queries: list[Query] = []

        async def page(self: Scripted, api: Api, repo: Repo, query: Query) -> Page:
            queries.append(query)
            return listing(query)

        monkeypatch.setattr(Scripted, "page", page)
        return queries

    return begin


def ended(key: str, ago: float = 60.0) -> Build:
    at = time.time() - ago
    return done(build(key, created_at=at, started_at=at + 1), after=5)


def bearing(most: int) -> Listing:
    """One page, as long as no more than so many items are asked for."""

    def listing(query: Query) -> Page:
        if query.size > most:
            raise Malformed("the answer is larger than 32 MiB", reason="too_large")
        return Page((ended("1"),))

    return listing


def shallow(rig: Rig) -> None:
    """Let the next poll look for what is new only."""
    rig.memory.deep_at = time.monotonic()


def deep(rig: Rig) -> None:
    """Let the next poll read the whole window."""
    rig.memory.deep_at = None


# -- too large


def test_a_first_page_that_is_too_large_is_asked_for_once_more_half_as_long(rig, asked) -> None:
    queries = asked(bearing(50))

    rig.poll()
    rig.poll()

    assert [100, 50, 30] == [query.size for query in queries]
    assert {None} == {query.token for query in queries}
    assert rig.value(f.BUILDS) == 1
    assert rig.remote.stats.errors == {"too_large": 1}


def test_a_repo_whose_pages_are_larger_still_is_asked_for_less_at_the_next_poll(rig, asked) -> None:
    queries = asked(bearing(20))

    with pytest.raises(Malformed):
        rig.poll()
    rig.poll()
    shallow(rig)
    rig.poll()

    assert [100, 50, 25, 12, 12] == [query.size for query in queries]
    assert rig.value(f.BUILDS) == 1


def test_pages_are_never_asked_for_without_end(rig, asked) -> None:
    queries = asked(bearing(0))

    for _ in range(4):
        with pytest.raises(Malformed):
            rig.poll()

    assert [100, 50, 25, 12, 10, 10] == [query.size for query in queries]


def test_pages_grow_again_when_they_are_not_too_large_any_more(rig, asked) -> None:
    asked(bearing(20))
    with pytest.raises(Malformed):
        rig.poll()
    queries = asked(bearing(100))

    for _ in range(2):
        deep(rig)
        rig.poll()
    for _ in range(3):
        rig.memory.page_sizes.shrunk_at = -math.inf  # hours ago
        deep(rig)
        rig.poll()

    assert [25, 25, 25, 50, 100] == [query.size for query in queries]


def test_a_later_page_that_is_too_large_begins_the_walk_anew_with_shorter_pages(rig, asked) -> None:
    def listing(query: Query) -> Page:
        if query.token is None:
            return Page((ended("1"),), f"2x{query.size}")
        assert query.token == f"2x{query.size}", "a token of pages of another length"
        if query.size > 50:
            raise Malformed("too large", reason="too_large")
        return Page((ended("2", 70),))

    queries = asked(listing)
    rig.poll()
    rig.poll()

    assert [None, "2x100", None, "2x50"] == [query.token for query in queries]
    assert rig.value(f.BUILDS) == 2


# -- without end


def test_a_list_that_tells_of_the_same_builds_again_and_again_is_not_read_for_ever(
    rig, asked
) -> None:
    def listing(query: Query) -> Page:
        return Page((ended("1"), ended("2")), str(int(query.token or 0) + 1))

    queries = asked(listing)
    for _ in range(2):
        rig.poll()

    assert [None, "1", "2", "3"] * 2 == [query.token for query in queries]
    assert rig.remote.stats.errors == {"bad_shape": 2}
    asked(lambda query: Page((ended("3"), ended("1"), ended("2"))))
    rig.poll()
    assert rig.value(f.BUILDS) == 3


def test_pages_that_shift_while_they_are_read_are_no_such_list(rig, asked) -> None:
    builds = [ended(str(n), 60.0 + n) for n in range(12)]

    def listing(query: Query) -> Page:
        start = int(query.token or 0)
        more = str(start + 1) if start + 4 < len(builds) else None
        return Page(tuple(builds[start : start + 4]), more)

    asked(listing)
    rig.poll()

    assert rig.value(f.BUILDS) == 12


def test_empty_pages_may_go_on_but_not_for_ever(rig, asked, monkeypatch) -> None:
    monkeypatch.setattr(paginator, "_MOST_EMPTY", 70)

    def listing(query: Query) -> Page:
        number = int(query.token or 0)
        return Page((ended("1"),)) if number == last else Page((), str(number + 1))

    last = 60
    asked(listing)
    rig.poll()
    assert rig.value(f.BUILDS) == 1

    last = -1
    deep(rig)
    queries = asked(listing)
    rig.poll()
    rig.poll()
    assert rig.remote.stats.errors == {"bad_shape": 2}
    assert len(queries) == 140
    assert queries[70].token is None


# -- what is wrong in a sound answer


def test_what_only_the_provider_can_see_is_counted_once(rig, asked) -> None:
    heard = [Malformed("no list in it", reason="bad_shape") for _ in range(2)]
    heard[1].counted = True  # by the client

    def listing(query: Query) -> Page:
        raise heard.pop(0)

    asked(listing)
    for _ in range(2):
        with pytest.raises(ProviderError):
            rig.poll()

    assert rig.remote.stats.errors == {"bad_shape": 1}


def test_an_error_that_is_met_in_two_places_counts_once() -> None:
    stats, error = ApiStats(), Malformed("no list", reason="bad_shape")

    count(error, stats)
    count(error, stats)

    assert stats.errors == {"bad_shape": 1}
