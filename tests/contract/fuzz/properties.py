"""What holds for every provider, whatever it is answered: each a function that tries it out."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from exporter.ledger.rows import SeriesKey, Vector
from exporter.outputs.prometheus import Format
from tests.contract.fuzz import examples
from tests.contract.fuzz.bench import (
    FORMATS,
    Bench,
    Keys,
    check_counters,
    check_exposition,
    check_log,
    provider_of,
)
from tests.contract.fuzz.natives import Kinds, family
from tests.contract.fuzz.source import source
from tests.contract.fuzz.stages import STAGES, Spoiling, Spoils
from tests.contract.fuzz.values import DROPPED, NO_JSON, ODD, spoilt
from tests.contract.fuzz.worlds import CLASSES, Tampering, World

HEADERS = (
    *("x-next-page", "link", "x-ms-continuationtoken", "date", "retry-after", "x-ratelimit-reset"),
    *("x-ratelimit-remaining", "x-ratelimit-limit", "x-ratelimit-resource", "etag", "location"),
    *("ratelimit-reset", "content-type", "content-encoding", "age"),
)
HEADER_VALUES = (
    *(b"", b" ", b"0", b"1", b"-1", b"2", b"9" * 400, b"1e999", b"NaN", b"\xff\xfe", b"\x00"),
    *(b"Fri, 99 Foo 99999 99:99:99 GMT", b"Thu, 01 Jan 1970 00:00:00 GMT", b'W/"\xff"', b"120;w=1"),
    *(b'<http://ci.test/?page=2>; rel="next"', b"../../..", b"http://[::1", b"gzip", b"br"),
    *(b"Wed, 31 Dec 9999 23:59:59 -2359", "٣".encode(), b"x" * 9000, b"2;", b"100, 100;w=60"),
)
FORMS = st.sampled_from(FORMATS)
MEMBERS = (
    *("next", "next_cursor", "next_page_token", "total_count", "total_page_count", "size", "page"),
    *("pagelen", "@pagination", "result", "items", "values", "value", "builds"),
)
TAMPERINGS = st.builds(
    Tampering,
    status=st.sampled_from((200, 200, 200, 200, 204, 301, 304, 400, 403, 404, 410, 429, 500)),
    headers=st.dictionaries(
        st.sampled_from([name.encode() for name in HEADERS]),
        st.sampled_from(HEADER_VALUES),
        max_size=2,
    ),
    body=st.none() | st.none() | ODD | st.sampled_from(NO_JSON),
    members=st.dictionaries(st.sampled_from(MEMBERS), ODD, max_size=2),
)


@st.composite
def _worlds(draw: st.DrawFn, kinds: Kinds, word: str) -> tuple[World, World]:
    """A world of odd answers, and what it has become a moment later."""
    seed = draw(st.integers(0, 999))
    known = source(word)
    first = draw(_spoilt_kinds(family(kinds, known, random.Random(seed)), known.names))
    second = draw(_spoilt_kinds(first, known.names))
    options: dict[str, Any] = {
        "seed": seed,
        "pages": draw(st.integers(1, 2)),
        "tampered": draw(st.dictionaries(st.integers(0, CLASSES - 1), TAMPERINGS, max_size=2)),
    }
    return World(first, **options), World(second, **options)


@st.composite
def _spoilt_kinds(draw: st.DrawFn, kinds: Kinds, known: frozenset[str]) -> Kinds:
    kinds = {kind: list(items) for kind, items in kinds.items()}
    places = sorted((kind, i) for kind, items in kinds.items() for i in range(len(items)))
    for kind, i in draw(st.lists(st.sampled_from(places), max_size=4)):
        kinds[kind][i] = draw(spoilt(kinds[kind][i], known))
    return kinds


def nothing_breaks(keys: Keys, kinds: Kinds, *, count: int) -> None:
    """No answers break a poll or the exposition, and no build is counted twice.

    A poll that asks nothing else than the one before changes no counter, unless it may be the
    last of those that must miss a build before it is given up.
    """

    @examples(count)
    @given(worlds=_worlds(kinds, keys["provider"]), jobs=st.booleans(), form=FORMS)
    def attempt(worlds: tuple[World, World], jobs: bool, form: Format) -> None:
        bench = Bench(provider_of(keys, jobs=jobs))
        try:
            for world in worlds:
                before = bench.stored()
                bench.polls(world)
                check_counters(bench, before)
                before, asked, misses = bench.stored(), set(world.requests), bench.misses
                bench.polls(world)
                check_counters(bench, before)
                if asked == set(world.requests) and not misses:
                    assert _of_pipelines(before) == _of_pipelines(bench.stored())
            bench.discover(worlds[0])
            check_exposition(bench, form)
            check_log(bench)
        finally:
            bench.crash()

    attempt()


def _of_pipelines(series: dict[SeriesKey, Vector]) -> dict[SeriesKey, Vector]:
    named = ("cicd_build", "cicd_job")
    return {key: vector for key, vector in series.items() if key.family.startswith(named)}


def others_are_counted(keys: Keys, kinds: Kinds, *, count: int) -> None:
    """What is counted beside an odd item is what is counted without it, also later on."""
    known = source(keys["provider"])

    @examples(count)
    @given(data=st.data(), seed=st.sampled_from(range(1000)), pages=st.integers(1, 2))
    def attempt(data: st.DataObject, seed: int, pages: int) -> None:
        first = family(kinds, known, random.Random(seed), 4)
        options: dict[str, Any] = {"seed": seed, "pages": pages}
        alone = [World(some, **options) for some in _growing(first)]
        without = _polled(keys, alone)
        assume(sum(without.counted()))  # a world where nothing can be lost shows nothing
        kind = alone[0].first[1] if alone[0].first else ""
        odd = data.draw(spoilt(first[kind][-1], known.names, most=2)) if first[kind] else None
        place = data.draw(st.integers(0, 3))
        beside = _polled(
            keys,
            [
                World(some, poison=(place + newer, odd), **options)  # what is new comes first
                for newer, some in enumerate(_growing(first))
            ],
        )
        assert without.heard <= beside.heard
        assert all(a <= b for a, b in zip(without.counted(), beside.counted(), strict=True))

    attempt()


def _growing(kinds: Kinds) -> Iterator[Kinds]:
    """What there is to see, then with something new; the last of each kind is spare."""
    for begin in (1, 0):
        yield {kind: items[begin:-1] or items[:1] for kind, items in kinds.items()}


def _polled(keys: Keys, worlds: Iterable[World]) -> Bench:
    bench = Bench(provider_of(keys, jobs=False))
    for world in worlds:
        bench.polls(world)
    bench.crash()
    return bench


def nothing_breaks_on_the_way(word: str, *, count: int) -> None:
    """As `nothing_breaks`, with an emulator where builds end and run again meanwhile."""
    known = source(word).names
    words = st.sampled_from(sorted(known))
    odd = st.tuples(st.integers(0, 999), ODD | words | st.just(DROPPED))
    spoils = st.dictionaries(st.integers(0, CLASSES - 1), st.lists(odd, max_size=3), max_size=3)
    counted = 0.0

    @examples(count)
    @given(first=spoils, second=spoils, jobs=st.booleans(), form=FORMS)
    def attempt(first: Spoils, second: Spoils, jobs: bool, form: Format) -> None:
        nonlocal counted
        stage = STAGES[word]()
        bench = Bench(provider_of({"provider": word, **stage.keys}, jobs=jobs))
        try:
            for spoilt_so in (first, second, {}):
                before = bench.stored()
                bench.polls(Spoiling(stage, known, spoilt_so))
                check_counters(bench, before)
                stage.later()
            bench.discover(Spoiling(stage, known, first))
            check_exposition(bench, form)
            check_log(bench)
            counted += sum(bench.counted())
        finally:
            bench.crash()

    attempt()
    assert counted
