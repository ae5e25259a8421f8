"""How long a start takes with much in the state: measured, as a Markdown table.

    PYTHONPATH=. python -m benchmarks.startup [SERIES...]

A state file is filled with so many counters and histograms, and with two remembered builds for
each, by the real ledger. Then `cicd-exporter run` is started on it three times, and asked until
it is ready, and for its first scrape; medians. Its one account is on a port where nobody is.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import msgspec

from benchmarks.scrape_world import BUCKETS, facts_of, labels_of, series_of, target_of
from exporter.ledger import Ledger, LedgerConfig
from exporter.ledger.rows import Cursor, PipelineRow, RowChanges, SeriesRow, Target
from exporter.ledger.sqlite.ledger import open_ledger
from exporter.metrics import families as f
from exporter.model import Build, BuildKey, Status

SIZES = (1_000, 10_000, 100_000)
_SERIES = 12
"""Counters and histograms of a pipeline."""
_BUILDS = 2
"""Remembered builds for each of them."""
_encode = msgspec.msgpack.Encoder().encode


def fill(ledger: Ledger, series: int) -> None:
    """A state with so many series."""
    now, key = time.time(), 0
    with ledger.transaction() as tx:
        for family in f.FAMILIES:
            if family.persistent and family.buckets:
                tx.check_buckets(family.name, BUCKETS.of(family))
    for n in range(series // _SERIES):
        with ledger.transaction() as tx:
            target = _target(tx.target("acme", target_of(n).repo, Cursor(now - 86400.0)), now)
            builds = [_build(key := key + 1, now) for _ in range(_BUILDS * _SERIES)]
            tx.reconcile(target, builds, now=now)
            rows = tuple(SeriesRow(*row, is_live=True) for row in series_of(n))
            facts = msgspec.structs.replace(facts_of(n), touched=now)
            pipeline = PipelineRow(target.id, labels_of(n), _encode(facts))
            tx.save("acme", RowChanges((pipeline,), rows))
            tx.advance_cursor(target, target.cursor)
    ledger.close()


def _target(made: Target, now: float) -> Target:
    return msgspec.structs.replace(made, cursor=Cursor(now - 86400.0, since=now))


def _build(key: int, now: float) -> Build:
    times = {"created_at": now - 700, "started_at": now - 600, "completed_at": now - 60}
    told = {"repo": "acme/shop", "status": Status.COMPLETED, "conclusion": "passed"}
    return Build(key=BuildKey(str(9_000_000_000 + key)), **told, **times)  # type: ignore[arg-type]


def configured(folder: Path) -> Path:
    """A configuration for the state in this folder."""
    known = {
        "name": "acme",
        "provider": "github",
        "token_env": "BENCHMARK_TOKEN",
        "url": "http://127.0.0.1:9",
        "repos": ["acme/service-0"],
    }
    content = {
        "state": {"url": f"sqlite:///{folder}/state.db"},
        "metrics": {"series_limit": 10_000_000},
        "accounts": [known],
    }
    file = folder / "config.yaml"
    file.write_text(json.dumps(content))
    return file


@contextlib.contextmanager
def started(file: Path) -> Iterator[tuple[str, int]]:
    """`cicd-exporter run`; its address, and its process."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "exporter", "run", f"--config.file={file}"]
    process = subprocess.Popen(  # noqa: S603
        [*command, f"--web.listen-address={address}", "--log.level=error"],
        env={**os.environ, "BENCHMARK_TOKEN": "x"},
        stderr=subprocess.DEVNULL,
    )
    try:
        yield address, process.pid
    finally:
        process.kill()
        process.wait()


def asked(address: str, path: str) -> int:
    """How long the answer is."""
    with contextlib.closing(http.client.HTTPConnection(address, timeout=60)) as connection:
        connection.request("GET", path)
        return len(connection.getresponse().read())


def times(file: Path) -> tuple[float, float, int]:
    """Seconds until it is ready, and that the first scrape takes; how long its answer is."""
    begun = time.monotonic()
    with started(file) as (address, _):
        while True:
            with contextlib.suppress(OSError):
                asked(address, "/-/ready")
                break
            time.sleep(0.01)
        ready = time.monotonic()
        size = asked(address, "/metrics")
        return ready - begun, time.monotonic() - ready, size


def main() -> None:
    """Print the table, a line as soon as it is measured."""
    sizes = [int(word) for word in sys.argv[1:]] or SIZES
    print("| series | builds | state, MB | ready after, s | first scrape, s | its MB |")  # noqa: T201
    print(f"|{'---:|' * 6}", flush=True)  # noqa: T201
    for series in sizes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            url = f"sqlite:///{folder}/state.db"
            fill(open_ledger(url, LedgerConfig(30 * 86400.0, 86400.0)), series)
            size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
            file = configured(folder)
            took = [times(file) for _ in range(3)]
            ready, scrape, answer = (median(column) for column in zip(*took, strict=True))
            cells = (f"{size:.1f}", f"{ready:.2f}", f"{scrape:.2f}", f"{answer / 1e6:.1f}")
            print(f"| {series:,} | {_BUILDS * series:,} | {' | '.join(cells)} |", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
