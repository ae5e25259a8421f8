"""The body of an answer: unpacked and decoded under caps, and whole or no answer.

HTTP libraries hand out the part of a truncated gzip that arrived and inflate bombs in
one piece, neither with an error. So bodies are read raw and unpacked here, under a cap
before and one after, and a gzip without its end is no answer.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import TypeVar

import httpx
from msgspec.structs import replace

from exporter.errors import Malformed, ProviderError, TryLater
from exporter.http.reflection import without
from exporter.http.wire import MAX_ERROR_BODY, TRANSPORT_ERRORS, Reply, decode
from exporter.threads import WorkerThread

T = TypeVar("T")

MAX_WIRE, MAX_BODY = 32 * 1024 * 1024, 64 * 1024 * 1024
"""Bytes of one answer as sent, and after decompression."""
MAX_VALUES = 500_000
"""JSON values of one answer, as far as commas and brackets tell: each one takes up to a hundred
bytes of memory and a moment of the event loop. The whole tree of 30,000 jobs has as many."""
_MAX_BODIES = 96 * 1024 * 1024
"""Bytes that the bodies of all answers under way may take in this process."""
_LARGE = 1024 * 1024
_MAX_RATIO, _RATIO_FROM = 200, 4 * 1024 * 1024
"""How many times its size a gzip may unpack to, from so many bytes on; JSON stays below 50."""
_ERROR_BODY_SECONDS = 2.0
_BEGIN_VALUES = (b",", b"[", b"{")
_GZIP_WBITS = 31  # gzip only, with its header and checksum


class BodyMemory:
    """The memory for the bodies of all answers under way.

    When it runs out, bodies above their fair share are refused: an endless answer of one
    account costs no other account its answer.
    """

    def __init__(self, size: int) -> None:
        self._size = self._free = size
        self._large = 0

    @contextmanager
    def taken(self) -> Iterator[Callable[[int], None]]:
        """Yields a function that takes memory for so many more bytes of one body.

        It raises Malformed(`too_large`).
        """
        taken = 0

        def take(count: int) -> None:
            nonlocal taken
            self._large += taken <= _LARGE < taken + count
            taken += count
            self._free -= count
            if self._free < 0 and taken > self._size / max(self._large, 1):
                raise Malformed("the answer is larger than there is room for", reason="too_large")

        try:
            yield take
        finally:
            self._free += taken
            self._large -= taken > _LARGE


_READER = WorkerThread("decode")
_ROOM = BodyMemory(_MAX_BODIES)  # the memory is that of the process


class _Gunzip:
    """Inflates gzip piece by piece; several members make one body."""

    def __init__(self) -> None:
        self._received = self._unpacked = 0
        self._member = zlib.decompressobj(_GZIP_WBITS)
        self._begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._received += len(data)
        while data:
            if self._member.eof:
                self._member = zlib.decompressobj(_GZIP_WBITS)
            self._begun = True
            try:
                part = self._member.decompress(data, _LARGE)
            except zlib.error:
                raise TryLater("the gzip of the answer is broken", reason="bad_encoding") from None
            self._unpacked += len(part)
            if self._unpacked > max(_RATIO_FROM, _MAX_RATIO * self._received):
                what = f"the answer unpacks to more than {_MAX_RATIO} times its size"
                raise Malformed(what, reason="too_large")
            yield part
            data = self._member.unused_data or self._member.unconsumed_tail

    def finish(self) -> None:
        if self._begun and not self._member.eof:
            raise TryLater("the gzip of the answer is cut off", reason="bad_encoding")


async def receive(
    response: httpx.Response, headers: Mapping[str, str], room: BodyMemory = _ROOM
) -> Reply:
    """The answer with its body, unpacked; `headers` are `wire.headers` of it.

    Raises TryLater(`bad_encoding`) if its gzip is broken or cut off, Malformed if it is
    over a cap (`too_large`) or packed in a way that was not asked for (`bad_encoding`),
    and the transport's own errors. But the body of an error is only a courtesy: where
    it is not small, sound and quick, there is none, so that it never hides the status.
    """
    body = b""
    if response.is_success:
        body = await _body(response, headers, room, MAX_WIRE, MAX_BODY)
    elif response.status_code != HTTPStatus.NOT_MODIFIED:
        with suppress(ProviderError, *TRANSPORT_ERRORS):
            async with asyncio.timeout(_ERROR_BODY_SECONDS):
                body = await _body(response, headers, room, MAX_ERROR_BODY, MAX_ERROR_BODY)
    return Reply(response.url, response.status_code, headers, body)


async def decoded(reply: Reply, into: type[T], secrets: Iterable[str]) -> T:
    """The body as `wire.decode` reads it, without any of the `secrets`.

    What is large is read in a thread, one after the other, so that the event loop goes on.
    """

    def read() -> T:
        return decode(replace(reply, body=without(secrets, reply.body)), into)

    return read() if len(reply.body) < _LARGE else await _READER.run(read)


async def _body(
    response: httpx.Response,
    headers: Mapping[str, str],
    room: BodyMemory,
    most_sent: int,
    most: int,
) -> bytes:
    gunzip = _unpacker(headers)
    received = values = 0
    body = bytearray()
    with room.taken() as take:
        async for data in response.aiter_raw():
            received += len(data)
            if received > most_sent:
                raise _too_large(most_sent)
            for part in (data,) if gunzip is None else gunzip.feed(data):
                if len(body) + len(part) > most:
                    raise _too_large(most)
                take(len(part))
                values += sum(map(part.count, _BEGIN_VALUES))
                if values > MAX_VALUES:
                    what = f"the answer holds more than {MAX_VALUES} values"
                    raise Malformed(what, reason="too_large")
                body += part
        if gunzip is not None:
            gunzip.finish()
        return bytes(body)


def _unpacker(headers: Mapping[str, str]) -> _Gunzip | None:
    match headers.get("content-encoding", "").strip().lower():
        case "" | "identity":
            return None
        case "gzip" | "x-gzip":
            return _Gunzip()
        case other:
            raise Malformed(
                f"the answer is packed as {other[:40]!r}, but only gzip was asked for",
                reason="bad_encoding",
            )


def _too_large(limit: int) -> Malformed:
    return Malformed(f"the answer is larger than {limit >> 20} MiB", reason="too_large")
