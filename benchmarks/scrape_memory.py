"""What series weigh in memory: measured, as a Markdown table.

    PYTHONPATH=. python -m benchmarks.scrape_memory [SAMPLES...]

Resident memory of a fresh process for each number: what the series add to it before anybody has
asked for them, after some scrapes, which leave their bytes behind, and at the most.
"""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from prometheus_client.exposition import generate_latest

from benchmarks.scrape import answered
from benchmarks.scrape_world import Stock, book_of
from exporter.outputs.prometheus import Exposition, Health

SIZES = (10_000, 100_000, 500_000)
KINDS = {
    "prometheus-client": "stock",
    "the exporter": "text",
    "the exporter, gzip": "gzip",
}
_MANY = 3
"""Scrapes."""


def resident(what: str = "VmRSS") -> float:
    """MB of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(what))


def prepared(kind: str, samples: int) -> Callable[[], object]:
    """The series, and a way to scrape them."""
    if kind == "stock":
        stock = Stock(samples)
        return lambda: generate_latest(stock.registry)
    exposition = Exposition(book_of(samples), list, Health())
    return lambda: answered(exposition, packed=kind == "gzip")


def weigh(kind: str, samples: int) -> str:
    """MB before any scrape, after some, and at the most; and of the whole process then."""
    prepared(kind, 100)()  # what is imported and made only once
    gc.collect()
    empty = resident()
    scrape = prepared(kind, samples)
    gc.collect()
    before = resident()
    for _ in range(_MANY):
        scrape()
    gc.collect()
    most = resident("VmHWM")
    return " | ".join(f"{x:.1f}" for x in (before - empty, resident() - empty, most - empty, most))


def main() -> None:
    """Print the table, a line as soon as it is measured."""
    words = sys.argv[1:]
    if words and words[0] in KINDS.values():
        print(weigh(words[0], int(words[1])))  # noqa: T201 - the parent reads it
        return
    print("| samples | | before, MB | after scrapes | at the most | whole process |")  # noqa: T201
    print(f"|---:|---|{'---:|' * 4}", flush=True)  # noqa: T201
    for samples in [int(word) for word in words] or SIZES:
        for name, kind in KINDS.items():
            command = [sys.executable, "-m", "benchmarks.scrape_memory", kind, str(samples)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
            print(f"| {samples:,} | {name} | {done.stdout.strip()} |", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
