"""Rows of what the client knows of an API beyond a restart: stored answers and limits."""

from __future__ import annotations

from typing import NamedTuple

import msgspec


class AnswerKey(NamedTuple):
    """Which answer of an account's API."""

    url: str
    shape: str
    """A digest of the type that it was read as."""


class StoredAnswer(NamedTuple):
    """An answer as the state has it, so that the API need only say that it still holds."""

    key: AnswerKey
    etag: str
    packed: bytes
    """What was read from it: JSON, compressed."""
    reader: bytes
    """A salted digest of the headers it was asked for with, the credential among them."""
    used: float
    """Epoch seconds when it was last asked for, to the day."""


class AnswerChanges(NamedTuple):
    """What has changed among the answers of an account since they were last saved."""

    kept: list[StoredAnswer]
    dropped: list[AnswerKey]


class Window(msgspec.Struct, frozen=True, array_like=True):
    """What an API has told of one of its limits."""

    limit: float
    remaining: float
    reset: float
    """When it is full again, epoch seconds, our clock."""


class Limits(msgspec.Struct, frozen=True, array_like=True):
    """What an API has forbidden to whoever uses one credential."""

    blocked_until: float | None = None
    """Until then it wants no request. Epoch seconds, our clock."""
    windows: dict[str, Window] = {}
    """By the API's name of the limit."""
    told_at: float = 0.0
    """When that was so, if there is any. Epoch seconds, our clock."""

    @property
    def until(self) -> float:
        """When all of it is over; 0 if there is nothing."""
        ends = [window.reset for window in self.windows.values()]
        return max([*ends, self.blocked_until or 0.0])


class StoredLimits(NamedTuple):
    """Limits as the state has them."""

    credential: bytes
    """A salted digest of whose they are."""
    limits: Limits
