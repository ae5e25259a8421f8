"""The rows of unfinished builds, kept in memory because each poll reads them."""

from __future__ import annotations

from collections.abc import Container, Mapping

from exporter.ledger.rows import AttemptKey, Changes
from exporter.model import Build


class OpenBuilds:
    """The unfinished builds of each target."""

    def __init__(self) -> None:
        self._by_target: dict[int, dict[AttemptKey, Build]] = {}

    def of(self, target: int) -> Mapping[AttemptKey, Build]:
        """The unfinished builds of one target."""
        return self._by_target.get(target, {})

    def apply(self, changes: Changes) -> None:
        """Take over committed rows."""
        for target, key in changes.closed:
            self._by_target.get(target, {}).pop(key, None)
        for target, build in changes.open_builds:
            known = self._by_target.setdefault(target, {})
            known[AttemptKey(build.key, build.attempt)] = build

    def keep(self, targets: Container[int]) -> None:
        """Keep the builds of these targets only."""
        for target in [target for target in self._by_target if target not in targets]:
            del self._by_target[target]
