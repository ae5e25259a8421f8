"""Sound objects of every CI system: recorded ones, rendered ones, and some made up."""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from exporter.demo import render, render_jobs
from exporter.demo.facts import JobView, View
from exporter.payload import at
from tests.contract.fuzz.inventor import Inventor, iso
from tests.contract.fuzz.source import Source
from tests.tools.stories import SYSTEMS, stage

Kinds = dict[str, list[Any]]
"""Objects by what they are: `builds`, `jobs`, ..."""

MADE_UP = ""
"""The kind of what is not recorded."""

_MOST = 40
"""Objects of a kind."""
_RECENT = 9e4
"""Seconds since the builds began that are rendered."""
_RELATION = re.compile(r"(?:^|_)(?:uu)?id$|^build$", re.IGNORECASE)
_NAME = re.compile(r"(?:^|_)(?:uu)?id$|Id$|^build$|number|key|slug|name", re.IGNORECASE)
_MILLISECONDS = (1.1e12, 1.9e12)
_ISO = re.compile(r"20[0-3]\d-\d\d-\d\dT\d\d:\d\d:\d\d")


def recorded(shared: Path, word: str) -> Kinds:
    """The recorded answers of a CI system, as if they were of the last minutes; {} without any."""
    folders = [f for f in (shared / "recordings").iterdir() if word.startswith(f.name)]
    return {
        file.stem: [
            _lately(json.loads(line), place)
            for place, line in enumerate(file.read_bytes().splitlines()[:_MOST])
        ]
        for folder in folders
        for file in sorted(folder.glob("*.jsonl"))
    }


def _lately(value: Any, place: int) -> Any:
    """A recorded object with its times moved, so that the last of them is minutes ago."""
    times = list(_times(value)) if isinstance(value, dict) else []
    return _moved(value, time.time() - 200 - 2 * place - max(times)) if times else value


def _times(value: dict[str, Any]) -> Iterator[float]:
    """The times of an object itself, not those of what is inside it."""
    for inner in value.values():
        if isinstance(inner, str) and _ISO.match(inner):
            yield _read(inner)
        elif isinstance(inner, int) and _MILLISECONDS[0] < inner < _MILLISECONDS[1]:
            yield inner / 1000


def _moved(value: Any, by: float) -> Any:
    match value:
        case dict():
            return {key: _moved(inner, by) for key, inner in value.items()}
        case list():
            return [_moved(inner, by) for inner in value]
        case str() if _ISO.match(value):
            return iso(_read(value) + by)[:19] + value[19:]
        case int() if _MILLISECONDS[0] < value < _MILLISECONDS[1]:
            return int(value + by * 1000)
    return value


def _read(text: str) -> float:
    return datetime.fromisoformat(f"{text[:19]}+00:00").timestamp()


@cache
def rendered(integration: str) -> Kinds:
    """Builds and jobs as the emulator of the unified API tells them."""
    world = stage(turn=0)
    account = world.accounts[integration]
    (repo,) = account.repos.values()
    begun = world.clock() - _RECENT
    runs = [run for run in world.listed(account, repo.entry) if run.created_at > begun][:_MOST]
    about: dict[str, Any] = {"repo": repo, "now": world.clock(), "ways": account.behaviour}
    kinds: Kinds = {}
    if SYSTEMS[integration].jobs:
        jobs = [JobView(run=run, job=job, **about) for run in runs for job in run.jobs][:_MOST]
        kinds["jobs"] = [render_jobs.job(integration, view) for view in jobs]
    if integration in render.BUILDS:
        builds = [View(run=run, **about) for run in runs]
        kinds["builds"] = [render.listed_build(integration, view) for view in builds]
        kinds["whole_builds"] = [render.build(integration, view) for view in builds]
    return kinds


def family(kinds: Kinds, source: Source, chance: random.Random, size: int = 3) -> Kinds:
    """A few objects of each kind, if possible such as belong together, and some made up.

    They are in the order in which a list has them: the newest first.
    """
    inventor = Inventor(source, chance)
    chosen: Kinds = {MADE_UP: [inventor.object() for _ in range(size)]}
    known: set[str] = set()
    for kind in sorted(kinds):
        items = chance.sample(kinds[kind], k=len(kinds[kind]))
        items.sort(key=lambda item: known.isdisjoint(identities(item, _RELATION)))
        chosen[kind] = sorted(list(_different(items))[:size], key=kinds[kind].index)
        known.update(*(identities(item, _RELATION) for item in chosen[kind]))
    return chosen


def _different(items: Iterable[Any]) -> Iterator[Any]:
    """The items, but none that is another one at another time."""
    seen = set()
    for item in items:
        own = str(at(item, "id") or at(item, "uuid") or item)
        if own not in seen:
            seen.add(own)
            yield item


def identities(item: Any, keys: re.Pattern[str] = _NAME) -> set[str]:
    """What an object may be known by, and what it may know others by."""
    return {
        str(value).strip("{}")
        for key, value in (item.items() if isinstance(item, dict) else ())
        if keys.search(key)
        and (isinstance(value, str) or (isinstance(value, int) and abs(value) < 10**30))
    }
