"""A restart goes on where the schedule stood: due times, intervals, backoff, what was found."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from exporter.errors import Gone, ProviderError, Refused, StateUnavailable, TryLater
from exporter.ledger.polling import RepoPolling
from exporter.providers import Repo
from exporter.schedule import stored
from exporter.schedule.plan import Demand
from exporter.schedule.repo import RepoState
from tests.tools.scripted import DAY
from tests.tools.stores import ON_A_FILE
from tests.unit.test_poller import HOUR, Stage

pytestmark = pytest.mark.usefixtures("store")

YEARS = 10_000 * DAY


class Lives:
    """One account over many processes, with both clocks in hand."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._path, self._patch = path, monkeypatch
        self.on: Stage | None = None
        self.epoch = time.time()
        self.ahead = 0.0
        """What our wall clock is wrong by."""
        self.passed = 0.0
        """Seconds since the beginning, in earlier processes."""
        monkeypatch.setattr(time, "time", self.wall)

    def wall(self) -> float:
        running = 0.0 if self.on is None else self.on.now - 1000.0
        return self.epoch + self.ahead + self.passed + running

    def live(
        self,
        work: Callable[[Stage], Awaitable[None]],
        *repos: str,
        faults: dict[str, ProviderError] | None = None,
        kill: bool = True,
        **kw: Any,
    ) -> None:
        """One process, until it is killed."""
        self.on = on = Stage(self._patch, *repos, path=self._path, **kw)
        on.provider._faults.update(faults or {})

        async def main() -> None:
            on.account.restore()
            on.account.save()
            await work(on)
            if kill:
                on.rig.recorder.polling._accounts.clear()
            await on.rig.recorder.save_polling(whole=True)
            await on.schedule.stop()

        on.rig.run(main)
        on.rig.crash()
        self.passed += on.now - 1000.0
        self.on = None


@pytest.fixture
def lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lives:
    return Lives(tmp_path / "s.db", monkeypatch)


async def saved(on: Stage) -> None:
    await on.rig.recorder.save_polling(whole=True)


REPOS = [f"a/{n}" for n in range(120)]


@ON_A_FILE
def test_a_restart_goes_on_with_the_due_times_of_idle_repos(lives: Lives) -> None:
    due: dict[str, float] = {}

    async def before(on: Stage) -> None:
        await on.rounds(2 * HOUR)
        await saved(on)
        for entry, state in on.account.repos.items():
            assert state.interval == 900.0
            due[entry] = state.due - on.now

    async def after(on: Stage) -> None:
        kept = {entry: state.due - on.now for entry, state in on.account.repos.items()}
        first = min(due, key=lambda entry: due[entry])
        assert kept == pytest.approx(due | {first: 0.0}, abs=0.1)
        assert {state.interval for state in on.account.repos.values()} == {900.0}
        assert len(await on.rounds(60)) < 60
        assert on.account.health.up, "one repo is polled at once"
        assert set(await on.rounds(900)) >= {*REPOS} - {first}

    lives.live(before, *REPOS)
    lives.live(after, *REPOS)


@ON_A_FILE
def test_repos_that_are_overdue_are_not_polled_all_at_once(lives: Lives) -> None:
    async def before(on: Stage) -> None:
        await on.rounds(2 * HOUR)
        await saved(on)

    async def after(on: Stage) -> None:
        assert len(await on.rounds(3)) <= 35
        await on.rounds(60)
        assert all(state.was_polled for state in on.account.repos.values())

    lives.live(before, *REPOS)
    lives.passed += 5 * HOUR
    lives.live(after, *REPOS)


@ON_A_FILE
@pytest.mark.parametrize("jump", [HOUR, -HOUR, YEARS, -YEARS])
def test_a_wall_clock_that_jumps_keeps_no_repo_waiting_for_longer(
    lives: Lives, jump: float
) -> None:
    async def before(on: Stage) -> None:
        await on.rounds(2 * HOUR)
        await saved(on)

    async def after(on: Stage) -> None:
        longest = max(state.due for state in on.account.repos.values())
        assert longest - on.now <= 900.0
        polled = await on.rounds(901)
        assert set(polled) == {*REPOS[:20]}
        assert len(polled) <= 60

    lives.live(before, *REPOS[:20])
    lives.ahead = jump
    lives.live(after, *REPOS[:20])
    lives.ahead = 0.0
    lives.live(after, *REPOS[:20])


