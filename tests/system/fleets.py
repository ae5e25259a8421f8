"""A fleet under fire: replicas that are killed and put to sleep, a database that is restarted.

`python -m tests.system.fleets --kills 200 --stops 100 --restarts 50` does it for as long as that
takes, and ends with a line of figures; the tests do less of the same.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from exporter.demo import World
from tests.system.client import free_port
from tests.system.test_kill import (
    BUCKETS,
    CIRCLECI,
    GITHUB,
    Factory,
    Watch,
    accounts_at,
    assert_complete,
)
from tests.tools import postgres
from tests.tools.emulators.unified import EmulatorThread
from tests.tools.postgres import Cluster
from tests.tools.system import Exporter, Exposition, configure, eventually

REPLICAS = 3
LEASE = 5
"""Seconds, the shortest that there are."""


def configured(
    folder: Path, url: str, emulator: EmulatorThread, schema: str, *, zero_hold: float = 0.5
) -> Path:
    """The configuration of replicas that count the builds of both accounts."""
    return configure(
        folder,
        accounts_at(emulator.url),
        state={"url": url, "schema": schema},
        polling={"interval": 0.3},
        metrics={"zero_hold": zero_hold, "duration_buckets": BUCKETS},
        fleet={"lease": LEASE},
    )


def opened(world: World) -> World:
    """With both accounts."""
    world.open("github", "github", GITHUB)
    world.open("circleci", "circleci", CIRCLECI)
    return world


def replica(file: Path) -> Exporter:
    """One that is not started yet; its address is known."""
    port = free_port()
    made = Exporter(file, f"--web.listen-address=127.0.0.1:{port}")
    made.url = f"http://127.0.0.1:{port}"
    return made


@contextlib.contextmanager
def fleet(file: Path, size: int = REPLICAS) -> Iterator[list[Exporter]]:
    """So many exporters by one file; whatever runs in the list at the end is killed."""
    made = [replica(file) for _ in range(size)]
    try:
        for one in made:
            one.begin()
        for one in made:
            one.logged("serving")
        yield made
    finally:
        for one in made:
            one.kill()


def assert_exact(exporter: Exporter, watch: Watch, world: World) -> None:
    """It shows the truth within a while, and nothing goes down until then."""
    eventually(lambda: assert_complete(watch.look(exporter), world), within=60)


class Chaos:
    """Kills, sleep and restarts, with a look at each replica in turn in between."""

    def __init__(self, file: Path, chance: random.Random) -> None:
        self.kills = self.stops = self.restarts = self.answered = self.asked = 0
        self.watch = Watch()
        self._file = file
        self._chance = chance

    def look(self, replicas: Sequence[Exporter]) -> None:
        """Scrape each that answers; what one has shown none may show less of afterwards."""
        for one in replicas:
            self.asked += 1
            with contextlib.suppress(OSError):
                answer = one.get("/metrics")
                if answer.status == 200:
                    self.answered += 1
                    self.watch.seen(Exposition(answer.body.decode()))

    def live(self, replicas: Sequence[Exporter], seconds: float) -> None:
        """Let time pass."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.look(replicas)
            time.sleep(0.05)

    def supervise(self, replicas: list[Exporter]) -> None:
        """Start those again that found no database when they began."""
        for at, one in enumerate(replicas):
            if one.process.poll() is not None:
                one.kill()  # its end is read
                assert "cannot be opened" in one.log, one.log
                replicas[at] = replica(self._file)
                replicas[at].begin()

    def kill(self, replicas: list[Exporter]) -> None:
        """Kill one and start another in its place, of which nobody waits that it serves."""
        at = self._chance.randrange(len(replicas))
        replicas[at].kill()
        assert "Traceback" not in replicas[at].log, replicas[at].log
        self.kills += 1
        replicas[at] = replica(self._file)
        replicas[at].begin()

    def sleep(self, replicas: Sequence[Exporter]) -> None:
        """Let one sleep past its leases, while the others are looked at."""
        one = self._chance.choice(replicas)
        one.process.send_signal(signal.SIGSTOP)
        self.stops += 1
        self.live([other for other in replicas if other is not one], LEASE + 1)
        one.process.send_signal(signal.SIGCONT)

    def restart(self, cluster: Cluster, replicas: Sequence[Exporter]) -> None:
        """Stop the database, mostly as a crash, and start it again."""
        cluster.stop(self._chance.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGINT)))
        self.restarts += 1
        self.look(replicas)
        cluster.start()


def _run(wanted: argparse.Namespace) -> None:
    chance, world, began = random.Random(wanted.seed), opened(World(page_size=20)), time.monotonic()
    with (
        tempfile.TemporaryDirectory() as folder,
        postgres.cluster(durable=True) as cluster,
        EmulatorThread(world) as emulator,
        Factory(world) as factory,
    ):
        file = configured(Path(folder), cluster.url, emulator, "chaos")
        chaos = Chaos(file, chance)
        with fleet(file) as replicas:
            deeds = (
                [chaos.kill] * wanted.kills
                + [chaos.sleep] * wanted.stops
                + [lambda some: chaos.restart(cluster, some)] * wanted.restarts
            )
            chance.shuffle(deeds)
            for deed in deeds:
                chaos.live(replicas, chance.uniform(0.2, 1.5))
                deed(replicas)
                chaos.supervise(replicas)
            factory.stop()
            for one in replicas:
                one.logged("serving")
                assert_exact(one, chaos.watch, world)
    builds = len(world.finished("github")) + len(world.finished("circleci"))
    print(
        f"{builds} builds, {chaos.kills} kills, {chaos.stops} asleep past the lease,"
        f" {chaos.restarts} restarts of the database in {time.monotonic() - began:.0f} s: 0 lost,"
        f" 0 doubled, no counter went back; {chaos.answered} of {chaos.asked} scrapes answered"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    for name, count in (("kills", 200), ("stops", 100), ("restarts", 50), ("seed", 1)):
        parser.add_argument(f"--{name}", type=int, default=count)
    _run(parser.parse_args())
