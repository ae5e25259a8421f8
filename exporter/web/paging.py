"""One page of a list, as a query string asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")


class Part(msgspec.Struct, Generic[T], frozen=True):
    """One page of a list."""

    items: Sequence[T]
    total: int
    """How many there are on all pages."""
    page: int
    """From 1."""
    pages: int


def part(items: Sequence[T], page: int, size: int) -> Part[T]:
    """The page that is asked for; the last one if there are fewer."""
    pages = max(-(-len(items) // size), 1)
    page = min(max(page, 1), pages)
    return Part(items[(page - 1) * size : page * size], len(items), page, pages)


def page_number(text: str | None) -> int:
    """A page as a query string names it; 1 for what makes no sense."""
    known = text is not None and text.isascii() and text.isdigit() and len(text) < 9
    return int(text) if known and text else 1
