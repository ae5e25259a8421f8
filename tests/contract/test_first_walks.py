"""The first walks of a fleet at a slow API: newest pages first, and how long it will take."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from msgspec.structs import replace
from pydantic import PrivateAttr

from benchmarks import virtual
from exporter.errors import Gone
from exporter.http import Api, Budget, PublishedLimit, TokenBucket
from exporter.metrics import families as f
from exporter.model import Build
from exporter.providers import Page, Query, Repo
from exporter.schedule import Schedule, first_walks
from exporter.schedule.account import AccountPoller
from exporter.schedule.budget_group import BudgetGroup
from exporter.status import report
from exporter.status.document import AccountReport
from exporter.sync import repo_sync
from exporter.sync.window import SyncRules
from tests.tools.scripted import DAY, Idle, Rig, Scripted, build, done, finished

HOUR, MINUTE = 3600.0, 60.0
REPOS, BUILDS = 302, 40
BROKEN = frozenset({"acme/7", "acme/100"})


class Fleet(Scripted):
    """Many repos at an API that answers each request after a second."""

    spread: float = 23 * HOUR
    """Seconds in which the builds of a repo have begun."""
    details: bool = False
    """Whether each build must be asked for by itself."""
    _fleet: dict[str, list[Build]] = PrivateAttr(default_factory=dict)
    _asked: list[tuple[float, str, str]] = PrivateAttr(default_factory=list)
    """When which repo was asked for what."""
    _broken: frozenset[str] = PrivateAttr(default=frozenset())

    def fill(self) -> None:
        """Forty builds a repo; the latest of every third one has failed."""
        now = time.time()
        for n, entry in enumerate(self.repos):
            self._fleet[str(entry)] = [
                done(
                    build(
                        f"{entry}-{age}",
                        repo=str(entry),
                        created_at=now - HOUR - age * self.spread / BUILDS,
                        started_at=now - HOUR + 10.0 - age * self.spread / BUILDS,
                        partial=self.details,
                    ),
                    "failed" if age == 0 and n % 3 == 0 else "passed",
                )
                for age in range(BUILDS)
            ]

    async def _answer(self, api: Api, repo: Repo, what: str) -> None:
        await asyncio.sleep(api.budget.admit("acme"))
        self._asked.append((time.monotonic(), repo.entry, what))
        api.budget.sent()
        await asyncio.sleep(1.0)
        api.budget.answered()
        if repo.entry in self._broken:
            raise Gone("no such repo", reason="not_found")

    async def page(self, api: Api, repo: Repo, query: Query) -> Page:
        start = int(query.token or 0)
        await self._answer(api, repo, f"page {start}")
        listed, end = self._fleet[repo.entry], start + self.size
        return Page(tuple(listed[start:end]), str(end) if end < len(listed) else None)

    async def detail(self, api: Api, repo: Repo, build: Build, known: Build | None) -> Build:
        await self._answer(api, repo, f"detail {build.key}")
        return replace(build, partial=False)


class Look(NamedTuple):
    """What could be seen at one moment."""

    at: float
    told: AccountReport
    states: Counter[str]


class Run(NamedTuple):
    """All of it, from the beginning to the end of the last walk."""

    fleet: Fleet
    looks: list[Look]
    ended_at: float
    after_a_round: dict[str, str]
    """The conclusion shown for each repo once all newest pages had been read."""
    counted_after_a_round: float
    counted: float
    records: list[logging.LogRecord]

    def requests(self, what: str) -> Counter[str]:
        """How often each repo was asked for this."""
        return Counter(repo for _, repo, asked in self.fleet._asked if asked.startswith(what))


def conclusions(rig: Rig) -> dict[str, str]:
    """What a scrape shows as the latest conclusion of each repo."""
    shown = {}
    for name, labels, value in rig.view.gauges(time.time()):
        if name == f.LAST_CONCLUSION.name and value:
            own = dict(zip(f.LAST_CONCLUSION.labels, labels, strict=True))
            shown[own["repo"]] = own["conclusion"]
    return shown


class Records(logging.Handler):
    """Keeps what is logged of first walks."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.kept.append(record)


def play(*, broken: frozenset[str] = frozenset(), **options: Any) -> Run:
    """Begin with nothing, and watch every second until all have caught up."""
    log, handler = logging.getLogger(first_walks.__name__), Records()
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        return virtual.run(lambda clock: _play(broken, handler.kept, options))
    finally:
        log.removeHandler(handler)


async def _play(
    broken: frozenset[str], records: list[logging.LogRecord], options: dict[str, Any]
) -> Run:
    rig = rig_at(None)
    fleet = fleet_of(REPOS, **options)
    fleet._broken = broken
    poller = poller_of(fleet, rig)
    schedule = Schedule([poller])
    schedule.start()
    looks: list[Look] = []
    after_a_round: dict[str, str] = {}
    counted = 0.0
    while not looks or looks[-1].told.state != "up":
        looks.append(await look(schedule))
        if not after_a_round and not looks[-1].states["pending"]:
            after_a_round, counted = conclusions(rig), rig.value(f.BUILDS)
    run = Run(
        fleet,
        looks,
        looks[-1].at,
        after_a_round,
        counted,
        rig.value(f.BUILDS),
        records,
    )
    await schedule.stop()
    rig.ledger.close()
    return run


