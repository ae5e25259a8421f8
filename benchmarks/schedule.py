"""What the schedule does with a fleet and a budget: simulated, as a Markdown table.

    PYTHONPATH=. python -m benchmarks.schedule

A realistic fleet: 5 % of the repos are busy with 6 builds an hour, 20 % have one a day, the
rest sleep. Everything is real - provider, client, budget, schedule, walk and ledger - but for
the clock and the network: answers come from a server of a few lines after 0.3 s, with
entity tags and rate limit headers as GitHub has them, or with neither, as at Bitbucket.
The first hours, in which everything is met for the first time, are part of the limits but not
of the delays. A delay is the time from a build's completion until it is counted.
"""

from __future__ import annotations

import asyncio
import math
import random
import sys
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Any, NamedTuple

import httpx
import msgspec

from benchmarks import virtual
from exporter.http import Api
from exporter.ledger import LedgerConfig
from exporter.ledger.sqlite.ledger import open_ledger
from exporter.metrics.buckets import Buckets
from exporter.metrics.rules import MetricsRules as Shown
from exporter.providers import catalogue
from exporter.recorder import Recorder
from exporter.schedule import Schedule
from exporter.schedule.account import AccountPoller
from exporter.schedule.budget_group import BudgetGroups
from exporter.sync import repo_sync
from exporter.sync.window import SyncRules
from exporter.view.series_view import SeriesView

HOUR, MINUTE = 3600.0, 60.0
LATENCY = 0.3
RESERVE = 0.1
_encode = msgspec.json.Encoder().encode


class Run(NamedTuple):
    """One build. Seconds since the epoch."""

    number: int
    created: float
    ended: float


class Fleet:
    """Repos with their builds, drawn once: history and future."""

    def __init__(self, repos: int, *, start: float, until: float, seed: int = 1) -> None:
        draw = random.Random(seed)  # noqa: S311 - the same fleet each time
        self.runs: dict[str, list[Run]] = {}
        self.busy: set[str] = set()
        for n in range(repos):
            name = f"acme/r{n}"
            gap = {0: HOUR / 6, 1: 24 * HOUR}.get(0 if n % 20 == 0 else 1 if n % 5 == 1 else 2)
            if n % 20 == 0:
                self.busy.add(name)
            self.runs[name] = list(_drawn(draw, gap, start - 24 * HOUR, until)) if gap else []

    def seen(self, name: str, now: float) -> list[Run]:
        """The runs that have begun, the newest first."""
        runs = self.runs[name]
        return runs[: bisect_right(runs, now, key=lambda run: run.created)][::-1]


def _drawn(draw: random.Random, gap: float, at: float, until: float) -> Iterator[Run]:
    number = 0
    while (at := at + draw.expovariate(1 / gap)) < until:
        number += 1
        yield Run(number, at, at + min(max(draw.lognormvariate(5.3, 0.8), 20.0), HOUR))


