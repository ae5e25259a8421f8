"""What is remembered between polls to save requests."""

from __future__ import annotations

from typing import NamedTuple

from exporter.model import Build, BuildKey
from exporter.providers import Query
from exporter.providers.bounded import Bounded
from exporter.providers.jenkins.snapshot import Thrift
from exporter.providers.jenkins.tree import LastBuild, Node
from exporter.providers.marks import Marks

USABLE = 60.0
"""Seconds that a snapshot may tell that a build still runs."""
_LONG_PAST = 86400.0
"""Seconds before the horizon: builds beside a last one that old have ended as well."""
_NO_STAGES_FOR = 3600.0
_STRIKES = 3
"""Builds without a stage view before the plugin is taken to be missing."""
_MOST = 100_000
"""Jobs that are remembered."""
_MOST_BEGUN = 10_000
"""Builds of which it is remembered where they stood in the queue."""


class _Begun(NamedTuple):
    """A build that was in the queue."""

    number: int
    at: float
    """Epoch seconds."""


class ControllerCache:
    """What is known of a controller's jobs, its queue and its plugins."""

    def __init__(self) -> None:
        self.thrift = Thrift()
        self.marks: Marks[LastBuild] = Marks()
        """The last builds of jobs."""
        self._plain: Bounded[str, None] = Bounded(_MOST)
        self._high: Bounded[str, int] = Bounded(_MOST)
        self._begun: Bounded[BuildKey, _Begun] = Bounded(_MOST_BEGUN)
        self._stages_seen = False
        self._strikes = 0
        self._no_stages_until = 0.0

    # -- which jobs must be listed

    def must_read(self, job: Node, query: Query) -> bool:
        """Whether a job's builds must be listed; then notes that this walk reads them.

        A job is left out whose last build has not changed since a walk read it. What ran
        beside that is known to be unfinished then, and is refreshed by itself. Deep walks read
        all jobs but those whose last build ended a day before the horizon.
        """
        path, last = job.path, job.last
        if last is None:
            return False
        if last.ended is not None and last.ended + _LONG_PAST < query.since_for(path):
            return False
        seen = self.marks.seen(path, query)
        if seen is not None:
            if seen.number is not None:
                self._high[path] = seen.number
            if seen == last and last.number is not None:
                return False
        if (high := self._high.get(path)) is not None and (last.number or high) < high:
            del self._high[path]  # the job was made anew
        self.marks.note(path, last, query)
        return True

    def high(self, path: str) -> int | None:
        """Up to which number the builds of a job have been read and counted, if that is known."""
        return self._high.get(path)

    # -- what left the queue

    def started(self, key: BuildKey, build: Build) -> None:
        """Note which build a queued one has become."""
        if build.number is not None and build.started_at is not None:
            self._begun[key] = _Begun(build.number, build.started_at)

    def became(self, queued: Build) -> int | None:
        """The number of the build that a queued one has become, if a list has shown it.

        A controller that lost its queue gives the same ids again: what began before it was
        queued is another one.
        """
        begun = self._begun.get(queued.key)
        if begun is None or begun.at < (queued.created_at or 0.0):
            return None
        return begun.number

    # -- the stage view

    def note_kind(self, path: str, *, is_pipeline: bool) -> None:
        """Note whether the builds of a job have stages."""
        if is_pipeline:
            self._plain.pop(path, None)
        else:
            self._plain[path] = None

    def may_have_stages(self, path: str, now: float) -> bool:
        """Whether to ask for stages: not for an hour after the plugin was found missing."""
        return path not in self._plain and now >= self._no_stages_until

    def note_stages(self, now: float, *, found: bool) -> None:
        """Note an answer; once stages have been seen, missing ones are a build's own matter."""
        self._stages_seen = self._stages_seen or found
        self._strikes = 0 if found else self._strikes + 1
        if not self._stages_seen and self._strikes >= _STRIKES:
            self._no_stages_until = now + _NO_STAGES_FOR
