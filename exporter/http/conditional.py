"""Answers that are kept, so that an API need only say that nothing has changed.

GitHub counts a request with `If-None-Match` that is answered 304 against no limit. What is
kept can be saved and restored: then a restart does not ask for everything anew.
"""

from __future__ import annotations

import secrets
import time
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from hashlib import blake2b
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec import inspect

from exporter.errors import TryLater
from exporter.http.secret import is_header_value
from exporter.http.stored import AnswerChanges, AnswerKey, StoredAnswer

T = TypeVar("T")

_MOST = 8192
"""Answers of one account: two for each of 4000 repos."""
_ROOM = 48 * 2**20
_LARGEST = 2**19
"""Bytes that the packed bodies of one account may take, and one of them."""
_LARGEST_UNPACKED = 2**23
"""Bytes of JSON above which it is not even tried to pack an answer: that takes everybody's time."""
_LONGEST_ETAG = 512
_TOUCH = 86400.0
"""Seconds after which an answer that is asked for again is marked as still in use."""
_SALT = 16
_FORM = 1
"""To be raised when what is kept comes to mean something else though its types stay."""
_ANYBODYS = {"user-agent"}
"""Headers that no answer depends on; this one changes with each version of ours."""


class Known(NamedTuple):
    """An answer as it is kept."""

    etag: str
    packed: bytes
    used: float
    """Epoch seconds when it was last asked for, to the day."""

    def asking(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        """`headers` with the question whether there is anything newer."""
        return {**headers, "if-none-match": self.etag}

    def body(self, into: type[T]) -> T:
        """What the answer held; made anew each time, so that nobody's changes stay."""
        return msgspec.json.decode(zlib.decompress(self.packed), type=into)


class Memory:
    """The latest answer to each of the last few thousand questions of one account.

    Bodies are kept as the JSON of what was read from them, packed: of a page of 30
    workflow runs 2 of 300 kB are left. All is forgotten when `headers`, and so perhaps
    the credential, change: entity tags are valid for one reader only. The least recently
    asked for goes when there are more than `most` answers or `room` bytes. `now` is our
    clock, epoch seconds.
    """

    def __init__(
        self, *, most: int = _MOST, room: int = _ROOM, now: Callable[[], float] = time.time
    ) -> None:
        self.is_new = True
        """Whether nothing was restored yet."""
        self._most = most
        self._room = room
        self._now = now
        self._headers: Mapping[str, str] | None = None
        self._reader = b""
        self._answers: OrderedDict[AnswerKey, Known] = OrderedDict()
        self._size = 0
        self._changed: set[AnswerKey] = set()
        self._restored: list[StoredAnswer] = []

    def recall(self, url: str, into: type[T], headers: Mapping[str, str]) -> Known | None:
        """What is known of `url`, read as `into` with the same headers."""
        if headers != self._headers:
            self._meet(headers)
        key = _key(url, into)
        known = self._answers.get(key)
        if known is None:
            return None
        self._answers.move_to_end(key)
        now = self._now()
        if now - known.used >= _TOUCH:
            known = self._answers[key] = known._replace(used=now)
            self._changed.add(key)
        return known

    def body(self, url: str, into: type[T], known: Known) -> T:
        """What the answer held that was recalled.

        Raises TryLater, and forgets it, if the state has given it back broken.
        """
        try:
            return known.body(into)
        except (zlib.error, msgspec.DecodeError, UnicodeDecodeError):
            self._drop(_key(url, into))
        raise TryLater("the remembered answer is broken", reason="bad_encoding")

    def keep(
        self, url: str, into: type[T], headers: Mapping[str, str], *, etag: str | None, body: T
    ) -> None:
        """Remember an answer with its entity tag; one without cannot be asked for again."""
        if headers != self._headers:
            return  # the credential has changed meanwhile
        key = _key(url, into)
        if not etag or len(etag) > _LONGEST_ETAG or not is_header_value(etag):
            self._drop(key)
            return
        plain = msgspec.json.encode(body)
        if len(plain) > _LARGEST_UNPACKED:
            self._drop(key)
            return
        packed = zlib.compress(plain, 1)
        before = self._answers.get(key)
        if before is not None and (before.etag, before.packed) == (etag, packed):
            return  # in vain: this server does not look at entity tags
        self._drop(key)
        if len(packed) <= _LARGEST:
            self._put(key, Known(etag, packed, self._now()))
            self._changed.add(key)

    # -- for the state

    def restore(self, rows: Iterable[StoredAnswer]) -> None:
        """Take what was saved, the most recently used last.

        What another reader was given is dropped at the first request, which tells who
        reads now.
        """
        self.is_new = False
        self._restored = list(rows)
        if self._headers is not None:
            self._admit(self._headers)

    def changes(self) -> AnswerChanges:
        """What has changed since the last call."""
        changed, self._changed = self._changed, set()
        kept = [
            StoredAnswer(key, known.etag, known.packed, self._reader, known.used)
            for key in changed
            if (known := self._answers.get(key)) is not None
        ]
        return AnswerChanges(kept, [key for key in changed if key not in self._answers])

    def unsaved(self, changes: AnswerChanges) -> None:
        """Tell these changes again at the next call: they could not be saved."""
        self._changed.update((row.key for row in changes.kept), changes.dropped)

    # -- its parts

    def _meet(self, headers: Mapping[str, str]) -> None:
        """Begin to read as somebody, whose answers are those that are left."""
        self._changed.update(self._answers)
        self._answers.clear()
        self._size = 0
        self._headers = headers
        self._reader = reader(headers, secrets.token_bytes(_SALT))
        self._admit(headers)

    def _admit(self, headers: Mapping[str, str]) -> None:
        rows, self._restored = self._restored, []
        given_to = {row.reader for row in rows}
        ours = {who for who in given_to if who == reader(headers, who[:_SALT])}
        self._reader = min(ours, default=self._reader)
        for row in rows:
            if row.reader not in ours:
                self._changed.add(row.key)
            elif row.key not in self._answers:
                self._put(row.key, Known(row.etag, row.packed, row.used))

    def _put(self, key: AnswerKey, known: Known) -> None:
        self._answers[key] = known
        self._size += len(known.packed)
        while len(self._answers) > self._most or self._size > self._room:
            self._drop(next(iter(self._answers)))

    def _drop(self, key: AnswerKey) -> None:
        known = self._answers.pop(key, None)
        if known is not None:
            self._size -= len(known.packed)
            self._changed.add(key)


def reader(headers: Mapping[str, str], salt: bytes) -> bytes:
    """`salt` and a digest of who asks with `headers`: nothing leads from it to a token.

    A fast digest will do, as tokens are long and random: nobody finds one by trying.
    """
    told = sorted((name, value) for name, value in headers.items() if name not in _ANYBODYS)
    return salt + blake2b(repr(told).encode(), key=salt, digest_size=16).digest()


def _key(url: str, into: Any) -> AnswerKey:
    return AnswerKey(url, shape(into))


@cache
def shape(into: Any) -> str:
    """A digest of what is read as `into`: another one as soon as a field more or less is.

    So a version that reads one more field takes no saved answer for one without it.
    """
    told = repr((_FORM, _told(inspect.type_info(into), ())))
    return blake2b(told.encode(), digest_size=12).hexdigest()


def _told(node: Any, within: tuple[Any, ...]) -> Any:
    """A description of a type, as plain values that are the same in every process."""
    if isinstance(node, tuple):
        return tuple(_told(part, within) for part in node)
    if isinstance(node, msgspec.Struct):
        itself = getattr(node, "cls", None)
        if itself is not None and itself in within:
            return itself.__qualname__
        parts = (getattr(node, field) for field in node.__struct_fields__)
        return type(node).__name__, *(_told(part, (*within, itself)) for part in parts)
    if isinstance(node, type):
        return node.__qualname__
    return node if isinstance(node, str | int | float | None) else type(node).__name__