class Server:
    """Answers about a fleet, and keeps the provider's own account of the requests."""

    def __init__(self, fleet: Fleet, clock: virtual.Clock) -> None:
        self.fleet = fleet
        self.clock = clock
        self.sent = 0
        self.counted = 0
        self.worst_minute = 0
        self.worst_hour = 0
        self.spent: Counter[int] = Counter()
        self.longest_gap = 0.0
        """Seconds between two looks at the same repo, once all have been met."""
        self.warm_until = math.inf
        self._looked: dict[str, float] = {}
        self._minute: deque[float] = deque()
        self._hour: deque[float] = deque()

    async def answer(self, request: httpx.Request) -> httpx.Response:
        """One request, after the latency."""
        await asyncio.sleep(LATENCY)
        now = self.clock.time()
        _, _, path = request.url.path.partition("/repos")
        parts = path.split("/")[1:]
        self._looks("/".join(parts[:2]), now)
        response = self.respond(parts, request, now)
        response.headers["date"] = formatdate(now, usegmt=True)
        counts = response.status_code != httpx.codes.NOT_MODIFIED
        self.sent += 1
        self.counted += counts
        self.worst_minute = max(self.worst_minute, _slid(self._minute, now, MINUTE))
        if counts:
            self.worst_hour = max(self.worst_hour, _slid(self._hour, now, HOUR))
            self.spent[int(now // HOUR)] += 1
        return response

    def _looks(self, name: str, now: float) -> None:
        before, self._looked[name] = self._looked.get(name, now), now
        if before >= self.warm_until:
            self.longest_gap = max(self.longest_gap, now - before)

    def respond(self, path: list[str], request: httpx.Request, now: float) -> httpx.Response:
        """The answer itself."""
        raise NotImplementedError


def _slid(window: deque[float], now: float, seconds: float) -> int:
    """How many are in the window once this one is."""
    window.append(now)
    while window[0] <= now - seconds:
        window.popleft()
    return len(window)


class GitHub(Server):
    """Lists of runs with entity tags; the hour's limit in the headers."""

    limit = 5000

    def respond(self, path: list[str], request: httpx.Request, now: float) -> httpx.Response:
        """Workflows, runs, one run and its jobs, below `/{owner}/{repo}/actions`."""
        name = "/".join(path[:2])
        runs = self.fleet.seen(name, now)
        if path[3] == "workflows":
            shown: Any = {"total_count": 1, "workflows": [_WORKFLOW]}
            tag = 'W/"workflows"'
        elif len(path) > 4:
            run = next(run for run in runs if _id(name, run) == int(path[4]))
            shown = _jobs(run, now) if path[-1] == "jobs" else _run(name, run, now)
            tag = f'W/"{path[-1]}-{run.ended <= now}"'
        else:
            size = int(request.url.params["per_page"])
            start = (int(request.url.params.get("page", 1)) - 1) * size
            listed = [_run(name, run, now) for run in runs[start : start + size]]
            shown = {"total_count": len(runs), "workflow_runs": listed}
            tag = f'W/"{len(runs)}-{sum(run.ended <= now for run in runs)}-{start}-{size}"'
        unchanged = request.headers.get("if-none-match") == tag
        response = _response(304, b"", tag) if unchanged else _response(200, _encode(shown), tag)
        hour = int(now // HOUR)
        spent = self.spent[hour] + (response.status_code == httpx.codes.OK)
        response.headers["x-ratelimit-limit"] = str(self.limit)
        response.headers["x-ratelimit-remaining"] = str(self.limit - spent)
        response.headers["x-ratelimit-reset"] = str(int((hour + 1) * HOUR))
        response.headers["x-ratelimit-resource"] = "core"
        return response


def _response(status: int, body: bytes, tag: str = "") -> httpx.Response:
    return httpx.Response(status, headers={"etag": tag}, stream=httpx.ByteStream(body))


def _id(name: str, run: Run) -> int:
    return int(name.partition("/r")[2]) * 1_000_000 + run.number


_WORKFLOW = {"id": 7, "name": "CI", "path": ".github/workflows/ci.yml", "state": "active"}


def _jobs(run: Run, now: float) -> dict[str, Any]:
    ended = run.ended <= now
    job = {
        "id": run.number,
        "name": "test",
        "status": "completed" if ended else "in_progress",
        "conclusion": "success" if ended else None,
        "created_at": _iso(run.created),
        "started_at": _iso(run.created),
        "completed_at": _iso(run.ended) if ended else None,
    }
    return {"total_count": 1, "jobs": [job]}


def _run(name: str, run: Run, now: float) -> dict[str, Any]:
    ended = run.ended <= now
    return {
        "id": _id(name, run),
        "name": "CI",
        "path": _WORKFLOW["path"],
        "workflow_id": _WORKFLOW["id"],
        "run_number": run.number,
        "run_attempt": 1,
        "event": "push",
        "head_branch": "main",
        "status": "completed" if ended else "in_progress",
        "conclusion": "success" if ended else None,
        "created_at": _iso(run.created),
        "run_started_at": _iso(run.created),
        "updated_at": _iso(run.ended if ended else run.created),
        "head_repository": {"full_name": name},
        "repository": {"full_name": name},
    }


class Bitbucket(Server):
    """Lists of pipelines, and their steps; no entity tags, and nothing in the headers."""

    def respond(self, path: list[str], request: httpx.Request, now: float) -> httpx.Response:
        """`/{workspace}/{repo}/pipelines`, with `/{uuid}`, with `/{uuid}/steps`."""
        name = "/".join(path[:2])
        runs = self.fleet.seen(name, now)
        if len(path) > 3:
            run = next(run for run in runs if str(run.number) == path[3].strip("{}").split("-")[0])
            shown: Any = _steps(run) if len(path) > 4 else _pipeline(name, run, now)
        else:
            size = int(request.url.params["pagelen"])
            start = (int(request.url.params["page"]) - 1) * size
            values = [_pipeline(name, run, now) for run in runs[start : start + size]]
            shown = {"values": values, "size": len(runs), "pagelen": size}
        return _response(200, _encode(shown))


def _pipeline(name: str, run: Run, now: float) -> dict[str, Any]:
    ended = run.ended <= now
    state = {"name": "COMPLETED", "result": {"name": "SUCCESSFUL"}}
    return {
        "uuid": f"{{{run.number}-{name[5:]}}}",
        "build_number": run.number,
        "run_number": 1,
        "created_on": _iso(run.created),
        "completed_on": _iso(run.ended) if ended else None,
        "state": state if ended else {"name": "IN_PROGRESS", "stage": {"name": "RUNNING"}},
        "trigger": {"type": "pipeline_trigger_push", "name": "PUSH"},
        "target": {"ref_type": "branch", "ref_name": "main", "selector": {"type": "default"}},
    }


def _steps(run: Run) -> dict[str, Any]:
    state = {"name": "COMPLETED", "result": {"name": "SUCCESSFUL"}}
    step = {"uuid": "{1}", "name": "test", "run_number": 1, "state": state}
    times = {"started_on": _iso(run.created + 5), "completed_on": _iso(run.ended)}
    return {"values": [step | times], "size": 1, "pagelen": 100}


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Told(NamedTuple):
    """What came of it. Delays in seconds, sorted."""

    server: Server
    busy: list[float]
    others: list[float]
    builds: int
    lost: int


class Scene(NamedTuple):
    """A fleet at a provider, with its limits divided by `part` as its repos are."""

    word: str
    server: Callable[[Fleet, virtual.Clock], Server]
    repos: int
    warm: float
    measured: float
    part: int = 1


def simulated(scene: Scene) -> Told:
    """Play a scene."""
    return virtual.run(lambda clock: _play(scene, clock))


async def _play(scene: Scene, clock: virtual.Clock) -> Told:
    begin = clock.time()
    end = begin + scene.warm + scene.measured
    fleet = Fleet(scene.repos // scene.part, start=begin, until=end)
    server = scene.server(fleet, clock)
    server.warm_until = begin + scene.warm
    provider = catalogue()[scene.word]
    if scene.part > 1:
        divided = tuple(
            msgspec.structs.replace(one, requests=one.requests // scene.part)
            for one in provider.published_limits
        )
        provider = type(provider.__name__, (provider,), {"published_limits": divided})
        if isinstance(server, GitHub):
            server.limit //= scene.part
    keys = {"name": "acme", "provider": scene.word, "token_env": "T", "repos": list(fleet.runs)}
    account = provider.model_validate(keys)
    seen: dict[tuple[str, int], float] = {}
    poller, recorder = _poller(account, server, clock, seen)
    schedule = Schedule([poller])
    schedule.start()
    await asyncio.sleep(end - clock.time())
    await schedule.stop()
    await recorder.close()
    return _told(fleet, server, seen, begin + scene.warm, end)


def _poller(
    account: Any, server: Server, clock: virtual.Clock, seen: dict[tuple[str, int], float]
) -> tuple[AccountPoller, Recorder]:
    group = BudgetGroups(RESERVE).of(account, b"")
    api = Api(
        root=account.root,
        headers=lambda: account.headers("token"),
        timeout=30.0,
        budget=group.budget,
    )
    api._connections.transport = httpx.MockTransport(server.answer)  # noqa: SLF001
    shown = Shown(("main",), Buckets((60.0, 600.0), (10.0,)), 0.0, 500_000, 7 * 24 * HOUR)
    view = SeriesView(shown, {account.name: account.label}, clock=clock.monotonic)

    def noted(target: Any, findings: Any) -> None:
        for news in findings.completed:
            key = (target.repo, news.build.number)
            if key in seen:
                raise AssertionError(f"{key} was counted twice")
            seen[key] = clock.time()

    recorder = Recorder(
        open_ledger("memory:", LedgerConfig(30 * 24 * HOUR, 24 * HOUR, gauges_only=False)),
        view,
        retention=30 * 24 * HOUR,
    )
    recorder.news = noted
    recorder._worker = virtual.AtOnce()  # type: ignore[assignment]  # noqa: SLF001
    recorder.start([account.name])
    rules = SyncRules(
        lookback=24 * HOUR, retention=30 * 24 * HOUR, rerun_window=24 * HOUR, max_interval=900.0
    )
    reader = repo_sync.SyncContext(account.connect(api), recorder, rules)
    return AccountPoller(reader, interval=60.0, group=group), recorder


def _told(
    fleet: Fleet, server: Server, seen: Mapping[tuple[str, int], float], since: float, end: float
) -> Told:
    delays: dict[bool, list[float]] = {True: [], False: []}
    lost = 0
    for name, runs in fleet.runs.items():
        for run in runs:
            if since <= run.ended < end - HOUR / 2:  # what ends later may still be on its way
                at = seen.get((name, run.number))
                lost += at is None
                delays[name in fleet.busy].append(end - run.ended if at is None else at - run.ended)
    builds = sum(map(len, delays.values()))
    return Told(server, sorted(delays[True]), sorted(delays[False]), builds, lost)


def share_of(delays: list[float], part: float) -> float:
    """The delay that such a part of the builds does not exceed; seconds."""
    return delays[min(int(len(delays) * part), len(delays) - 1)] if delays else float("nan")


SCENES = {
    "GitHub, 2000 repos": Scene("github", GitHub, 2000, 2.5 * HOUR, 2.5 * HOUR),
    "Bitbucket, 300 repos": Scene("bitbucket", Bitbucket, 300, 8 * HOUR, 12 * HOUR),
}


def row(name: str, told: Told) -> str:
    """One line of the table."""
    server = told.server
    cells = [
        name,
        str(server.worst_minute),
        str(server.worst_hour),
        str(max(server.spent.values())),
        str(told.builds),
        str(told.lost),
        f"{share_of(told.busy, 0.5):.0f} s",
        f"{share_of(told.busy, 0.95):.0f} s",
        f"{max(told.busy + told.others) / MINUTE:.1f} min",
        f"{server.longest_gap / MINUTE:.1f} min",
    ]
    return "| " + " | ".join(cells) + " |"


HEAD = (
    "| fleet | most requests in 60 s | most counted in 60 min | most counted in a clock hour"
    " | builds | not seen | busy repo: median delay | 95 % | any repo: longest"
    " | longest between two polls |"
)


def main() -> None:
    """Print the table."""
    print(HEAD)  # noqa: T201 - the output
    print("|---|" + "---:|" * 9, flush=True)  # noqa: T201
    for name, scene in SCENES.items():
        if not sys.argv[1:] or any(word in name.lower() for word in sys.argv[1:]):
            print(row(name, simulated(scene)), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
