"""Whether a refused credential is refused everywhere, or by one resource only.

A personal access token of one organization is refused by another one, with the same words
with which a revoked one is refused by all. What tells them apart is what the others say.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import monotonic

import httpx

from exporter.errors import ProviderError

_MOST = 1000
"""Resources that are remembered."""


class Acceptance:
    """What has been accepted and refused of one credential."""

    def __init__(self) -> None:
        self.example: httpx.URL | None = None
        """What accepted it last; None as long as nothing did."""
        self._accepted_at = -math.inf
        self._refused: OrderedDict[str, float] = OrderedDict()

    @property
    def is_proven(self) -> bool:
        """Whether any resource has accepted it, so that it is an API that answers."""
        return self.example is not None

    def accepted(self, url: httpx.URL) -> None:
        """The credential was good for a resource."""
        self._accepted_at, self.example = monotonic(), url
        self._refused.pop(url.path, None)

    async def refused_by_all(self, path: str, ask: Callable[[httpx.URL], Awaitable[None]]) -> bool:
        """Whether the refusal by one resource speaks for all of them.

        It does until others have accepted the credential after this one's first refusal, at
        which another one that has accepted it before is asked once more; `ask` raises if that
        does not any longer.
        """
        other = self.example
        is_first = path not in self._refused
        first = self._refused.setdefault(path, monotonic())
        if len(self._refused) > _MOST:
            self._refused.popitem(last=False)
        if is_first and other is not None and other.path != path:
            with suppress(ProviderError):
                await ask(other)
                self.accepted(other)
        return first >= self._accepted_at
