"""A reload that leaves an account's own keys alone costs it no request, and no memory."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import pytest
from msgspec.structs import replace
from starlette.applications import Starlette

from exporter.config import Config
from exporter.config.schema import Metrics, Polling, State
from exporter.daemon.application import Application, assembled
from exporter.demo import JobRun, Run, World, serving
from exporter.http import RequestCount
from exporter.providers import Provider, Source, catalogue
from tests.contract.field import (
    test_azure_devops_history,
    test_bitbucket_history,
    test_buddy_history,
    test_circleci_history,
    test_github_history,
    test_gitlab_history,
    test_jenkins_history,
    test_travis_history,
)
from tests.contract.field.history import Dated
from tests.contract.field.life import BEGIN, HOUR, Clock, Life, System
from tests.contract.providers.truto import truto
from tests.tools.emulators import unified

FLEETS: dict[str, Callable[[], System]] = {
    "azure_devops": test_azure_devops_history.Fleet,
    "bitbucket": test_bitbucket_history.Workspace,
    "buddy": test_buddy_history.Workspace,
    "circleci": test_circleci_history.Projects,
    "github": partial(test_github_history.Fleet, jobs=True),
    "gitlab": test_gitlab_history.Projects,
    "jenkins": test_jenkins_history.Controller,
    "travis": test_travis_history.Repos,
}
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""What some emulators draw anew in each play."""

each_provider = pytest.mark.parametrize("word", list(catalogue()))


class Told(NamedTuple):
    """What a play came to."""

    requests: list[str]
    """Those of the poll after the reload, sorted."""
    before: Source[Provider]
    after: Source[Provider]
    kept: bool
    """Whether the source remembers the very things that it did."""
    timeouts: tuple[float, float]


class Noting:
    """An emulator that notes what it is asked for."""

    def __init__(self, app: Any, requests: list[str]) -> None:
        self._app, self._requests = app, requests

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            asked = f"{scope['path']}?{scope['query_string'].decode()}"
            self._requests.append(UUID.sub("*", asked))
        await self._app(scope, receive, send)


def fleet(word: str, clock: Clock) -> tuple[Starlette, str, Provider]:
    """An emulator in which builds have ended and run, its prefix and an account of it."""
    if word == "truto":
        world = World(clock.time)
        world.open("acc", "github", "acme/shop")
        for serial in range(1, 6):
            at = clock.now - 900 * serial
            job = JobRun(id=f"{serial}1", name="unit", started_at=at, completed_at=at + 60)
            run = Run(id=str(serial), number=serial, workflow="CI", created_at=at, jobs=(job,))
            world.add("acc", "acme/shop", replace(run, started_at=at, completed_at=at + 60))
        account = truto("github", integrated_account_id="acc", repos=["acme/shop"], token_env="T")
        return unified.app(world), "", account
    system = FLEETS[word]()
    Life(system, clock, seed=3, days=2, often=1.0).until(BEGIN + 30 * HOUR)
    system.app.add_middleware(Dated, clock=clock)
    return system.app, system.prefix, system.provider()


def played(word: str, monkeypatch: pytest.MonkeyPatch, reload: Callable[[Config], Config]) -> Told:
    """Poll an account twice, apply another configuration, and poll once more."""
    monkeypatch.setenv("T", "demo")
    clock, requests = Clock(), list[str]()

    async def play() -> Told:
        app, prefix, account = fleet(word, clock)
        app.add_middleware(Noting, requests=requests)
        async with serving(app) as url:
            config = configured(account.model_copy(update={"url": url + prefix, "token_env": "T"}))
            async with assembled(config, hold=False) as application:
                assert await application.once()
                clock.now += 60
                await polled(application)
                clock.now += 60
                before = source(application)
                timeout, known = before.api.timeout, remembered(before)
                await application.apply(reload(config))
                del requests[:]
                await polled(application)
                after = source(application)
                kept = known.items() <= remembered(after).items()
                return Told(sorted(requests), before, after, kept, (timeout, after.api.timeout))

    with clock.set():
        return asyncio.run(play())


async def polled(application: Application) -> None:
    """Poll each repo once more, whenever it is due."""
    for account in application.schedule.accounts:
        if account.needs_preparing:
            await account.prepare()
        for state in account.repos.values():
            await account.poll(state, RequestCount())
            assert state.error is None


def configured(account: Provider, **polling: float) -> Config:
    return Config(accounts=(account,), state=State(url="memory:"), polling=Polling(**polling))


def source(application: Application) -> Source[Provider]:
    (account,) = application.schedule.accounts
    assert account.source.api is account.api
    return account.source


def remembered(one: Source[Provider]) -> dict[str, int]:
    """The identity of each thing that a source has."""
    return {name: id(value) for name, value in vars(one).items()}


def read_again(config: Config) -> tuple[Provider, ...]:
    """The accounts as another reading of the file gives them."""
    return tuple(type(a).model_validate(a.model_dump()) for a in config.accounts)


def unchanged(config: Config) -> Config:
    return config


def with_polling(**keys: float) -> Callable[[Config], Config]:
    def change(config: Config) -> Config:
        polling = config.polling.model_copy(update=keys)
        return config.model_copy(update={"accounts": read_again(config), "polling": polling})

    return change


def with_other_metrics(config: Config) -> Config:
    metrics = Metrics(branches=("trunk",), zero_hold=0)
    return config.model_copy(update={"accounts": read_again(config), "metrics": metrics})


def with_retention(config: Config) -> Config:
    state = State(url="memory:", retention=40 * 86400)
    return config.model_copy(update={"accounts": read_again(config), "state": state})


def with_jobs_switched(config: Config) -> Config:
    (one,) = config.accounts
    return config.model_copy(update={"accounts": (one.model_copy(update={"jobs": not one.jobs}),)})


@each_provider
def test_another_timeout_is_in_force_and_nothing_is_read_again(
    word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reloaded = played(word, monkeypatch, with_polling(timeout=31.0))

    assert reloaded.after is reloaded.before
    assert reloaded.kept
    assert reloaded.timeouts == (30.0, 31.0)
    assert reloaded.requests == played(word, monkeypatch, unchanged).requests != []


@pytest.mark.parametrize(
    "reload",
    [
        with_polling(interval=30.0, max_interval=300.0),
        with_polling(lookback=3600.0, rerun_window=7200.0),
        with_polling(reserve=0.5, max_open_age=3600.0),
        with_other_metrics,
        with_retention,
    ],
    ids=["intervals", "windows", "reserve", "metrics", "retention"],
)
@pytest.mark.parametrize("word", ["azure_devops", "jenkins"])
def test_no_key_beside_the_account_s_own_costs_it_its_source(
    word: str, monkeypatch: pytest.MonkeyPatch, reload: Callable[[Config], Config]
) -> None:
    reloaded = played(word, monkeypatch, reload)

    assert reloaded.after is reloaded.before
    assert reloaded.kept
    assert reloaded.requests == played(word, monkeypatch, unchanged).requests


def test_a_key_of_its_own_makes_the_source_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    anew = played("azure_devops", monkeypatch, with_jobs_switched)
    same = played("azure_devops", monkeypatch, unchanged)

    def timelines(told: Told) -> int:
        return sum("/timeline" in request for request in told.requests)

    assert anew.after is not anew.before
    assert timelines(anew) > 2 * timelines(same) > 0
