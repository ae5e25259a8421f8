"""Whether a refused credential is refused everywhere, or by one resource only.

A personal access token of one organization is refused by another one, with the same words
with which a revoked one is refused by all. What tells them apart is what the others say.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from time import monotonic

_MOST = 1000
"""Resources that are remembered."""


class Acceptance:
    """What has been accepted and refused of one credential."""

    def __init__(self) -> None:
        self._accepted_at = -math.inf
        self._refused: OrderedDict[str, float] = OrderedDict()

    @property
    def is_proven(self) -> bool:
        """Whether any resource has accepted it, so that it is an API that answers."""
        return self._accepted_at > -math.inf

    def accepted(self, path: str) -> None:
        """The credential was good for a resource."""
        self._accepted_at = monotonic()
        self._refused.pop(path, None)

    def is_refused_by_all(self, path: str) -> bool:
        """Whether a refusal by one resource speaks for all of them.

        It does until others have accepted the credential after this one's first refusal.
        """
        first = self._refused.setdefault(path, monotonic())
        if len(self._refused) > _MOST:
            self._refused.popitem(last=False)
        return first >= self._accepted_at
