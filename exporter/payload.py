"""Reading answers with forgiveness: one odd item spoils no page, one odd field no item."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any, TypeVar

import msgspec

from exporter.errors import Malformed
from exporter.times import instant

T = TypeVar("T")

Id = Annotated[str, msgspec.Meta(max_length=200, pattern=r"^(?!\.+\Z)[^\s,:/?#@]+\Z")]
"""What a CI system calls a thing. An item that says nothing of the kind cannot be asked for, and
its request would fail the page that lists it: so it is rejected."""

_SURROGATES = re.compile(
    rb"(?<!\\)((?:\\\\)*)"  # backslashes that are text
    rb"(?:(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"  # a pair
    rb"|\\u[dD][89a-fA-F][0-9a-fA-F]{2})"  # half of one
)
_MOST_MENDED = 4 * 1024 * 1024
"""Bytes: nothing else happens meanwhile."""
_MOST_ITEMS = 2000
"""Of one list, unless its reader says otherwise: pages have a hundred."""
_MOST_INSIDE = 1000
"""What is looked at of a list inside an item."""
_MOST_ODD = 1000
"""Items of one list that cannot be understood: then it is no list of such items."""
_LONGEST_WORD = 100
_LARGEST = 2**53  # what JSON numbers are exact to
_LONGEST_SPAN = 20 * 365 * 86400.0
"""Seconds."""


def decoded(body: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """JSON, with a replacement character for each half of a surrogate pair in it.

    Some APIs cut titles in the middle of an emoji; no strict parser takes what is left.
    Raises what the decoder raises, and does not try to mend what is very large.
    """
    try:
        return decoder.decode(body)
    except msgspec.DecodeError:
        if len(body) > _MOST_MENDED:
            raise
        mended = _SURROGATES.sub(lambda m: m[0] if m[2] else m[1] + rb"\ufffd", body)
        if mended == body:
            raise
        return decoder.decode(mended)


def each(
    raws: Iterable[msgspec.Raw], into: type[T], *, most: int = _MOST_ITEMS
) -> tuple[list[T], int]:
    """The items, each decoded on its own, and how many could not be understood.

    Raises Malformed for a list that is out of all proportion: of more than `most` items
    (`too_large`), or with a thousand of them odd (`bad_shape`).
    """
    decoder = msgspec.json.Decoder(into)
    items: list[T] = []
    odd = 0
    for count, raw in enumerate(raws, 1):
        if count > most:
            raise Malformed(f"the answer lists more than {most} items", reason="too_large")
        item = _decoded(raw, decoder)
        if item is not None:
            items.append(item)
        else:
            odd += 1
        if odd > _MOST_ODD:
            what = f"more than {_MOST_ODD} items of the answer are not as the API promises"
            raise Malformed(what, reason="bad_shape")
    return items, odd


def _decoded(raw: msgspec.Raw, decoder: msgspec.json.Decoder[T]) -> T | None:
    """An item, or None. Bytes that are no UTF-8 (a commit's title) do not spoil it."""
    try:
        return decoder.decode(raw)
    except UnicodeDecodeError:
        repaired = msgspec.Raw(bytes(raw).decode("utf-8", "replace").encode())
        return _decoded(repaired, decoder)
    except (msgspec.DecodeError, RecursionError):
        return None


def at(remote: Any, path: str) -> Any:
    """What `remote` holds at a dotted path, or None."""
    for part in path.split("."):
        if not isinstance(remote, dict):
            return None
        remote = remote.get(part)
    return remote


def listed(value: Any) -> list[Any]:
    """A list, to a length that a real one has; nothing in place of anything else."""
    return value[:_MOST_INSIDE] if isinstance(value, list) else []


def text(value: Any) -> str | None:
    """A name or an id: text, or a number in its own spelling. Empty means None."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value).strip() or None


def word(value: Any) -> str | None:
    """A word to look up: lower case, and of bearable length. Booleans are words too."""
    spelled = str(value) if isinstance(value, bool) else text(value)
    return None if spelled is None else spelled.lower()[:_LONGEST_WORD]


def whole(value: Any) -> int | None:
    """A whole number, also as digits; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = int(value)
    except (ValueError, OverflowError):
        return None
    exact = isinstance(value, str) or number == value
    return number if exact and abs(number) < _LARGEST else None


def moment(value: Any) -> float | None:
    """Epoch seconds of a time as this API or a provider behind it writes it."""
    return instant(value) if isinstance(value, str | int | float) else None


def span(value: Any, *, per_second: int = 1) -> float | None:
    """Seconds of a span that is told in units of so many a second; None if it cannot be one.

    Nothing takes less than no time, or longer than CI systems exist.
    """
    number = value if isinstance(value, float) else whole(value)
    seconds = None if number is None else number / per_second
    return seconds if seconds is not None and 0 <= seconds <= _LONGEST_SPAN else None


def reached(times: Iterable[float | None], *, default: float) -> float:
    """How far back a list has come: the last but one of its times.

    The last one alone may be an odd item's, and must not hide what is listed after it.
    """
    known = sorted(time for time in times if time is not None)
    return known[:2][-1] if known else default
