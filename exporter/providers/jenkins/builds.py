"""The builds of one job, as its lists and its single builds tell them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from exporter.errors import Malformed
from exporter.http import Api
from exporter.model import Build, Status
from exporter.payload import each, whole
from exporter.providers import Query
from exporter.providers.jenkins.cache import ControllerCache
from exporter.providers.jenkins.mapping import (
    RUN_FIELDS,
    Run,
    Where,
    in_order,
    lacks,
    to_build,
)
from exporter.providers.jenkins.tree import job_url
from exporter.providers.paging import whole as whole_list

_LOADED = 100
"""`builds` holds so many at most; `allBuilds` is dearer and has all."""
_FEW = 10
"""Builds that are asked for at once where more are too many."""
_MOST_UNKNOWN = 20
"""Pages of one job in a row of whose builds nobody can say when they were."""


class _Builds(msgspec.Struct, frozen=True, rename="camel"):
    builds: list[msgspec.Raw] | None = None
    all_builds: list[msgspec.Raw] | None = None


class ListPlace(NamedTuple):
    """Where in the list of a job's builds to go on."""

    offset: int = 0
    newer: float | None = None
    """When the last build before that began of which it is known."""


class JobPage(NamedTuple):
    """What was read of one job."""

    builds: Sequence[Build] = ()
    next: ListPlace | None = None
    rejected: int = 0


async def listed(
    api: Api, cache: ControllerCache, where: Where, mark: ListPlace, query: Query
) -> JobPage:
    """Some builds of one job, and where there may be more to read."""
    since, high = query.since_for(where.path), cache.high(where.path)
    tries = 1 if where.path in query.behind else None
    rejected = 0
    builds: list[Build] = []
    for _ in range(_MOST_UNKNOWN):
        raws = await _range(api, where, mark.offset, mark.offset + query.size, tries)
        runs, odd = each(raws, Run)
        rejected += odd + sum(run.is_blank for run in runs)
        noted = [_noted(cache, run, where) for run in reversed(runs) if not run.is_blank]
        builds, newer, is_old = in_order(noted, newer=mark.newer, since=since, high=high)
        mark = ListPlace(mark.offset + query.size, newer)
        if is_old or len(raws) < query.size:
            return JobPage(builds, None, rejected)
        if builds:
            return JobPage(builds, mark, rejected)
    return JobPage(builds, None, rejected)


async def single(api: Api, cache: ControllerCache, where: Where, number: str) -> Build:
    """One build by its number."""
    path = f"{job_url(where.path)}/{number}/api/json"
    run = (await api.get(path, {"tree": RUN_FIELDS}, into=Run)).body
    if run.is_blank:
        raise Malformed(f"{path}: the build says nothing of itself", reason="bad_shape")
    return _noted(cache, run, where)


async def _range(
    api: Api, where: Where, start: int, end: int, tries: int | None
) -> list[msgspec.Raw]:
    """Builds by their places in the list; fewer at a time where that is too much."""
    field = "builds" if end <= _LOADED else "allBuilds"

    async def fetch(
        size: int, token: str | None, most: int | None
    ) -> tuple[list[msgspec.Raw], str | None]:
        begin = start if token is None else int(token)
        stop = min(begin + size, end)
        params = {"tree": f"{field}[{RUN_FIELDS}]{{{begin},{stop}}}"}
        url = f"{job_url(where.path)}/api/json"
        body = (await api.get(url, params, into=_Builds, tries=tries or most)).body
        raws = body.builds if body.all_builds is None else body.all_builds
        if raws is None:
            raise Malformed(f"{where.path}: the answer holds no builds", reason="bad_shape")
        return raws, str(stop) if len(raws) == stop - begin and stop < end else None

    sizes = (end - start, _FEW) if end - start > _FEW else (end - start,)
    return await whole_list(fetch, what=f"builds of {where.path}", sizes=sizes)


def _noted(cache: ControllerCache, run: Run, where: Where) -> Build:
    """A listed build. It is partial where more can be known of it.

    The stage view may tell more of a pipeline, and the poller of one that has lost its start.
    """
    build = to_build(run, where)
    cache.note_kind(where.path, is_pipeline=run.is_pipeline)
    if (queue_id := whole(run.queue_id)) is not None:
        cache.started(where.queue_key(queue_id), build)
    is_over = build.status is Status.COMPLETED
    may_tell_more = run.is_pipeline and (not is_over or lacks(build))
    return replace(build, partial=may_tell_more or (is_over and build.started_at is None))
