"""How many builds a second are read, counted and committed: measured, as a Markdown table.

    PYTHONPATH=. python -m benchmarks.ingest [--state=postgresql://...] [BUILDS...]

100 GitHub repos with as many completed builds each are polled for the first time, four at a
time, then as many new builds are. The pages come over real HTTP from the emulator of the test
suite, in a process of its own; the client, the walk, the ledger (a SQLite file, or a new schema of
the database of `--state`) and the view are the real ones. CPU is that of the exporter's process
alone, with all its threads.
"""

from __future__ import annotations

import asyncio
import cProfile
import subprocess
import sys
import tempfile
import time
from contextlib import aclosing, nullcontext
from pathlib import Path

from exporter.demo.serve import serving
from exporter.http import Api
from exporter.ledger import LedgerConfig
from exporter.ledger.opening import open_ledger
from exporter.ledger.rows import Cursor
from exporter.metrics import families as f
from exporter.metrics.buckets import Buckets
from exporter.metrics.rules import MetricsRules
from exporter.providers import Repo, catalogue
from exporter.recorder import Recorder
from exporter.sync import repo_sync
from exporter.sync.notes import RepoNotes
from exporter.sync.window import SyncRules as Reading
from exporter.view.series_view import SeriesView
from tests.tools.emulators.github import TOKEN, Hub

SIZES = (1_000, 10_000, 100_000)
REPOS = 100
AT_ONCE = 4
DAY = 86400.0
ROUNDS = ("the first poll of each repo", "the next one, series known")
ENTRIES = [f"acme/r{n}" for n in range(REPOS)]


async def serve(builds: int) -> None:
    """The emulator: after a line on its standard input there are so many builds more."""
    hub = Hub()
    for entry in ENTRIES:
        hub.repo(entry)
    loop = asyncio.get_running_loop()
    async with serving(hub.app) as url:
        for ago in (3000.0, 2.0):
            for n in range(builds):
                entry = ENTRIES[n % REPOS]
                run = hub.begin(entry, ago=ago)
                hub.runs[entry][run][-1]["name"] = f"workflow {n // REPOS % 4}"
                hub.end(run, "failure" if n % 7 == 0 else "success", after=n % int(ago))
            print(url, flush=True)  # noqa: T201 - the parent waits for it
            await loop.run_in_executor(None, sys.stdin.readline)
            await asyncio.sleep(3.0)  # what is new is newer than the polls before
        await asyncio.Event().wait()


async def ingest(folder: Path, url: str, more: subprocess.Popen[str], builds: int) -> None:
    """Poll every repo in each round, and print what it took."""
    rules = MetricsRules(
        branches=("main",),
        buckets=Buckets((10.0, 60.0, 300.0, 900.0, 3600.0), (1.0, 15.0, 60.0, 300.0)),
        zero_hold=0.0,
        series_limit=500_000,
        max_open_age=7 * DAY,
    )
    wanted = next((word for word in sys.argv if word.startswith("--state=")), "")
    ledger = open_ledger(
        wanted.removeprefix("--state=") or f"sqlite:///{folder}/state.db",
        LedgerConfig(30 * DAY, DAY),
        schema=f"ingest_{time.time_ns()}",
    )
    view = SeriesView(rules, {"acme": "github"})
    recorder = Recorder(ledger, view, retention=30 * DAY)
    recorder.start(["acme"])
    known = {"name": "acme", "provider": "github", "repos": ENTRIES, "url": f"{url}/api/v3"}
    account = catalogue()["github"].model_validate(known)
    reading = Reading(lookback=DAY, retention=30 * DAY, rerun_window=DAY, max_interval=900.0)
    memories = {entry: RepoNotes() for entry in ENTRIES}
    gate = asyncio.Semaphore(AT_ONCE)
    async with aclosing(
        Api(root=account.root, headers=lambda: account.headers(TOKEN), timeout=30.0)
    ) as api:
        reader = repo_sync.SyncContext(account.connect(api), recorder, reading)

        async def one(entry: str) -> None:
            async with gate:
                target = await recorder.target("acme", entry, Cursor(time.time() - DAY))
                poll = repo_sync.RepoSync(
                    reader, repo=Repo(entry), target=target, notes=memories[entry]
                )
                await poll.run()

        for n, name in enumerate(ROUNDS):
            if n:
                assert more.stdin is not None  # noqa: S101 - it is piped
                assert more.stdout is not None  # noqa: S101
                more.stdin.write("\n")
                more.stdin.flush()
                await asyncio.to_thread(more.stdout.readline)
            cpu, wall, before = time.process_time(), time.monotonic(), _counted(view)
            profile = cProfile.Profile() if "--profile" in sys.argv else None
            with profile or nullcontext():
                await asyncio.gather(*map(one, ENTRIES))
            cpu, wall = time.process_time() - cpu, time.monotonic() - wall
            counted = _counted(view) - before
            if counted != builds:
                raise AssertionError(f"{builds} builds were counted as {counted}")
            cells = (f"{1e6 * cpu / builds:,.0f}", f"{builds / cpu:,.0f}", f"{builds / wall:,.0f}")
            print(f"| {builds:,} | {name} | {' | '.join(cells)} |", flush=True)  # noqa: T201
            if profile is not None:
                profile.print_stats("tottime")
    await recorder.close()


def _counted(view: SeriesView) -> int:
    every = (series for key, series in view.series.items() if key.family == f.BUILDS.name)
    return sum(int(series.vector[0]) for series in every)


def main() -> None:
    """Print the table."""
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    if words and words[0] == "serve":
        asyncio.run(serve(int(words[1])))
        return
    print("| builds | | us of CPU for one | builds/s on a core | by the clock |")  # noqa: T201
    print("|---:|---|---:|---:|---:|", flush=True)  # noqa: T201
    for builds in map(int, words) if words else SIZES:
        _measure(builds)


def _measure(builds: int) -> None:
    command = [sys.executable, "-m", "benchmarks.ingest", "serve", str(builds)]
    pipe = subprocess.PIPE
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as server,  # noqa: S603
    ):
        assert server.stdout is not None  # noqa: S101 - it is piped
        url = server.stdout.readline().strip()
        try:
            asyncio.run(ingest(Path(folder), url, server, builds))
        finally:
            server.kill()


if __name__ == "__main__":
    main()
