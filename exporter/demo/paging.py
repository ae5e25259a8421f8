"""Lists in pages: opaque cursors, and every way to go on and to end that the API has."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from exporter.demo.facts import Item
from exporter.demo.world import Behaviour

T = TypeVar("T")

Key = tuple[Any, ...]


class BadCursor(ValueError):
    """A cursor that this list never gave out."""


class _Cursor(msgspec.Struct, frozen=True, array_like=True):
    """Where a page begins: its index, how many items came before, and the last one's key."""

    page: int
    offset: int
    after: Key | None
    list_id: int

    def text(self) -> str:
        """Itself as text, that must be encoded to survive in a URL."""
        return "c/2+=&x" + msgspec.json.encode(self).decode()

    @classmethod
    def read(cls, text: str, list_id: int) -> _Cursor:
        try:
            cursor = msgspec.json.decode(text.removeprefix("c/2+=&x"), type=cls)
        except msgspec.MsgspecError as error:
            raise BadCursor(text) from error
        if cursor.text() != text or cursor.list_id != list_id:
            raise BadCursor(text)
        return cursor


class Listing(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """A whole list, newest first, and what tells it from others.

    `key` falls from item to item. `name` is what a cursor belongs to: all that
    the request asked for.
    """

    items: Sequence[T]
    key: Callable[[T], Key]
    name: str

    def page(self, cursor: str, size: int, ways: Behaviour) -> tuple[list[T], str | None]:
        """The page that `cursor` asks for (`""`: the first), and the next page's cursor.

        Raises BadCursor.
        """
        list_id = zlib.crc32(self.name.encode())
        at = _Cursor.read(cursor, list_id) if cursor else _Cursor(0, 0, None, list_id)
        if ways.paging == "keyset" and at.after is not None:
            after = tuple(at.after)
            rest = [item for item in self.items if self.key(item) < after]
        else:
            rest = list(self.items[at.offset :])
        got = [] if at.page in ways.empty_pages else rest[:size]
        if len(got) == len(rest) and at.page != ways.loop_page:
            return got, None
        if ways.loop_page is not None and at.page >= ways.loop_page:
            return got, cursor or at.text()
        following = _Cursor(
            page=at.page + 1,
            offset=at.offset + len(got),
            after=self.key(got[-1]) if got else at.after,
            list_id=list_id,
        )
        return got, following.text()


def envelope(result: list[Item] | Item, following: str | None, ways: Behaviour) -> Item:
    """The answer of a list endpoint."""
    body: Item = {"result": result, "prev_cursor": None, "result_count": len(result)}
    if following is not None:
        return body | {"next_cursor": following}
    ends: dict[str, Item] = {
        "null": {"next_cursor": None},
        "empty": {"next_cursor": ""},
        "absent": {},
    }
    return body | ends[ways.end]
