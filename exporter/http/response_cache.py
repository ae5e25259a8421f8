"""Stored responses and their entity tags, for conditional requests (RFC 9111, RFC 9110).

GitHub counts a request with `If-None-Match` that is answered 304 against no limit. Stored
responses can be saved and restored, so that a restart does not repeat all requests.
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
from exporter.http.stored import ResponseChanges, ResponseKey, StoredResponse

T = TypeVar("T")

_MAX_RESPONSES = 8192
"""Stored responses of one account: two for each of 4000 repos."""
_MAX_BYTES = 48 * 2**20
_MAX_PACKED = 2**19
"""Bytes that the packed bodies of one account may take, and one of them."""
_MAX_BODY = 2**23
"""Bytes of JSON above which a response is not packed: that would hold up the event loop."""
_MAX_ETAG = 512
_TOUCH = 86400.0
"""Seconds after which another use of a stored response is noted."""
_SALT = 16
_FORM = 1
"""Raise it when stored responses change their meaning and not their types."""
_IRRELEVANT = {"user-agent"}
"""Request headers that no response depends on; the exporter's version is in this one."""


class CachedResponse(NamedTuple):
    """A stored response."""

    etag: str
    packed: bytes
    used: float
    """Epoch seconds of the last request for it, to the day."""

    def conditional(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        """`headers` with `If-None-Match`."""
        return {**headers, "if-none-match": self.etag}

    def body(self, into: type[T]) -> T:
        """The body, decoded anew each time, so that no caller sees another's changes."""
        return msgspec.json.decode(zlib.decompress(self.packed), type=into)


class ResponseCache:
    """The latest responses to the conditional requests of one account.

    A body is stored as the compressed JSON of what was decoded from it: 2 kB of the 300 kB
    of a page of 30 workflow runs. All responses are dropped when `headers`, and so perhaps
    the credential, change: entity tags are valid for one reader only. The least recently
    used is dropped when there are more than `most` responses or `room` bytes. `now` is the
    local clock, epoch seconds.
    """

    def __init__(
        self,
        *,
        most: int = _MAX_RESPONSES,
        room: int = _MAX_BYTES,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.is_new = True
        """Whether `restore` was not called yet."""
        self._most = most
        self._room = room
        self._now = now
        self._headers: Mapping[str, str] | None = None
        self._reader = b""
        self._responses: OrderedDict[ResponseKey, CachedResponse] = OrderedDict()
        self._size = 0
        self._changed: set[ResponseKey] = set()
        self._restored: list[StoredResponse] = []

    def lookup(self, url: str, into: type[T], headers: Mapping[str, str]) -> CachedResponse | None:
        """The stored response of `url`, decoded as `into` and requested with the same headers."""
        if headers != self._headers:
            self._change_reader(headers)
        key = _key(url, into)
        stored = self._responses.get(key)
        if stored is None:
            return None
        self._responses.move_to_end(key)
        now = self._now()
        if now - stored.used >= _TOUCH:
            stored = self._responses[key] = stored._replace(used=now)
            self._changed.add(key)
        return stored

    def body(self, url: str, into: type[T], stored: CachedResponse) -> T:
        """The body of a response that `lookup` found.

        Raises TryLater, and drops the response, if the state returned it broken.
        """
        try:
            return stored.body(into)
        except (zlib.error, msgspec.DecodeError, UnicodeDecodeError):
            self._drop(_key(url, into))
        raise TryLater("the stored response is broken", reason="bad_encoding")

    def store(
        self, url: str, into: type[T], headers: Mapping[str, str], *, etag: str | None, body: T
    ) -> None:
        """Store a response; one without an entity tag cannot be revalidated and is not stored."""
        if headers != self._headers:
            return  # the credential has changed meanwhile
        key = _key(url, into)
        if not etag or len(etag) > _MAX_ETAG or not is_header_value(etag):
            self._drop(key)
            return
        plain = msgspec.json.encode(body)
        if len(plain) > _MAX_BODY:
            self._drop(key)
            return
        packed = zlib.compress(plain, 1)
        before = self._responses.get(key)
        if before is not None and (before.etag, before.packed) == (etag, packed):
            return  # this server ignores entity tags
        self._drop(key)
        if len(packed) <= _MAX_PACKED:
            self._put(key, CachedResponse(etag, packed, self._now()))
            self._changed.add(key)

    # -- for the state

    def restore(self, rows: Iterable[StoredResponse]) -> None:
        """Take saved responses, the most recently used last.

        Those of another reader are dropped at the first request, whose headers show the
        reader.
        """
        self.is_new = False
        self._restored = list(rows)
        if self._headers is not None:
            self._take_restored(self._headers)

    def changes(self) -> ResponseChanges:
        """The changes since the last call."""
        changed, self._changed = self._changed, set()
        kept = [
            StoredResponse(key, stored.etag, stored.packed, self._reader, stored.used)
            for key in changed
            if (stored := self._responses.get(key)) is not None
        ]
        return ResponseChanges(kept, [key for key in changed if key not in self._responses])

    def unsaved(self, changes: ResponseChanges) -> None:
        """Return these changes again at the next call: they could not be saved."""
        self._changed.update((row.key for row in changes.kept), changes.dropped)

    # -- its parts

    def _change_reader(self, headers: Mapping[str, str]) -> None:
        """Drop the responses of the reader before and take those restored for this one."""
        self._changed.update(self._responses)
        self._responses.clear()
        self._size = 0
        self._headers = headers
        self._reader = reader(headers, secrets.token_bytes(_SALT))
        self._take_restored(headers)

    def _take_restored(self, headers: Mapping[str, str]) -> None:
        rows, self._restored = self._restored, []
        given_to = {row.reader for row in rows}
        ours = {who for who in given_to if who == reader(headers, who[:_SALT])}
        self._reader = min(ours, default=self._reader)
        for row in rows:
            if row.reader not in ours:
                self._changed.add(row.key)
            elif row.key not in self._responses:
                self._put(row.key, CachedResponse(row.etag, row.packed, row.used))

    def _put(self, key: ResponseKey, stored: CachedResponse) -> None:
        self._responses[key] = stored
        self._size += len(stored.packed)
        while len(self._responses) > self._most or self._size > self._room:
            self._drop(next(iter(self._responses)))

    def _drop(self, key: ResponseKey) -> None:
        stored = self._responses.pop(key, None)
        if stored is not None:
            self._size -= len(stored.packed)
            self._changed.add(key)


def reader(headers: Mapping[str, str], salt: bytes) -> bytes:
    """`salt` and a keyed digest of `headers`, from which no token can be derived.

    A fast digest is enough, as tokens are long and random.
    """
    relevant = sorted((name, value) for name, value in headers.items() if name not in _IRRELEVANT)
    return salt + blake2b(repr(relevant).encode(), key=salt, digest_size=16).digest()


def _key(url: str, into: Any) -> ResponseKey:
    return ResponseKey(url, shape(into))


@cache
def shape(into: Any) -> str:
    """A digest of the type `into` that changes with each of its fields.

    So a version that decodes one more field uses no response that was stored without it.
    """
    text = repr((_FORM, _described(inspect.type_info(into), ())))
    return blake2b(text.encode(), digest_size=12).hexdigest()


def _described(node: Any, within: tuple[Any, ...]) -> Any:
    """A description of a type, as plain values that are the same in every process."""
    if isinstance(node, tuple):
        return tuple(_described(part, within) for part in node)
    if isinstance(node, msgspec.Struct):
        itself = getattr(node, "cls", None)
        if itself is not None and itself in within:
            return itself.__qualname__
        parts = (getattr(node, field) for field in node.__struct_fields__)
        return type(node).__name__, *(_described(part, (*within, itself)) for part in parts)
    if isinstance(node, type):
        return node.__qualname__
    return node if isinstance(node, str | int | float | None) else type(node).__name__
