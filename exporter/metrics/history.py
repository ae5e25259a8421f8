"""How the last builds of a pipeline ended, in few bytes: what the status page draws.

A history is entries of one length, oldest first. As they are big-endian their order as bytes
is that of the builds.
"""

from __future__ import annotations

import struct
from bisect import insort
from collections.abc import Iterable
from typing import NamedTuple

from exporter.model import OTHER

KEPT = 20
"""Builds of one history."""

_ENTRY = struct.Struct(">IIHc")
"""Time in epoch seconds, number plus one (0 where there is none), attempt, conclusion."""
_LETTERS = {
    "passed": b"p",
    "failed": b"f",
    "cancelled": b"c",
    "timeout": b"t",
    "skipped": b"s",
    "retried": b"r",
    "partial": b"a",
    "error": b"e",
    OTHER: b"o",
}
"""The state has them: a letter never changes its meaning."""
_WORDS = {letter: word for word, letter in _LETTERS.items()}
_MOST = 0xFFFFFFFF


class Ended(NamedTuple):
    """A build that has ended."""

    at: int | None
    """When, else the newest time known of it, epoch seconds; None if there is none."""
    conclusion: str
    """One of the named ones, or `other`."""


def with_build(history: bytes, order: tuple[float, int, int], conclusion: str) -> bytes:
    """The history with one more build, which need not be the latest."""
    at, number, attempt = order
    entry = _ENTRY.pack(
        min(max(int(at), 0), _MOST),
        (number + 1) & _MOST,
        min(attempt, 0xFFFF),
        _LETTERS.get(conclusion, _LETTERS[OTHER]),
    )
    entries = _entries(history)
    insort(entries, entry)
    return b"".join(entries[-KEPT:])


def without(history: bytes, order: tuple[float, int, int]) -> bytes:
    """The history without a build, if it has it: its end may have moved, its number does not."""
    wanted = with_build(b"", order, OTHER)
    known = slice(4, 10) if order[1] >= 0 else slice(10)
    entries = _entries(history)
    found = next((entry for entry in entries if entry[known] == wanted[known]), None)
    if found is not None:
        entries.remove(found)
    return b"".join(entries)


def merged(histories: Iterable[bytes]) -> list[Ended]:
    """The last builds of several pipelines together, oldest first."""
    entries = sorted(entry for history in histories for entry in _entries(history))
    return [
        Ended(at or None, _WORDS.get(letter, OTHER))
        for at, _, _, letter in map(_ENTRY.unpack, entries[-KEPT:])
    ]


def _entries(history: bytes) -> list[bytes]:
    size = _ENTRY.size
    return [history[at : at + size] for at in range(0, len(history) - size + 1, size)]
