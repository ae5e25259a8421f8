"""Derives when the jobs of later stages were queued."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from msgspec.structs import replace

from exporter.model import Job
from exporter.payload import at, text, whole


def queued_by_stage(jobs: Iterable[tuple[Job, Any]]) -> list[Job]:
    """Jobs, given with their stages, as created when their stage might begin.

    All jobs of a build are created with it, but those of a stage wait for the stages before.
    Where nobody knows when these ended, nobody knows the queue time.
    """
    known = list(jobs)
    queued = [job for job, _ in known]
    places = enumerate(_places(stage for _, stage in known))
    ends: list[float] = []
    waits = False
    for _, stage in groupby(sorted((p, i) for i, p in places if p is not None), key=itemgetter(0)):
        members = [index for _, index in stage]
        for index in members if waits else ():
            queued[index] = _queued_after(queued[index], ends)
        for index in members:
            if (ended := queued[index].completed_at) is not None:
                insort(ends, ended)
        waits = True
    return queued


def _places(stages: Iterable[Any]) -> Iterator[int | None]:
    """The places of stages in their build: their numbers, else the order in which they appear.

    A job without a stage waits for none, and none waits for it.
    """
    names: dict[str, int] = {}
    for stage in stages:
        place, name = whole(at(stage, "number")), text(at(stage, "name"))
        if place is None and name is not None:
            place = names.setdefault(name, len(names))
        yield place


def _queued_after(job: Job, ends: Sequence[float]) -> Job:
    """`job` as queued from the last of these ends, sorted, that came before its start."""
    if job.started_at is None or job.created_at is None:
        return job
    passed = bisect_right(ends, job.started_at)
    return replace(job, created_at=max(job.created_at, ends[passed - 1]) if passed else None)
