"""Tokens that are granted for a while and fetched again before they end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from exporter.errors import Malformed, ProviderError, Refused
from exporter.http import Api
from exporter.http.secret import is_header_value

_BEFORE = 360.0
"""Seconds before its end when a token is renewed; more than a poll may take."""


class Grant(NamedTuple):
    """A token, and when it ends."""

    token: str
    """Of any length."""
    until: float
    """Epoch seconds, the API's clock."""


class Granted:
    """The token in force; nothing prints it. `kind` is what it is called."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._token: str | None = None
        self._until = 0.0
        self._refusals = 0
        self._turn = asyncio.Lock()

    def token(self) -> str:
        """The token in force. Raises Refused(`unauthorized`) if there is none yet."""
        if self._token is None:
            raise Refused(f"there is no {self._kind} token yet", reason="unauthorized")
        return self._token

    async def renew(self, api: Api, fetch: Callable[[], Awaitable[Grant]]) -> None:
        """See to it that the token lasts for a poll.

        A new one is fetched too if a request was refused since: it may have been revoked.
        Raises a ProviderError, which then speaks of the whole account.
        """
        async with self._turn:
            if self._until - api.now() > _BEFORE and self._refusals == _refusals(api):
                return
            try:
                grant = await fetch()
                if not grant.token or not is_header_value(grant.token):
                    what = f"the {self._kind} token that was granted cannot be used"
                    raise Malformed(what, reason="bad_shape")
            except ProviderError as error:
                error.account_wide = True
                raise
            self._token, self._until = grant
            self._refusals = _refusals(api)


def _refusals(api: Api) -> int:
    return api.stats.errors["unauthorized"]
