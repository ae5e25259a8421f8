"""What a state in PostgreSQL costs, beside SQLite in the same run: measured, as a Markdown table.

    PYTHONPATH=. python -m benchmarks.fleet

A server of the test suite runs on the same machine, with fsync on. A poll with news is what the
recorder does with 1 or 10 completed builds of a repo; CPU of the exporter is that of this process,
that of the server is all of its processes'. Round trips are counted at a proxy.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import psycopg

from benchmarks.scrape_world import BUCKETS
from benchmarks.startup import fill
from exporter.ledger import LedgerConfig
from exporter.ledger.opening import FleetMember, open_ledger
from exporter.ledger.rows import Cursor, Target
from exporter.ledger.shared import WorkerFacts
from exporter.metrics.rules import MetricsRules
from exporter.recorder import Recorder
from exporter.view.series_view import SeriesView
from tests.tools import postgres
from tests.tools.postgres import Cluster
from tests.tools.scripted import build, done
from tests.tools.trips import Trips

POLLS = 400
DAY = 86400.0
RULES = MetricsRules(
    branches=("main",), buckets=BUCKETS, zero_hold=0.0, series_limit=500_000, max_open_age=7 * DAY
)
SERIES = 12_000
"""Counters and histograms of a large state: about 100,000 samples."""
IDLE = 20.0
"""Seconds in which leases are kept and nothing else is done."""
LEASES = 40
_TICKS = os.sysconf("SC_CLK_TCK")


class Process:
    """An exporter's recorder on a state, in this process."""

    def __init__(self, url: str, schema: str, *, alone: bool = False) -> None:
        worker = FleetMember(None, 15.0) if url.startswith("postgresql") and not alone else None
        self.ledger = open_ledger(url, LedgerConfig(30 * DAY, DAY), schema=schema, worker=worker)
        view = SeriesView(RULES, {"acme": "github"})
        self.recorder = Recorder(self.ledger, view, retention=30 * DAY)
        self.recorder.start(["acme"])
        if self.ledger.shared is not None:
            self.ledger.shared.leases.take(["acme"])
        self._serial = 0

    async def target(self) -> Target:
        """The repo that is polled."""
        return await self.recorder.target("acme", "acme/shop", Cursor(time.time() - DAY))

    async def poll(self, target: Target, builds: int) -> Target:
        """A poll with so many completed builds that are news."""
        news = []
        for _ in range(builds):
            self._serial += 1
            news.append(done(build(f"{time.time_ns()}-{self._serial}")))
        cursor = Cursor(target.cursor.floor, since=time.time(), high=self._serial)
        after, _ = await self.recorder.record(target, news, cursor=cursor)
        return after


def _cpu(pid: int) -> float:
    """Seconds that a process and its children have used."""
    total = 0.0
    for name in (entry.name for entry in Path("/proc").iterdir() if entry.name.isdigit()):
        try:
            fields = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if int(name) == pid:
            total += sum(map(int, fields[11:15]))  # with the children that have ended
        elif int(fields[1]) == pid:
            total += sum(map(int, fields[11:13]))
    return total / _TICKS


async def _polls(process: Process, builds: int, server: int | None) -> tuple[float, float, float]:
    """Milliseconds of one poll: CPU of this process, of the server, by the clock."""
    target = await process.target()
    for _ in range(20):
        target = await process.poll(target, builds)
    cpu, wall = time.process_time(), time.monotonic()
    before = 0.0 if server is None else _cpu(server)
    for _ in range(POLLS):
        target = await process.poll(target, builds)
    each = 1000.0 / POLLS
    after = 0.0 if server is None else _cpu(server)
    spent = time.process_time() - cpu, after - before, time.monotonic() - wall
    return spent[0] * each, spent[1] * each, spent[2] * each


def _row(*cells: str) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)  # noqa: T201 - it is what is asked for


async def polls(cluster: Cluster, folder: Path) -> None:
    """CPU of a poll with news, in turns."""
    for builds in (1, 10):
        found: dict[str, list[tuple[float, float, float]]] = {"sqlite": [], "postgres": []}
        for turn in range(5):
            one = Process(f"sqlite:///{folder}/{builds}-{turn}.db", "")
            found["sqlite"].append(await _polls(one, builds, None))
            await one.recorder.close()
            other = Process(cluster.url, f"polls_{builds}_{turn}")
            found["postgres"].append(await _polls(other, builds, cluster.process.pid))
            await other.recorder.close()
        ours, theirs = (median(x[0] for x in found[name]) for name in ("postgres", "sqlite"))
        server = median(x[1] for x in found["postgres"])
        _row(
            f"a poll with {builds} new builds, exporter",
            f"{theirs:.2f} ms",
            f"{ours:.2f} ms ({ours / theirs:.1f} x)",
        )
        _row("the same, server", "", f"{server:.2f} ms")
        _row(
            "the same, by the clock",
            f"{median(x[2] for x in found['sqlite']):.1f} ms",
            f"{median(x[2] for x in found['postgres']):.1f} ms",
        )


