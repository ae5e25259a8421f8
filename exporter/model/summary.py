"""What the jobs of a build say of the build itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from msgspec.structs import replace

from exporter.model.builds import Build, Job

_WORST_FIRST = ("failed", "timeout", "error", "cancelled", "partial", "passed")


class Summary(NamedTuple):
    """What a build can take from its jobs where it does not say it itself."""

    started: float | None
    """When the first of them began."""
    ended: float | None
    """When the last of them ended."""
    conclusion: str | None
    """The worst; None if none of their conclusions is one of a whole build."""


def summary(jobs: Iterable[Job]) -> Summary:
    """Earliest start, latest end and worst conclusion of `jobs`."""
    known = list(jobs)
    return Summary(
        started=earliest(job.started_at for job in known),
        ended=latest(job.completed_at for job in known),
        conclusion=worst(job.conclusion for job in known),
    )


def filled_by(build: Build, jobs: Summary) -> Build:
    """`build` with what it lacks of its start, end and conclusion taken from its jobs."""
    return replace(
        build,
        started_at=jobs.started if build.started_at is None else build.started_at,
        completed_at=jobs.ended if build.completed_at is None else build.completed_at,
        conclusion=jobs.conclusion if build.conclusion is None else build.conclusion,
    )


def worst(conclusions: Iterable[str | None]) -> str | None:
    """What a build comes to whose parts come to `conclusions`; None if they do not tell.

    Retried jobs and words without a named meaning say nothing of the build, and it was
    skipped only if all of them were.
    """
    results = {*conclusions} - {"retried"}
    named = next((word for word in _WORST_FIRST if word in results), None)
    return "skipped" if results == {"skipped"} else named


def earliest(times: Iterable[float | None]) -> float | None:
    """The first of those that are known."""
    return min((time for time in times if time is not None), default=None)


def latest(times: Iterable[float | None]) -> float | None:
    """The last of those that are known."""
    return max((time for time in times if time is not None), default=None)
