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

from exporter.errors import Malformed
from exporter.times import instant

T = TypeVar("T")

_LONGEST_WORD = 100
_LARGEST = 2**53  # what JSON numbers are exact to

Scalar = str | int | float | None


class Run(msgspec.Struct, kw_only=True):
    """A build or a job; the fields of a job are some of a build's.

    Raises ValueError, which decoding turns into its own error, for an empty id or an
    attempt that is no number: such an item cannot be told apart from others.
    """

    id: str | int
    status: str | None = None
    conclusion: str | None = None
    attempts: str | int | float | None = None
    created_at: Scalar = None
    started_at: Scalar = None
    completed_at: Scalar = None
    name: Any = None
    number: Any = None
    build: Any = None
    branch: Any = None
    repo: Any = None
    trigger: Any = None
    remote_data: Any = None

    def __post_init__(self) -> None:
        if not self.native_id:
            raise ValueError("`id` is empty")
        if self.attempts not in (None, "") and whole(self.attempts) is None:
            raise ValueError("`attempts` is no number")

    @property
    def native_id(self) -> str:
        """What the single-item endpoint wants."""
        return str(self.id).strip()


class Place(msgspec.Struct, kw_only=True):
    """A repo, workspace or workflow of the lists that discovery reads."""

    id: str | int
    name: Any = None
    owner: Any = None
    status: Any = None
    default_branch: Any = None
    remote_data: Any = None

    def __post_init__(self) -> None:
        if not self.native_id:
            raise ValueError("`id` is empty")

    @property
    def native_id(self) -> str:
        """The id as text."""
        return str(self.id).strip()


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


def listing(envelope: Envelope, into: type[T]) -> Listing[T]:
    """The items of an answer, each decoded on its own so that one cannot spoil a page.

    Raises Malformed if there is no list at all.
    """
    raws = envelope.results if envelope.result is None else envelope.result
    if raws is None:
        raise Malformed("the answer has no `result` list", reason="bad_shape")
    decoder = msgspec.json.Decoder(into)
    items = [item for raw in raws if (item := _decoded(raw, decoder)) is not None]
    cursor = envelope.next_cursor
    following = None if cursor is None or cursor == "" else str(cursor)
    return Listing(items, following, rejected=len(raws) - len(items))


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
