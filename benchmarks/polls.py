"""What polls of idle repos cost, and how fast a scrape is meanwhile: as Markdown tables.

    PYTHONPATH=. python -m benchmarks.polls [SERIES]

`cicd-exporter run` with 25 accounts of 80 repos each, on a state with so many series, polls a
server in a process of its own that answers every request after 100 ms: with ten old builds, and
304 from then on. First as fast as it can, with 200 requests at once (8 for each account); then
200 times a second, while it is scraped again and again. CPU is that of the exporter's process.
The yardstick is a process that makes such requests, and does nothing with the answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from gzip import decompress
from pathlib import Path
from statistics import median
from zlib import crc32

import httpx
import msgspec
from httpx_aiohttp import AiohttpTransport

from benchmarks.startup import fill, started
from exporter.ledger import LedgerConfig
from exporter.ledger.sqlite.ledger import open_ledger

SERIES = 18_000
"""Counters and histograms, which make 100,000 samples."""
ACCOUNTS, REPOS, AT_ONCE = 25, 80, 8
RATE = 200
"""Polls a second in the second part."""
LATENCY = 0.1
RUNS = 10
OLD = datetime.fromtimestamp(time.time() - 3 * 86400, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
WARM_UP, WINDOW = 12.0, 20.0
SCRAPES = 400
PAUSE = 0.05
"""Seconds between two scrapes; Prometheus waits for longer."""
_HEADERS = (
    b'etag: "1"\r\nserver: github.com\r\ncache-control: private, max-age=60, s-maxage=60\r\n'
    b"vary: Accept, Authorization, Cookie, X-GitHub-OTP, Accept-Encoding, Accept\r\n"
    b"x-github-api-version-selected: 2022-11-28\r\nx-github-media-type: github.v3; format=json\r\n"
    b"x-ratelimit-limit: 5000000\r\nx-ratelimit-remaining: 4999999\r\n"
    b"x-ratelimit-resource: core\r\nx-ratelimit-used: 1\r\n"
    b"x-frame-options: deny\r\nx-content-type-options: nosniff\r\n"
    b"x-xss-protection: 0\r\nreferrer-policy: strict-origin-when-cross-origin\r\n"
    b"x-github-request-id: 0000:0000:0000:0000:00000000\r\n"
)
"""As many as GitHub sends."""
_FULL = b"HTTP/1.1 200 OK\r\n%scontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
_SAME = b"HTTP/1.1 304 Not Modified\r\n%s\r\n" % _HEADERS


# -- the server


class Idle(asyncio.Protocol):
    """A CI system where nothing happens."""

    served = 0
    runs = RUNS

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody has come."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - it is TCP
        self._transport, self._read = transport, b""

    def data_received(self, data: bytes) -> None:
        """Each request is answered after a while."""
        *requests, self._read = (self._read + data).split(b"\r\n\r\n")
        for request in requests:
            if request.startswith(b"GET /served"):
                self._transport.write(_whole(b"%d" % Idle.served))
                continue
            known = b"if-none-match" in request.lower()
            answer = _SAME if known else _whole(_runs(request.split()[1]))
            asyncio.get_running_loop().call_later(LATENCY, self._answer, answer)

    def _answer(self, answer: bytes) -> None:
        Idle.served += 1
        self._transport.write(answer)


def _whole(body: bytes) -> bytes:
    return _FULL % (_HEADERS, len(body), body)


def _runs(path: bytes) -> bytes:
    """The runs of a repo, whose last build was days ago."""
    when = {"created_at": OLD, "run_started_at": OLD, "updated_at": OLD}
    told = {"name": "CI", "status": "completed", "conclusion": "success", "head_branch": "main"}
    first = 1000 * crc32(path.partition(b"?")[0])
    runs = [{"id": first + n, "run_attempt": 1, **told, **when} for n in range(Idle.runs)]
    return msgspec.json.encode({"total_count": Idle.runs, "workflow_runs": runs})


async def serve() -> None:
    """Listen until killed; the port goes to standard output."""
    server = await asyncio.get_running_loop().create_server(Idle, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - the parent reads it
    await server.serve_forever()


@contextlib.contextmanager
def idle_system(runs: int = RUNS) -> Iterator[str]:
    """The server, where each repo has so many builds; its address."""
    command = [sys.executable, "-m", "benchmarks.polls", "serve", str(runs)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdout is not None  # noqa: S101 - it is piped
        try:
            yield f"127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.kill()


# -- the exporter


def configured(folder: Path, system: str, interval: float) -> Path:
    """A configuration that polls everything this often."""
    known = {"provider": "github", "token_env": "BENCHMARK_TOKEN", "url": f"http://{system}/api/v3"}
    accounts = [
        known | {"name": f"acme-{n}", "repos": [f"acme/r{n}-{i}" for i in range(REPOS)]}
        for n in range(ACCOUNTS)
    ]
    content = {
        "state": {"url": f"sqlite:///{folder}/state.db"},
        "polling": {"interval": interval, "max_interval": interval},
        "metrics": {"series_limit": 10_000_000},
        "accounts": [*accounts, known | {"name": "acme", "repos": ["acme/service-0"]}],
    }
    file = folder / "config.yaml"
    file.write_text(json.dumps(content))
    return file


def asked(address: str, path: str) -> bytes:
    """An answer as it came."""
    with contextlib.closing(http.client.HTTPConnection(address, timeout=60)) as connection:
        connection.request("GET", path, headers={"Accept-Encoding": "gzip"})
        return connection.getresponse().read()


def spent(process: int) -> float:
    """CPU seconds of a process so far."""
    told = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, told[11:13])) / os.sysconf("SC_CLK_TCK")


class Window:
    """What happens in a while: polls, CPU and seconds."""

    def __init__(self, system: str, process: int) -> None:
        self._system, self._process = system, process
        self._begin = self._now()

    def _now(self) -> tuple[float, float, float]:
        return int(asked(self._system, "/served")), spent(self._process), time.monotonic()

    def end(self) -> str:
        """Polls a second, the share of a core, and milliseconds of CPU for a poll."""
        polls, cpu, wall = (b - a for a, b in zip(self._begin, self._now(), strict=True))
        return f"{polls / wall:,.0f} | {cpu / wall:.0%} | {1000 * cpu / polls:.2f}"


def saturated(folder: Path, system: str) -> str:
    """As fast as it can."""
    with started(configured(folder, system, 1)) as (_, process):
        time.sleep(WARM_UP)
        window = Window(system, process)
        time.sleep(WINDOW)
        return window.end()


def steady(folder: Path, system: str) -> tuple[str, str]:
    """At the planned rate; and with scrapes, whose times in milliseconds are told too."""
    interval = ACCOUNTS * REPOS / RATE
    with started(configured(folder, system, interval)) as (address, process):
        time.sleep(interval + WARM_UP)
        window = Window(system, process)
        time.sleep(WINDOW)
        told, took = window.end(), list[float]()
        samples = sum(
            line[:1] != b"#" for line in decompress(asked(address, "/metrics")).split(b"\n")
        )
        for _ in range(SCRAPES):
            time.sleep(PAUSE)
            begun = time.monotonic()
            asked(address, "/metrics")
            took.append(1000 * (time.monotonic() - begun))
        took.sort()
        numbers = (median(took), took[len(took) * 99 // 100], took[-1])
        return told, " | ".join((f"{samples:,}", *(f"{x:.1f}" for x in numbers)))


# -- the yardstick


async def ask(url: str) -> None:
    """Ask for as long as it is wanted, 200 times at once, as httpx over aiohttp does it."""
    transport = AiohttpTransport(limits=httpx.Limits(max_connections=ACCOUNTS * AT_ONCE))
    headers = {"If-None-Match": '"1"', "Authorization": "Bearer x"}

    async def one(client: httpx.AsyncClient) -> None:
        while True:
            await client.get(f"{url}/api/v3/repos/acme/r0/actions/runs", headers=headers)

    async with httpx.AsyncClient(transport=transport, timeout=60.0) as client:
        await asyncio.gather(*(one(client) for _ in range(ACCOUNTS * AT_ONCE)))


def bare(system: str) -> str:
    """The same requests by the libraries alone."""
    command = [sys.executable, "-m", "benchmarks.polls", "ask", f"http://{system}"]
    with subprocess.Popen(command) as process:  # noqa: S603
        try:
            time.sleep(WARM_UP)
            window = Window(system, process.pid)
            time.sleep(WINDOW)
            return window.end()
        finally:
            process.kill()


def main() -> None:
    """Print the tables."""
    if sys.argv[1:2] == ["serve"]:
        Idle.runs = int(sys.argv[2])
        asyncio.run(serve())
        return
    if sys.argv[1:2] == ["ask"]:
        asyncio.run(ask(sys.argv[2]))
        return
    series = int(sys.argv[1]) if len(sys.argv) > 1 else SERIES
    with tempfile.TemporaryDirectory() as name, idle_system() as system:
        folder = Path(name)
        fill(
            open_ledger(f"sqlite:///{folder}/state.db", LedgerConfig(30 * 86400.0, 86400.0)), series
        )
        print("| idle polls | a second | of a core | ms of CPU for one |")  # noqa: T201
        print("|---|---:|---:|---:|", flush=True)  # noqa: T201
        print(f"| httpx alone, 200 at once | {bare(system)} |", flush=True)  # noqa: T201
        with tempfile.TemporaryDirectory() as other, idle_system(runs=0) as nothing:
            cells = saturated(Path(other), nothing)
        print(f"| 200 at once, no builds listed | {cells} |", flush=True)  # noqa: T201
        print(f"| 200 at once | {saturated(folder, system)} |", flush=True)  # noqa: T201
        polls, scrapes = steady(folder, system)
        print(f"| {RATE} a second | {polls} |")  # noqa: T201
        print("\n| samples | ms for a scrape meanwhile, median | p99 | most |")  # noqa: T201
        print(f"|---:|---:|---:|---:|\n| {scrapes} |")  # noqa: T201


if __name__ == "__main__":
    main()
