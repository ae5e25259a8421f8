"""How values stand in the rows of a state.

The database may be sound and a value in it rotten all the same: what cannot be read is damage
like any other.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TypeVar

import msgspec

from exporter.ledger.rows import Labels, Vector
from exporter.model import BuildKey

T = TypeVar("T")

SEPARATOR = "\x1f"  # a control character, which no label value has


class RottenError(Exception):
    """A value that nobody has written like that."""


def decoder(kind: type[T]) -> Callable[[bytes], T]:
    """What reads a value of this kind from its MessagePack. It raises RottenError."""
    decode = msgspec.msgpack.Decoder(kind).decode

    def read(blob: bytes) -> T:
        try:
            return decode(blob)
        except (msgspec.DecodeError, UnicodeDecodeError, TypeError) as error:
            raise RottenError(f"a {kind.__name__} cannot be read: {error}") from None

    return read


def columns(key: BuildKey) -> tuple[str | int, int]:
    """What the columns `key` and `started` hold of a build's key."""
    return compact(key.id), key.started or 0


def key_of(key: str | int, started: int) -> BuildKey:
    """The key of a build from its columns. Raises RottenError."""
    try:
        return BuildKey(str(key), started or None)
    except ValueError as error:
        raise RottenError(str(error)) from None


def compact(text: str) -> str | int:
    """A decimal id as a number, which the store keeps in fewer bytes; else the text."""
    if text.isascii() and text.isdigit() and len(text) < 19 and (text[0] != "0" or text == "0"):
        return int(text)
    return text


def split(labels: str) -> Labels:
    """Label values from the text that they stand in."""
    return tuple(labels.split(SEPARATOR)) if labels else ()


def pack(vector: Vector) -> bytes:
    """A series' numbers as bytes."""
    return struct.pack(f"<{len(vector)}d", *vector)


def unpack(blob: bytes) -> Vector:
    """A series' numbers from their bytes. Raises RottenError."""
    try:
        return struct.unpack(f"<{len(blob) // 8}d", blob)
    except (struct.error, TypeError) as error:
        raise RottenError(f"the numbers of a series cannot be read: {error}") from None
