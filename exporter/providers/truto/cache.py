"""What is remembered of earlier requests to save some."""

from __future__ import annotations

from exporter.model import Build, BuildKey, Job, Status
from exporter.providers.bounded import Bounded

_FRUITLESS = 3
_AGAIN_EVERY = 50
_MOST_BUILDS = 10_000


class Lookups:
    """What earlier requests for single builds and for jobs were worth."""

    def __init__(self) -> None:
        self._fruitless = 0
        self._left_out = 0
        self._pages: Bounded[BuildKey, int] = Bounded(_MOST_BUILDS)
        self._empty: Bounded[BuildKey, None] = Bounded(_MOST_BUILDS)

    def is_worthwhile(self) -> bool:
        """Whether to ask for a single build to fill the gaps of a completed one.

        Not after it has brought nothing three times in a row, but for every 50th time.
        """
        if self._fruitless < _FRUITLESS:
            return True
        self._left_out += 1
        return self._left_out % _AGAIN_EVERY == 0

    def brought(self, *, nothing: bool) -> None:
        """Note whether a single build has brought anything."""
        self._fruitless = self._fruitless + 1 if nothing else 0

    def came_to_nothing(self, key: BuildKey) -> None:
        """Note that no job will ever tell how a build went: it is none."""
        self._empty[key] = None

    def is_nothing(self, key: BuildKey) -> bool:
        """Whether that was noted of a build."""
        return key in self._empty

    def listed(self, build: Build, pages: int) -> None:
        """Note how many pages the jobs of a build took."""
        self._pages.pop(build.key, None)
        if pages > 1 and build.status is not Status.COMPLETED:
            self._pages[build.key] = pages

    def cheaper_alone(self, build: Build, known: Build | None) -> tuple[Job, ...]:
        """The unfinished jobs, if to ask for each takes fewer requests than their list.

        A completed build wants the whole list, as jobs may have been added.
        """
        if known is None or build.status is Status.COMPLETED:
            return ()
        unfinished = tuple(job for job in known.jobs if job.status is not Status.COMPLETED)
        return unfinished if len(unfinished) < self._pages.get(build.key, 1) else ()
