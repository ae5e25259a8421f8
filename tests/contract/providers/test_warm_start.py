"""A restart asks only for what is new: what the APIs answered is kept in the state."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from exporter.daemon import housekeeping
from exporter.daemon.housekeeping import Housekeeping
from exporter.daemon.timers import Timers
from exporter.demo.serve import serving
from exporter.http import Api, RetryPolicy
from exporter.http.response_cache import ResponseCache
from exporter.http.stored import ResponseChanges, ResponseKey, StoredResponse
from exporter.metrics import families as f
from exporter.providers import Provider
from exporter.providers.github import client
from exporter.providers.github.mapping import Runs
from exporter.schedule import Schedule
from exporter.schedule.account import AccountPoller
from exporter.sync import repo_sync
from exporter.sync.window import SyncRules
from tests.contract.providers.github import github, live
from tests.tools.emulators import gitlab
from tests.tools.emulators.github import TOKEN, Hub
from tests.tools.emulators.rig import TOKEN as GITLAB_TOKEN
from tests.tools.gitlab_station import gitlab as gitlab_account
from tests.tools.scripted import DAY, Rig, build, done
from tests.tools.sources import source_of

REPOS = 20
ENTRIES = [f"acme/r{n}" for n in range(REPOS)]
READING = SyncRules(lookback=DAY, retention=30 * DAY, rerun_window=DAY, max_interval=900.0)


class Life:
    """One process from its start to its end."""

    def __init__(self, path: Path | None, provider: Provider, root: str, token: str) -> None:
        self.rig = Rig(path, hold=False)
        self.api = Api(
            root=root,
            headers=lambda: provider.headers(token),
            timeout=5.0,
            retries=RetryPolicy(attempts=1),
        )
        self.account = self.joins(self.api, provider)
        self.schedule = Schedule([self.account])
        self.housekeeping = Housekeeping(self.rig.recorder, self.schedule)

    def joins(self, api: Api, provider: Provider) -> AccountPoller:
        reader = repo_sync.SyncContext(source_of(provider, api), self.rig.recorder, READING)
        return AccountPoller(reader, interval=60.0)

    async def polls(self) -> Counter[str]:
        """Poll everything; how often what was answered."""
        before = self.api.stats.requests.copy()
        assert await self.schedule.once()
        return self.api.stats.requests - before

    async def ends(self) -> None:
        """A clean stop."""
        await self.schedule.stop()
        await self.rig.recorder.close()

    async def dies(self) -> None:
        """What SIGKILL leaves: the file as it is."""
        await self.api.aclose()
        self.rig.crash()

    @property
    def builds(self) -> float:
        return self.rig.value(f.BUILDS)


@asynccontextmanager
async def github_of(path: Path | None) -> AsyncIterator[tuple[Hub, Callable[..., Life]]]:
    """A GitHub whose repos have three builds each, and processes over one state."""
    hub = Hub()
    hub.tokens.add("ghp_other")
    for entry in ENTRIES:
        hub.repo(entry)
        for hours in (3, 2, 1):
            hub.end(hub.begin(entry, ago=hours * 3600.0))
    provider = github(repos=ENTRIES)
    async with serving(hub.app) as url:
        yield hub, lambda token=TOKEN: Life(path, provider, f"{url}/api/v3", token)


@live
async def test_a_restart_begins_with_304_and_sees_what_is_new(tmp_path: Path) -> None:
    async with github_of(tmp_path / "s.db") as (hub, begin):
        first = begin()
        assert await first.polls() == {"200": 2 * REPOS}  # with the names of the workflows
        assert first.builds == 3 * REPOS
        read = [await client.Client(first.api).runs(entry, 1, 100) for entry in ENTRIES]
        await first.ends()

        second = begin()
        assert await second.polls() == {"304": REPOS}
        assert second.builds == 3 * REPOS
        assert [await client.Client(second.api).runs(entry, 1, 100) for entry in ENTRIES] == read
        await second.ends()

        hub.end(hub.begin(ENTRIES[7]))
        running = hub.begin(ENTRIES[8])
        third = begin()
        assert await third.polls() == {"304": REPOS - 2, "200": 2}
        assert third.builds == 3 * REPOS + 1
        assert third.rig.gauge(f.ACTIVE, repo=ENTRIES[8], status="in_progress") == 1
        await third.ends()

        hub.end(running)
        fourth = begin()
        assert await fourth.polls() == {"304": REPOS - 1, "200": 1}
        assert fourth.builds == 3 * REPOS + 2
        await fourth.ends()


@live
async def test_another_token_reuses_nothing_and_nothing_of_it_is_left(tmp_path: Path) -> None:
    async with github_of(tmp_path / "s.db") as (_, begin):
        first = begin()
        await first.polls()
        await first.ends()

        second = begin("ghp_other")
        assert await second.polls() == {"200": REPOS}
        await second.ends()

        third = begin()
        assert len(third.rig.ledger.responses("acme")) == REPOS
        assert await third.polls() == {"200": REPOS}
        assert third.builds == 3 * REPOS
        await third.ends()


@live
async def test_a_version_that_reads_one_field_more_reuses_nothing(tmp_path: Path) -> None:
    class MoreRuns(Runs):
        more: Any = None

    async with github_of(tmp_path / "s.db") as (_, begin):
        first = begin()
        await first.polls()
        await first.ends()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(client, "Runs", MoreRuns)
            second = begin()
            assert await second.polls() == {"200": REPOS}
            await second.ends()


@live
async def test_a_kill_costs_full_answers_for_what_was_not_written_yet(tmp_path: Path) -> None:
    async with github_of(tmp_path / "s.db") as (hub, begin):
        first = begin()
        await first.polls()
        await first.dies()

        second = begin()
        assert await second.polls() == {"200": REPOS}
        assert second.builds == 3 * REPOS
        await second.housekeeping.save_responses()
        hub.end(hub.begin(ENTRIES[3]))
        second.account.repos[ENTRIES[3]].was_polled = False
        assert await second.polls() == {"200": 1}
        await second.dies()

        third = begin()
        assert await third.polls() == {"304": REPOS - 1, "200": 1}
        assert third.builds == 3 * REPOS + 1
        await third.dies()


@live
async def test_an_account_that_a_reload_makes_anew_knows_what_the_old_one_did(
    tmp_path: Path,
) -> None:
    async with github_of(tmp_path / "s.db") as (_, begin):
        life = begin()
        await life.polls()
        await life.schedule.stop()
        api = Api(
            root=life.api._root,
            headers=lambda: life.account.provider.headers(TOKEN),
            timeout=5.0,
        )
        anew = Schedule([life.joins(api, life.account.provider)])

        assert await anew.once()
        assert api.stats.requests == {"304": REPOS}
        await anew.stop()
        await life.ends()


@live
async def test_what_is_answered_is_written_again_and_again_while_the_process_runs(
    tmp_path: Path,
) -> None:
    async with github_of(tmp_path / "s.db") as (_, begin):
        life, turn = begin(), asyncio.Event()
        remember = life.rig.recorder.save_responses

        async def remembered(account: str, answers: ResponseCache) -> None:
            await remember(account, answers)
            turn.set()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(housekeeping, "_RESPONSES", 0.05)
            patch.setattr(life.rig.recorder, "save_responses", remembered)
            timers = Timers()
            life.housekeeping.start(timers)
            timers.start()  # and no polls
            await turn.wait()
            assert life.rig.ledger.responses("acme") == []
            await life.polls()
            async with asyncio.timeout(10):
                for _ in range(2):  # the first may have begun before
                    turn.clear()
                    await turn.wait()
        assert len(life.rig.ledger.responses("acme")) == 2 * REPOS
        await timers.stop()
        await life.ends()


@live
async def test_a_state_in_memory_keeps_no_answers() -> None:
    async with github_of(None) as (_, begin):
        life = begin()
        await life.polls()
        await life.housekeeping.save_responses()

        assert life.rig.ledger.responses("acme") == []
        await life.dies()


@live
async def test_gitlab_begins_with_304_too(tmp_path: Path) -> None:
    world = gitlab.World()
    for entry in ENTRIES:
        world.ran(entry, time.time() - 3600, 60.0, "success")
    provider = gitlab_account(repos=ENTRIES)
    async with serving(world.app()) as url:

        def begin() -> Life:
            return Life(tmp_path / "s.db", provider, f"{url}/api/v4", GITLAB_TOKEN)

        first = begin()
        assert await first.polls() == {"200": 2 * REPOS}  # with the single pipelines
        await first.ends()
        world.ran(ENTRIES[5], time.time() - 60, 5.0, "failed")
        second = begin()

        assert await second.polls() == {"304": REPOS - 1, "200": 2}
        assert second.builds == REPOS + 1
        await second.ends()


# --- the state ---


def row(url: str, *, used: float = 0.0, etag: str = '"1"') -> StoredResponse:
    return StoredResponse(
        ResponseKey(url, "shape"), etag, b"packed", b"reader", used or time.time()
    )


def written(rig: Rig, *kept: StoredResponse, dropped: tuple[str, ...] = ()) -> None:
    with rig.ledger.transaction() as tx:
        keys = [ResponseKey(url, "shape") for url in dropped]
        tx.save_responses("acme", ResponseChanges(list(kept), keys))


def test_answers_survive_kill_9_as_they_were_last_written(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "s.db")
    old, new = row("/a", used=time.time() - 60), row("/a", etag='"2"')
    written(rig, old, row("/b"), row("/c", used=1.0))
    written(rig, new, dropped=("/b", "/nowhere"))
    rig.restart()

    assert rig.ledger.responses("acme") == [row("/c", used=1.0), new]
    assert rig.ledger.responses("other") == []
    rig.crash()


def test_answers_that_nobody_asked_for_in_a_week_are_forgotten(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "s.db")
    now = time.time()
    written(rig, row("/a", used=now - 6.9 * DAY), row("/b", used=now - 7.1 * DAY))
    rig.run(rig.recorder.sweep)

    assert [a.key.url for a in rig.ledger.responses("acme")] == ["/a"]
    rig.crash()


def learnt(rig: Rig) -> ResponseCache:
    """What an account has been answered, not written yet."""
    cache, nobody = ResponseCache(), httpx.Headers()
    rig.run(lambda: rig.recorder.load_responses("acme", cache))
    cache.lookup("/a", str, nobody)
    cache.store("/a", str, nobody, etag='"1"', body=os.urandom(50_000).hex())
    return cache


def test_answers_that_cannot_be_written_are_no_error_and_are_written_later(
    tmp_path: Path,
) -> None:
    """The disk is full: SQLite's own limit on pages stands in for it."""
    rig = Rig(tmp_path / "s.db")
    cache, db = learnt(rig), rig.sqlite._db
    pages = db.execute("PRAGMA page_count").fetchone()[0]
    db.execute(f"PRAGMA max_page_count = {pages}")
    rig.run(lambda: rig.recorder.save_responses("acme", cache))

    assert (rig.recorder.state_ok, rig.ledger.responses("acme")) == (False, [])
    db.execute("PRAGMA max_page_count = 1000000")
    rig.run(lambda: rig.recorder.save_responses("acme", cache))
    assert rig.ledger.responses("acme") == []  # the counters first
    rig.provider._builds = [done(build("1"))]
    rig.poll()
    rig.run(lambda: rig.recorder.save_responses("acme", cache))
    assert (rig.recorder.state_ok, len(rig.ledger.responses("acme"))) == (True, 1)
    rig.crash()


def test_without_news_nothing_is_written(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "s.db")
    cache = learnt(rig)
    rig.run(lambda: rig.recorder.save_responses("acme", cache))
    before = rig.sqlite._db.total_changes
    rig.run(lambda: rig.recorder.save_responses("acme", cache))

    assert rig.sqlite._db.total_changes == before
    rig.crash()


def test_answers_that_cannot_be_read_are_asked_for_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Rig(tmp_path / "s.db")
    written(rig, row("/a"))
    rig.sqlite._db.execute("ALTER TABLE answer RENAME TO elsewhere")
    cache = ResponseCache()
    rig.run(lambda: rig.recorder.load_responses("acme", cache))

    assert not cache.is_new
    assert "everything is asked for anew" in caplog.text
    rig.crash()
