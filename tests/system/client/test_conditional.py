"""An answer is remembered to ask only for something newer, never for anybody else."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import msgspec
import pytest

from exporter.errors import Gone, Malformed
from exporter.http import Answer
from exporter.http.response_cache import ResponseCache
from tests.system.client import OK, Visit, connected, visit
from tests.tools.hostile import Server, http

TAGGED = http('{"a":1}', etag='W/"one"')
UNCHANGED = http("", 304, etag='W/"one"')


def asked(visit: Visit) -> list[str | None]:
    return [request.headers.get("if-none-match") for request in visit.requests]


def test_a_conditional_request_asks_only_for_something_newer() -> None:
    visited = visit(TAGGED, UNCHANGED, count=3, conditional=True)
    answers = [outcome for outcome in visited.outcomes if isinstance(outcome, Answer)]

    assert [None, 'W/"one"', 'W/"one"'] == asked(visited)
    assert [{"a": 1}] * 3 == [answer.body for answer in answers]
    assert [200, 304, 304] == [answer.status for answer in answers]
    assert ({"200": 1, "304": 2}, {}) == (visited.stats.requests, visited.stats.errors)


def test_a_newer_answer_takes_the_place_of_the_remembered_one() -> None:
    newer = http('{"a":2}', etag='"two"')
    visited = visit(TAGGED, newer, http("", 304), count=3, conditional=True)

    assert [None, 'W/"one"', '"two"'] == asked(visited)
    assert {"a": 2} == visited.answer.body


def test_what_was_not_asked_for_conditionally_is_not_remembered() -> None:
    assert [None, None] == asked(visit(TAGGED, count=2))


@pytest.mark.parametrize("tag", ["", "x" * 1000, "\x01", '"\xe9"'])
def test_an_entity_tag_that_is_none_is_not_sent_back(tag: str) -> None:
    visited = visit(http('{"a":1}', etag=tag), count=2, conditional=True)

    assert [None, None] == asked(visited)


def test_an_answer_without_an_entity_tag_ends_the_memory_of_the_one_before() -> None:
    assert [None, 'W/"one"', None] == asked(visit(TAGGED, OK, count=3, conditional=True))


def test_an_error_between_leaves_the_memory_alone() -> None:
    visited = visit(TAGGED, http(status=404), UNCHANGED, count=3, conditional=True)

    assert {"a": 1} == visited.answer.body
    assert isinstance(visited.outcomes[1], Gone)


def test_an_unchanged_nobody_asked_for_is_no_answer() -> None:
    assert visit(UNCHANGED, conditional=True).verdict[0] is Malformed


def test_another_credential_asks_everything_anew() -> None:
    secrets = iter(["first-token", "second-token", "second-token"])
    visited = visit(
        TAGGED, count=3, conditional=True, headers=lambda: {"PRIVATE-TOKEN": next(secrets)}
    )

    assert [None, None, 'W/"one"'] == asked(visited)


def test_an_answer_to_an_old_credential_is_not_remembered() -> None:
    old, new = (httpx.Headers({"PRIVATE-TOKEN": token}) for token in ("old", "new"))
    cache = ResponseCache()
    assert cache.lookup("u", int, old) is None
    assert cache.lookup("u", int, new) is None
    cache.store("u", int, old, etag='"x"', body=1)

    assert cache.lookup("u", int, new) is None


def test_remembered_answers_are_told_apart_by_address_and_type() -> None:
    async def go() -> list[str | None]:
        async with Server(TAGGED) as server, connected(server.root) as (api, _):
            for path, params, into in (
                ("/x", {}, dict),
                ("/x", {"page": 2}, dict),
                ("/y", {}, dict),
                ("/x", {}, msgspec.Raw),
                ("/x", {"page": 2}, dict),
            ):
                await api.get(path, params, into=into, conditional=True)
        return [request.headers.get("if-none-match") for request in server.requests]

    assert [None, None, None, None, 'W/"one"'] == asyncio.run(go())


def test_what_is_remembered_is_not_changed_by_who_got_it() -> None:
    async def go() -> Any:
        async with Server(TAGGED, UNCHANGED) as server, connected(server.root) as (api, _):
            for _ in range(2):
                answer = await api.get("/x", into=dict[str, int], conditional=True)
                answer.body["a"] += 1
            return (await api.get("/x", into=dict[str, int], conditional=True)).body

    assert {"a": 1} == asyncio.run(go())


def test_the_question_follows_a_permanent_redirect() -> None:
    moved = http("", 301, location="/y")
    visited = visit(moved, TAGGED, moved, UNCHANGED, count=2, conditional=True)

    assert [None, None, 'W/"one"', 'W/"one"'] == asked(visited)
    assert {"a": 1} == visited.answer.body


def test_the_least_recently_asked_for_is_forgotten() -> None:
    headers, cache = httpx.Headers(), ResponseCache(most=2)
    cache.lookup("a", int, headers)
    for url in ("a", "b"):
        cache.store(url, int, headers, etag='"x"', body=1)
    cache.lookup("a", int, headers)
    cache.store("c", int, headers, etag='"x"', body=1)

    known = [url for url in "abc" if cache.lookup(url, int, headers) is not None]
    assert ["a", "c"] == known
