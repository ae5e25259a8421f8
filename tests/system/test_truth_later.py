"""Every number stays what really happened while builds go on, begin and are run again."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from tests.tools.emulators.unified import EmulatorThread
from tests.tools.oracle import Oracle, assert_true
from tests.tools.stories import SYSTEMS, Author, config, numbered, stage
from tests.tools.system import Exporter, Exposition, eventually


def test_what_happens_later_is_told_as_it_happens(tmp_path):
    """Builds go on, begin and are run again while the exporter polls."""
    world = stage(turn=2)
    now = world.clock()
    clock: Any = world.clock
    oracles = [Oracle(world, integration, jobs=True) for integration in SYSTEMS]

    def watch() -> None:
        for oracle in oracles:
            oracle.look()
        eventually(lambda: _assert_all(exporter.scrape(), oracles))

    def rest() -> None:
        """Nothing changes while nothing happens, whatever poll is under way."""
        begun, polled = time.time(), 0.0
        while polled < begun + 1:
            scrape = exporter.scrape()
            _assert_all(scrape, oracles)
            polled = min(scrape.select("cicd_exporter_poll_last_success_.*").values())

    polling = {"interval": 0.3, "max_interval": 2, "rerun_window": "10m"}
    with EmulatorThread(world) as emulator:
        file = config(tmp_path, emulator.url, jobs=True, **polling)
        with Exporter(file) as exporter:
            eventually(exporter.polled)
            watch()
            rest()
            for integration, system in SYSTEMS.items():
                before = world.attempts(integration)
                later = [*Author(integration, serial=900).later(now, before)]
                high = max(run.number for run in before)
                world.add(integration, system.entry, *numbered(integration, later, after=high))
            for seconds in (60, 120, 240):
                clock.now = now + seconds
                watch()


def _assert_all(scrape: Exposition, oracles: Iterable[Oracle]) -> None:
    for oracle in oracles:
        assert_true(scrape, oracle)
