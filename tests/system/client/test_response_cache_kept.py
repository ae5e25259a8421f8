"""What was answered outlives the process, for the same reader of the same things only."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import zlib
from types import GenericAlias
from typing import Any

import httpx
import msgspec
import pytest

from exporter.errors import TryLater
from exporter.http.response_cache import ResponseCache, shape
from exporter.http.stored import ResponseChanges, ResponseKey, StoredResponse
from exporter.providers.github.mapping import Runs
from tests.system.client import SECRET, Item, connected, secret_headers
from tests.tools.hostile import Server, http

DAY = 86400.0
OURS = httpx.Headers({**secret_headers(), "User-Agent": "cicd-exporter/1"})
THEIRS = httpx.Headers({"Authorization": "Bearer other", "User-Agent": "cicd-exporter/1"})
NOTHING = ResponseChanges([], [])


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def asked(cache: ResponseCache, *urls: str, headers: httpx.Headers = OURS, body: str = "x") -> None:
    """Ask for all of them, and remember what is answered."""
    for url in urls:
        cache.lookup(url, Item, headers)
        cache.store(url, Item, headers, etag='"1"', body=Item(1, body))


def saved(cache: ResponseCache) -> list[StoredResponse]:
    return cache.changes().kept


def known(cache: ResponseCache, *urls: str, headers: httpx.Headers = OURS) -> list[str]:
    return [url for url in urls if cache.lookup(url, Item, headers) is not None]


def restored(rows: list[StoredResponse], **options: Any) -> ResponseCache:
    cache = ResponseCache(**options)
    cache.restore(rows)
    return cache


# --- the same reader ---


def test_a_restored_answer_is_the_one_that_was_saved() -> None:
    cache = ResponseCache()
    asked(cache, "/a")
    restarted = restored(saved(cache))
    found = restarted.lookup("/a", Item, OURS)

    assert found is not None
    assert ('"1"', Item(1, "x")) == (found.etag, restarted.body("/a", Item, found))
    assert restarted.changes() == NOTHING


def test_nothing_that_is_saved_leads_to_the_token() -> None:
    one, other = ResponseCache(), ResponseCache()
    asked(one, "/a")
    asked(other, "/a")
    rows = [*saved(one), *saved(other)]

    assert SECRET not in repr(rows)
    assert rows[0].reader != rows[1].reader


def test_another_reader_is_given_nothing_and_all_of_it_is_dropped() -> None:
    cache = ResponseCache()
    asked(cache, "/a", "/b")
    restarted = restored(saved(cache))

    assert known(restarted, "/a", "/b", headers=THEIRS) == []
    assert known(restarted, "/a", "/b") == []  # nor when the first one comes back
    assert sorted(key.url for key in restarted.changes().dropped) == ["/a", "/b"]


def test_another_version_of_ours_is_the_same_reader() -> None:
    cache = ResponseCache()
    asked(cache, "/a")
    upgraded = httpx.Headers({**OURS, "User-Agent": "cicd-exporter/2"})

    assert known(restored(saved(cache)), "/a", headers=upgraded) == ["/a"]


def test_another_version_of_the_api_is_another_reader() -> None:
    cache = ResponseCache()
    asked(cache, "/a")
    newer = httpx.Headers({**OURS, "X-GitHub-Api-Version": "2030-01-01"})

    assert known(restored(saved(cache)), "/a", headers=newer) == []


def test_what_was_asked_for_since_is_newer_than_what_is_restored() -> None:
    old, cache = ResponseCache(), ResponseCache()
    asked(old, "/a", "/b", body="old")
    asked(cache, "/a", body="new")
    cache.restore(saved(old))
    bodies = {
        url: cache.body(url, Item, found).text
        for url in ("/a", "/b")
        if (found := cache.lookup(url, Item, OURS)) is not None
    }

    assert bodies == {"/a": "new", "/b": "old"}


# --- the same things ---


class Inner(msgspec.Struct):
    a: Any = None


class Plain(msgspec.Struct):
    items: list[Inner] = []


def struct(*fields: Any, **options: Any) -> Any:
    """A type by the name of `Plain` that reads other things."""
    return msgspec.defstruct("Plain", fields, **options)


def items_of(*fields: Any) -> Any:
    return GenericAlias(list, msgspec.defstruct("Inner", fields))


OTHERS = {
    "one more": struct(("items", list[Inner], []), ("more", Any, None)),
    "one more inside": struct(("items", items_of(("a", Any, None), ("b", Any, None)), [])),
    "another default inside": struct(("items", items_of(("a", Any, 0)), [])),
    "a type more": struct(("items", list[Inner | None], [])),
    "another type": struct(("items", dict[str, Inner], {})),
    "required": struct(("items", list[Inner])),
    "another name": struct(("others", list[Inner], [])),
    "another name in JSON": struct(("items", list[Inner], []), rename={"items": "values"}),
    "several of it": list[Plain],
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_a_type_that_reads_other_things_is_given_nothing(other: Any) -> None:
    cache = ResponseCache()
    cache.lookup("/a", Plain, OURS)
    cache.store("/a", Plain, OURS, etag='"1"', body=Plain([Inner(1)]))
    restarted = restored(saved(cache))

    assert restarted.lookup("/a", other, OURS) is None
    assert restarted.lookup("/a", struct(("items", list[Inner], [])), OURS) is not None


class Tree(msgspec.Struct):
    leaves: list[Tree] = []


def test_a_type_that_holds_itself_has_a_shape() -> None:
    assert shape(Tree) != shape(Plain)


@pytest.mark.parametrize("seed", ["1", "2"])
def test_the_shape_of_a_type_is_the_same_in_every_process(seed: str) -> None:
    code = (
        "from exporter.http.response_cache import shape\n"
        "from exporter.providers.github.mapping import Runs\n"
        "print(shape(Runs))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=True,
    )

    assert told.stdout.strip() == shape(Runs)


BROKEN = [b"", b"junk", *map(zlib.compress, (b"no json", b"[]", b'"\xff'))]


@pytest.mark.parametrize("packed", BROKEN)
def test_a_saved_answer_that_is_broken_is_asked_for_anew(packed: bytes) -> None:
    async def go() -> tuple[list[str | None], Any, list[ResponseKey]]:
        tagged = http('{"n":1}', etag='"1"')
        async with (
            Server(tagged, http("", 304, etag='"1"'), tagged) as server,
            connected(server.root) as (api, _),
        ):
            await api.get("/x", into=Item, conditional=True)
            [row] = saved(api.responses)
            broken = ResponseCache()
            broken.restore([row._replace(packed=packed)])
            api.responses = broken
            body = (await api.get("/x", into=Item, conditional=True)).body
            told = [request.headers.get("if-none-match") for request in server.requests]
            return told, body, [row.key for row in saved(api.responses)]

    told, body, kept = asyncio.run(go())
    assert (told, body) == ([None, '"1"', None], Item(1))
    assert [key.shape for key in kept] == [shape(Item)]


def test_a_broken_answer_is_forgotten_and_tried_again_later() -> None:
    cache = ResponseCache()
    asked(cache, "/a")
    cache = restored([row._replace(packed=b"junk") for row in saved(cache)])
    found = cache.lookup("/a", Item, OURS)
    assert found is not None

    with pytest.raises(TryLater, match="stored response"):
        cache.body("/a", Item, found)
    assert known(cache, "/a") == []


# --- no more than there is room for ---


def test_answers_go_when_they_take_too_much_room() -> None:
    noise = os.urandom(10_000).hex()
    cache = ResponseCache(room=30_000)
    for url in "abcd":
        asked(cache, url, body=noise[ord(url) :])

    assert known(cache, *"abcd") == ["c", "d"]
    assert sorted(key.url for key in cache.changes().dropped) == ["a", "b"]


def test_the_longest_unused_goes_first_after_a_restart_too() -> None:
    cache = ResponseCache()
    asked(cache, *"abc")
    rows = sorted(saved(cache), key=lambda row: row.key)

    assert known(restored(rows, most=2), *"abc") == ["b", "c"]


def test_an_answer_that_is_too_large_is_not_remembered() -> None:
    cache = ResponseCache()
    asked(cache, "/a")
    cache.store("/a", Item, OURS, etag='"2"', body=Item(2, os.urandom(2**19).hex()))

    assert known(cache, "/a") == []


# --- what there is to save ---


def test_only_what_has_changed_is_saved() -> None:
    cache = ResponseCache()
    asked(cache, "/a", "/b")
    assert len(saved(cache)) == 2
    assert known(cache, "/a", "/b") == ["/a", "/b"]

    assert cache.changes() == NOTHING
    cache.store("/a", Item, OURS, etag='"2"', body=Item(2))
    cache.store("/b", Item, OURS, etag=None, body=Item(2))
    changes = cache.changes()
    assert [row.etag for row in changes.kept] == ['"2"']
    assert [key.url for key in changes.dropped] == ["/b"]


def test_what_could_not_be_saved_is_told_again_as_it_is_by_then() -> None:
    cache = ResponseCache()
    asked(cache, "/a", "/b")
    cache.unsaved(cache.changes())
    cache.store("/a", Item, OURS, etag='"2"', body=Item(2))
    cache.store("/b", Item, OURS, etag=None, body=Item(2))
    changes = cache.changes()

    assert [(row.key.url, row.etag) for row in changes.kept] == [("/a", '"2"')]
    assert [key.url for key in changes.dropped] == ["/b"]


def test_an_answer_in_use_is_saved_once_a_day_and_no_oftener() -> None:
    clock = Clock()
    cache = ResponseCache(now=clock)
    asked(cache, "/a")
    cache.changes()
    saves = []
    for _ in range(72):
        clock.now += DAY / 24
        known(cache, "/a")
        saves += [row.used for row in saved(cache)]

    assert saves == [clock.now - 2 * DAY, clock.now - DAY, clock.now]


def test_a_server_that_does_not_look_at_entity_tags_gives_nothing_to_save() -> None:
    cache = ResponseCache()
    asked(cache, "/a")
    cache.changes()
    asked(cache, "/a")

    assert cache.changes() == NOTHING
