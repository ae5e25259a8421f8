"""Rows of the client that outlive a restart: stored responses and limits."""

from __future__ import annotations

from typing import NamedTuple

import msgspec


class ResponseKey(NamedTuple):
    """Which response of an account's API."""

    url: str
    shape: str
    """A digest of the type that it was decoded as."""


class StoredResponse(NamedTuple):
    """A response as the state stores it, for revalidation by its entity tag."""

    key: ResponseKey
    etag: str
    packed: bytes
    """What was decoded from it: JSON, compressed."""
    reader: bytes
    """A salted digest of the request headers, the credential among them."""
    used: float
    """Epoch seconds of the last request for it, to the day."""


class ResponseChanges(NamedTuple):
    """The changes to the stored responses of an account since they were last saved."""

    kept: list[StoredResponse]
    dropped: list[ResponseKey]


class Window(msgspec.Struct, frozen=True, array_like=True):
    """A rate limit as headers of an API reported it."""

    limit: float
    remaining: float
    reset: float
    """When it resets, epoch seconds, local clock."""


class Limits(msgspec.Struct, frozen=True, array_like=True):
    """The limits in force for one credential."""

    blocked_until: float | None = None
    """Nothing is sent until then. Epoch seconds, local clock."""
    windows: dict[str, Window] = {}
    """By the API's name of the limit."""
    reported_at: float = 0.0
    """When they were reported; 0 without any. Epoch seconds, local clock."""

    @property
    def until(self) -> float:
        """When the last of them ends; 0 without any."""
        ends = [window.reset for window in self.windows.values()]
        return max([*ends, self.blocked_until or 0.0])


class StoredLimits(NamedTuple):
    """Limits as the state stores them."""

    credential: bytes
    """A salted digest of the credential."""
    limits: Limits
