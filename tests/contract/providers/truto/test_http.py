"""The truth comes back from the emulator, over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from exporter.demo import JobRun, Run, World
from exporter.errors import Refused
from exporter.http import Api
from exporter.model import Build, Ref, Status
from exporter.providers import Query, Repo
from exporter.providers.truto import Truto
from tests.contract.providers.truto import COMPLETED, ENTRIES, SAMPLES, truto
from tests.tools.emulators.unified import (
    EmulatorThread,
    recoverable_conclusion,
    recoverable_trigger,
)
from tests.tools.sources import source_of

NOW = 1_795_000_000.0
E2E_ENTRIES = ENTRIES | {"azuredevops": "ws/shop"}


@pytest.fixture(scope="module")
def emulator() -> Iterator[EmulatorThread]:
    with EmulatorThread(World(lambda: NOW, page_size=2)) as running:
        yield running


def story(integration: str) -> list[Run]:
    """Builds of every kind, the oldest first; only Jenkins' ids are its numbers."""
    form = "{{1f0e-{:02d}}}" if integration == "bitbucket" else "{}"
    kinds: list[dict[str, Any]] = [
        {},
        {"conclusion": "failed", "trigger": "cron"},
        {"conclusion": "error", "branch": "feat/x"},
        {"conclusion": "timeout", "trigger": "web"},
        {"conclusion": "cancelled", "ref": Ref.PULL_REQUEST, "trigger": "merge_request"},
        {"completed_at": None, "branch": "release/1"},
    ]
    runs = []
    for number, kind in enumerate(kinds, 1):
        created = NOW - 3600 + number * 100
        times = {"started_at": created + 10, "completed_at": created + 70} | kind
        ends = {"completed_at": times["completed_at"]}
        conclusion = kind.get("conclusion", "passed")
        jobs = (
            JobRun(
                id=f"{number}1", name="test", started_at=created + 10, conclusion=conclusion, **ends
            ),
            JobRun(id=f"{number}2", name="lint", started_at=created + 20, **ends),
        )
        fields: dict[str, Any] = {"workflow": "default", "created_at": created} | times
        runs.append(Run(id=form.format(number), number=number, jobs=jobs, **fields))
    return runs


async def read(provider: Truto, api: Api) -> list[Build]:
    """All builds of the provider's repo, with their details."""
    repo, token, found = Repo(provider.repos[0]), None, list[Build]()
    source = source_of(provider, api)
    while True:
        read_page = await source.page(repo, Query(since=0.0, size=30, token=token))
        assert read_page.rejected == 0
        found += [
            await source.detail(repo, build, None) if build.partial or provider.jobs else build
            for build in read_page.builds
        ]
        if (token := read_page.next) is None:
            return found


def through_http(emulator: EmulatorThread, provider: Truto, what: Callable[[Api], Any]) -> Any:
    async def run() -> Any:
        api = Api(root=emulator.url, headers=lambda: provider.headers("demo"), timeout=10.0)
        try:
            return await what(api)
        finally:
            await api.aclose()

    return asyncio.run(run())


@pytest.mark.parametrize("integration", SAMPLES)
@pytest.mark.parametrize("jobs", [False, True])
def test_the_truth_comes_back(emulator, integration, jobs):
    entry = E2E_ENTRIES[integration]
    runs = story(integration)
    account = f"{integration}-{jobs}"
    emulator.world.open(account, integration, entry)
    emulator.world.add(account, entry, *runs)
    provider = truto(
        integration, integrated_account_id=account, url=emulator.url, repos=[entry], jobs=jobs
    )
    builds = through_http(emulator, provider, lambda api: read(provider, api))

    assert [run.number for run in reversed(runs)] == [build.number for build in builds]
    for run, build in zip(reversed(runs), builds, strict=True):
        ended = run.completed_at is not None
        assert (recoverable_conclusion(integration, run) if ended else None) == build.conclusion
        assert recoverable_trigger(integration, run) == build.trigger
        assert (run.status(NOW), run.ref, ()) == (build.status, build.ref, build.unmapped)
        assert run.completed_at == build.completed_at
        if ended or integration != "bitbucket":  # there the start is worth no request before
            assert run.started_at == build.started_at
        if run.ref is Ref.BRANCH:
            assert run.branch == build.branch
        told = {j.name: (j.started_at, j.completed_at) for j in build.jobs}
        want = {j.name: (j.started_at, j.completed_at) for j in run.jobs}
        assert (want if jobs and integration != "jenkins" else {}) == told


@pytest.mark.parametrize("integration", SAMPLES)
def test_a_build_that_ends_between_two_polls_is_refreshed(integration):
    clock = [NOW - 3550.0]
    run = story(integration)[0]
    entry = E2E_ENTRIES[integration]
    clock[0] = run.created_at + 30
    world = World(lambda: clock[0])
    world.open("acc", integration, entry)
    world.add("acc", entry, run)
    provider = truto(integration, integrated_account_id="acc", repos=[entry])

    async def play(api: Api) -> tuple[Build, Build]:
        (known,) = await read(provider, api)
        clock[0] = NOW
        return known, await source_of(provider, api).refresh(Repo(entry), known)

    with EmulatorThread(world) as emulator:
        known, ended = through_http(emulator, provider, play)

    assert (Status.IN_PROGRESS, COMPLETED) == (known.status, ended.status)
    assert (known.key, "passed", 60.0) == (ended.key, ended.conclusion, ended.duration)


def test_a_blocked_account_is_found_out(emulator):
    emulator.world.open("blocked", "github", "acme/shop", is_blocked=True)
    provider = truto("github", integrated_account_id="blocked")
    with pytest.raises(Refused, match="blocked"):
        through_http(emulator, provider, lambda api: provider.connect(api).health())


def test_discovery_finds_what_there_is(emulator):
    emulator.world.open("found", "bitbucket", "acme/shop", "acme/api", "acme/web", "other/x")
    provider = truto("bitbucket", integrated_account_id="found", repos=["acme/*"])
    repos = through_http(emulator, provider, lambda api: provider.connect(api).discover("acme/*"))

    assert ["acme/api", "acme/shop", "acme/web"] == sorted(repo.entry for repo in repos)
