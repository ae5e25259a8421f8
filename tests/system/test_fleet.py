"""Several exporters on one PostgreSQL: each build counted once, the same numbers everywhere."""

from __future__ import annotations

import contextlib
import random
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from exporter.demo import World
from tests.system.client import free_port
from tests.system.test_database import configured, opened
from tests.system.test_kill import Factory, Watch, assert_complete
from tests.tools import postgres
from tests.tools.emulators.unified import EmulatorThread
from tests.tools.postgres import Cluster
from tests.tools.system import Exporter, Exposition, eventually

REPLICAS = 3


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A server of its own, which may be killed: what it has answered is on the disk."""
    with postgres.cluster(durable=True) as made:
        yield made


def worker(file: Path) -> Exporter:
    return Exporter(file, f"--web.listen-address=127.0.0.1:{free_port()}")


@contextlib.contextmanager
def fleet(file: Path, size: int = REPLICAS) -> Iterator[list[Exporter]]:
    """So many exporters by one file, which are killed at the end if they still run."""
    made = [worker(file) for _ in range(size)]
    with contextlib.ExitStack() as ends:
        for one in made:
            ends.enter_context(one)
        yield made


def test_replicas_count_each_build_once_and_show_the_same(tmp_path: Path, cluster: Cluster) -> None:
    world, watch = opened(World(page_size=20)), Watch()
    with EmulatorThread(world) as emulator, Factory(world) as factory:
        file = configured(tmp_path, cluster, emulator, "together")
        with fleet(file) as replicas:
            for _ in range(6):
                for one in replicas:
                    watch.look(one)
                time.sleep(0.5)
            factory.stop()
            for one in replicas:
                eventually(lambda one=one: assert_complete(watch.look(one), world))
