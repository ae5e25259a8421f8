"""The jobs of a controller, as its lists tell them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec

from exporter.errors import Malformed
from exporter.payload import at, each, moment, text, whole
from exporter.providers import Site

DEPTH = 4
"""Levels of folders in one answer; what lies deeper takes a request for each folder."""
DEEPEST = 20
"""Levels of folders that are read."""
MOST = 100_000
"""Jobs and folders of a controller."""
_BARE = "_class,name,buildable,color"
_FIELDS = f"{_BARE},inQueue,lastBuild[number,building,result,timestamp,duration]"


def tree(depth: int = DEPTH) -> str:
    """The `tree` parameter that asks for so many levels."""
    return f"jobs[{_FIELDS}{f',{tree(depth - 1)}' if depth > 1 else ''}]"


TREES = (tree(), tree(1), f"jobs[{_BARE}]")
"""What is asked for, and what in its place where the controller cannot answer that: one broken
folder spoils a list that reaches into it, one broken build a list that tells last builds."""
OWN_TREE = f"{_FIELDS},{tree(1)}"
"""The same of one job itself, and of what is right inside."""

_DOT, _SLASH = r"(?:\.|%(?:25)*2[eE])", r"%(?:25)*(?:2[fF]|5[cC])"
_CONTROL = r"%(?:25)*(?:[01][0-9a-fA-F]|7[fF])"
NAME = (
    rf"(?!{_DOT}{{0,2}}(?:{_SLASH}|/|\Z))"
    rf"(?:(?!{_SLASH}{_DOT}{{0,2}}(?:{_SLASH}|/|\Z)|{_CONTROL})[^/\\\x00-\x1f\x7f\ud800-\udfff]){{1,1000}}"
)
"""A name whose request stays below the place that lists it, even if a proxy decodes the URL once
more: no part of it is empty or made of dots. Jenkins lists a branch with `/` as `%2F`."""
_SAFE = re.compile(NAME)


def job_url(path: str) -> str:
    """The URL path of a job path. A branch's name is quoted in it once more."""
    return "".join(f"/job/{quote(name, safe='')}" for name in path.split("/"))


def page_of_job(site: Site, path: str) -> str | None:
    """The address of a job's page, with a slash at its end."""
    parts = (part for name in path.split("/") for part in ("job", name))
    page = site.page(*parts)
    return page and f"{page}/"


def endless(path: str) -> Malformed:
    """What is said of folders that hold more than a controller can have."""
    return Malformed(
        f"the folders below {path[:100]} do not end: what is there cannot be read (a proxy may"
        " answer each of them with the same list)",
        reason="bad_shape",
    )


class Item(msgspec.Struct, frozen=True, rename="camel"):
    """A job, folder or multibranch job."""

    name: str
    kind: Any = msgspec.field(default=None, name="_class")
    buildable: Any = None
    color: Any = None
    in_queue: Any = None
    last_build: Any = msgspec.UNSET
    jobs: list[msgspec.Raw] | None = None


class LastBuild(NamedTuple):
    """What changes whenever a job's newest build does."""

    number: int | None
    """None if the list does not tell of the last build."""
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
    last: LastBuild | None
    """None if there is no build."""
    queued: bool | None
    """Whether something of it waits in the queue; None where that is not told."""
    inside: tuple[str, ...] | None
    """The paths right inside; None if they were not asked for."""
    refused: tuple[str, ...] = ()
    """Names right inside that have builds and cannot be asked for safely."""

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


class Level(NamedTuple):
    """A list of jobs, which is right inside some place."""

    paths: tuple[str, ...]
    refused: tuple[str, ...]
    nodes: Nodes
    """Its places and all that they list inside themselves."""


def level(raws: Iterable[msgspec.Raw], above: str) -> Level:
    """A nested list that is right inside the path `above` ("" for the top)."""
    found: Nodes = {}
    paths: list[str] = []
    refused: list[str] = []
    for item in each(raws, Item, most=MOST)[0]:
        if _SAFE.fullmatch(item.name) is None:
            if item.last_build is not None:
                refused.append(item.name)
            continue
        path = f"{above}/{item.name}" if above else item.name
        paths.append(path)
        found |= node(item, path)
        if len(found) > MOST:
            raise endless(path)
    return Level(tuple(dict.fromkeys(paths)), tuple(dict.fromkeys(refused)), found)


def alike(one: Iterable[Node], other: Iterable[Node]) -> bool:
    """Whether two lists are one: the same names and classes, and the same last build of any."""
    (kinds, builds), (other_kinds, other_builds) = _traits(one), _traits(other)
    return kinds == other_kinds and not builds.isdisjoint(other_builds)


def _traits(places: Iterable[Node]) -> tuple[set[tuple[str, str]], set[tuple[str, int]]]:
    named = [(place.path.rpartition("/")[2], place) for place in places]
    numbers = ((name, place.last.number) for name, place in named if place.last is not None)
    kinds = {(name, place.kind) for name, place in named}
    return kinds, {(name, number) for name, number in numbers if number is not None}


def node(item: Item, path: str) -> Nodes:
    """The place of an item whose path is known, and all that it lists inside."""
    is_too_deep = path.count("/") >= DEEPEST
    inside = None if item.jobs is None or is_too_deep else level(item.jobs, path)
    own = Node(
        path=path,
        kind=text(item.kind) or "",
        active=item.buildable is not False and not (text(item.color) or "").startswith("disabled"),
        last=_last_build(item.last_build),
        queued=item.in_queue if isinstance(item.in_queue, bool) else None,
        inside=None if inside is None else inside.paths,
        refused=() if inside is None else inside.refused,
    )
    return {path: own} | ({} if inside is None else inside.nodes)


def _last_build(last: Any) -> LastBuild | None:
    if last is msgspec.UNSET:
        return LastBuild(None, building=True, result=None, started=None, ended=None)
    if not isinstance(last, dict):
        return None
    started, span = moment(at(last, "timestamp")), whole(at(last, "duration"))
    building = at(last, "building") is True
    known = not building and started is not None and span is not None
    return LastBuild(
        number=whole(at(last, "number")),
        building=building,
        result=text(at(last, "result")),
        started=started,
        ended=started + span / 1000 if known else None,  # type: ignore[operator]
    )
