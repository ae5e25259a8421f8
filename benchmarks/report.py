"""All that is measured of speed and memory, as docs/PERFORMANCE.md has it.

    PYTHONPATH=. python -m benchmarks.report [NAME...]

`scripts/bench` runs it. Each table is made by the command above it. It takes ten minutes, and
wants a machine that has nothing else to do.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import version
from typing import NamedTuple


class Chapter(NamedTuple):
    """A benchmark, and what there is to know of its table."""

    name: str
    title: str
    text: str


CHAPTERS = (
    Chapter(
        "scrape",
        "A scrape",
        "CPU time of one answer with so many samples, of which 85 % are in histograms, beside"
        " `generate_latest` of prometheus-client with the same series. In brackets is how many"
        " times as much that needs. `nothing` is the usual case: few series change between two"
        " scrapes. At 1,000 samples most of it is what the process tells of itself.",
    ),
    Chapter(
        "scrape_served",
        "A scrape over HTTP",
        "CPU time of the whole process for one scrape, beside prometheus-client's server and"
        " client_golang's (the one of the system's packages), each in a process of its own and"
        " asked in turns. Then how late a task of the event loop is that wants to run every"
        " millisecond while scrapes are served.",
    ),
    Chapter(
        "scrape_memory",
        "Memory",
        "What the series add to the resident memory of a fresh process: before anybody has"
        " scraped, after some scrapes, which leave their bytes behind for the next ones, and at"
        " the most.",
    ),
    Chapter(
        "ingest",
        "Completed builds",
        "From pages of builds over HTTP to what is counted and committed: client, walk, ledger"
        " (SQLite) and series. The CPU time is that of the exporter with all its threads.",
    ),
    Chapter(
        "polls",
        "Polls of idle repos, and scrapes meanwhile",
        "`cicd-exporter run` with 2,000 repos in 25 accounts. The API answers after 100 ms: with"
        " ten old builds, and 304 from then on. Beside it is the same number of such requests by"
        " nothing but httpx over aiohttp, the libraries under our client.",
    ),
    Chapter(
        "fleet",
        "The state in PostgreSQL",
        "What a fleet ([SCALE.md](SCALE.md)) costs where the server runs on the same two cores,"
        " with fsync on: polls that bring news, beside SQLite in turns; a scrape's look at what"
        " others have committed; and 40 leases that two exporters keep while nothing else happens.",
    ),
    Chapter(
        "startup",
        "Start",
        "From the start of the process until it is ready, with so many series and twice as many"
        " remembered builds in the state; and the first scrape, which writes every sample.",
    ),
)

_HEAD = """\
# Performance

Made by `scripts/bench`, on {cpus} cores, Python {python}, prometheus-client {client}. Absolute
figures are of one machine; ratios are of contestants that took turns in one run, and hold
elsewhere. All are medians. What polling costs the API is in [API_COST.md](API_COST.md).
"""


def main() -> None:
    """Print the page, a table as soon as it is measured."""
    cpus, python, client = os.cpu_count(), platform.python_version(), version("prometheus-client")
    print(_HEAD.format(cpus=cpus, python=python, client=client), flush=True)  # noqa: T201
    wanted = set(sys.argv[1:]) or {chapter.name for chapter in CHAPTERS}
    for name, title, text in CHAPTERS:
        if name not in wanted:
            continue
        command = f"PYTHONPATH=. python -m benchmarks.{name}"
        print(f"## {title}\n\n{text}\n\n```sh\n{command}\n```\n", flush=True)  # noqa: T201
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-m", f"benchmarks.{name}"], check=True, stdout=subprocess.PIPE
        )
        print(done.stdout.decode().strip() + "\n", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
