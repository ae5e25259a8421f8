"""The answers of the unified API, decoded with forgiveness.

Its pages call every field optional but `id`, send the provider's raw value where no
mapping exists, and an environment may override the mapping. So only what tells builds
apart or places them is typed; the rest is taken if it is of use. `remote_data`, the
provider's own object, is read by path.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import msgspec

from exporter.errors import Malformed, ProviderError
from exporter.payload import at, each, moment, whole

T = TypeVar("T")

Scalar = str | int | float | None

_LONGEST_ID = 1000
"""Characters; the id of a Jenkins job is its path."""


class Run(msgspec.Struct, kw_only=True):
    """A build or a job; the fields of a job are some of a build's.

    Raises ValueError, which decoding turns into its own error, for an id that is empty or
    fits into no request and for an attempt that is no number: such an item cannot be told
    apart from others.
    """

    id: str | int
    status: str | None = None
    conclusion: str | None = None
    attempts: str | int | float | None = None
    created_at: Scalar = None
    started_at: Scalar = None
    completed_at: Scalar = None
    updated_at: Any = None
    name: Any = None
    number: Any = None
    build: Any = None
    branch: Any = None
    repo: Any = None
    trigger: Any = None
    commit: Any = None
    triggered_by: Any = None
    triggered_by_type: Any = None
    remote_data: Any = None

    def __post_init__(self) -> None:
        _check(self.native_id)
        if self.attempts not in (None, "") and whole(self.attempts) is None:
            raise ValueError("`attempts` is no number")

    @property
    def native_id(self) -> str:
        """What the single-item endpoint wants."""
        return str(self.id).strip()


class Resource(msgspec.Struct, kw_only=True):
    """A repo, workspace or workflow of the lists that discovery reads."""

    id: str | int
    name: Any = None
    owner: Any = None
    status: Any = None
    default_branch: Any = None
    remote_data: Any = None

    def __post_init__(self) -> None:
        _check(self.native_id)

    @property
    def native_id(self) -> str:
        """The id as text."""
        return str(self.id).strip()


def _check(native_id: str) -> None:
    if not native_id.strip(".") or len(native_id) > _LONGEST_ID:
        raise ValueError("`id` is empty, a place of the path or too long to be asked for")


class Account(msgspec.Struct, kw_only=True):
    """An integrated account, as far as its health goes."""

    id: str | int = ""
    status: Any = None
    last_error: Any = None
    is_blocked: Any = None


class Capabilities(msgspec.Struct, kw_only=True):
    """The answer of `/integrated-account/{id}/capabilities`; `unified` is not read."""

    account: Account | None = None


class Envelope(msgspec.Struct):
    """A list answer. Some pages of the documentation call the array `results`."""

    result: list[msgspec.Raw] | None = None
    results: list[msgspec.Raw] | None = None
    next_cursor: str | int | None = None


class Listing(msgspec.Struct, Generic[T]):
    """A decoded list answer, or several in a row."""

    items: list[T]
    next: str | None = None
    """The cursor of the page after; None at the end."""
    rejected: int = 0
    """Items that could not be understood."""
    pages: int = 1
    error: ProviderError | None = None
    """Why there may be more."""


def listing(envelope: Envelope, into: type[T]) -> Listing[T]:
    """The items of an answer, each decoded on its own so that one cannot spoil a page.

    Raises Malformed if there is no list at all.
    """
    raws = envelope.results if envelope.result is None else envelope.result
    if raws is None:
        raise Malformed("the answer has no `result` list", reason="bad_shape")
    items, rejected = each(raws, into)
    cursor = envelope.next_cursor
    following = None if cursor is None or cursor == "" else str(cursor)
    return Listing(items, following, rejected=rejected)


def look(item: Run, field: str, paths: Mapping[str, str]) -> Any:
    """A field of the item, else of its raw object where `paths` says, else None."""
    value = getattr(item, field)
    if (value is None or value == "") and field in paths:
        return at(item.remote_data, paths[field])
    return value


def when(item: Run, field: str, paths: Mapping[str, str]) -> float | None:
    """Like `look`, for an instant; one that is no real instant counts as missing."""
    own = moment(getattr(item, field))
    return moment(at(item.remote_data, paths[field])) if own is None and field in paths else own
