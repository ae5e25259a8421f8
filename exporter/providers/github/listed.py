"""A page of any of GitHub's lists, whose items are decoded one by one.

They are decoded as soon as the list arrives, so that of a list that is remembered only what is
read is kept.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec

from exporter.payload import each

T = TypeVar("T")


class ListPage(msgspec.Struct, Generic[T], kw_only=True, omit_defaults=True):
    """What all lists have, under whatever name their items come."""

    total_count: Any = None
    items: list[T] = []
    rejected: int = 0
    """Items that could not be understood."""

    @property
    def listed(self) -> int:
        """How many items the page had."""
        return len(self.items) + self.rejected

    def decode(self, field: str, into: type[T]) -> None:
        """Decode the items of a field, which is empty then."""
        if raws := getattr(self, field):
            self.items, self.rejected = each(raws, into)
            setattr(self, field, [])
