"""Answers that are kept, so that an API need only say that nothing has changed.

GitHub counts a request with `If-None-Match` that is answered 304 against no limit.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from typing import NamedTuple, TypeVar

import httpx
import msgspec

from exporter.http.secret import sendable

T = TypeVar("T")

_MOST = 4096
_LONGEST_ETAG = 512


class Known(NamedTuple):
    """An answer as it is kept."""

    etag: str
    packed: bytes

    def asking(self, headers: httpx.Headers) -> httpx.Headers:
        """`headers` with the question whether there is anything newer."""
        asking = headers.copy()
        asking["If-None-Match"] = self.etag
        return asking

    def body(self, into: type[T]) -> T:
        """What the answer held; made anew each time, so that nobody's changes stay."""
        return msgspec.json.decode(zlib.decompress(self.packed), type=into)


class Memory:
    """The latest answer to each of the last few thousand questions of one account.

    Bodies are kept as the JSON of what was read from them, packed: of a page of 30
    workflow runs 2 of 300 kB are left. All is forgotten when `headers`, and so perhaps
    the credential, change: entity tags are valid for one reader only.
    """

    def __init__(self, *, most: int = _MOST) -> None:
        self._most = most
        self._headers: httpx.Headers | None = None
        self._answers: OrderedDict[tuple[str, object], Known] = OrderedDict()

    def recall(self, url: str, into: type[T], headers: httpx.Headers) -> Known | None:
        """What is known of `url`, read as `into` with the same headers."""
        if headers != self._headers:
            self._answers.clear()
            self._headers = headers
        known = self._answers.get((url, into))
        if known is not None:
            self._answers.move_to_end((url, into))
        return known

    def keep(
        self, url: str, into: type[T], headers: httpx.Headers, *, etag: str | None, body: T
    ) -> None:
        """Remember an answer with its entity tag; one without cannot be asked for again."""
        if headers != self._headers:
            return  # the credential has changed meanwhile
        self._answers.pop((url, into), None)
        if not etag or len(etag) > _LONGEST_ETAG or not sendable(etag):
            return
        self._answers[url, into] = Known(etag, zlib.compress(msgspec.json.encode(body), 1))
        if len(self._answers) > self._most:
            self._answers.popitem(last=False)
