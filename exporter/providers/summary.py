"""What the jobs of a build say of the build itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from exporter.model import Job

_WORST_FIRST = ("failed", "timeout", "error", "cancelled", "partial", "passed")


class Summary(NamedTuple):
    """What a build can take from its jobs where it does not tell it itself."""

    started: float | None
    """When the first of them began."""
    ended: float | None
    """When the last of them ended."""
    conclusion: str | None
    """The worst; None if none of their conclusions is one of a whole build."""


def summary(jobs: Iterable[Job]) -> Summary:
    """Earliest start, latest end and worst conclusion of `jobs`.

    Retried jobs and words without a named meaning say nothing of the build, and it was
    skipped only if all of them were.
    """
    known = list(jobs)
    results = {job.conclusion for job in known} - {"retried"}
    worst = next((word for word in _WORST_FIRST if word in results), None)
    return Summary(
        started=earliest(job.started_at for job in known),
        ended=latest(job.completed_at for job in known),
        conclusion="skipped" if worst is None and results == {"skipped"} else worst,
    )


def earliest(times: Iterable[float | None]) -> float | None:
    """The first of those that are known."""
    return min((time for time in times if time is not None), default=None)


def latest(times: Iterable[float | None]) -> float | None:
    """The last of those that are known."""
    return max((time for time in times if time is not None), default=None)