def test_another_interval_takes_effect(lives: Lives) -> None:
    async def before(on: Stage) -> None:
        await on.rounds(2 * HOUR)
        await saved(on)

    async def after(on: Stage) -> None:
        assert set(await on.rounds(61)) == {"a/1", "a/2", "a/3"}
        await on.rounds(300)
        assert {state.interval for state in on.account.repos.values()} == {60.0}

    lives.live(before, "a/1", "a/2", "a/3")
    lives.live(after, "a/1", "a/2", "a/3", max_interval=60.0)


def test_a_busy_repo_is_still_busy_after_a_restart(lives: Lives) -> None:
    async def before(on: Stage) -> None:
        on.provider._more = 5
        await on.rounds(120)
        await saved(on)

    async def after(on: Stage) -> None:
        (state,) = on.account.repos.values()
        assert len(state.notes.activity.begun) == 6
        assert state.last_success > 0
        assert not state.was_polled

    lives.live(before, "a/1")
    lives.live(after, "a/1")


class TestBackoff:
    asked = TryLater("answered 503", reason="server", delay=120.0)
    refused = Refused("answered 401", reason="unauthorized")

    @staticmethod
    async def fails(on: Stage) -> None:
        await on.rounds(5)

    def test_an_account_that_was_asked_to_wait_sends_nothing_before(self, lives: Lives) -> None:
        async def after(on: Stage) -> None:
            assert on.told().next_try_at is not None
            assert on.told().error == "answered 503"
            assert await on.rounds(110) == []
            assert await on.rounds(10) == ["a/1"]
            assert on.account.health.up

        lives.live(self.fails, "a/1", faults={"a/1": self.asked})
        lives.live(after, "a/1")

    def test_one_that_is_refused_goes_on_to_back_off_by_one_repo_alone(self, lives: Lives) -> None:
        faults: dict[str, ProviderError] = dict.fromkeys(REPOS[:9], self.refused)

        async def before(on: Stage) -> None:
            await on.rounds(50)
            assert on.account.health.backoff > 60

        async def after(on: Stage) -> None:
            backoff = on.account.health.backoff_until - on.now
            assert backoff > 10
            assert await on.rounds(backoff) == []
            assert len(await on.rounds(20)) == 1
            assert on.account.health.backoff > 120

        lives.live(before, *REPOS[:9], faults=faults)
        lives.live(after, *REPOS[:9], faults=faults)

    def test_a_changed_token_ends_it(self, lives: Lives) -> None:
        async def after(on: Stage) -> None:
            assert await on.rounds(3) == ["a/1"]

        lives.live(self.fails, "a/1", faults={"a/1": self.refused}, token=b"old")
        lives.live(after, "a/1", token=b"new")

    def test_a_repo_that_was_asked_to_wait_is_left_alone_and_the_others_are_not(
        self, lives: Lives
    ) -> None:
        async def before(on: Stage) -> None:
            await on.rounds(5)

        async def after(on: Stage) -> None:
            assert "a/1" not in await on.rounds(1100)
            assert on.account.repos["a/1"].failures == 1
            assert on.account.repos["a/2"].was_polled
            assert "a/1" in await on.rounds(200)

        faults: dict[str, ProviderError] = {
            "a/1": TryLater("answered 503", reason="server", delay=1200.0)
        }
        lives.live(before, "a/1", "a/2", faults=faults)
        lives.live(after, "a/1", "a/2")

    @pytest.mark.parametrize("repos", [("a/1",), ("a/1", "a/2")])
    @pytest.mark.parametrize("how", ["restart", "reload"])
    def test_what_an_api_asked_for_holds_by_another_interval_too(
        self, lives: Lives, repos: tuple[str, ...], how: str
    ) -> None:
        """Of a repo, and of the account that has no other."""

        async def after(on: Stage) -> None:
            if how == "reload":
                on.account.change(on.rules, interval=30.0, timeout=31.0)
            assert "a/1" not in await on.rounds(1100)
            assert "a/1" in await on.rounds(200)

        faults: dict[str, ProviderError] = {
            "a/1": TryLater("answered 503", reason="server", delay=1200.0)
        }
        lives.live(self.fails, *repos, faults=faults)
        lives.live(after, *repos, max_interval=600.0 if how == "restart" else 900.0)

    def test_a_repo_that_is_gone_goes_on_to_be_asked_for_seldom(self, lives: Lives) -> None:
        async def before(on: Stage) -> None:
            await on.rounds(HOUR)
            await saved(on)

        async def after(on: Stage) -> None:
            assert on.account.repos["a/1"].is_gone
            assert (await on.rounds(900)).count("a/1") in {1, 2}

        faults: dict[str, ProviderError] = {"a/1": Gone("answered 404", reason="not_found")}
        lives.live(before, "a/1", "a/2", faults=faults)
        lives.live(after, "a/1", "a/2", faults=faults)


