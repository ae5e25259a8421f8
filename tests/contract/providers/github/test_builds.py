"""Every attempt is counted once, and an idle repo costs nothing."""

from __future__ import annotations

import msgspec
import pytest

from exporter.errors import Gone
from exporter.metrics import families as f
from exporter.model import Status
from exporter.providers import Query
from exporter.providers.github.cache import AttemptCache
from tests.contract.providers.github import FORK, LATEST, RUNS, SHOP, WORKFLOWS, Desk, live
from tests.tools.emulators.github import Hub, said
from tests.tools.scripted import DAY

# -- against an emulated GitHub


@live
async def test_every_build_is_counted_once_with_its_true_times(hub: Hub) -> None:
    words = {
        "success": "passed",
        "failure": "failed",
        "cancelled": "cancelled",
        "timed_out": "timeout",
        "skipped": "skipped",
        "startup_failure": "error",
        "neutral": "neutral",
    }
    for number in range(120):
        hub.end(hub.begin(ago=3600 + number), list(words)[number % 7], after=10 + number)
    running = hub.begin(ago=30)
    async with Desk(hub) as desk:
        assert [f"{RUNS}?per_page=100"] == (await desk.polled())[:1]
        assert 1 == desk.gauge(f.ACTIVE, status="in_progress")
        hub.end(running, after=25)
        for _ in range(3):
            await desk.polled(deep=True)

        assert 121 == desk.value(f.BUILDS)
        for place, conclusion in enumerate(words.values()):
            expected = len(range(place, 120, 7)) + (conclusion == "passed")
            assert expected == desk.value(f.BUILDS, conclusion=conclusion)
        ran = [10 + n for n in range(120) if n % 7 != 4]
        assert len(ran) + 1 == desk.value(f.BUILD_DURATION)
        assert sum(ran) + 25 == desk.seconds(f.BUILD_DURATION)
        assert 0 == desk.value(f.BUILD_QUEUE)
        assert len(ran) + 1 == desk.value(f.MISSING, field="queue")


@live
async def test_an_idle_repo_costs_requests_that_count_against_no_limit(hub: Hub) -> None:
    for number in range(60):
        hub.end(hub.begin(ago=7200 + number))
    async with Desk(hub) as desk:
        await desk.polled()
        await desk.polled()
        left, free = hub.remaining, desk.free

        assert [LATEST] * 5 == [r for _ in range(5) for r in await desk.polled()]
        assert (left, free + 5) == (hub.remaining, desk.free)
        assert 60 == desk.value(f.BUILDS)
        assert 304 in {int(code) for code in desk.api.stats.requests}


@live
async def test_a_hundred_idle_repos_cost_a_hundred_free_requests() -> None:
    hub = Hub()
    for number in range(100):
        hub.repo(f"acme/r{number}")
        hub.end(hub.begin(f"acme/r{number}", ago=7200))
    async with Desk(hub, repos=["acme/*"]) as desk:
        await desk.polled()
        await desk.polled()
        left = hub.remaining

        assert 100 == len(await desk.polled())
        assert left == hub.remaining


@live
async def test_a_new_build_costs_nothing_beside_the_page(hub: Hub) -> None:
    hub.end(hub.begin(ago=2 * DAY))
    async with Desk(hub) as desk:
        await desk.polled()
        await desk.polled()
        build = hub.begin()
        assert [LATEST] == await desk.polled()
        hub.end(build)
        assert [LATEST] == await desk.polled()
        assert 1 == desk.value(f.BUILDS)


@live
async def test_a_burst_between_two_polls_is_counted_whole(hub: Hub) -> None:
    async with Desk(hub) as desk:
        await desk.polled()
        for number in range(200):
            hub.end(hub.begin(ago=50 + number / 10), after=20)

        requests = await desk.polled()

        assert 200 == desk.value(f.BUILDS, conclusion="passed")
        pages = [LATEST, *(f"{LATEST}&page={n}" for n in range(2, 8))]
        assert [LATEST, WORKFLOWS, *pages[1:]] == requests


@live
async def test_a_page_goes_on_where_it_ended_whatever_the_size_of_the_next(hub: Hub) -> None:
    for number in range(45):
        hub.end(hub.begin(ago=50 + number))
    async with Desk(hub) as desk:
        first = await desk.source.page(SHOP, Query(since=0.0, size=20))
        second = await desk.source.page(SHOP, Query(0.0, 100, first.next))
        third = await desk.source.page(SHOP, Query(0.0, 100, second.next))

        keys = [build.key for page in (first, second, third) for build in page.builds]
        assert 45 == len(keys) == len(set(keys))
        assert third.next is None


@live
async def test_an_unfinished_run_beyond_the_first_page_is_read_by_itself(hub: Hub) -> None:
    slow = hub.begin(ago=5000)
    for number in range(40):
        hub.end(hub.begin(ago=4000 + number))
    async with Desk(hub) as desk:
        await desk.polled()
        single = f"{RUNS}/{slow}"
        assert [LATEST, single] == await desk.polled()
        desk.memories["acme/shop"].checked.clear()
        free = desk.free
        assert [LATEST, single] == await desk.polled()
        assert free + 2 == desk.free
        desk.memories["acme/shop"].checked.clear()
        hub.end(slow, "failure", after=4900)
        await desk.polled()

        assert 1 == desk.value(f.BUILDS, conclusion="failed")
        assert 41 == desk.value(f.BUILDS)


