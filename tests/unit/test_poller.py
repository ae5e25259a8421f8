"""Whose turn it is, and what an account does when it is in trouble."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import PrivateAttr

from exporter.errors import Gone, ProviderError, Refused, TryLater, Waiting
from exporter.http import Api
from exporter.ledger.rows import Changes
from exporter.metrics import families as f
from exporter.providers import Page, Query, Repo
from exporter.providers.remedy import advice
from exporter.schedule import (
    Schedule,
    account,
    account_rows,
    budget_group,
    dispatch,
    health,
    outcome,
    plan,
    polled_repos,
    runner,
    watch,
)
from exporter.schedule.account import AccountPoller
from exporter.status import report
from exporter.status.document import AccountReport
from exporter.sync import details, paginator, repo_sync
from exporter.sync.window import SyncRules
from tests.tools.scripted import DAY, Idle, Rig, Scripted, build, done, finished

HOUR = 3600.0
MODULES = (
    account,
    account_rows,
    budget_group,
    details,
    dispatch,
    health,
    outcome,
    paginator,
    plan,
    polled_repos,
    repo_sync,
    report,
    runner,
    watch,
)
"""What reads the monotonic clock."""


class Many(Scripted):
    """Many repos, each of which may fail or hang."""

    found: list[str] = []  # noqa: RUF012 - a pydantic field
    _faults: dict[str, ProviderError] = PrivateAttr(default_factory=dict)
    _hangs: dict[str, asyncio.Event] = PrivateAttr(default_factory=dict)
    _polled: list[str] = PrivateAttr(default_factory=list)
    _now: set[str] = PrivateAttr(default_factory=set)
    _sick: ProviderError | None = PrivateAttr(default=None)
    _more: int = PrivateAttr(default=0)
    _runs: bool = PrivateAttr(default=False)
    _bug: str = PrivateAttr(default="")

    async def health(self, api: Api) -> None:
        if self._sick is not None:
            raise self._sick

    async def discover(self, api: Api, pattern: str) -> list[Repo]:
        if pattern in self._faults:
            raise self._faults[pattern]
        return [Repo(entry) for entry in self.found]

    async def page(self, api: Api, repo: Repo, query: Query) -> Page:
        assert repo.entry not in self._now, "two polls of one repo at once"
        self._now.add(repo.entry)
        self._polled.append(repo.entry)
        try:
            if repo.entry in self._hangs:
                await self._hangs[repo.entry].wait()
            if repo.entry in self._faults:
                raise self._faults[repo.entry]
            if repo.entry == self._bug:
                raise RuntimeError("a bug")
            begun = [build(f"{repo.entry}-{n}", repo=repo.entry) for n in range(1 + self._more)]
            return Page(tuple(begun if self._runs else map(done, begun)))
        finally:
            self._now.discard(repo.entry)


class Stage:
    """One account on a rig, with the clock of its schedule in hand."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        *repos: str,
        path: Path | None = None,
        token: bytes = b"",
        **kw: Any,
    ) -> None:
        self.now = 1000.0
        for module in MODULES:
            monkeypatch.setattr(module, "monotonic", lambda: self.now)
        self.rig = Rig(path)
        longest = kw.pop("max_interval", 900.0)
        self.provider = Many(
            name="acme", provider="scripted", token_env="T", repos=list(repos), **kw
        )
        api: Any = Idle()
        self.rules = SyncRules(
            lookback=DAY, retention=30 * DAY, rerun_window=DAY, max_interval=longest
        )
        self.account = AccountPoller(
            repo_sync.SyncContext(self.provider.connect(api), self.rig.recorder, self.rules),
            interval=60.0,
            group=budget_group.BudgetGroup(api.budget, token),
        )
        self.schedule = Schedule([self.account])
        self.runner = self.schedule._runners[self.account.group]
        self.lane = self.runner._lanes[self.account]

    async def settle(self) -> None:
        """Let everything run that can."""
        while tasks := [t for t in self.lane.tasks if not t.done()]:
            hanging = sum(not event.is_set() for event in self.provider._hangs.values())
            if len(tasks) == hanging == self.lane.busy:
                return
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)

    async def rounds(self, seconds: float) -> list[str]:
        """Rounds every second for so long; which repos were polled."""
        self.provider._polled.clear()
        for _ in range(int(seconds)):
            self.runner.visit(self.account)
            await self.settle()
            self.now += 1
        return list(self.provider._polled)

    def told(self) -> AccountReport:
        """What the status page says of it."""
        return finished(report.of_account(self.schedule, self.account, {}, time.time()))

    def run(self, work: Callable[[], Awaitable[None]]) -> None:
        async def main() -> None:
            await work()
            await self.schedule.stop()

        self.rig.run(main)
        self.rig.crash()


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Stage]:
    return lambda *repos, **kw: Stage(monkeypatch, *repos, **kw)


