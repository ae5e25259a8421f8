"""One listing serves many repos, each of them once."""

from __future__ import annotations

import asyncio

import pytest

from exporter.errors import TryLater
from exporter.providers.feed import LIFETIME, Feed


class Listing:
    """A listing that counts its requests, beside a clock that a test moves."""

    def __init__(self) -> None:
        self.at = 1000.0
        self.requests = 0
        self.fails = False
        self.feed: Feed[str, int] = Feed()

    def now(self) -> float:
        return self.at

    async def fetch(self) -> int:
        self.requests += 1
        number = self.requests
        await asyncio.sleep(0)
        if self.fails:
            raise TryLater("answered 503", reason="server")
        return number

    def read(self, reader: str, page: str = "1", since: float = 0.0) -> tuple[int, bool]:
        return asyncio.run(
            self.feed.read(page, reader, now=self.now, fetch=self.fetch, since=since)
        )

    def together(self, *readers: str) -> list[tuple[int, bool]]:
        async def read() -> list[tuple[int, bool]]:
            calls = (self.feed.read("1", r, now=self.now, fetch=self.fetch) for r in readers)
            return await asyncio.gather(*calls)

        return asyncio.run(read())


def test_repos_share_an_answer_and_one_of_them_is_the_first() -> None:
    listing = Listing()

    read = listing.together("a", "b", "c")

    assert listing.requests == 1
    assert read == [(1, True), (1, False), (1, False)]


def test_the_next_poll_of_a_repo_asks_anew() -> None:
    listing = Listing()
    listing.read("a")

    assert listing.read("a") == (2, True)
    assert listing.read("b") == (2, False)


def test_an_answer_serves_no_longer_than_its_lifetime_nor_after_a_step_of_the_clock() -> None:
    listing = Listing()
    listing.read("a")

    listing.at += LIFETIME
    assert listing.read("b") == (2, True)
    listing.at -= 1
    assert listing.read("c") == (3, True)


def test_an_answer_that_does_not_reach_back_far_enough_is_no_answer() -> None:
    listing = Listing()
    listing.read("a", since=500.0)

    assert listing.read("b", since=500.0) == (1, False)
    assert listing.read("c", since=499.0) == (2, True)


def test_pages_are_answers_of_their_own() -> None:
    listing = Listing()

    assert listing.read("a", page="1") == (1, True)
    assert listing.read("a", page="2") == (2, True)
    assert listing.feed.latest("1") == 1
    assert listing.feed.latest("3") is None


def test_a_request_that_fails_is_the_trouble_of_one_repo() -> None:
    listing = Listing()
    listing.fails = True
    with pytest.raises(TryLater):
        listing.read("a")

    listing.fails = False
    assert listing.read("b") == (2, True)
    assert listing.read("a") == (2, False)
