"""What polling costs, in requests to each provider's API: measured, as a Markdown table.

    PYTHONPATH=. python -m benchmarks.api_cost

100 repos with some finished builds each are polled over real HTTP, by the real client, walk
and ledger (in memory), from the emulators of the test suite: two rounds to settle, as the
second one asks for shorter lists than the first; an idle round, which is measured; and one
that meets a new build, completed a minute ago, in one of the repos, which is measured too.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

from starlette.applications import Starlette

from exporter.demo import JobRun, Run
from exporter.demo import World as Unified
from exporter.demo.serve import serving
from exporter.http import Api
from exporter.metrics import families as f
from exporter.providers import Repo, catalogue
from tests.tools.emulators import azure_devops, bitbucket, buddy, circleci, gitlab, jenkins, travis
from tests.tools.emulators.github import Hub, iso
from tests.tools.emulators.rig import TOKEN, Station
from tests.tools.emulators.unified import app

REPOS = 100
ENTRIES = tuple(f"acme/r{n}" for n in range(REPOS))
HISTORY = (4, 3, 2)
"""Hours since the builds that have long finished began."""
AGE, LASTS = 125.0, 60.0
"""Seconds since the new build began, and from its start to its end."""
AT_ONCE = 4
"""Repos that the poller polls side by side."""


class Scene(NamedTuple):
    """One CI system and how it is polled."""

    app: Starlette
    build: Callable[[int, float], object]
    """Makes the repo of a number have had a build that began some seconds ago."""
    prefix: str = ""
    """Path of the API below the server's root."""
    entries: Sequence[str] = ENTRIES
    keys: Mapping[str, Any] = MappingProxyType({})
    """Keys of the account that not all have."""


class Cost(NamedTuple):
    """The requests of one round of polls."""

    requests: int
    unchanged: int
    """Those that were answered 304."""


# -- the CI systems


def azure_devops_of(projects: int) -> Scene:
    """So many projects, which share the repos evenly."""
    world = azure_devops.AzureDevOps()
    run = partial(world.run, lasts=LASTS)
    return Scene(
        world.app(),
        lambda n, age: run(f"r{n}", project=f"p{n % projects}", age=age),
        entries=[f"acme/p{n % projects}/r{n}" for n in range(REPOS)],
    )


def _bitbucket() -> Scene:
    world = bitbucket.Bitbucket()
    return Scene(world.app(), lambda n, age: world.run(f"r{n}", age=age, lasts=LASTS), "/2.0")


def _buddy() -> Scene:
    world = buddy.Buddy()
    pipelines = [world.pipeline(f"r{n}") for n in range(REPOS)]

    def build(n: int, age: float) -> None:
        run = world.run(pipelines[n], age=age, lasts=LASTS, revision=f"of {age:g}")
        world.action(run, "test", "SUCCESSFUL")

    return Scene(world.app(), build, "/api")


def _circleci() -> Scene:
    world = circleci.CircleCI()
    entries = [f"gh/{entry}" for entry in ENTRIES]
    run = partial(world.run, lasts=LASTS)
    return Scene(world.app(), lambda n, age: run(entries[n], age=age), "/api/v2", entries)


def _github() -> Scene:
    hub = Hub()
    hub.tokens.add(TOKEN)
    for entry in ENTRIES:
        hub.repo(entry)

    def build(n: int, age: float) -> None:
        run = hub.begin(ENTRIES[n], ago=age)
        hub.end(run, after=LASTS)
        job = {"id": run, "name": "test", "status": "completed", "conclusion": "success"}
        begun, ended = iso(time.time() - age), iso(time.time() - age + LASTS)
        hub.jobs[run, 1] = [job | {"started_at": begun, "completed_at": ended}]

    return Scene(hub.app, build, "/api/v3")


def _gitlab() -> Scene:
    world = gitlab.World()

    def build(n: int, age: float) -> None:
        pipeline = world.ran(ENTRIES[n], time.time() - age, LASTS, "success")
        world.job(pipeline, "test", "success", time.time() - age)

    return Scene(world.app(), build, "/api/v4")


def _jenkins() -> Scene:
    world = jenkins.Jenkins()

    def build(n: int, age: float) -> None:
        run = world.run(ENTRIES[n], age=age, lasts=LASTS)
        times = {"startTimeMillis": run["timestamp"], "durationMillis": run["duration"]}
        stage = {"id": "6", "name": "test", "status": "SUCCESS", **times}
        world.stage_view(ENTRIES[n], run["number"], "SUCCESS", stage)

    return Scene(world.app(), build, "/ci", keys={"username": "me"})


