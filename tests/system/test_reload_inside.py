"""What a reload does inside the process, and what it leaves behind: nothing."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from exporter.errors import ConfigError, StateUnavailable
from exporter.ledger.sqlite.ledger import SqliteLedger
from exporter.metrics.gauges import room_for
from exporter.metrics.grouping import is_pipeline_family, pipeline_of, sample_count
from tests.tools import reloading
from tests.tools.reloading import NAMES, REPOS, Inside, Stage, assert_counted, eventually, run

stage = reloading.stage

BUILDS, ACTIVE = "cicd_builds_total", "cicd_builds_active"


def counted(**expected: float) -> Callable[[Inside], Awaitable[None]]:
    async def work(inside: Inside) -> None:
        await eventually(lambda: assert_counted(inside, **expected))

    return work


def test_a_changed_account_goes_on_and_the_others_notice_nothing(stage: Stage) -> None:
    rare = {"polling": {"interval": "1h", "max_interval": "1h"}}
    stage.write("one", stage.account("two", repos=REPOS[:1]), **rare)

    async def work(inside: Inside) -> None:
        await eventually(lambda: assert_counted(inside, one=2, two=1))
        one, two = inside.schedule.accounts
        sent, polls = two.api.stats.requests["200"], stage.polls("one")
        stage.build("two")
        stage.write(stage.account("two", interval="1s"), "one", **rare)

        changes = await inside.reloads.reload()

        assert changes == ["~account two: interval nothing -> 1s, repos +acme/shop"]
        assert inside.schedule.accounts[1] is one  # another order is no change
        assert inside.schedule.accounts[0] is not two
        scrape = inside.scrape()
        ages = scrape.select("cicd_exporter_poll_last_success_timestamp_seconds", account="two")
        assert [value > 0 for value in ages.values()] == [True, False]
        await eventually(lambda: assert_counted(inside, one=2, two=3))
        assert stage.polls("one") == polls
        again = inside.scrape().value("cicd_exporter_api_requests_total", account="two", code="200")
        assert again > sent

    run(stage, work)


def test_another_exclude_of_a_wildcard_applies_at_once(stage: Stage) -> None:
    stage.write(stage.account("one", repos=["acme/*"]))

    async def work(inside: Inside) -> None:
        await eventually(lambda: assert_counted(inside, one=2))
        stage.write(stage.account("one", repos=["acme/*"], exclude=[REPOS[1]]))
        await inside.reloads.reload()
        assert list(inside.schedule.accounts[0].repos) == [REPOS[0]]
        stage.build("one", REPOS[1])
        stage.build("one", REPOS[0])
        await eventually(lambda: assert_counted(inside, one=3))

    run(stage, work)


def test_a_reload_that_breaks_down_half_way_is_healed_by_the_next(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.write("one", "two")

    async def work(inside: Inside) -> None:
        await eventually(lambda: assert_counted(inside, one=2, two=2))
        stage.write("one", polling={"interval": "0.3s"})
        with monkeypatch.context() as patch:
            patch.setattr(inside.schedule, "resume", lambda accounts: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                await inside.reloads.reload()
        assert not inside.assembly.health.reload_ok
        stage.build("two")
        stage.write("one", "two", polling={"interval": "0.3s"})
        await inside.reloads.reload()
        stage.build("one")
        await eventually(lambda: assert_counted(inside, one=3, two=3))

    run(stage, work)


def test_what_needs_a_restart_waits_for_it_and_the_rest_applies(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.write("one")

    async def work(inside: Inside) -> None:
        await eventually(lambda: assert_counted(inside, one=2))
        stage.write(
            "one",
            web={"telemetry_path": "/numbers", "listen_address": ":1"},
            state={"url": "memory:", "retention": "40d"},
            metrics={"zero_hold": 0, "queue_buckets": [1], "branches": [], "series_limit": 1000},
        )

        changes = await inside.reloads.reload()

        assert [line.partition(": ")[2].partition(" ")[0] or line for line in changes] == [
            "~state.retention 30d -> 40d",
            "~metrics.branches -main -master -develop -release/*",
            "~metrics.series_limit 500000 -> 1000",
            "web.listen_address",
            "web.telemetry_path",
            "state.url",
            "metrics.queue_buckets",
        ]
        warned = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
        assert warned == [line for line in changes if line.startswith("needs a restart: ")]
        stage.build("one", branch="main")
        await eventually(lambda: assert_counted(inside, one=3))
        scrape = inside.scrape()
        assert scrape.total(BUILDS, account="one", branch="other") == 1
        assert scrape.value("cicd_exporter_series_limit") == 1000
        assert isinstance(inside.assembly.ledger, SqliteLedger)
        assert inside.assembly.ledger.config.retention == 40 * 86400

    run(stage, work)


def test_what_is_held_back_outlives_the_leave_of_its_account(stage: Stage) -> None:
    stage.write("one", "two", metrics={"zero_hold": "1h"})

    async def work(inside: Inside) -> None:
        await eventually(lambda: assert_counted(inside, one=2, two=2))
        stage.build("one", workflow="new")
        await eventually(lambda: assert_held(inside, 1))
        stage.write("two", metrics={"zero_hold": "1h"})
        await inside.reloads.reload()
        assert 'account="one"' not in inside.scrape().text

        stage.emulator.faults.hang(account="one")
        stage.write("one", "two", metrics={"zero_hold": "1h"})
        await inside.reloads.reload()
        assert_held(inside, 1)

        stage.write("one", "two")  # nothing is held from now on
        await inside.reloads.reload()
        await eventually(lambda: assert_counted(inside, one=3, two=2))

    def assert_held(inside: Inside, number: int) -> None:
        scrape = inside.scrape()
        assert scrape.select(BUILDS, account="one", workflow="new")
        assert scrape.total(BUILDS, account="one", workflow="new") == 0
        held = [s.held for s in inside.assembly.view.series.values() if s.held]
        assert len([vector for vector in held if len(vector) == 1]) == number

    run(stage, work)


def test_a_repo_that_comes_back_has_its_unfinished_builds(stage: Stage) -> None:
    stage.build("one", REPOS[1], completed_at=None)
    stage.write("one")

    def assert_active(inside: Inside, number: int) -> None:
        assert inside.scrape().total(ACTIVE, account="one", repo=REPOS[1]) == number

    async def work(inside: Inside) -> None:
        await eventually(lambda: assert_active(inside, 1))
        stage.write(stage.account("one", repos=REPOS[:1]))
        await inside.reloads.reload()
        assert_active(inside, 0)
        stage.write("one")
        await inside.reloads.reload()
        assert_active(inside, 1)

    run(stage, work)


def test_a_raised_limit_has_room_for_what_a_restart_had_left_out(stage: Stage) -> None:
    stage.write("one", "two")
    run(stage, counted(one=2, two=2))

    async def work(inside: Inside) -> None:
        assert_counted(inside, one=0, two=0)
        stage.write("one", "two")
        await inside.reloads.reload()
        assert_counted(inside, one=2, two=2)
        assert_sizes(inside)
        stage.write("one")
        await inside.reloads.reload()
        assert_sizes(inside)

    stage.emulator.faults.hang()
    stage.write("one", "two", metrics={"series_limit": 10})
    run(stage, work)


def assert_sizes(inside: Inside) -> None:
    """The view has counted its samples right."""
    view = inside.assembly.view
    of_series = sum(
        sample_count(series.vector)
        for known in view.pipelines.values()
        for group in known.groups
        for series in group.series()
    )
    assert view.samples == of_series + sum(room_for(p.facts) for p in view.pipelines.values())
    assert {pipeline_of(key) for key in view.series if is_pipeline_family(key.family)} <= set(
        view.pipelines
    )


def test_a_state_that_does_not_answer_fails_the_reload(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.write("one")

    def broken() -> Any:
        raise sqlite3.OperationalError("disk I/O error")

    async def work(inside: Inside) -> None:
        (one,) = inside.schedule.accounts
        stage.write("one", "two", polling={"interval": "9s"})
        with monkeypatch.context() as patch:
            patch.setattr(inside.assembly.ledger, "load", broken)
            with pytest.raises(StateUnavailable, match="disk I/O error"):
                await inside.reloads.reload()
        assert inside.schedule.accounts == [one]
        assert inside.assembly.config.polling.interval == 0.5
        assert not inside.assembly.health.reload_ok
        await inside.reloads.reload()
        assert len(inside.schedule.accounts) == 2

    run(stage, work)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def at_rest(inside: Inside) -> None:
    """Poll nothing any more; then no task but this one is left."""
    await inside.schedule.pause(inside.schedule.accounts)

    def assert_alone() -> None:
        assert asyncio.all_tasks() == {asyncio.current_task()}

    await eventually(assert_alone)


def variants(stage: Stage) -> Iterator[Callable[[], object]]:
    """Ways to write the file, for ever."""
    secret = stage.account("three", token_file=str(stage.folder / "secret"))
    return itertools.cycle(
        [
            lambda: stage.write("one", "two"),
            lambda: stage.write("two", stage.account("one", interval="0.7s"), "three"),
            lambda: stage.file.write_text("accounts: ["),
            lambda: stage.write("three", "two", polling={"interval": "0.4s"}),
            lambda: stage.write("one", secret),
            lambda: stage.write("one", stage.account("two", repos=REPOS[:1])),
            lambda: stage.write("three"),
        ]
    )


def test_hundreds_of_reloads_leave_nothing_behind_and_lose_no_build(stage: Stage) -> None:
    begun = dict.fromkeys(NAMES, 2)
    stage.write(*NAMES)

    async def work(inside: Inside) -> None:
        await at_rest(inside)
        before = open_files()
        good = bad = 0
        for turn, write in zip(range(200), variants(stage), strict=False):
            write()
            try:
                await inside.reloads.reload()
                good += 1
            except ConfigError:
                bad += 1
            if turn % 5 == 0:
                name = NAMES[turn % 3]
                stage.build(name)
                begun[name] += 1
            await asyncio.sleep(0.003)  # polls are at every stage of their life
        assert (good, bad) == (143, 57)
        stage.write(*NAMES)
        await inside.reloads.reload()
        await eventually(lambda: assert_counted(inside, **begun))
        await at_rest(inside)

        def assert_closed() -> None:
            assert open_files() <= before

        await eventually(assert_closed)  # also by the emulator, at the other end

    run(stage, work)
