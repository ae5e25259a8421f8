"""What a scrape costs beside prometheus-client's and Go's: measured, as Markdown tables.

    PYTHONPATH=. python -m benchmarks.scrape [SAMPLES...]

CPU time of this process for one answer of the same series, in rounds in which each takes its
turn; medians, and how many times as much prometheus-client needs. What has changed before an
answer is picked at random. `benchmarks.scrape_served` does the same over HTTP.
"""

from __future__ import annotations

import gzip
import sys
import time
from collections.abc import Callable
from statistics import median

from prometheus_client.exposition import generate_latest

from benchmarks.scrape_world import Changer, Stock, book_of
from exporter.outputs.prometheus import Exposition, Health

SIZES = (1_000, 10_000, 100_000, 500_000)
SHARES = {"nothing": 0.0, "1 %": 0.01, "10 %": 0.1, "all": 1.0}
"""What has changed since the scrape before."""


class Costs:
    """CPU milliseconds of each contestant."""

    def __init__(self) -> None:
        self._spent: dict[str, list[float]] = {}

    def measure(self, name: str, work: Callable[[], object]) -> None:
        """One more run of a contestant."""
        begun = time.process_time()
        work()
        self._spent.setdefault(name, []).append(1000 * (time.process_time() - begun))

    def row(self, samples: int, stock: str) -> str:
        """A line of the table; all are compared with `stock`."""
        known = {name: median(spent) for name, spent in self._spent.items()}
        whole = known.pop(stock)
        cells = [f"{ms:.2f} ({whole / ms:,.0f}x)" for ms in known.values()]
        return f"| {samples:,} | {whole:,.1f} | {' | '.join(cells)} |"


def answered(exposition: Exposition, *, packed: bool) -> int:
    """One answer, as the web server makes it; its size."""
    for _ in exposition.steps("text", packed=packed):
        pass
    return sum(len(b"".join(b)) for b in exposition.answer("text", packed=packed).batches)


def compare(samples: int, rounds: int, *, packed: bool) -> str:
    """The line of a size."""
    view = book_of(samples)
    exposition, changer = Exposition(view, list, Health()), Changer(view)
    stock, costs = Stock(samples), Costs()

    def theirs() -> bytes:
        text = generate_latest(stock.registry)
        return gzip.compress(text) if packed else text

    answered(exposition, packed=packed)
    for _ in range(rounds):
        costs.measure("stock", theirs)
        for name, share in SHARES.items():
            if share:
                changer.change(share)
            costs.measure(name, lambda: answered(exposition, packed=packed))
    return costs.row(samples, "stock")


def main() -> None:
    """Print the tables, a line as soon as it is measured."""
    sizes = [int(word) for word in sys.argv[1:]] or SIZES
    for title, packed in (("Text", False), ("Gzip", True)):
        print(f"\n{title}, ms of CPU for one answer\n")  # noqa: T201 - the output
        print(f"| samples | prometheus-client | {' | '.join(SHARES)} changed |")  # noqa: T201
        print(f"|---:|---:|{'---:|' * len(SHARES)}", flush=True)  # noqa: T201
        for samples in sizes:
            rounds = max(5, min(51, 2_000_000 // samples))
            print(compare(samples, rounds, packed=packed), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
