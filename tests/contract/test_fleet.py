"""A fleet on one token, simulated for hours: gentle to the API, and yet nothing is seen late.

`benchmarks/schedule.py` plays it whole; here is a twentieth of GitHub's, limits and all.
"""

from __future__ import annotations

import asyncio
import time

import pytest

from benchmarks import virtual
from benchmarks.schedule import HOUR, MINUTE, GitHub, Scene, Told, share_of, simulated

PART = 20


@pytest.fixture(scope="module")
def told() -> Told:
    return simulated(Scene("github", GitHub, 2000, 1.5 * HOUR, 2 * HOUR, part=PART))


def test_every_build_is_counted_and_once(told):
    assert told.builds > 30
    assert told.lost == 0


def test_neither_limit_is_passed_and_the_reserve_is_kept(told):
    assert told.server.worst_minute <= 0.9 * 900 / PART
    assert max(told.server.spent.values()) <= 0.9 * 5000 / PART
    assert told.server.sent > 1000


def test_a_busy_repos_build_is_seen_within_a_minute_and_any_repos_within_a_quarter(told):
    assert share_of(told.busy, 0.95) <= MINUTE
    assert max(told.busy + told.others) <= 15 * MINUTE
    assert told.server.longest_gap <= 15 * MINUTE


def test_adapting_saves_most_of_the_requests(told):
    repos, hours = len(told.server.fleet.runs), 3.5
    assert told.server.sent < 0.3 * repos * hours * 60


def test_the_same_fleet_makes_the_same_hours():
    scene = Scene("github", GitHub, 2000, 0.2 * HOUR, 0.2 * HOUR, part=100)
    assert simulated(scene).server.sent == simulated(scene).server.sent


def test_the_clock_of_the_simulation_ends_with_it():
    before = time.time()
    assert virtual.run(_an_hour) == virtual.EPOCH + HOUR
    assert time.time() - before < MINUTE


async def _an_hour(clock: virtual.Clock) -> float:
    await asyncio.sleep(HOUR)
    return clock.time()
