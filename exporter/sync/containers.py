"""Builds that are only a set of jobs, which are listed a page of jobs at a time."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from exporter.model import Build, Status


class Container:
    """The jobs of such a build as one sync finds them.

    `whole` says whether the sync began with the first page and is to read all of them. `known` are
    builds whose jobs were listed on pages that are not read once more.
    """

    def __init__(self, *, whole: bool, known: Iterable[Build] = ()) -> None:
        self._whole = whole
        self._build: Build | None = None
        self._listed = {job.id for build in known for job in build.jobs}

    def joined(self, build: Build, known: Build | None, *, last: bool) -> Build:
        """`build` with its unfinished jobs of other pages and polls; `last` of the last page.

        A job leaves it when a whole list lacks it. `known` is the build as the last poll read it.
        """
        before = self._build or known
        listed = {job.id for job in build.jobs}
        self._listed |= listed
        kept = tuple(
            job
            for job in (() if before is None else before.jobs)
            if job.status is not Status.COMPLETED
            and job.id not in listed
            and (job.id in self._listed or not (last and self._whole))
        )
        self._build = replace(build, jobs=kept + build.jobs)
        return self._build

    @property
    def expects_jobs(self) -> bool:
        """Whether unfinished jobs of it have not been listed yet."""
        jobs = () if self._build is None else self._build.jobs
        return any(job.id not in self._listed for job in jobs)