class TestDiscovery:
    @staticmethod
    async def before(on: Stage) -> None:
        await on.rounds(60)
        await saved(on)

    def test_what_was_found_is_polled_at_once_and_not_looked_for_again(self, lives: Lives) -> None:
        async def after(on: Stage) -> None:
            assert sorted(on.account.repos) == ["a/1", "a/2"]
            await on.rounds(600)
            assert sorted(on.account.repos) == ["a/1", "a/2"], "it is not discovered yet"
            await on.rounds(3600)
            assert sorted(on.account.repos) == ["a/3"]

        async def last(on: Stage) -> None:
            assert sorted(on.account.repos) == ["a/3"]

        lives.live(self.before, "a/*", found=["a/1", "a/2"])
        lives.live(after, "a/*", found=["a/3"], kill=False)
        lives.live(last, "a/*", found=[])

    def test_what_was_found_stays_while_the_discovery_fails(self, lives: Lives) -> None:
        async def after(on: Stage) -> None:
            assert set(await on.rounds(2 * HOUR)) == {"a/1", "a/2"}
            assert "cannot be discovered" in (on.told().error or "")

        async def last(on: Stage) -> None:
            assert "cannot be discovered" in (on.told().error or "")
            assert sorted(on.account.repos) == ["a/1", "a/2"]

        faults: dict[str, ProviderError] = {"a/*": Gone("answered 404", reason="not_found")}
        lives.live(self.before, "a/*", found=["a/1", "a/2"])
        lives.live(after, "a/*", faults=faults, kill=False)
        lives.live(last, "a/*", faults=faults)

    def test_other_wildcards_are_looked_for_at_once(self, lives: Lives) -> None:
        async def after(on: Stage) -> None:
            assert sorted(on.account.repos) == []
            await on.rounds(2)
            assert sorted(on.account.repos) == ["b/1"]

        lives.live(self.before, "a/*", found=["a/1", "a/2"])
        lives.live(after, "b/*", found=["b/1"])

    def test_what_is_excluded_since_is_not_polled(self, lives: Lives) -> None:
        async def after(on: Stage) -> None:
            assert sorted(on.account.repos) == ["a/1"]

        lives.live(self.before, "a/*", found=["a/1", "a/2"])
        lives.live(after, "a/*", found=["a/1", "a/2"], exclude=["a/2"])


@ON_A_FILE
def test_rows_of_repos_that_are_polled_very_often_are_written_once_in_a_while(
    lives: Lives,
) -> None:
    async def work(on: Stage) -> None:
        rows = 0
        for _ in range(60):
            await on.rounds(10)
            changes = on.account.rows.changes(whole=False)
            rows += len(changes.repos)
        assert 2 * 9 <= rows <= 2 * 12  # the first may go with the commit of a poll
        assert len(on.account.rows.changes(whole=True).repos) <= 2
        assert not on.account.rows.changes(whole=True)

    lives.live(work, "a/1", "a/2", interval=2.0, max_interval=2.0)


