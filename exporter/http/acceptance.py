"""Whether a refused credential is refused everywhere, or by one resource only.

A personal access token of one organization is refused by another one, with the same words
with which a revoked one is refused by all. What tells them apart is what the others say.
"""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import monotonic

import httpx

from exporter.errors import ProviderError

_PAGING = re.compile(r"(?i)cursor|page|limit|offset|token|time|after|since|top|size|order|sort")
"""Names of parameters that tell parts of a list, not what is listed."""
_MOST = 1000
"""Resources that are remembered."""


def resource(url: httpx.URL) -> str:
    """What a request is for, whichever page of it: one path may serve many repos."""
    named = sorted((k, v) for k, v in url.params.multi_items() if not _PAGING.search(k))
    return f"{url.path} {named}" if named else url.path


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
        self._refused.pop(resource(url), None)

    async def refused_by_all(
        self, url: httpx.URL, ask: Callable[[httpx.URL], Awaitable[None]]
    ) -> bool:
        """Whether the refusal by one resource speaks for all of them.

        It does until others have accepted the credential after this one's first refusal, at
        which another one that has accepted it before is asked once more; `ask` raises if that
        does not any longer.
        """
        other = self.example
        asked = resource(url)
        is_first = asked not in self._refused
        first = self._refused.setdefault(asked, monotonic())
        if len(self._refused) > _MOST:
            self._refused.popitem(last=False)
        if is_first and other is not None and resource(other) != asked:
            with suppress(ProviderError):
                await ask(other)
                self.accepted(other)
        return first >= self._accepted_at
