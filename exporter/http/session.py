"""The connections under the client: aiohttp's, with what it and httpx do not agree on mended."""

from __future__ import annotations

import ssl
from typing import Self

import aiohttp
from aiohttp.connector import Connection

from exporter.http import address


class _Response(aiohttp.ClientResponse):
    """An answer without its reason phrase, which nobody reads.

    Some servers write it in Latin-1 ("Ungültige Anforderung"); aiohttp then hands out half
    characters, at which the transport of httpx would break with an error that is none of its own.
    """

    async def start(self, connection: Connection) -> Self:
        await super().start(connection)
        self.reason = None
        return self


def session(tls: ssl.SSLContext, *, limit: int) -> aiohttp.ClientSession:
    """At most `limit` connections, none of them to a forbidden address; no cookies, no proxies."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=tls, limit=limit, socket_factory=address.opened),
        cookie_jar=aiohttp.DummyCookieJar(),
        response_class=_Response,
        trust_env=False,
    )