async def look(schedule: Schedule) -> Look:
    """What can be seen a second later."""
    await asyncio.sleep(1.0)
    (poller,) = schedule.accounts
    told = finished(report.of_account(schedule, poller, {}, time.time()))
    return Look(time.monotonic(), told, poller.states())


def rig_at(path: Path | None) -> Rig:
    rig = Rig(path, hold=False)
    rig.recorder._worker = virtual.AtOnce()  # type: ignore[assignment]
    return rig


def fleet_of(repos: int, **options: Any) -> Fleet:
    entries = [f"acme/{n}" for n in range(repos)]
    fleet = Fleet(name="acme", provider="scripted", token_env="T", repos=entries, **options)
    fleet.fill()
    return fleet


def poller_of(fleet: Fleet, rig: Rig, *, budget: Budget | None = None) -> AccountPoller:
    """What polls the fleet, with the default intervals."""
    api: Any = Idle()
    api.budget = budget or api.budget
    rules = SyncRules(lookback=DAY, retention=30 * DAY, rerun_window=DAY, max_interval=15 * MINUTE)
    context = repo_sync.SyncContext(fleet.connect(api), rig.recorder, rules)
    return AccountPoller(context, interval=MINUTE, group=BudgetGroup(api.budget))


SCENES: dict[str, dict[str, Any]] = {
    "four pages": {"size": 10},
    "four pages with details": {"size": 10, "details": True},
    "two pages of a busy morning": {"size": 25, "spread": 3 * HOUR},
    "two pages with details": {"size": 30, "details": True},
    "one page with details": {"size": 100, "details": True},
    "some repos are gone": {"size": 10, "broken": BROKEN},
}


@pytest.fixture(scope="module", params=list(SCENES.values()), ids=list(SCENES))
def run(request: pytest.FixtureRequest) -> Run:
    return play(**request.param)


def test_the_newest_pages_of_all_repos_come_before_the_past_of_any(run: Run) -> None:
    newest = {repo: at for at, repo, what in reversed(run.fleet._asked) if what == "page 0"}
    pages = [at for at, _, what in run.fleet._asked if what.startswith("page") and what[5:] != "0"]

    assert len(newest) == REPOS
    assert max(newest.values()) + 1.0 <= min(pages, default=math.inf)


def test_after_one_round_each_default_branch_is_right(run: Run) -> None:
    assert run.after_a_round == {
        f"acme/{n}": "passed" if n % 3 else "failed"
        for n in range(REPOS)
        if f"acme/{n}" not in run.fleet._broken
    }


def test_counters_wait_for_the_end_of_the_walk_and_count_each_build_once(run: Run) -> None:
    well = REPOS - len(run.fleet._broken)

    assert run.counted_after_a_round < run.counted or run.fleet.size > BUILDS
    assert run.counted == well * BUILDS


def test_nothing_is_asked_for_twice(run: Run) -> None:
    """But for the newest pages of repos whose turn has come again."""
    well = [str(entry) for entry in run.fleet.repos if entry not in run.fleet._broken]

    for start in range(run.fleet.size, BUILDS, run.fleet.size):
        assert run.requests(f"page {start}") == dict.fromkeys(well, 1)
    if run.fleet.details:
        assert run.requests("detail") == dict.fromkeys(well, BUILDS)
    assert max(run.requests("page 0").values()) <= run.ended_at / MINUTE + 1


def test_no_repo_is_ever_called_stale_and_those_that_are_done_have_their_turn(run: Run) -> None:
    assert {look.states["stale"] for look in run.looks} == {0}
    assert {look.states["failing"] for look in run.looks[60:]} == {len(run.fleet._broken)}
    for look in run.looks:
        late = [
            repo.repo
            for repo in look.told.repos
            if repo.state == "ok" and (repo.age_seconds or 0) > 3 * repo.interval_seconds
        ]
        assert late == [], f"{look.at:.0f} s after the beginning"


