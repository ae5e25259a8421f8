"""The jobs of a controller as one moment shows them, asked for in as few requests as it bears."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from weakref import WeakValueDictionary

import msgspec

from exporter.errors import Gone, Malformed, ProviderError
from exporter.http import Api
from exporter.payload import text
from exporter.providers import tried
from exporter.providers.jenkins.mapping import QueueItem
from exporter.providers.jenkins.tree import (
    DEEPEST,
    MOST,
    OWN_TREE,
    TREES,
    Item,
    Level,
    Node,
    Nodes,
    alike,
    endless,
    job_url,
    level,
    node,
)
from exporter.providers.paging import TOO_MUCH, bearable

_MOST_LISTS = 1000
"""Lists that one snapshot asks for; each is of a folder that the lists before did not reach."""
_ROOT = "hudson.model.Hudson"
_THRIFTY_FOR = 3600.0
"""Seconds after which a list that could not be had is asked for again."""


class _Jobs(msgspec.Struct, frozen=True):
    jobs: list[msgspec.Raw]
    kind: Any = msgspec.field(default=None, name="_class")


class Thrift:
    """Which of `TREES` a place could answer, where it could not answer the first."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, float]] = {}

    def first(self, path: str, now: float) -> int:
        """Where to begin."""
        number, until = self._known.get(path, (0, 0.0))
        return number if now < until else 0

    def note(self, path: str, number: int, now: float) -> None:
        """Remember which one was answered."""
        known, until = self._known.get(path, (0, 0.0))
        if number == 0:
            self._known.pop(path, None)
        elif number != known or now >= until:
            self._known[path] = number, now + _THRIFTY_FOR


class Snapshot:
    """The controller's jobs at one time, and its queue as soon as it is asked for."""

    def __init__(self, thrift: Thrift, now: float) -> None:
        self.nodes: Nodes = {}
        self.at = now
        """Epoch seconds, the provider's clock."""
        self.queue: dict[str, list[QueueItem]] | None = None
        self.queue_error: ProviderError | None = None
        self.queue_lock = asyncio.Lock()
        """Held by whoever asks for the queue."""
        self._thrift = thrift
        self._top: tuple[str, ...] = ()
        self._refused: tuple[str, ...] = ()
        self._error: ProviderError | None = None
        self._lists = 0
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def look(self, api: Api) -> Snapshot:
        """Ask for the jobs of the controller; raises if nothing can be asked of it.

        Where it cannot list all its jobs, each may still tell of itself.
        """
        try:
            found = await self._list(api, "")
        except ProviderError as error:
            if error.account_wide or error.reason not in TOO_MUCH:
                raise
            self._error = error
        else:
            self._top, self._refused = found.paths, found.refused
        return self

    async def find(self, api: Api, path: str) -> Node | None:
        """The place of a path; folders on the way that were too deep are asked for."""
        if self._error is not None and "/" in path:  # the place above says what it is
            await self.find(api, path.rpartition("/")[0])
        for end, letter in enumerate(path):
            above = self.nodes.get(path[:end]) if letter == "/" else None
            if above is not None and above.is_container:
                await self.inside(api, above.path)
        if path not in self.nodes:  # a folder on the way may not be ours to see
            try:
                answer = await api.get(f"{job_url(path)}/api/json", {"tree": OWN_TREE}, into=Item)
            except Gone:
                return None
            self._add(node(answer.body, path))
        return self.nodes[path]

    async def inside(self, api: Api, path: str) -> list[Node]:
        """What is right inside a folder, a multibranch job or ("") the controller."""
        if not path:
            if self._error is not None:
                raise self._error
            return [self.nodes[inner] for inner in self._top]
        async with self._locks.setdefault(path, asyncio.Lock()):
            place = self.nodes[path]
            if place.inside is None:
                found = await self._list(api, path)
                place = place._replace(inside=found.paths, refused=found.refused)
                self.nodes[path] = place
        return [self.nodes[inner] for inner in place.inside or ()]

    def refused(self, path: str) -> Sequence[str]:
        """Names right inside that have builds and cannot be asked for safely."""
        return self.nodes[path].refused if path else self._refused

    async def _list(self, api: Api, path: str) -> Level:
        """A list of jobs; of less where the controller cannot make all of it."""
        self._lists += 1
        if self._lists > _MOST_LISTS or path.count("/") >= DEEPEST:
            raise endless(path)
        answer = await self._answer(api, path)
        found = level(answer.jobs, path)
        if path:
            self._check(path, found, text(answer.kind) or "")
        self._add(found.nodes)
        return found

    async def _answer(self, api: Api, path: str) -> _Jobs:
        now, url = api.now(), f"{job_url(path)}/api/json" if path else "/api/json"

        async def ask(number: int, tries: int | None) -> _Jobs:
            answer = await api.get(url, {"tree": TREES[number]}, into=_Jobs, tries=tries)
            self._thrift.note(path, number, now)
            return answer.body

        return await bearable(ask, tuple(range(len(TREES)))[self._thrift.first(path, now) :])

    def _check(self, path: str, found: Level, kind: str) -> None:
        """Raise if this is the list of a place above, which would lead here again and again."""
        places = [found.nodes[inner] for inner in found.paths]
        for above in ("", *(path[:end] for end, letter in enumerate(path) if letter == "/")):
            known = (self.nodes[above].inside or ()) if above in self.nodes else self._top
            if alike(places, (self.nodes[inner] for inner in known)):
                raise _looping(path, above)
        if kind == _ROOT:
            raise _looping(path, "")

    def _add(self, nodes: Nodes) -> None:
        self.nodes.update(nodes)
        if len(self.nodes) > MOST:
            raise endless(next(reversed(nodes)))


def _looping(path: str, above: str) -> Malformed:
    return Malformed(
        f"{path} is answered with the jobs of {above or 'the root'}: a proxy loses the path",
        reason="bad_shape",
    )


async def with_builds(api: Api, path: str) -> set[str] | None:
    """The branches of a multibranch job that have builds now; None if it does not tell for now."""
    url = f"{job_url(path)}/api/json"
    answer = await tried(api.get(url, {"tree": TREES[1]}, into=_Jobs))
    if isinstance(answer, ProviderError):
        return None
    places = level(answer.body.jobs, path).nodes.values()
    return {place.path for place in places if place.last is not None}
