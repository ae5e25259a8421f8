"""The queue of a controller: builds that wait for an executor and have no number yet."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from exporter.errors import Gone, ProviderError
from exporter.http import Api
from exporter.model import Build
from exporter.payload import at, each, whole
from exporter.providers import tried
from exporter.providers.jenkins.cache import ControllerCache
from exporter.providers.jenkins.mapping import (
    LEFT_FIELDS,
    QUEUE_FIELDS,
    LeftItem,
    QueueItem,
    Where,
    split_id,
    to_queued,
)
from exporter.providers.jenkins.snapshot import Snapshot
from exporter.providers.jenkins.tree import Node

_MOST = 20_000
"""Items of a queue."""


class _Queue(msgspec.Struct, frozen=True):
    items: list[msgspec.Raw] | None = None


async def queued(api: Api, snapshot: Snapshot, label: str, jobs: Sequence[Node]) -> list[Build]:
    """The queue items of some jobs; the queue is asked for if there may be any."""
    async with snapshot.queue_lock:
        if snapshot.queue is None:
            buildable = (n for n in snapshot.nodes.values() if not n.is_container)
            may_wait = any(place.queued is not False for place in buildable)
            snapshot.queue = await _items(api, snapshot) if may_wait else {}
    return [
        to_queued(item, Where(label, job.path))
        for job in jobs
        for item in snapshot.queue.get(job.path, ())
    ]


async def _items(api: Api, snapshot: Snapshot) -> dict[str, list[QueueItem]]:
    """All items by job; none where the queue is not for us or fails, which is noted."""
    answer = await tried(api.get("/queue/api/json", {"tree": QUEUE_FIELDS}, into=_Queue))
    if isinstance(answer, ProviderError):
        snapshot.queue_error = None if answer.is_final else answer
        return {}
    by_path: dict[str, list[QueueItem]] = {}
    for item in each(answer.body.items or (), QueueItem, most=_MOST)[0]:
        if item.path is not None:
            by_path.setdefault(item.path, []).append(item)
    return by_path


async def number_of(api: Api, cache: ControllerCache, path: str, known: Build) -> int | None:
    """The number of the build that a queued one has become; None if it still waits.

    Raises Gone if it was cancelled, or if the controller has lost its queue.
    """
    number = cache.became(known)
    if number is not None:
        return number
    url = f"/queue/item/{split_id(known)[1]}/api/json"
    item = (await api.get(url, {"tree": LEFT_FIELDS}, into=LeftItem)).body
    if item.cancelled is True or not item.is_of(path, known):
        raise Gone(f"{known.key} has left the queue", reason="not_found")
    return whole(at(item.executable, "number"))
