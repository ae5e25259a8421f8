"""What a scrape costs over HTTP, and how long others wait meanwhile: as Markdown tables.

    PYTHONPATH=. python -m benchmarks.scrape_served [SAMPLES]

Each contestant is a process of its own, asked in turns by this one: the exporter's web server,
prometheus-client's, and, where Go and its source are at hand, client_golang's with as many
samples of other names. CPU is that of the whole process as the kernel counts it; medians. How
long others wait tells a task in the exporter's event loop that wants to run every millisecond.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import msgspec
from prometheus_client import start_http_server
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from benchmarks.scrape_world import Changer, Stock, book_of
from exporter.demo.serve import serving
from exporter.exposition import Exposition, Health
from exporter.web import application

ROUNDS = 15
SHARES = {"nothing": 0.0, "1 %": 0.01, "10 %": 0.1, "all": 1.0}
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
ASKED = {
    "text": {"Accept-Encoding": "identity"},
    "text, gzip": {"Accept-Encoding": "gzip"},
    "OpenMetrics, gzip": {"Accept-Encoding": "gzip", "Accept": OPENMETRICS},
}
_SHARED = Path(__file__).resolve().parent.parent.parent / "shared"
_BEAT = 0.001


# -- the contestants


async def serve_ours(samples: int) -> None:
    """The real web server over a made-up book; /change and /lags are for the benchmark."""
    book = book_of(samples)
    changer, lags = Changer(book), list[float]()
    poller: Any = SimpleNamespace(
        exposition=Exposition(book, list, Health()), recorder=SimpleNamespace(book=book)
    )

    async def change(request: Request) -> JSONResponse:
        changer.change(float(request.query_params["share"]))
        return JSONResponse(None)

    async def told(request: Request) -> JSONResponse:
        known = lags[:]
        lags.clear()
        return JSONResponse(known)

    async def beat() -> None:
        while True:
            begun = time.monotonic()
            await asyncio.sleep(_BEAT)
            lags.append(time.monotonic() - begun - _BEAT)

    app = application(poller, telemetry_path="/metrics")
    app.router.routes += [Route("/change", change), Route("/lags", told)]
    async with serving(app) as url:
        beating = asyncio.create_task(beat()) if "--beat" in sys.argv else None
        print(url, flush=True)  # noqa: T201 - the parent reads it
        await asyncio.Event().wait()
        del beating


def serve_stock(samples: int) -> None:
    """prometheus-client's server."""
    server, _ = start_http_server(0, "127.0.0.1", registry=Stock(samples).registry)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)  # noqa: T201
    time.sleep(3600)


def go_binary(folder: Path) -> Path | str:
    """client_golang's contestant, built; or why it is not there."""
    source = Path(os.environ.get("CICD_EXPORTER_SHARED") or _SHARED) / "tools/go_anchor/main.go"
    go = shutil.which("go")
    if go is None or not source.exists():
        return "Go is not installed" if go is None else f"there is no {source.name}"
    env = {
        **os.environ,
        "GO111MODULE": "off",
        "GOPATH": "/usr/share/gocode",
        "GOFLAGS": "",
        "GOCACHE": str(folder / "cache"),
    }
    binary = folder / "goexp"
    done = subprocess.run([go, "build", "-o", binary, source], env=env, check=False)  # noqa: S603
    return binary if done.returncode == 0 else "it cannot be built"


# -- asking