async def trips(cluster: Cluster) -> None:
    """Round trips of a commit."""
    with Trips(cluster.port) as proxy:
        process = Process(cluster.url.replace(f":{cluster.port}", f":{proxy.port}"), "trips")
        target = await process.target()
        counts = []
        for _ in range(20):
            before = proxy.count
            target = await process.poll(target, 1)
            counts.append(proxy.count - before)
        await process.recorder.close()
    _row("round trips of a commit with one build", "", str(median(counts)))


async def feed(cluster: Cluster) -> None:
    """A scrape's look at the feed, with a large state."""
    url, schema = cluster.url, "large"
    fill(open_ledger(url, LedgerConfig(30 * DAY, DAY), schema=schema), SERIES)
    writes = Process(url, schema)
    wall, cpu = time.monotonic(), time.process_time()
    reads = Process(url, schema)
    wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    _row(f"load of {reads.recorder.view.samples:,} samples", "", f"{wall:.2f} s, {cpu:.2f} s CPU")
    await reads.recorder.follow()
    cpu, wall = time.process_time(), time.monotonic()
    for _ in range(200):
        await reads.recorder.follow()
    spent = 5.0 * (time.process_time() - cpu), 5.0 * (time.monotonic() - wall)
    _row("feed in a scrape, nothing changed", "", f"{spent[0]:.2f} ms CPU, {spent[1]:.2f} ms")
    target = await writes.target()
    found = []
    for _ in range(5):
        for _ in range(80):
            target = await writes.poll(target, 1)
        cpu = time.process_time()
        await reads.recorder.follow()
        found.append(1000 * (time.process_time() - cpu))
    _row("the same, after 80 commits", "", f"{median(found):.1f} ms CPU")
    await reads.recorder.close()
    await writes.recorder.close()


def idle(url: str) -> None:
    """Keep a share of 40 leases, and do nothing else: a process of its own."""
    process = Process(url, "idle")
    if (shared := process.ledger.shared) is None:
        raise AssertionError(url)
    for n in range(LEASES):
        shared.leases.take([f"account-{n}"])
    print("held", flush=True)  # noqa: T201 - the parent waits for it
    while True:
        shared.leases.beat(WorkerFacts(), shown=0)
        asyncio.run(process.recorder.follow())
        time.sleep(shared.leases.length / 5)


@contextmanager
def _idle(cluster: Cluster) -> Iterator[list[int]]:
    command = [sys.executable, "-m", "benchmarks.fleet", "idle", cluster.url]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]  # noqa: S603
    try:
        for one in started:
            assert one.stdout is not None  # noqa: S101 - it is piped
            one.stdout.readline()
        yield [one.pid for one in started]
    finally:
        for one in started:
            one.kill()
            one.wait()


def leases(cluster: Cluster) -> None:
    """Two workers that only keep 40 leases."""
    with _idle(cluster) as pids:
        look: Callable[[int], float] = _cpu
        before = [look(pid) for pid in (*pids, cluster.process.pid)]
        time.sleep(IDLE)
        after = [look(pid) for pid in (*pids, cluster.process.pid)]
    *workers, server = (1000 * (b - a) / IDLE for a, b in zip(before, after, strict=True))
    _row(
        f"{LEASES} leases, 2 workers, idle", "",
        f"{max(workers):.1f} ms/s a worker, {server:.1f} ms/s the server",
    )  # fmt: skip


def main() -> None:
    """Print the table."""
    if sys.argv[1:2] == ["idle"]:
        idle(sys.argv[2])
        return
    _row("", "SQLite", "PostgreSQL")
    _row("---", "---:", "---:")
    with postgres.cluster(durable=True) as cluster, tempfile.TemporaryDirectory() as folder:
        asyncio.run(polls(cluster, Path(folder)))
        asyncio.run(trips(cluster))
        asyncio.run(feed(cluster))
        leases(cluster)
        with psycopg.connect(cluster.url, autocommit=True) as db:
            db.execute("DROP SCHEMA idle CASCADE")


if __name__ == "__main__":
    main()