def test_page_metric_and_log_say_how_far_it_is(run: Run) -> None:
    for look in run.looks[:-1]:
        told = look.told.catching_up
        assert told is not None
        assert look.told.state == "catching_up" or look.at < 10.0
        assert told.text.startswith(f"catching up: {told.done} of {REPOS} repos")
        assert look.states.total() == told.repos == REPOS
        assert look.states["ok"] - 16 <= told.done <= look.states["ok"]
    logged = [record.getMessage() for record in run.records]
    assert abs(len(logged) - 1 - run.ended_at // 30.0) <= 1
    assert all(line.startswith("catching up: ") for line in logged[:-1])
    assert logged[-1] == "caught up"
    assert run.looks[-1].told.catching_up is None


def test_the_time_left_is_right_within_a_factor_of_two_from_a_third_on(run: Run) -> None:
    for look in run.looks:
        told, truth = look.told.catching_up, run.ended_at - look.at
        if told is None or (look.at < run.ended_at / 3 and told.done < REPOS / 3):
            continue
        assert told.seconds_left is not None
        slack = 10.0  # at the very end, and by chance: repos are not due in step
        assert truth / 2 - slack <= told.seconds_left <= truth * 2 + slack, f"{look.at:.0f} s"


def test_a_restart_in_the_middle_goes_on_with_the_newest_pages_and_then_where_it_stood(
    tmp_path: Path,
) -> None:
    asked: list[Counter[str]] = []

    async def live(*, until: Callable[[Look], bool]) -> tuple[list[Look], float]:
        rig, fleet = rig_at(tmp_path / "s.db"), fleet_of(60, size=10)
        schedule = Schedule([poller_of(fleet, rig)])
        schedule.start()
        looks = [await look(schedule)]
        while not until(looks[-1]):
            looks.append(await look(schedule))
        counted = rig.value(f.BUILDS)
        asked.append(Counter(f"{repo} {what}" for _, repo, what in fleet._asked))
        rig.recorder.polling._accounts.clear()  # it is killed: nothing more is written
        await schedule.stop()
        rig.ledger.close()
        return looks, counted

    async def lives(clock: virtual.Clock) -> None:
        await live(until=lambda seen: seen.states["ok"] >= 20)
        looks, counted = await live(until=lambda seen: seen.told.state == "up")
        first = looks[0]
        assert first.states["pending"] == 0, "what was polled before it was killed is known"
        assert first.states["ok"] >= 16
        assert {seen.states["stale"] for seen in looks} == {0}
        assert counted == 60 * BUILDS

    virtual.run(lives)
    before, after = asked
    both = before + after
    assert {both[f"acme/{n} page 30"] for n in range(60)} <= {1, 2}
    twice = [key for key, times in both.items() if times > 1 and not key.endswith("page 0")]
    assert len(twice) <= 16, "only what was under way is asked for once more"


def test_a_repo_that_failed_before_a_restart_keeps_no_other_from_its_past(tmp_path: Path) -> None:
    async def life(*, until: Callable[[Look], bool]) -> float:
        rig, fleet = rig_at(tmp_path / "s.db"), fleet_of(60, size=10)
        fleet._broken = frozenset({"acme/7"})
        schedule = Schedule([poller_of(fleet, rig)])
        schedule.start()
        began_at = time.monotonic()
        while not until(seen := await look(schedule)):
            assert seen.at - began_at < HOUR
        await schedule.stop()
        rig.ledger.close()
        return seen.at - began_at

    async def lives(clock: virtual.Clock) -> None:
        await life(until=lambda seen: seen.states["ok"] >= 20)
        assert await life(until=lambda seen: seen.states["ok"] == 59) < 5 * MINUTE

    virtual.run(lives)


def test_repos_that_a_reload_adds_are_caught_up_with_while_the_others_have_their_turn() -> None:
    async def reload(clock: virtual.Clock) -> None:
        rig, fleet = rig_at(None), fleet_of(40, size=10)
        schedule = Schedule([poller_of(fleet, rig)])
        schedule.start()
        while (await look(schedule)).told.state != "up":
            pass
        more = fleet_of(43, size=10)
        await schedule.pause(schedule.accounts)
        schedule.resume([poller_of(more, rig)])
        looks = [await look(schedule) for _ in range(5)]
        assert looks[0].states == Counter(ok=40, pending=3)
        assert looks[-1].told.catching_up is not None
        assert looks[-1].told.catching_up.text.startswith("catching up: 40 of 43 repos")
        while looks[-1].told.state != "up":
            looks.append(await look(schedule))
        assert {seen.states["stale"] for seen in looks} == {0}
        assert looks[-1].at - looks[0].at < MINUTE
        assert rig.value(f.BUILDS) == 43 * BUILDS
        await schedule.stop()
        rig.ledger.close()

    virtual.run(reload)


def test_a_short_budget_makes_it_long_and_nobody_stale() -> None:
    async def thrift(clock: virtual.Clock) -> None:
        rig, fleet = rig_at(None), fleet_of(60, size=10)
        scanty = Budget([TokenBucket(PublishedLimit(30, MINUTE), reserve=0.0)])
        schedule = Schedule([poller_of(fleet, rig, budget=scanty)])
        schedule.start()
        looks = [await look(schedule)]
        while looks[-1].told.state not in {"up", "limited"} or looks[-1].states["ok"] < 60:
            looks.append(await look(schedule))
        ended_at = looks[-1].at
        assert ended_at > 5 * MINUTE
        assert {seen.states["stale"] for seen in looks} == {0}
        for seen in looks:
            told = seen.told.catching_up
            if told is not None and seen.at > ended_at / 3:
                assert told.seconds_left is not None
                truth = ended_at - seen.at
                assert truth / 2 - 30.0 <= told.seconds_left <= 2 * truth + 30.0
        await schedule.stop()
        rig.ledger.close()

    virtual.run(thrift)
