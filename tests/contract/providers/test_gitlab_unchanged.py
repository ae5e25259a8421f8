"""What GitLab need not send again, and that nothing is missed for it."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from exporter.http import Api
from exporter.metrics import families as f
from exporter.providers import Query, Repo
from exporter.providers.gitlab.mapping import Pipeline, to_build
from tests.tools.emulators.gitlab import World
from tests.tools.emulators.rig import Station
from tests.tools.gitlab_station import DAY, LIST, SHOP, SITE, asked, paths, station


def during(rig: Station, what: Callable[[Api], Awaitable[Any]], times: int) -> list[Any]:
    """What the provider answers one client again and again."""

    async def ask(api: Api) -> list[Any]:
        return [await what(api) for _ in range(times)]

    found: list[Any] = asked(rig, ask)
    return found


def test_the_list_of_a_quiet_project_is_sent_once_in_six_hours():
    world = World()
    world.ran(SHOP, time.time() - 900, 60.0, "failed")
    rig, yesterday = station(world), time.time() // DAY * DAY - DAY
    polls = iter([yesterday + 60 * minute for minute in range(361)])
    pages = during(
        rig, lambda api: rig.source(api).page(Repo(SHOP), Query(since=next(polls), size=30)), 361
    )

    assert len(set(rig.app.state.requests)) == 2
    assert world.unchanged == 361 - 2
    assert all(page == pages[0] for page in pages)


def test_a_change_ends_the_quiet():
    world = World()
    made = world.ran(SHOP, time.time() - 900, 60.0, "failed")
    rig, turns = station(world), iter(("running", "success"))

    async def page(api: Api) -> str | None:
        found = await rig.source(api).page(Repo(SHOP), Query(since=0.0, size=30))
        made.turns(next(turns, "success"))
        return found.builds[0].conclusion

    assert during(rig, page, 3) == ["failed", None, "passed"]


def test_of_a_list_only_what_is_read_is_remembered():
    world = World()
    world.ran(SHOP, time.time() - 900, 60.0, "success")
    rig = station(world)

    async def remembered(api: Api) -> list[bytes]:
        await rig.source(api).page(Repo(SHOP), Query(since=0.0, size=30))
        return [zlib.decompress(row.packed) for row in api.responses.changes().kept]

    [[body]] = during(rig, remembered, 1)
    [item] = json.loads(body)
    told = {"sha", "name", "web_url"}
    read = {"id", "iid", "status", "source", "ref", "created_at", "updated_at"} | told
    assert read == item.keys()


def test_an_unfinished_pipeline_that_has_not_changed_is_not_sent_again():
    world = World()
    made = world.pipeline(SHOP, time.time() - 900, status="manual")
    rig = station(world)
    known = to_build(Pipeline(id=made.id, status="manual"), Repo(SHOP), SITE)
    known = msgspec.structs.replace(known, partial=True)
    builds = during(rig, lambda api: rig.source(api).refresh(Repo(SHOP), known), 3)

    assert world.unchanged == 2
    assert {build.number for build in builds} == {made.iid}


def test_a_list_ends_where_nothing_has_changed_since():
    world, now = World(), time.time()
    for number in range(250):
        world.ran(SHOP, now - 4000 + number, 5.0, "success")
    rig = station(world)
    rig.polled()
    rig.polled()
    made = world.ran(SHOP, now - 30, 5.0, "success")

    assert paths(rig.polled()) == [LIST, f"{LIST}/{made.id}"]
    assert rig.value(f.BUILDS) == 251
