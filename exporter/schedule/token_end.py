"""When the token of an account ends, where the provider has to be asked for it."""

from __future__ import annotations

from time import monotonic
from typing import Any

from exporter import times
from exporter.errors import ProviderError, TryLater
from exporter.providers import Provider, Source

_HOUR, _DAY = 3600.0, 86400.0


class TokenEnd:
    """Asks for it: once at the start and once an hour, or once a day where that is refused."""

    def __init__(self, source: Source[Provider]) -> None:
        self._api = source.api
        page = source.account.own_token_page
        self._page = None if page is None or page.on_all else page
        self._due = 0.0
        """Monotonic seconds."""

    async def look(self) -> None:
        """Ask if it is time; whatever goes wrong, polls say it if the account is in trouble."""
        now = monotonic()
        if self._page is None or now < self._due:
            return
        self._due = now + _HOUR
        try:
            answer = await self._api.get(self._page.path, into=dict[str, Any], tries=1)
        except ProviderError as error:
            self._due = now if isinstance(error, TryLater) else now + _DAY
            return
        self._api.stats.token_expiry = _end(answer.body.get(self._page.expires))


def _end(told: Any) -> float | None:
    """Epoch seconds; a token ends when its last day begins, in UTC."""
    if not isinstance(told, str):
        return None
    return times.instant(told if "T" in told else f"{told}T00:00:00Z")