def test_each_repo_is_polled_once_an_interval(stage: Callable[..., Stage]) -> None:
    on = stage("a/1", "a/2", "a/3")

    async def main() -> None:
        assert sorted(await on.rounds(60)) == ["a/1", "a/2", "a/3"]
        assert sorted(await on.rounds(120)) == sorted(["a/1", "a/2", "a/3"] * 2)
        assert on.account.health.up

    on.run(main)


def test_first_polls_are_spread(stage: Callable[..., Stage]) -> None:
    on = stage(*(f"a/{n}" for n in range(100)))

    async def main() -> None:
        first = await on.rounds(2)
        assert len(first) <= 25
        assert len({*first, *await on.rounds(20)}) == 100

    on.run(main)


def test_a_hanging_repo_holds_up_no_other(stage: Callable[..., Stage]) -> None:
    on = stage("a/hangs", "a/fine")

    async def main() -> None:
        on.provider._hangs["a/hangs"] = asyncio.Event()
        polled = await on.rounds(181)
        assert polled.count("a/hangs") == 1
        assert polled.count("a/fine") >= 3

    on.run(main)


def test_a_repo_in_trouble_backs_off_and_leaves_the_account_up(
    stage: Callable[..., Stage],
) -> None:
    on = stage("a/bad", "a/fine")
    on.provider._faults["a/bad"] = TryLater("answered 502", reason="server")

    async def main() -> None:
        polled = await on.rounds(900)
        assert polled.count("a/bad") < 6 < polled.count("a/fine")
        assert on.account.health.up
        repos = {told.repo: told for told in on.told().repos}
        bad, fine = repos["a/bad"], repos["a/fine"]
        assert (bad.state, bad.error, bad.last_success_at) == ("failing", "answered 502", None)
        assert bad.advice == advice(on.account.provider, "server")
        assert (fine.state, fine.error, fine.advice) == ("ok", None, None)

        on.provider._faults.clear()
        assert "a/bad" in await on.rounds(901)
        assert on.account.repos["a/bad"].interval == 60.0

    on.run(main)


def test_an_idle_repo_backs_off_and_returns_at_once_when_it_moves(
    stage: Callable[..., Stage],
) -> None:
    on = stage("a/1")

    async def main() -> None:
        first = len(await on.rounds(HOUR))
        second = len(await on.rounds(HOUR))
        third = len(await on.rounds(HOUR))
        assert 60 / 2 > first > 6 > max(second, third)
        assert min(second, third) >= 4
        assert on.account.repos["a/1"].interval == 900.0
        on.provider._more = 1
        await on.rounds(900)
        assert on.account.repos["a/1"].interval == 60.0
        assert len(await on.rounds(240)) == 4

    on.run(main)


def test_a_repo_with_an_unfinished_build_is_polled_at_twice_the_rate(
    stage: Callable[..., Stage],
) -> None:
    on = stage("a/1")
    on.provider._runs = True

    async def main() -> None:
        assert len(await on.rounds(300)) == 10
        on.provider._runs = False
        assert len(await on.rounds(300)) in {5, 6}

    on.run(main)


def test_the_same_interval_for_all_turns_adapting_off(stage: Callable[..., Stage]) -> None:
    on = stage("a/1", "a/2", max_interval=60.0)
    on.provider._runs = True

    async def main() -> None:
        assert len(await on.rounds(HOUR)) == 120
        on.provider._runs = False
        await on.rounds(HOUR)
        assert len(await on.rounds(HOUR)) == 120

    on.run(main)