@ON_A_FILE
def test_idle_polls_write_their_rows_with_their_cursors(lives: Lives) -> None:
    async def work(on: Stage) -> None:
        begun: list[str] = []
        await on.rounds(HOUR)
        polls, db = 0, on.rig.sqlite._db
        db.set_trace_callback(lambda sql: begun.append(sql) if sql.startswith("BEGIN") else None)
        for _ in range(180):
            polls += len(await on.rounds(10))
            await on.rig.recorder.save_polling()
        db.set_trace_callback(None)
        assert polls <= len(begun) <= 1.1 * polls
        await on.rounds(900)
        await on.rig.recorder.save_polling()
        rows = on.rig.ledger.load().polling["acme"].repos
        late = [e for e in on.account.repos if rows[e].polled_at < lives.wall() - 1300.0]
        assert late == [], "every row is as old as its last poll, but for the newest"

    lives.live(work, *REPOS[:50])


def test_an_account_that_leaves_the_configuration_goes_on_when_it_comes_back(lives: Lives) -> None:
    async def work(on: Stage) -> None:
        await on.rounds(2 * HOUR)
        due = {entry: state.due for entry, state in on.account.repos.items()}
        await on.schedule.pause([on.account])
        rows = on.rig.ledger.load().polling["acme"].repos
        assert {e: row.due_at - lives.wall() + on.now for e, row in rows.items()} == (
            pytest.approx(due, abs=0.1)
        )

    lives.live(work, *REPOS[:20])


def test_what_cannot_be_written_is_written_later(
    lives: Lives, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(on: Stage) -> None:
        await on.rounds(10)
        with monkeypatch.context() as full:

            def fails(*accounts: str) -> None:
                raise StateUnavailable("the disk is full")

            full.setattr(on.rig.ledger, "transaction", fails)
            await saved(on)
        on.rig.recorder.state_ok = True
        await saved(on)
        assert on.rig.ledger.load().polling["acme"].repos.keys() == {"a/1"}

    lives.live(work, "a/1")


@ON_A_FILE
def test_nothing_that_is_stored_leads_to_a_credential(lives: Lives) -> None:
    async def work(on: Stage) -> None:
        await on.rounds(10)
        await saved(on)

    for _ in range(2):
        lives.live(work, "a/1", token=b"a digest of the token")
    assert b"a digest of the token" not in lives._path.read_bytes()


@pytest.mark.parametrize("jump", [0.0, HOUR, -HOUR])
def test_a_repo_is_the_same_after_its_row(jump: float) -> None:
    state = RepoState(
        repo=Repo("a/1", "main"),
        due=1500.0,
        demand=Demand(60.0, 61.0, 900.0),
        interval=600.0,
        moved_at=400.0,
        last_success=1.7e9,
        error="answered 404",
        reason="not_found",
        failures=2,
        gone=2,
        begun_at=950.0,
        backs_off=True,
        backoff_until=1500.0,
        asked_until=1400.0,
    )
    row = stored.repo_row(state, "a/*", stored.Instant(2e9, 1000.0))

    again = stored.repo_state(row, "a/1", stored.Instant(2e9 + 10.0 + jump, 7.0))

    assert isinstance(row, RepoPolling)
    kept = ("repo", "demand", "interval", "last_success", "error", "reason", "failures", "gone")
    assert [getattr(again, name) for name in kept] == [getattr(state, name) for name in kept]
    if jump == 0.0:
        assert (again.due, again.backoff_until) == (7.0 + 490.0, 7.0 + 490.0)
        assert again.asked_until == 7.0 + 390.0
        assert (again.moved_at, again.begun_at) == (7.0 - 610.0, 7.0 - 60.0)
    elif jump < 0.0:
        assert again.due == 7.0 + 500.0, "no longer than it was to wait"
    else:
        assert (again.due, again.backoff_until) == (7.0, 0.0)
