"""Looking up the names of hosts, each account for itself."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import Future
from functools import partial
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

from exporter.threads import begun

_Found = list[tuple[Any, ...]]


class Resolver(AbstractResolver):
    """Asks the system in a daemon thread, never in those that everybody shares.

    A name server that is silent holds such a thread for half a minute. It costs no other
    account its turn, no page its answer and no process its end; and for one name no second
    thread is begun meanwhile.
    """

    def __init__(self) -> None:
        self._under_way: dict[tuple[str, int, int], Future[_Found]] = {}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a host. Raises OSError."""
        return [
            ResolveResult(
                hostname=host,
                host=address[0],
                port=address[1],
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, _, protocol, _, address in await self.entries(host, port, family)
        ]

    async def entries(
        self, host: str, port: int, family: int = socket.AF_UNSPEC
    ) -> list[tuple[Any, ...]]:
        """What `getaddrinfo` tells of connections to a host."""
        asked = host, port, family
        lookup = self._under_way.get(asked)
        if lookup is None or lookup.done():
            ask = partial(socket.getaddrinfo, host, port, family=family, type=socket.SOCK_STREAM)
            lookup = self._under_way[asked] = begun(ask, name="resolver")
        return await asyncio.wrap_future(lookup)

    async def close(self) -> None:
        """Leave behind what is under way."""
        self._under_way.clear()
