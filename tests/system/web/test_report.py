"""What the status page is made from says how the accounts and their repos do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from exporter.errors import Malformed, ProviderError, Reason, Refused, TryLater
from exporter.providers.remedy import advice
from exporter.remedies import CATCHING_UP, REMEDIES
from exporter.status.document import AccountState, RepoHealth, StatusReport
from exporter.status.report import Reload
from exporter.web.wording import STATES
from tests.conftest import ROOT
from tests.system.web.test_live import Running, polling
from tests.tools.scripted import Rig, build, done, finished


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path / "s.db")


def told(rig: Rig, change: Callable[[Running], None] = lambda _: None) -> StatusReport:
    """The report after one poll of the rig's account and what `change` does."""

    async def main() -> StatusReport:
        async with polling(rig) as poller:
            await poller.once()
            change(poller)
            return finished(poller.report())

    return asyncio.run(main())


def test_every_reason_has_its_advice() -> None:
    assert set(get_args(Reason)) | {"state"} == REMEDIES.keys()
    assert all(remedy.advice.endswith(".") for remedy in REMEDIES.values())


def met(error: ProviderError) -> Callable[[Running], None]:
    return lambda poller: poller.account.health.failed(error, now=1000.0)


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (Refused("answered 401", reason="unauthorized"), "unauthorized"),
        (Refused("answered 403", reason="forbidden"), "unauthorized"),
        (TryLater("answered 429", reason="rate_limited"), "limited"),
        (TryLater("cannot connect", reason="connect"), "backing_off"),
        (Malformed("not JSON", reason="bad_json"), "backing_off"),
    ],
)
def test_an_account_in_trouble_says_which_and_what_to_do(
    rig: Rig, error: ProviderError, state: str
) -> None:
    (account,) = told(rig, met(error)).accounts

    assert (account.state, account.up, account.error) == (state, False, str(error))
    assert account.advice == advice(rig.provider, error.reason)
    assert account.since == "1970-01-01T00:16:40Z"
    assert account.next_try_at is not None


def test_an_account_that_waits_for_its_budget_is_limited_and_still_up(rig: Rig) -> None:
    (account,) = told(rig, lambda poller: poller.account.group.budget.block(60.0)).accounts

    assert (account.state, account.up) == ("limited", True)
    assert account.budget.next_request_in_seconds == pytest.approx(60.0, abs=5.0)


def test_an_account_that_was_never_polled_is_starting(rig: Rig) -> None:
    async def main() -> StatusReport:
        async with polling(rig) as poller:
            return finished(poller.report())

    (account,) = asyncio.run(main()).accounts
    (repo,) = account.repos

    assert (account.state, account.up, account.advice) == ("starting", False, None)
    assert (repo.state, repo.history, repo.last_conclusion) == ("pending", [], None)


def test_a_repo_is_told_with_its_builds_and_its_history_over_a_restart(rig: Rig) -> None:
    words = ["passed", "failed", "neutral"]
    builds = [done(build(str(n)), word, after=60.0 + n) for n, word in enumerate(words)]
    rig.provider._builds = [*builds, build("9")]

    for _ in range(2):
        (repo,) = told(rig).accounts[0].repos
        assert (repo.state, repo.builds) == ("ok", 3)
        assert (repo.active, repo.active_by_status) == (1, {"in_progress": 1})
        assert repo.oldest_active_at is not None
        assert repo.last_conclusion == "neutral"
        assert repo.last_completed_at is not None
        assert repo.last_completed_at == repo.history[-1].at
        assert [ended.conclusion for ended in repo.history] == ["passed", "failed", "other"]
        rig.crash()
        rig.restart()


def test_a_repo_without_a_poll_for_three_intervals_is_stale(rig: Rig) -> None:
    def long_ago(poller: Running) -> None:
        (state,) = poller.account.repos.values()
        state.last_success -= 3 * state.interval + 5

    (repo,) = told(rig, long_ago).accounts[0].repos

    assert (repo.state, repo.stale) == ("stale", True)


def test_a_long_first_walk_is_no_failure(rig: Rig) -> None:
    def more(poller: Running) -> None:
        (state,) = poller.account.repos.values()
        state.is_unfinished, state.error, state.reason = True, "there is more", "timeout"

    (repo,) = told(rig, more).accounts[0].repos

    assert (repo.state, repo.advice) == ("catching_up", CATCHING_UP)


def test_every_state_has_words_and_a_look() -> None:
    style = (ROOT / "exporter/web/static/site.css").read_text()
    states = [word for kind in (AccountState, RepoHealth) for word in get_args(get_args(kind)[0])]

    assert len(states) == 12
    assert [word for word in states if word not in STATES or f".state.{word}" not in style] == []


def test_the_report_says_how_the_process_does(rig: Rig) -> None:
    def failed(poller: Running) -> None:
        poller.started_at -= 100.0
        poller.last_reload = Reload(1000.0, "config.yml:1:1: all wrong")
        poller.recorder.state_ok = False

    said = told(rig, failed)

    assert said.uptime_seconds == pytest.approx(100, abs=5)
    assert (said.state_ok, said.reload.ok) == (False, False)
    assert said.reload.error == "config.yml:1:1: all wrong"
    assert said.series.limit == rig.view.rules.series_limit


def test_names_that_are_no_text_can_be_told(rig: Rig) -> None:
    def odd(poller: Running) -> None:
        (state,) = poller.account.repos.values()
        state.error, state.reason = "answered \ud800", "server"

    (repo,) = told(rig, odd).accounts[0].repos

    assert repo.error == "answered ?"
