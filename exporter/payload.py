"""Lenient decoding of API answers: an odd item spoils no page, an odd field no item."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any, TypeVar

import msgspec

from exporter.errors import Malformed
from exporter.times import instant

T = TypeVar("T")

Id = Annotated[str, msgspec.Meta(max_length=200, pattern=r"^(?!\.+\Z)[^\s,:/?#@]+\Z")]
"""An id that is safe in a request. An item with any other is rejected: its request would fail
the page that lists it."""

_SURROGATES = re.compile(
    rb"(?<!\\)((?:\\\\)*)"  # backslashes that are text
    rb"(?:(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"  # a pair
    rb"|\\u[dD][89a-fA-F][0-9a-fA-F]{2})"  # half of one
)
_MOST_MENDED = 4 * 1024 * 1024
"""Bytes; the mending blocks the event loop."""
_MOST_ITEMS = 2000
"""Items of one list by default; pages have a hundred."""
_MOST_INSIDE = 1000
"""Elements that are read of a list inside an item."""
_MOST_ODD = 1000
"""Items of one list that cannot be decoded before the list itself is refused."""
_LONGEST_WORD = 100
_MOST_NAMES = 20
_LONGEST_SUBJECT = 400
_LARGEST = 2**53  # what JSON numbers are exact to
_LONGEST_SPAN = 20 * 365 * 86400.0
"""Seconds."""


def decoded(body: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """JSON, with a replacement character for each half of a surrogate pair in it.

    Some APIs cut titles in the middle of an emoji, which no strict parser accepts. Raises the
    errors of the decoder; very large bodies are not mended.
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
    """The items, each decoded by itself, and how many could not be decoded.

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
    """An item, or None. Bytes that are no UTF-8 (in a commit's title) are replaced."""
    try:
        return decoder.decode(raw)
    except UnicodeDecodeError:
        repaired = msgspec.Raw(bytes(raw).decode("utf-8", "replace").encode())
        return _decoded(repaired, decoder)
    except (msgspec.DecodeError, RecursionError):
        return None


def at(remote: Any, path: str) -> Any:
    """The value at a dotted path, or None."""
    for part in path.split("."):
        if not isinstance(remote, dict):
            return None
        remote = remote.get(part)
    return remote


def listed(value: Any) -> list[Any]:
    """The first elements of a list; empty for anything else."""
    return value[:_MOST_INSIDE] if isinstance(value, list) else []


def text(value: Any) -> str | None:
    """A name or an id: text, or a number in its own spelling. Empty means None."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value).strip() or None


def subject(value: Any) -> str | None:
    """The first line of a message, a title or a name, at most 400 characters; None if empty."""
    if not isinstance(value, str):
        return None
    if len(value) > _LONGEST_SUBJECT or "\n" in value:
        value = value.lstrip()[:_LONGEST_SUBJECT].partition("\n")[0]
    return value.strip() or None


def names(value: Any) -> tuple[str, ...]:
    """The texts of a list, each as a `subject`, the first 20; empty for anything else."""
    return tuple(filter(None, map(subject, listed(value)[:_MOST_NAMES])))


def word(value: Any) -> str | None:
    """A word to look up: lower case, at most 100 characters. Booleans are words too."""
    spelled = str(value) if isinstance(value, bool) else text(value)
    return None if spelled is None else spelled.lower()[:_LONGEST_WORD]


def whole(value: Any) -> int | None:
    """A whole number, also as digits; None for anything else."""
    if type(value) is int:  # nearly always
        return value if abs(value) < _LARGEST else None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = int(value)
    except (ValueError, OverflowError):
        return None
    exact = isinstance(value, str) or number == value
    return number if exact and abs(number) < _LARGEST else None


def moment(value: Any) -> float | None:
    """Epoch seconds of a time in any form that APIs use; None for anything else."""
    return instant(value) if isinstance(value, str | int | float) else None


def span(value: Any, *, per_second: int = 1) -> float | None:
    """Seconds of a span given in units of `per_second` to the second; None if it is absurd.

    Negative spans and those of more than 20 years are absurd.
    """
    number = value if isinstance(value, float) else whole(value)
    seconds = None if number is None else number / per_second
    return seconds if seconds is not None and 0 <= seconds <= _LONGEST_SPAN else None


def reached(times: Iterable[float | None], *, default: float) -> float:
    """How far back a list reaches: the second oldest of its times.

    The oldest may be that of one odd item, which must not hide what is listed after it.
    """
    known = sorted(time for time in times if time is not None)
    return known[:2][-1] if known else default