# -- run again


@live
async def test_attempts_between_two_polls_are_fetched_and_counted_once_each(hub: Hub) -> None:
    build = hub.begin(ago=500)
    async with Desk(hub) as desk:
        await desk.polled()
        hub.end(build, "failure", after=100)
        hub.again(build, ago=350)
        hub.end(build, "timed_out", after=110)
        hub.again(build, ago=200)
        hub.end(build, "success", after=120)

        attempts = [f"{RUNS}/{build}/attempts/{n}" for n in (1, 2)]
        assert {LATEST, *attempts} == set(await desk.polled())
        assert [LATEST] == await desk.polled()

        assert 3 == desk.value(f.BUILDS)
        for conclusion in ("failed", "timeout", "passed"):
            assert 1 == desk.value(f.BUILDS, conclusion=conclusion)
        assert 2 == desk.value(f.RETRIES)
        assert 330 == desk.seconds(f.BUILD_DURATION)
        assert 0 == desk.value(f.MISSING, field="attempt")
        assert 0 == desk.gauge(f.ACTIVE, status="in_progress")


@live
async def test_a_run_started_again_long_after_is_found_by_the_deep_walk(hub: Hub) -> None:
    build = hub.begin(ago=50_000)
    hub.end(build, "failure")
    for number in range(40):
        hub.end(hub.begin(ago=40_000 + number))
    async with Desk(hub) as desk:
        await desk.polled()
        hub.again(build, ago=10)
        await desk.polled()
        assert 41 == desk.value(f.BUILDS)
        await desk.polled(deep=True)
        assert 1 == desk.gauge(f.ACTIVE, status="in_progress")
        hub.end(build)
        await desk.polled()

        assert (42, 1) == (desk.value(f.BUILDS), desk.value(f.RETRIES))


@live
async def test_earlier_attempts_of_old_runs_are_not_asked_for(hub: Hub) -> None:
    build = hub.begin(ago=3 * DAY)
    hub.end(build)
    hub.again(build, ago=2 * DAY)
    hub.end(build)
    async with Desk(hub) as desk:
        requests = [f"{RUNS}?per_page=100", WORKFLOWS]
        assert requests == await desk.polled()
        assert 0 == desk.value(f.BUILDS)


@pytest.mark.parametrize("status", [404, 403])
@live
async def test_an_attempt_that_is_not_to_be_had_is_told_as_missing(hub: Hub, status: int) -> None:
    build = hub.begin(ago=3000)
    hub.end(build, "failure")
    hub.again(build)
    hub.end(build)
    hub.broken["/attempts/1"] = said(status, "no")
    async with Desk(hub) as desk:
        await desk.polled()

        assert (1, 1) == (desk.value(f.BUILDS), desk.value(f.MISSING, field="attempt"))
        assert 0 == len([r for r in await desk.polled() if "attempts" in r])


@live
async def test_an_approval_is_waited_for_and_the_run_goes_on(hub: Hub) -> None:
    build = hub.begin(event="pull_request", **FORK)
    hub.end(build, "action_required", after=0)
    async with Desk(hub) as desk:
        await desk.polled()
        assert (0, 1) == (desk.value(f.BUILDS), desk.gauge(f.ACTIVE, status="waiting"))
        hub.again(build, ago=5)
        await desk.polled()
        assert 1 == desk.gauge(f.ACTIVE, status="in_progress")
        assert 0 == desk.gauge(f.ACTIVE, status="waiting")
        hub.end(build)
        await desk.polled()

        assert 1 == desk.value(f.BUILDS, conclusion="passed", branch="pull_request")


@live
async def test_read_again_by_itself_a_build_stays_the_attempt_it_was(hub: Hub) -> None:
    build = hub.begin()
    async with Desk(hub) as desk:
        page = await desk.source.page(SHOP, Query(0.0, 30))
        known = page.builds[0]
        assert known == await desk.source.refresh(SHOP, known)
        hub.end(build, "failure")
        hub.again(build)
        failed = await desk.source.refresh(SHOP, known)
        assert (1, "failed") == (failed.attempt, failed.conclusion)

        held = hub.begin()
        hub.end(held, "action_required")
        known = (await desk.source.page(SHOP, Query(0.0, 30))).builds[0]
        assert Status.WAITING is known.status
        hub.again(held)
        assert 2 == (await desk.source.refresh(SHOP, known)).attempt
        with pytest.raises(Gone):
            await desk.source.refresh(SHOP, msgspec.structs.replace(known, native_id="1"))


def test_what_is_remembered_is_bounded() -> None:
    cache = AttemptCache()
    for number in range(6000):
        cache.attempts[(number, 1)] = None

    assert (0, 1) not in cache.attempts
    assert (5999, 1) in cache.attempts
