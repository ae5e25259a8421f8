"""Values that no API should send and every API does one day, and how they get into answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from hypothesis import strategies as st

Path = tuple[str | int, ...]


class Verbatim:
    """JSON that stands in an answer as it is, sound or not."""

    def __init__(self, spelling: bytes) -> None:
        self.spelling = spelling

    def __repr__(self) -> str:
        more = "..." if len(self.spelling) > 40 else ""
        return f"Verbatim({self.spelling[:40]!r}{more}, {len(self.spelling)} bytes)"


DIGITS = Verbatim(b"9" * 5000)
"""More digits than Python turns into a number."""

TEXTS = (
    *("", " ", "\0", "a\nb", "\r\n\t", "\x7f\x85\u2028", 'quo"te', "back\\slash\\", "a\ud800b"),
    *("\udfff", "\u202eright to left", "é" * 120, "🚀" * 60, "x" * 10_000, "\ufeff", "ﬁ\u0301"),
    *('",le="1"} 7\n# EOF\n', "..", ".", "/", "a/b?c#d%2e", "@", "{}", "*", "**", "%", "%ff"),
    *(
        "-1",
        "0",
        "true",
        "null",
        "1e3",
        "\uff11\uff12",
        "²",
        "9" * 5000,
        str(2**53),
        str(2**63),
        "NaN",
    ),
    *("inf", "-0", "1_000", "0x10", "refs/heads/", "refs/tags/", "completed", "other"),
)

TIMES = (
    *("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999Z", "1970-01-01T00:00:00Z"),
    *("2016-12-31T23:59:60Z", "2026-02-30T00:00:00Z", "2026-13-45T99:99:99Z", "2099-12-31T00:00Z"),
    *("2026-01-02T03:04:05", "2026-01-02 03:04:05 UTC", "2026-01-02T03:04:05.123456789Z"),
    *("2026-01-02T03:04:05+0000", "2026-01-02T03:04:05+23:59", "2026-01-02T03:04:05+99:99"),
    *("2099-12-31T23:59:59Z", "2026-01-02T03:04:05." + "1" * 5000 + "Z", "yesterday", "2026-W01-1"),
    *("\uff12026-01-02T03:04:05Z", "Fri, 02 Jan 2026 03:04:05 GMT", "1767323045", "1767323045000"),
    *(1767323045, 1767323045.5, 1767323045000, 1767323045000000, -1767323045, 253402300800),
)

NUMBERS = (
    *(0, 1, -1, 2, 101, 2**31, 2**53 - 1, 2**53, 2**63 - 1, 2**63, 2**64, -(2**63) - 1, 10**30),
    *(10**4000, 0.5, -0.5, 1.0, 1.5e308, 5e-324, DIGITS, Verbatim(b"-0"), Verbatim(b"-0.0")),
    *(Verbatim(b"1e999"), Verbatim(b"-1e999"), Verbatim(b"1E+2")),
)

SHAPES: tuple[Any, ...] = (
    *(None, True, False, [], {}, [[]], [None], [1], ["x"], [{}], {"": None}, {"name": None}),
    *({"name": {"name": 1}}, {"name": "\ud800"}, [[{"name": ["x"]}]], {"result": 1, "type": []}),
    *(Verbatim(b"[" * 100 + b"]" * 100), Verbatim(b'{"a":' * 100 + b"1" + b"}" * 100)),
    *(Verbatim(b'"\xff\xfe"'), Verbatim(b'"\xed\xa0\x80"'), Verbatim(b'"\\ud83d\\u0041"')),
)
"""Invalid UTF-8 among them, which is mended."""

NO_JSON = tuple(
    map(
        Verbatim,
        (
            *(b"NaN", b"-Infinity", b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 100_000, b"'x'"),
            *(b"undefined", b'"\x00"', b'"\\x"', b'"', b"01", b"1.", b"[1,]", b"{,}", b"<html>"),
        ),
    )
)
"""These take the whole answer down, whatever they stand for."""

ODD = st.sampled_from((*TEXTS, *TIMES, *NUMBERS, *SHAPES))


def spelled(value: Any) -> bytes:
    """`value` as JSON, with everything verbatim that is."""
    try:
        return json.dumps(value).encode()
    except (TypeError, ValueError):  # something verbatim is in it, or too many digits
        pass
    match value:
        case Verbatim():
            return value.spelling
        case dict():
            pairs = (json.dumps(key).encode() + b":" + spelled(v) for key, v in value.items())
            return b"{" + b",".join(pairs) + b"}"
        case list():
            return b"[" + b",".join(map(spelled, value)) + b"]"
    raise TypeError(f"{value!r} is no JSON")


def places(value: Any, known: frozenset[str], path: Path = ()) -> Iterator[Path]:
    """Every place in `value` that is reached by keys that are `known`."""
    match value:
        case dict():
            for key in value.keys() & known:
                yield (*path, key)
                yield from places(value[key], known, (*path, key))
        case list():
            for i, item in enumerate(value[:3]):
                yield (*path, i)
                yield from places(item, known, (*path, i))


def changed(value: Any, path: Path, odd: Any) -> Any:
    """A copy of `value` with `odd` at a place of it; without that place if it is DROPPED."""
    if not path:
        return odd
    copy = deepcopy(value)
    parent = copy
    for part in path[:-1]:
        parent = parent[part]
    if odd is DROPPED:
        del parent[path[-1]]
    else:
        parent[path[-1]] = odd
    return copy


DROPPED = object()
"""In place of an odd value: nothing at all."""


@st.composite
def spoilt(
    draw: st.DrawFn, value: Any, known: frozenset[str], *, most: int = 3, least: int = 1
) -> Any:
    """`value` with some of its places changed, those that somebody reads."""
    words = st.sampled_from(sorted(known)) if known else st.nothing()
    for _ in range(draw(st.integers(least, most))):
        found = sorted(places(value, known), key=str)
        if found:
            odd = draw(ODD | words | st.just(DROPPED))
            value = changed(value, draw(st.sampled_from(found)), odd)
    return value