class Contestant:
    """A running process."""

    def __init__(self, command: list[str], url: str | None = None) -> None:
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603
        assert self._process.stdout is not None  # noqa: S101 - it is piped
        self._url = urlsplit(url or self._process.stdout.readline().strip())

    def get(self, path: str, **headers: str) -> bytes:
        """The body of an answer, as it came."""
        connection = http.client.HTTPConnection(self._url.netloc, timeout=120)
        with contextlib.closing(connection):
            connection.request("GET", path, headers=headers)
            return connection.getresponse().read()

    def cost(self, headers: dict[str, str]) -> float:
        """CPU milliseconds of one scrape."""
        before = self._cpu()
        self.get("/metrics", **headers)
        return self._cpu() - before

    def _cpu(self) -> float:
        tasks = Path(f"/proc/{self._process.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e6

    def change(self, share: float) -> None:
        """Let that share of its series change."""
        if share:
            self.get(f"/change?share={share}")

    def lags(self) -> list[float]:
        """Milliseconds that each beat was late since the last time."""
        return [1000 * lag for lag in msgspec.json.decode(self.get("/lags"), type=list[float])]

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


@contextlib.contextmanager
def running(*words: str) -> Iterator[Contestant]:
    """A contestant of this module."""
    contestant = Contestant([sys.executable, "-m", "benchmarks.scrape_served", *words])
    try:
        yield contestant
    finally:
        contestant.close()


@contextlib.contextmanager
def go_running(binary: Path, samples: int) -> Iterator[Contestant]:
    """client_golang's, with 85 % of the samples in histograms."""
    numbers = {"hists": samples // 20, "counters": samples // 10, "gauges": samples // 20}
    flags = [f"-{name}={number}" for name, number in numbers.items()]
    address = "127.0.0.1:29217"
    contestant = Contestant([str(binary), f"-addr={address}", *flags], f"http://{address}")
    try:
        for _ in range(200):
            with contextlib.suppress(OSError):
                contestant.get("/metrics")
                break
            time.sleep(0.1)
        yield contestant
    finally:
        contestant.close()


# -- the tables


def costs(samples: int, binary: Path | str) -> Iterator[str]:
    """CPU of each contestant by what is asked for."""
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(running("ours", str(samples)))
        stock = stack.enter_context(running("stock", str(samples)))
        go = None
        if isinstance(binary, Path):
            go = stack.enter_context(go_running(binary, samples))
        for name, headers in ASKED.items():
            spent: dict[str, list[float]] = {}
            for contestant in filter(None, (ours, stock, go)):
                contestant.get("/metrics", **headers)
            for _ in range(ROUNDS):
                for share in SHARES:
                    ours.change(SHARES[share])
                    spent.setdefault(share, []).append(ours.cost(headers))
                if len(spent["all"]) % 3 == 1:  # they are slow
                    spent.setdefault("prometheus-client", []).append(stock.cost(headers))
                    if go is not None:
                        spent.setdefault("client_golang", []).append(go.cost(headers))
            cells = [f"{median(ms):,.1f}" for ms in spent.values()]
            yield f"| {name} | {' | '.join(cells)} |"


def lags(samples: int) -> Iterator[str]:
    """How late others are while a scrape is served."""
    with running("ours", str(samples), "--beat") as ours:
        for name, headers in ASKED.items():
            ours.get("/metrics", **headers)
            for share in SHARES:
                late, took = list[float](), list[float]()
                for _ in range(ROUNDS):
                    ours.change(SHARES[share])
                    ours.lags()
                    begun = time.monotonic()
                    ours.get("/metrics", **headers)
                    took.append(1000 * (time.monotonic() - begun))
                    late += ours.lags()
                p99 = quantiles(late, n=100)[98]
                cells = [f"{x:.1f}" for x in (median(late), p99, max(late), median(took))]
                yield f"| {name} | {share} | {' | '.join(cells)} |"


def main() -> None:
    """Print the tables."""
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    if words and words[0] == "ours":
        asyncio.run(serve_ours(int(words[1])))
    elif words and words[0] == "stock":
        serve_stock(int(words[1]))
    else:
        _print_tables(int(words[0]) if words else 100_000)


def _print_tables(samples: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        binary = go_binary(Path(folder))
        go = "client_golang" if isinstance(binary, Path) else None
        heads = [*(f"{share} changed" for share in SHARES), "prometheus-client", go]
        print(f"\n{samples:,} samples, ms of CPU for one scrape over HTTP\n")  # noqa: T201
        print(f"| asked for | {' | '.join(filter(None, heads))} |")  # noqa: T201
        print(f"|---|{'---:|' * len([*filter(None, heads)])}", flush=True)  # noqa: T201
        for line in costs(samples, binary):
            print(line, flush=True)  # noqa: T201
        if isinstance(binary, str):
            print(f"\nclient_golang was left out: {binary}.")  # noqa: T201
    print(f"\n{samples:,} samples, ms that others wait while a scrape is served\n")  # noqa: T201
    print("| asked for | changed | median | p99 | most | the scrape |")  # noqa: T201
    print("|---|---|---:|---:|---:|---:|", flush=True)  # noqa: T201
    for line in lags(samples):
        print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