def test_polls_that_wait_for_the_budget_are_nobodys_failure_and_lose_no_turn(
    stage: Callable[..., Stage],
) -> None:
    on = stage("a/1", "a/2")

    async def main() -> None:
        await on.rounds(60)
        on.account.group.budget.block(3600.0)
        assert await on.rounds(600) == []
        assert on.account.health.up
        assert on.account.view().budget_exhausted
        on.account.group.budget.blocked_until = 0.0
        assert sorted(await on.rounds(2)) == ["a/1", "a/2"]
        assert not on.account.view().budget_exhausted

        on.provider._faults["a/1"] = Waiting("used up", reason="rate_limited", delay=9.0)
        assert "a/1" in await on.rounds(200)
        assert on.account.repos["a/1"].failures == 0
        assert on.account.health.up
        on.provider._faults.clear()
        assert "a/1" in await on.rounds(2)

    on.run(main)


def test_a_repo_that_breaks_the_code_is_not_polled_all_the_time(
    stage: Callable[..., Stage], caplog: pytest.LogCaptureFixture
) -> None:
    on = stage("a/bad", "a/fine")
    on.provider._bug = "a/bad"

    async def main() -> None:
        polled = await on.rounds(300)
        assert polled.count("a/bad") <= 6
        assert polled.count("a/fine") >= 5

    on.run(main)
    assert "this is a bug" in caplog.text


def test_a_repo_that_is_gone_shows_no_unfinished_builds_until_it_is_back(
    stage: Callable[..., Stage],
) -> None:
    on = stage("a/1", "a/2")
    on.provider._runs = True

    def active() -> float:
        samples = on.rig.view.gauges(time.time())
        return sum(value for name, _, value in samples if name == f.ACTIVE.name)

    async def main() -> None:
        await on.rounds(60)
        assert active() == 2
        on.provider._faults["a/1"] = Gone("answered 404", reason="not_found")
        await on.rounds(30)
        assert active() == 2
        await on.rounds(3 * 900)
        assert active() == 1
        on.provider._faults.clear()
        await on.rounds(901)
        assert active() == 2

    on.run(main)


def test_the_same_trouble_of_many_repos_is_logged_once_in_a_while(
    stage: Callable[..., Stage], caplog: pytest.LogCaptureFixture
) -> None:
    on = stage(*(f"a/{n}" for n in range(20)))
    bad = [f"a/{n}" for n in range(19)]
    on.provider._faults = {entry: Gone("answered 404", reason="not_found") for entry in bad}

    async def main() -> None:
        await on.rounds(60)
        assert len([r for r in caplog.records if r.msg.startswith("a poll failed")]) == 1
        await on.rounds(2000)

    on.run(main)
    told = [r for r in caplog.records if r.msg.startswith("a poll failed")]
    assert 2 <= len(told) <= 4
    assert vars(told[1])["not_logged"] >= 18


def test_a_refused_token_stops_the_whole_account_but_for_a_probe(
    stage: Callable[..., Stage],
) -> None:
    on = stage(*(f"a/{n}" for n in range(20)))
    fault = Refused("answered 401", reason="unauthorized")

    async def main() -> None:
        await on.rounds(60)
        on.provider._faults = {f"a/{n}": fault for n in range(20)}
        polled = await on.rounds(600)
        assert len(polled) <= 4 + 8
        assert not on.account.health.up
        assert on.account.health.error == "answered 401"

        on.provider._faults.clear()
        assert len(set(await on.rounds(400))) == 20
        assert on.account.health.up
        assert on.account.health.error is None

    on.run(main)


def test_an_account_that_needs_a_person_is_not_polled(stage: Callable[..., Stage]) -> None:
    on = stage("a/1")
    on.provider._sick = Refused("needs_reauth: connect it again", reason="unauthorized")

    async def main() -> None:
        assert await on.rounds(120) == []
        assert [repo.last_success for repo in on.account.view().repos.values()] == [0.0]
        assert on.account.health.error == "needs_reauth: connect it again"
        on.provider._sick = None
        assert await on.rounds(301)
        assert on.account.health.up

    on.run(main)


def test_an_account_is_down_when_every_repo_fails(stage: Callable[..., Stage]) -> None:
    on = stage("a/1", "a/2")

    async def main() -> None:
        await on.rounds(60)
        assert on.account.health.up
        gone = Gone("answered 404", reason="not_found")
        on.provider._faults = {"a/1": gone, "a/2": gone}
        await on.rounds(120)
        assert not on.account.health.up

    on.run(main)