def _travis() -> Scene:
    world = travis.World()
    ran = partial(world.ran, seconds=LASTS, state="passed")
    return Scene(world.app(), lambda n, age: ran(ENTRIES[n], time.time() - age))


def _unified() -> Scene:
    world, ids = Unified(), itertools.count(1)
    world.open("acme", "github", *ENTRIES)

    def build(n: int, age: float) -> None:
        number, begun = next(ids), float(int(time.time() - age))
        times: Any = {"started_at": begun, "completed_at": begun + LASTS}
        job = JobRun(id=f"{number}0", name="test", **times)
        run = Run(id=str(number), number=number, created_at=begun, jobs=(job,), **times)
        world.add("acme", ENTRIES[n], run)

    keys = {"integration": "github", "integrated_account_id": "acme"}
    return Scene(app(world, token=TOKEN), build, keys=keys)


SCENES: dict[str, tuple[str, Callable[[], Scene]]] = {
    "GitHub": ("github", _github),
    "GitLab": ("gitlab", _gitlab),
    "Azure DevOps, 1 project": ("azure_devops", lambda: azure_devops_of(1)),
    "Azure DevOps, 10 projects": ("azure_devops", lambda: azure_devops_of(10)),
    "Jenkins": ("jenkins", _jenkins),
    "Bitbucket": ("bitbucket", _bitbucket),
    "CircleCI": ("circleci", _circleci),
    "Travis CI": ("travis", _travis),
    "Buddy": ("buddy", _buddy),
    "unified API, GitHub": ("truto", _unified),
}


# -- the measurement


class Meter(Station):
    """Polls all repos of a scene like the process does, over connections that stay."""

    def __init__(self, scene: Scene, word: str, *, jobs: bool) -> None:
        account = {"name": "acme", "provider": word, "repos": list(scene.entries)}
        provider = catalogue()[word].model_validate({**account, **scene.keys, "jobs": jobs})
        super().__init__(provider, scene.app, scene.prefix)
        self.scene = scene

    async def costs(self) -> tuple[Cost, Cost]:
        """Of an idle round, and of one that meets a new build; missing a build is not cheap."""
        for n, hours in itertools.product(range(REPOS), HISTORY):
            self.scene.build(n, hours * 3600.0)
        async with serving(self.app) as url, aclosing(self.api(url)) as api:
            for _ in range(2):
                await self._everything(api)
            idle = await self._everything(api)
            self.scene.build(REPOS // 2, AGE)
            news = await self._everything(api)
        builds = REPOS * len(HISTORY) + 1
        told = (self.value(f.BUILDS), self.value(f.JOBS))
        if told != (builds, builds if self.native.jobs else 0):
            raise AssertionError(f"{builds} builds of one job each were counted as {told}")
        return idle, news

    async def _everything(self, api: Api) -> Cost:
        before = api.stats.requests.copy()
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(entry: str) -> None:
            async with gate:
                await self._one(api, Repo(entry))

        await asyncio.gather(*map(one, self.scene.entries))
        spent = api.stats.requests - before
        return Cost(spent.total(), spent["304"])


def measured(word: str, scene: Callable[[], Scene], *, jobs: bool) -> tuple[Cost, Cost]:
    """The costs of an idle round and of one with a new build, in a world of their own."""
    meter = Meter(scene(), word, jobs=jobs)
    try:
        return meter.run(meter.costs)
    finally:
        meter.crash()


def row(name: str, word: str, scene: Callable[[], Scene]) -> str:
    """One line of the table."""
    (idle, _), _ = both = [measured(word, scene, jobs=jobs) for jobs in (False, True)]
    if word == "github" and any(quiet.requests != quiet.unchanged for quiet, _ in both):
        raise AssertionError(f"idle rounds cost more than answers of 304: {both}")
    return " | ".join([f"| {name}", *map(str, idle), *(_more(*costs) for costs in both)]) + " |"


def _more(idle: Cost, news: Cost) -> str:
    fewer = idle.unchanged - news.unchanged
    return f"{news.requests - idle.requests}{f' (and {fewer} fewer 304)' if fewer else ''}"


def main() -> None:
    """Print the table, a line as soon as it is measured."""
    head = f"| provider | idle requests per {REPOS} repos | of these 304 |"
    print(f"{head} one new build: extra | with `jobs: true`: extra |")  # noqa: T201 - the output
    print("|---|---:|---:|---:|---:|", flush=True)  # noqa: T201
    for name, (word, scene) in SCENES.items():
        print(row(name, word, scene), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
