"""The jobs of a controller, as one nested answer tells them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec

from exporter.payload import at, each, moment, text, whole

DEPTH = 4
"""Levels of folders in one answer; what lies deeper takes a request for each folder."""
_FIELDS = "_class,name,buildable,color,inQueue,lastBuild[number,building,result,timestamp,duration]"


def tree(depth: int = DEPTH) -> str:
    """The `tree` parameter that asks for so many levels."""
    return f"jobs[{_FIELDS}{f',{tree(depth - 1)}' if depth > 1 else ''}]"


OWN_TREE = f"{_FIELDS},{tree(1)}"
"""The same of one job itself, and of what is right inside."""


def job_url(path: str) -> str:
    """The URL path of a job path. A branch's name is quoted in it once more."""
    return "".join(f"/job/{quote(name, safe='')}" for name in path.split("/"))


class Item(msgspec.Struct, frozen=True, rename="camel"):
    """A job, folder or multibranch job."""

    name: str
    kind: Any = msgspec.field(default=None, name="_class")
    buildable: Any = None
    color: Any = None
    in_queue: Any = None
    last_build: Any = None
    jobs: list[msgspec.Raw] | None = None


class Pulse(NamedTuple):
    """What changes whenever a job's newest build does."""

    number: int | None
    building: bool
    result: str | None
    started: float | None
    ended: float | None
    """Epoch seconds; None while it runs."""


class Node(NamedTuple):
    """A place in the tree."""

    path: str
    kind: str
    active: bool
    pulse: Pulse | None
    queued: bool | None
    """Whether something of it waits in the queue; None where that is not told."""
    inside: tuple[str, ...] | None
    """The paths right inside; None if they were not asked for."""

    @property
    def is_multibranch(self) -> bool:
        """Whether what is inside are its branches."""
        return "multibranch" in self.kind.lower()

    @property
    def is_container(self) -> bool:
        """Whether it holds jobs instead of building. An old controller tells no class."""
        foldery = self.is_multibranch or self.kind.endswith(("Folder", "ComputedFolder"))
        return foldery or self.inside is not None

    @property
    def is_pipeline(self) -> bool:
        """Whether its builds may have stages; true where its class is not told."""
        return not self.kind or self.kind.endswith("WorkflowJob")


Nodes = dict[str, Node]
_MOST = 100_000
"""Jobs of one folder."""


def nodes(raws: Iterable[msgspec.Raw], above: str) -> Nodes:
    """All places of a nested list that is right inside the path `above` ("" for the top)."""
    found: Nodes = {}
    for item in each(raws, Item, most=_MOST)[0]:
        found |= node(item, f"{above}/{item.name}" if above else item.name)
    return found


def node(item: Item, path: str) -> Nodes:
    """The place of an item whose path is known, and all that it lists inside."""
    inside = None if item.jobs is None else nodes(item.jobs, path)
    level = path.count("/") + 1
    own = Node(
        path=path,
        kind=text(item.kind) or "",
        active=item.buildable is not False and not (text(item.color) or "").startswith("disabled"),
        pulse=_pulse(item.last_build),
        queued=item.in_queue if isinstance(item.in_queue, bool) else None,
        inside=None if inside is None else tuple(p for p in inside if p.count("/") == level),
    )
    return {path: own} | (inside or {})


def _pulse(last: Any) -> Pulse | None:
    if not isinstance(last, dict):
        return None
    started, span = moment(at(last, "timestamp")), whole(at(last, "duration"))
    building = at(last, "building") is True
    known = not building and started is not None and span is not None
    return Pulse(
        number=whole(at(last, "number")),
        building=building,
        result=text(at(last, "result")),
        started=started,
        ended=started + span / 1000 if known else None,  # type: ignore[operator]
    )