def test_discovery_adds_and_drops_repos_and_their_unfinished_builds(
    stage: Callable[..., Stage],
) -> None:
    on = stage("a/*", found=["a/1", "a/2"])

    async def main() -> None:
        await on.rounds(60)
        assert sorted(on.account.repos) == ["a/1", "a/2"]
        on.provider.found[:] = ["a/2", "a/3"]
        await on.rounds(3700)
        assert sorted(on.account.repos) == ["a/2", "a/3"]
        assert on.account.repos["a/3"].last_success > 0

    on.run(main)


def test_an_account_of_wildcards_alone_that_cannot_be_discovered_is_down_for_a_while_only(
    stage: Callable[..., Stage],
) -> None:
    on = stage("a/*", found=["a/1"])
    on.provider._faults["a/*"] = TryLater("answered 502", reason="server")

    async def main() -> None:
        await on.rounds(5)
        assert on.told().reason == "server"
        assert on.told().error == "answered 502"
        on.provider._faults.clear()
        await on.rounds(90)
        assert on.account.health.up
        assert sorted(on.account.repos) == ["a/1"]

    on.run(main)


def test_a_wildcard_in_trouble_is_told_and_holds_up_no_other_entry(
    stage: Callable[..., Stage],
) -> None:
    on = stage("a/1", "gone/*", "b/*", found=["b/1"])
    on.provider._faults["gone/*"] = Gone("answered 404", reason="not_found")

    async def main() -> None:
        assert sorted(set(await on.rounds(61))) == ["a/1", "b/1"]
        assert on.account.health.up
        assert on.told().error == "gone/* cannot be discovered: answered 404"
        on.provider._faults = {"b/*": TryLater("answered 502", reason="server")}
        await on.rounds(700)
        assert sorted(on.account.repos) == ["a/1", "b/1"]
        on.provider._faults.clear()
        await on.rounds(700)
        assert on.told().error is None

    on.run(main)


def test_overlapping_entries_are_polled_once(stage: Callable[..., Stage]) -> None:
    on = stage("a/1", "a/*", "a/1", found=["a/1", "a/2"])

    async def main() -> None:
        assert sorted(await on.rounds(50)) == ["a/1", "a/2"]

    on.run(main)


def test_an_account_is_down_until_its_first_clean_poll(stage: Callable[..., Stage]) -> None:
    on = stage("a/1")

    async def main() -> None:
        assert not on.account.view().up
        assert on.account.view().polls[-1] == 0
        await on.rounds(2)
        assert on.account.view().up
        assert sum(on.account.view().polls[:-1]) == 1
        (repo,) = on.account.view().repos.values()
        assert repo.last_success > time.time() - 60

    on.run(main)


def test_the_scheduler_runs_rounds_and_stops(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "s.db")
    rig.provider._builds = [done(build("1"))]
    api: Any = Idle()
    rules = SyncRules(lookback=DAY, retention=30 * DAY, rerun_window=DAY, max_interval=900.0)
    polling = AccountPoller(
        repo_sync.SyncContext(rig.provider.connect(api), rig.recorder, rules), interval=60.0
    )

    committed = asyncio.Event()
    apply = rig.view.apply

    def exposed(changes: Changes) -> None:
        apply(changes)
        if any(target.exposed for target in changes.targets):
            committed.set()

    rig.view.apply = exposed  # type: ignore[method-assign]

    async def main() -> None:
        poller = Schedule([polling])
        poller.start()
        async with asyncio.timeout(10):
            await committed.wait()
        assert rig.value(f.BUILDS) == 1
        await poller.stop()

    rig.run(main)


def test_a_poll_has_a_deadline(
    stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account, "POLL_DEADLINE", 0.05)
    on = stage("a/hangs")
    on.provider._hangs["a/hangs"] = asyncio.Event()

    async def main() -> None:
        on.runner.visit(on.account)
        while on.lane.tasks:
            await asyncio.wait(on.lane.tasks)
        state = on.account.repos["a/hangs"]
        assert state.error is not None
        assert state.error.startswith("the poll took longer than")

    on.run(main)
