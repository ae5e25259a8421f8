"""What is remembered between polls: runs that a restart has replaced."""

from __future__ import annotations

from msgspec.structs import replace

from exporter.model import Build, Status
from exporter.providers.bounded import Bounded

_MOST_BUILDS = 20_000


class RunsSeen:
    """The runs of each build that were read before."""

    def __init__(self) -> None:
        self._last: Bounded[str, Build] = Bounded(_MOST_BUILDS)
        self._first: Bounded[str, float] = Bounded(_MOST_BUILDS)

    def successor(self, known: Build) -> Build | None:
        """The run that a list has shown in place of the one that is known."""
        last = self._last.get(known.native_id)
        return None if last is None or last.key == known.key else last

    def read(self, build: Build) -> Build:
        """Note a build; it is given back as a restart if an earlier run of it was seen.

        Only a completed one is: while it runs, its attempt must be what the answer alone
        says, as the process that sees it complete may be another.
        """
        start = build.started_at
        first = self._first.get(build.native_id)
        if first is None and start is not None:
            self._first[build.native_id] = start
        is_later = first is not None and start is not None and first < start
        if is_later and build.status is Status.COMPLETED and build.attempt == 1:
            build = replace(build, attempt=2, created_at=None)
        self._last[build.native_id] = build
        return build
