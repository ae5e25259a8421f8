"""The connections under the client: aiohttp's by httpx's interface, and what both lack.

Requests go to the transport of httpx and not through its client, which would look for
cookies, credentials and redirects in every answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import Future
from functools import cache, lru_cache, partial
from typing import Any, Self

import aiohttp
import certifi
import httpx
from aiohttp.connector import Connection
from httpx_aiohttp import AiohttpTransport

from exporter import files
from exporter.errors import Refused
from exporter.http import address
from exporter.http.resolver import Resolver
from exporter.threads import begun, ended

CIPHERS = "@SECLEVEL=2:ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20:!aNULL:!PSK:!aDSS"
"""What is spoken up to TLS 1.2, in OpenSSL's words: authenticated encryption alone."""
_NO_TIMEOUTS: dict[str, Any] = {"timeout": {}}  # each request has a total deadline
_url = lru_cache(maxsize=4096)(httpx.URL)  # those of idle repos are asked for again and again


class Connections:
    """At most `limit` connections to one API, made when they are needed.

    `ca_file` replaces the public CAs, `proxy` is the URL of an HTTP proxy.
    """

    def __init__(self, *, ca_file: str | None, proxy: str | None, limit: int) -> None:
        self.transport: httpx.AsyncBaseTransport | None = None
        self._ca_file = ca_file
        self._proxy = proxy
        self._limit = limit
        self._tls: ssl.SSLContext | None = None
        self._connecting = asyncio.Lock()
        self._reading: Future[None] | None = None

    @contextlib.asynccontextmanager
    async def asked(
        self, method: str, url: str, headers: Mapping[str, str], form: Mapping[str, str]
    ) -> AsyncIterator[httpx.Response]:
        """The answer to a request, whose body is not read yet.

        Raises `wire.TRANSPORT_ERRORS`; Refused(`tls`) if `ca_file` cannot be used.
        """
        if self._proxy is not None:
            address.assert_allowed(httpx.URL(url).host)
        transport = self.transport or await self._connect()
        request = httpx.Request(
            method, _url(url), headers=headers, data=form or None, extensions=_NO_TIMEOUTS
        )
        response = await transport.handle_async_request(request)
        response.request = request
        try:
            yield response
        finally:
            await response.aclose()

    async def trust_anew(self) -> None:
        """Read `ca_file` once more: a new CA may be in it by now."""
        if self._tls is not None and self._ca_file is not None:
            with contextlib.suppress(Refused):
                await self._in_a_thread(partial(_trust, self._tls, self._ca_file))

    async def aclose(self) -> None:
        """Close them all."""
        if self.transport is not None:
            await self.transport.aclose()

    async def _connect(self) -> httpx.AsyncBaseTransport:
        async with self._connecting:
            if self.transport is None:
                tls = self._tls = await self._trusted()
                self.transport = AiohttpTransport(
                    verify=tls,
                    trust_env=False,
                    proxy=None if self._proxy is None else httpx.Proxy(self._proxy),
                    client=lambda: _session(tls, limit=self._limit),
                )
            return self.transport

    async def _trusted(self) -> ssl.SSLContext:
        if self._ca_file is None:
            return _public()
        tls = _hardened(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        await self._in_a_thread(partial(_trust, tls, self._ca_file))
        return tls

    async def _in_a_thread(self, reading: Callable[[], None]) -> None:
        """Read `ca_file`. Raises Refused(`tls`) if that cannot be done, or not now."""
        if self._reading is None or self._reading.done():
            self._reading = begun(reading, name="ca-file")
        what = "its disk does not answer"
        if await ended(self._reading, within=files.PATIENCE):
            try:
                return self._reading.result()
            except OSError as error:
                what = error.strerror or str(error)
        raise Refused(f"ca_file {self._ca_file} cannot be used: {what}", reason="tls")


def _trust(tls: ssl.SSLContext, ca_file: str) -> None:
    with files.in_memory(files.content(ca_file, most=files.LARGE)) as file:
        tls.load_verify_locations(file)


def _hardened(tls: ssl.SSLContext) -> ssl.SSLContext:
    """Neither old versions nor, with TLS 1.2, suites that only padding and luck make safe."""
    tls.minimum_version = ssl.TLSVersion.TLSv1_2
    tls.set_ciphers(CIPHERS)
    return tls


class _Response(aiohttp.ClientResponse):
    """A response without its reason phrase, which is not used.

    Some servers write it in Latin-1 ("Ungültige Anforderung"); aiohttp then hands out half
    characters, at which the transport of httpx would break with an error that is none of its own.
    """

    async def start(self, connection: Connection) -> Self:
        await super().start(connection)
        self.reason = None
        return self


def _session(tls: ssl.SSLContext, *, limit: int) -> aiohttp.ClientSession:
    """No connection goes to a forbidden address; no cookies, no proxies of the environment."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            ssl=tls, limit=limit, socket_factory=address.opened, resolver=Resolver()
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        response_class=_Response,
        trust_env=False,
    )


@cache
def _public() -> ssl.SSLContext:
    """The public CAs, once for all: they take a megabyte."""
    return _hardened(ssl.create_default_context(cafile=certifi.where()))
