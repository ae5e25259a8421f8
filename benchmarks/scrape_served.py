"""What a scrape costs over HTTP, and how long others wait meanwhile: as Markdown tables.

    PYTHONPATH=. python -m benchmarks.scrape_served [SAMPLES]

Each contestant is a process of its own, asked in turns by this one: the exporter's web server,
prometheus-client's, and, where Go and its source are at hand, client_golang's with as many
samples of other names. CPU is that of the whole process as the kernel counts it; medians. How
long others wait tells a task in the exporter's event loop that wants to run every millisecond:
by the clock, and in CPU time of the loop, which does not count what other processes take.
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
from statistics import median
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import msgspec
from prometheus_client import start_http_server
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from benchmarks.scrape_world import Changer, Stock, book_of
from exporter.demo.serve import serving
from exporter.outputs.prometheus import Exposition, Health
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


class Lag(msgspec.Struct, array_like=True):
    """How late a beat was, in milliseconds."""

    wall: float
    cpu: float
    """What the loop's own thread spent meanwhile."""


class Heart:
    """Beats every millisecond, if the loop lets it."""

    def __init__(self) -> None:
        self.lags: list[Lag] = []

    async def beat(self) -> None:
        """Go on beating."""
        while True:
            wall, cpu = time.monotonic(), time.thread_time()
            await asyncio.sleep(_BEAT)
            late = time.monotonic() - wall - _BEAT
            self.lags.append(Lag(1000 * late, 1000 * (time.thread_time() - cpu)))

    def take(self) -> bytes:
        """The lags since the last time."""
        told = msgspec.json.encode(self.lags)
        self.lags.clear()
        return told


async def serve_ours(samples: int) -> None:
    """The real web server over a made-up view; /change and /lags are for the benchmark."""
    view = book_of(samples)
    changer, heart = Changer(view), Heart()
    poller: Any = SimpleNamespace(
        exposition=Exposition(view, list, Health()), view=view, report=None, last_reload=None
    )

    async def answer(request: Request) -> Response:
        if request.url.path == "/lags":
            return Response(heart.take())
        changer.change(float(request.query_params["share"]))
        return Response()

    app = application(poller, telemetry_path="/metrics")
    app.router.routes += [Route("/change", answer), Route("/lags", answer)]
    async with serving(app) as url:
        print(url, flush=True)  # noqa: T201 - the parent reads it
        await (heart.beat() if "--beat" in sys.argv else asyncio.Event().wait())


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
        """Milliseconds so far. One count forgets threads that have ended, the other is coarse."""
        folder = Path(f"/proc/{self._process.pid}")
        fine = [(task / "schedstat").read_text() for task in (folder / "task").iterdir()]
        coarse = (folder / "stat").read_text().rpartition(")")[2].split()[11:13]
        ticks = 1000 * sum(map(int, coarse)) / os.sysconf("SC_CLK_TCK")
        return max(sum(int(text.split()[0]) for text in fine) / 1e6, ticks)

    def change(self, share: float) -> None:
        """Let that share of its series change."""
        if share:
            self.get(f"/change?share={share}")

    def lags(self) -> list[Lag]:
        """How late each beat was since the last time."""
        return msgspec.json.decode(self.get("/lags"), type=list[Lag])

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
                for changed, share in SHARES.items():
                    ours.change(share)
                    spent.setdefault(changed, []).append(ours.cost(headers))
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
            for changed, share in SHARES.items():
                late, took = list[Lag](), list[float]()
                for _ in range(ROUNDS):
                    ours.change(share)
                    ours.lags()
                    begun = time.monotonic()
                    ours.get("/metrics", **headers)
                    took.append(1000 * (time.monotonic() - begun))
                    late += ours.lags()
                wall, cpu = sorted(x.wall for x in late), sorted(x.cpu for x in late)
                last = len(late) * 99 // 100
                numbers = (median(wall), wall[last], wall[-1], cpu[last], cpu[-1], median(took))
                cells = [f"{x:.1f}" for x in numbers]
                yield f"| {name} | {changed} | {' | '.join(cells)} |"


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
    print("| asked for | changed | median | p99 | most | p99 CPU | most CPU | the scrape |")  # noqa: T201
    print(f"|---|---|{'---:|' * 6}", flush=True)  # noqa: T201
    for line in lags(samples):
        print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
