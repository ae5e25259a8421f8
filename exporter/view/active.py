"""The builds that are not finished: by repo for the walk, by pipeline for the gauges."""

from __future__ import annotations

import heapq
import math
from collections.abc import Collection, Iterable

from exporter.ledger.rows import AttemptKey, Labels
from exporter.model import Build


class Running:
    """All unfinished builds. What changes the gauges of a pipeline returns its labels."""

    def __init__(self) -> None:
        self.by_target: dict[int, dict[AttemptKey, Build]] = {}
        self._by_pipeline: dict[Labels, dict[tuple[int, AttemptKey], Build]] = {}
        self._labels: dict[tuple[int, AttemptKey], Labels] = {}
        self.folded: dict[tuple[int, AttemptKey], Build] = {}
        """Those that their own pipelines do not show."""
        self._unpolled: set[int] = set()
        """Targets that nobody polls any more: their builds are not shown."""
        self._ageing: list[tuple[float, Labels]] = []
        """A heap of when the first build of a pipeline began, as far as it is known."""
        self._first: dict[Labels, float] = {}
        """What in the heap is valid."""

    def put(self, target: int, build: Build, labels: Labels, *, is_own: bool) -> set[Labels]:
        """A build was seen. The pipeline with these labels shows it, or would if it was there.

        `is_own` tells whether it is there and is the build's own.
        """
        key = AttemptKey(build.key, build.attempt)
        changed = {labels, *self.drop(target, key)}
        self.by_target.setdefault(target, {})[key] = build
        self._by_pipeline.setdefault(labels, {})[target, key] = build
        self._labels[target, key] = labels
        if not is_own:
            self.folded[target, key] = build
        return changed

    def drop(self, target: int, key: AttemptKey) -> set[Labels]:
        """A build is finished or gone."""
        if self.by_target.get(target, {}).pop(key, None) is None:
            return set()
        labels = self._labels.pop((target, key))
        self.folded.pop((target, key), None)
        builds = self._by_pipeline[labels]
        del builds[target, key]
        if not builds:
            del self._by_pipeline[labels]
        return {labels}

    def forget(self, targets: Iterable[int]) -> None:
        """Nothing is known of these repos any more."""
        for target in targets:
            for key in list(self.by_target.get(target, ())):
                self.drop(target, key)
            self.by_target.pop(target, None)
            self._unpolled.discard(target)

    def polled(self, targets: Iterable[int]) -> set[Labels]:
        """These repos are polled."""
        return self._turned(self._unpolled & set(targets))

    def unpolled(self, targets: Iterable[int]) -> set[Labels]:
        """These repos are polled no longer."""
        return self._turned(set(targets) - self._unpolled)

    def _turned(self, targets: set[int]) -> set[Labels]:
        self._unpolled ^= targets
        return {labels for (target, _), labels in self._labels.items() if target in targets}

    def shown(self) -> set[Labels]:
        """The pipelines with builds that are shown."""
        return {at for (target, _), at in self._labels.items() if target not in self._unpolled}

    def affected(self, pipelines: Collection[Labels]) -> list[tuple[int, Build]]:
        """The builds, with their targets, that may move when these pipelines change."""
        if not pipelines:
            return []
        found = dict(self.folded)
        for labels in pipelines:
            found |= self._by_pipeline.get(labels, {})
        return [(target, build) for (target, _), build in found.items()]

    def of(self, labels: Labels) -> list[Build]:
        """The builds to show of a pipeline."""
        builds = self._by_pipeline.get(labels)
        if builds is None:
            return []
        return [b for (target, _), b in builds.items() if target not in self._unpolled]

    # -- age

    def began(self, labels: Labels, first: float) -> None:
        """The first of a pipeline's builds and jobs began then, epoch; inf if none is known."""
        if first < self._first.get(labels, math.inf):
            self._first[labels] = first
            heapq.heappush(self._ageing, (first, labels))

    def aged(self, since: float) -> set[Labels]:
        """The pipelines with a build or job that began before and was not told of yet."""
        aged: set[Labels] = set()
        while self._ageing and self._ageing[0][0] < since:
            first, labels = heapq.heappop(self._ageing)
            if self._first.get(labels) == first:
                del self._first[labels]
                aged.add(labels)
        return aged
