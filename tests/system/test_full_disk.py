"""A disk without room stops the counting and nothing else, and loses nothing."""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

import pytest

from exporter.demo import Run, World
from tests.tools.emulators.unified import EmulatorThread
from tests.tools.system import Exporter, Exposition, account, configure, eventually

REPO = "acme/shop"
LISTS = "/unified/ci-cd/builds"
NO_LIMIT = resource.RLIM_INFINITY


def built(world: World, *numbers: int) -> None:
    """Builds that have just ended, each of a workflow of its own: every one adds to the state."""
    begun = float(int(time.time()) - 60)
    for number in numbers:
        run = Run(
            id=str(number),
            number=number,
            workflow=f"CI {number}",
            created_at=begun,
            started_at=begun + 1,
            completed_at=begun + 3,
        )
        world.add("github", REPO, run)


def room(exporter: Exporter, size: int) -> None:
    """Let no file of the process grow beyond `size` bytes."""
    resource.prlimit(exporter.process.pid, resource.RLIMIT_FSIZE, (size, NO_LIMIT))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits a running process")
def test_a_full_disk_stops_the_counting_and_loses_nothing(tmp_path: Path) -> None:
    world = World()
    world.open("github", "github", REPO)
    built(world, 1, 2, 3)
    with EmulatorThread(world) as emulator:
        file = configure(
            tmp_path,
            [account("github", "github", emulator.url, [REPO])],
            polling={"interval": 0.2},
            metrics={"zero_hold": 0},
        )

        def told(scrape: Exposition) -> tuple[float, float]:
            state = scrape.value("cicd_exporter_state_ok")
            return state, scrape.total("cicd_builds_total")

        with Exporter(file) as exporter:

            def assert_told(*expected: float) -> None:
                assert told(exporter.scrape()) == expected

            eventually(lambda: assert_told(1, 3))
            room(exporter, 0)
            built(world, *range(4, 44))
            eventually(lambda: assert_told(0, 3))
            polls = len(emulator.journal.requests(LISTS))
            while len(emulator.journal.requests(LISTS)) < polls + 2:
                assert_told(0, 3)  # all the while: it does not flap
            assert exporter.get("/-/ready").status == 200
            [repo] = exporter.status()["accounts"][0]["repos"]
            assert "the state cannot be written" in repo["error"]
            assert exporter.log.count("the state cannot be written") == 1
            assert "can be written again" not in exporter.log

            room(exporter, NO_LIMIT)
            eventually(lambda: assert_told(1, 43))
            assert exporter.log.count("the state can be written again") == 1
            counted = exporter.scrape().counters()
            exporter.kill()
        with Exporter(file) as exporter:
            eventually(exporter.polled)
            assert exporter.scrape().counters() == counted
            assert exporter.stop() == 0
