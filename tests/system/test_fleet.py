"""Several exporters on one PostgreSQL: each build counted once, the same numbers everywhere."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.demo import World
from tests.system.fleets import Chaos, assert_exact, configured, fleet, opened
from tests.system.test_kill import Factory
from tests.tools import postgres
from tests.tools.emulators.unified import EmulatorThread
from tests.tools.postgres import Cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A server of its own, which may be killed: what it has answered is on the disk."""
    with postgres.cluster(durable=True) as made:
        yield made


def test_replicas_that_are_killed_and_sleep_on_a_server_that_is_killed_stay_exact(
    tmp_path: Path, cluster: Cluster
) -> None:
    world, chance = opened(World(page_size=20)), random.Random(15)
    with EmulatorThread(world) as emulator, Factory(world) as factory:
        file = configured(tmp_path, cluster.url, emulator, "under_fire")
        chaos = Chaos(file, chance)
        with fleet(file) as replicas:
            for turn in range(12):
                chaos.live(replicas, chance.uniform(0.2, 1.0))
                if turn % 6 == 3:
                    chaos.sleep(replicas)
                elif turn % 4 == 1:
                    chaos.restart(cluster, replicas)
                else:
                    chaos.kill(replicas)
            factory.stop()
            for one in replicas:
                one.logged("serving")
                assert_exact(one, chaos.watch, world)
    assert chaos.watch.scrapes > 20
    assert len(world.finished("github")) > 10
