"""The connections under the client: aiohttp's by httpx's interface, and what both lack.

Requests go to the transport of httpx and not through its client, which would look for
cookies, credentials and redirects in every answer.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator, Mapping
from functools import cache, lru_cache
from typing import Any, Self

import aiohttp
import certifi
import httpx
from aiohttp.connector import Connection
from httpx_aiohttp import AiohttpTransport

from exporter.errors import Refused
from exporter.http import address

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

    @contextlib.asynccontextmanager
    async def asked(
        self, method: str, url: str, headers: Mapping[str, str], form: Mapping[str, str]
    ) -> AsyncIterator[httpx.Response]:
        """The answer to a request, whose body is not read yet.

        Raises `wire.TRANSPORT_ERRORS`; Refused(`tls`) if `ca_file` cannot be used.
        """
        transport = self.transport or self._connect()
        request = httpx.Request(
            method, _url(url), headers=headers, data=form or None, extensions=_NO_TIMEOUTS
        )
        response = await transport.handle_async_request(request)
        response.request = request
        try:
            yield response
        finally:
            await response.aclose()

    def trust_anew(self) -> None:
        """Read `ca_file` once more: a new CA may be in it by now."""
        if self._tls is not None and self._ca_file is not None:
            with contextlib.suppress(OSError):
                self._tls.load_verify_locations(self._ca_file)

    async def aclose(self) -> None:
        """Close them all."""
        if self.transport is not None:
            await self.transport.aclose()

    def _connect(self) -> AiohttpTransport:
        try:
            tls = ssl.create_default_context(cafile=self._ca_file) if self._ca_file else _public()
        except OSError as error:
            what = f"ca_file {self._ca_file} cannot be used: {error.strerror}"
            raise Refused(what, reason="tls") from None
        self._tls = tls
        self.transport = transport = AiohttpTransport(
            verify=tls,
            trust_env=False,
            proxy=None if self._proxy is None else httpx.Proxy(self._proxy),
            client=lambda: _session(tls, limit=self._limit),
        )
        return transport


class _Response(aiohttp.ClientResponse):
    """An answer without its reason phrase, which nobody reads.

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
        connector=aiohttp.TCPConnector(ssl=tls, limit=limit, socket_factory=address.opened),
        cookie_jar=aiohttp.DummyCookieJar(),
        response_class=_Response,
        trust_env=False,
    )


@cache
def _public() -> ssl.SSLContext:
    """The public CAs, once for all: they take a megabyte."""
    return ssl.create_default_context(cafile=certifi.where())
