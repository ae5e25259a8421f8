"""The series limit as a user meets it: a process that is killed and asked again."""

from __future__ import annotations

import time
from pathlib import Path

from exporter.demo import Run, World
from tests.tools.emulators.unified import EmulatorThread
from tests.tools.system import Exporter, Exposition, account, configure, eventually

ENTRY = "acme/shop"
LIMIT = 200


def runs(first: int, number: int) -> list[Run]:
    """Completed runs, each of a workflow of its own."""
    at = int(time.time()) - 60
    return [
        Run(
            id=str(n),
            number=n,
            workflow=f"CI {n}",
            created_at=at,
            started_at=at + 1,
            completed_at=at + 3,
            conclusion="passed",
        )
        for n in range(first, first + number)
    ]


def counted(exporter: Exporter, number: int) -> Exposition:
    """What is shown once so many builds are counted."""

    def check() -> Exposition:
        shown = exporter.scrape()
        assert shown.total("cicd_builds_total") == number
        return shown

    return eventually(check)


def samples(shown: Exposition) -> float:
    return shown.total("cicd_exporter_series")


def test_totals_stay_right_at_the_limit_and_after_a_kill(tmp_path: Path) -> None:
    world = World()
    world.open("github", "github", ENTRY)
    for run in runs(1, 20):
        world.add("github", ENTRY, run)
    with EmulatorThread(world) as emulator:
        config = configure(
            tmp_path,
            [account("github", "github", emulator.url, [ENTRY])],
            polling={"interval": 0.3},
            metrics={
                "zero_hold": 0,
                "series_limit": LIMIT,
                "duration_buckets": [10],
                "queue_buckets": [10],
            },
        )
        with Exporter(config) as exporter:
            before = counted(exporter, 20)
            exporter.kill()
        for run in runs(21, 20):
            world.add("github", ENTRY, run)
        with Exporter(config) as exporter:
            after = counted(exporter, 40)

    assert samples(before) <= LIMIT >= samples(after)
    dropped = "cicd_exporter_series_dropped_total"
    first = before.total(dropped, metric="cicd_builds_total")
    assert first > 0
    assert after.total(dropped, metric="cicd_builds_total") == first + 20, "it goes on"
    assert after.total("cicd_build_duration_seconds_count") == 40
    assert after.total("cicd_builds_total", workflow="other") > 20
    own = {key for key, n in before.select("cicd_builds_total").items() if n}
    assert {key for key, n in after.select("cicd_builds_total").items() if n} == own
