"""The demo's builds: they queue, run, finish, fail and are run again, without end.

Everything follows from the seed and the clock at the start: each repo has its own random
numbers and its own series of builds, however often it is read. All times are whole
seconds.
"""

from __future__ import annotations

import asyncio
import math
import random
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from exporter.demo.pages import PAGES
from exporter.demo.world import JobRun, Run, World
from exporter.model import FAILING, Ref

HISTORY = 2 * 3600
"""Seconds before the start from which builds exist already."""

HISTORY_GAP = 800
"""Seconds between two old builds of a repo, on average: few enough for the API's limits."""

BROKEN = 3600
"""Seconds before the start at which a pipeline broke, for alerts to tell of it."""

GAP = 14
"""Seconds between two new ones."""

KEEP = 300
"""Builds that a repo keeps."""

TICK = 0.5
"""Seconds from one step to the next."""


TOKEN_ENV = "CICD_EXPORTER_DEMO_TOKEN"  # noqa: S105 - a name
"""The environment variable that holds the demo's token."""


class Flavour(msgspec.Struct, frozen=True, kw_only=True):
    """One account of the demo and how its builds turn out."""

    name: str
    integration: str
    id: str
    repos: tuple[str, ...]
    workflows: Mapping[str, tuple[str, ...]]
    """Names of the pipelines, each with its jobs."""
    ends: Mapping[str, int]
    """Conclusions by weight."""
    triggers: Mapping[str, int]
    """Triggers by weight."""
    reruns: float = 0.0
    """The share of failed builds that is run again, 0 to 1."""
    jobs: bool = False
    """Whether the exporter should poll its jobs too."""
    broken: Mapping[str, str] = {}
    """By repo, a pipeline whose builds of main no longer pass from `BROKEN` seconds before the
    start."""


FLAVOURS = (
    Flavour(
        name="demo-github",
        integration="github",
        id="62f44730-dd91-461e-bd6a-aedd9e0ad701",
        repos=("acme/shop", "acme/api"),
        workflows={"CI": ("lint", "test"), "Deploy": ("deploy",)},
        ends={"passed": 75, "failed": 15, "cancelled": 5, "timeout": 2, "skipped": 3},
        triggers={"push": 50, "merge_request": 35, "cron": 10, "web": 5},
        reruns=0.6,
        jobs=True,
        broken={"acme/shop": "Deploy"},
    ),
    Flavour(
        name="demo-circleci",
        integration="circleci",
        id="62f44730-dd91-461e-bd6a-aedd9e0ad702",
        repos=("gh/acme/web", "gh/acme/mobile"),
        workflows={"": ("build", "test", "package")},
        ends={"passed": 80, "failed": 14, "cancelled": 4, "timeout": 2},
        triggers={"push": 85, "cron": 10, "api": 5},
    ),
    Flavour(
        name="demo-jenkins",
        integration="jenkins",
        id="62f44730-dd91-461e-bd6a-aedd9e0ad703",
        repos=("platform/nightly", "platform/release"),
        workflows={"": ()},
        ends={"passed": 70, "partial": 10, "failed": 15, "cancelled": 5},
        triggers={"cron": 60, "web": 25, "push": 15},
    ),
    Flavour(
        name="demo-bitbucket",
        integration="bitbucket",
        id="62f44730-dd91-461e-bd6a-aedd9e0ad704",
        repos=("acme/billing", "acme/ledger"),
        workflows={"default": ("build", "test"), "pull-requests": ("test",), "deploy": ("ship",)},
        ends={"passed": 80, "failed": 13, "cancelled": 4, "error": 3},
        triggers={"push": 80, "cron": 10, "web": 10},
    ),
    Flavour(
        name="demo-travis",
        integration="travisci",
        id="62f44730-dd91-461e-bd6a-aedd9e0ad705",
        repos=("15022857", "18699435"),
        workflows={"": ("3.12", "3.13")},
        ends={"passed": 78, "failed": 14, "error": 4, "cancelled": 4},
        triggers={"push": 60, "merge_request": 25, "cron": 10, "api": 5},
        reruns=0.5,
    ),
    Flavour(
        name="demo-azure",
        integration="azuredevops",
        id="62f44730-dd91-461e-bd6a-aedd9e0ad706",
        repos=("shop/backend", "shop/frontend"),
        workflows={"backend-ci": ("Build", "Test"), "nightly": ("Soak",)},
        ends={"passed": 74, "partial": 8, "failed": 13, "cancelled": 5},
        triggers={"push": 55, "merge_request": 25, "cron": 15, "web": 5},
    ),
)

Story = tuple[Run, ...]
"""The attempts of one build."""

TITLES = (
    "Show the price with its currency",
    "Retry the payment once after a timeout",
    "Update the base image",
    "Sort the cart by the time of adding",
    "Drop the old search index",
    "Log the id of each order",
    "Speed up the query for open invoices",
    "Mend the test of the login page",
)
"""Subjects of commits."""
BOT = "updates[bot]"
"""Who makes every fifth pull request."""

BRANCHES = {"main": 60, "develop": 20, "release/1.4": 5, "feature/cart": 10, "fix/login": 5}


def demo_accounts(url: str = "", token_env: str = TOKEN_ENV) -> list[dict[str, Any]]:
    """The `accounts` of a configuration that polls the demo's emulator at `url`."""
    return [
        {
            "name": flavour.name,
            "provider": "truto",
            "integration": flavour.integration,
            "integrated_account_id": flavour.id,
            "url": url,
            "web_url": f"{url}/{PAGES}/{flavour.integration}",
            "token_env": token_env,
            "repos": list(flavour.repos),
            "jobs": flavour.jobs,
        }
        for flavour in FLAVOURS
    ]


class Simulation:
    """Opens the demo's accounts in a world and keeps their builds coming."""

    def __init__(self, world: World, *, seed: int = 1) -> None:
        """Open the accounts and add the builds of the last `HISTORY` seconds."""
        self._world = world
        self._coming: dict[tuple[str, str], tuple[Iterator[Story], Story]] = {}
        start = math.floor(world.clock())
        for index, flavour in enumerate(FLAVOURS):
            world.open(flavour.id, flavour.integration, *flavour.repos)
            for place, repo in enumerate(flavour.repos):
                offset = (index * 10 + place) * 1_000_000
                stories = _builds(flavour, repo, seed, start, offset)
                self._coming[flavour.id, repo] = (stories, next(stories))
        self.step()

    def step(self) -> None:
        """Add the builds that are due by the world's clock."""
        now = self._world.clock()
        for (account, repo), (stories, story) in self._coming.items():
            coming = story
            while coming[0].born <= now:
                self._world.add(account, repo, *coming)
                coming = next(stories)
            self._coming[account, repo] = (stories, coming)
            self._world.forget(account, repo, keep=KEEP)

    async def run(self) -> None:
        """Step every `TICK` seconds until cancelled."""
        while True:
            self.step()
            await asyncio.sleep(TICK)


def _builds(flavour: Flavour, repo: str, seed: int, start: int, offset: int) -> Iterator[Story]:
    """Every build of a repo in the order of their creation."""
    chance = random.Random(f"{seed} {repo}")  # noqa: S311 - made to be repeatable
    broken = flavour.broken.get(repo)
    created = start - HISTORY + chance.randint(0, HISTORY_GAP)
    number = 100
    while True:
        number += 1
        run = _build(flavour, chance, created, number, offset + number)
        failed = run.conclusion in FAILING
        again = failed and chance.random() < flavour.reruns
        if created >= start - BROKEN and (run.workflow, run.branch) == (broken, "main"):
            yield (_failed(run),)
        else:
            yield (run, _again(run, chance)) if again else (run,)
        gap = HISTORY_GAP if created < start else GAP
        following = created + max(1, round(chance.expovariate(1 / gap)))
        # The last old build must not postpone the first new one.
        created = min(following, start + chance.randint(1, GAP)) if created < start else following


def _build(flavour: Flavour, chance: random.Random, created: int, number: int, unique: int) -> Run:
    started = created + chance.randint(1, 3)
    ended = started + chance.randint(3, 15)
    workflow = chance.choice(sorted(flavour.workflows))
    trigger = _pick(chance, flavour.triggers)
    branch = _pick(chance, BRANCHES)
    conclusion = _pick(chance, flavour.ends)
    by_pull_request = trigger == "merge_request" or workflow == "pull-requests"
    skipped = conclusion == "skipped"
    by_bot = by_pull_request and number % 5 == 0
    person = None if trigger == "cron" else f"dev-{chance.randint(1, 4)}"
    run = Run(
        id=_run_id(flavour.integration, number, unique),
        number=number,
        workflow=workflow,
        trigger="merge_request" if by_pull_request else trigger,
        branch="feature/cart" if by_pull_request and branch == "main" else branch,
        ref=Ref.PULL_REQUEST if by_pull_request else Ref.BRANCH,
        actor=BOT if by_bot else person,
        actor_is_bot=by_bot,
        commit=f"{chance.getrandbits(160):040x}",
        committed_at=created - 20 - number % 50,
        title=TITLES[unique % len(TITLES)],
        created_at=created,
        started_at=None if skipped else started,
        completed_at=created + 1 if skipped else ended,
        conclusion=conclusion,
    )
    return msgspec.structs.replace(run, jobs=_jobs(flavour, run, unique))


def _failed(run: Run) -> Run:
    """The same build if it did not pass, else one whose last job failed."""
    if run.conclusion != "passed":
        return run
    *others, last = run.jobs
    jobs = (*others, msgspec.structs.replace(last, conclusion="failed"))
    return msgspec.structs.replace(run, conclusion="failed", jobs=jobs)


def _again(run: Run, chance: random.Random) -> Run:
    """A second attempt, some seconds after the first one failed; most of them pass."""
    requested = int(run.completed_at or run.created_at) + chance.randint(2, 6)
    started = requested + chance.randint(1, 3)
    shift = started - (run.started_at or started)
    conclusion = "passed" if chance.random() < 0.8 else "failed"
    jobs = [
        msgspec.structs.replace(
            job,
            id=f"{job.id}2",
            started_at=(job.started_at or started) + shift,
            completed_at=(job.completed_at or started) + shift,
            conclusion=conclusion if job.conclusion != "passed" else "passed",
        )
        for job in run.jobs
    ]
    return msgspec.structs.replace(
        run,
        attempt=2,
        requested_at=requested,
        started_at=started,
        completed_at=(run.completed_at or started) + shift,
        conclusion=conclusion,
        jobs=tuple(jobs),
    )


def _jobs(flavour: Flavour, run: Run, unique: int) -> tuple[JobRun, ...]:
    """The jobs of a run, one after the other; the last one decides."""
    names = flavour.workflows[run.workflow]
    if run.started_at is None or run.completed_at is None:
        return tuple(
            JobRun(
                id=f"{unique}{index}",
                name=name,
                completed_at=run.completed_at,
                conclusion=run.conclusion,
            )
            for index, name in enumerate(names)
        )
    spans = len(names)
    length = run.completed_at - run.started_at
    edges = (
        [run.started_at + length * index // spans for index in range(spans + 1)] if spans else []
    )
    return tuple(
        JobRun(
            id=f"{unique}{index}",
            name=name,
            started_at=edges[index],
            completed_at=edges[index + 1],
            conclusion=run.conclusion if index == spans - 1 else "passed",
        )
        for index, name in enumerate(names)
    )


def _run_id(integration: str, number: int, unique: int) -> str:
    """An id of the kind that the CI system gives its builds."""
    if integration == "jenkins":
        return str(number)
    if integration in {"bitbucket", "circleci"}:
        name = uuid.uuid5(uuid.NAMESPACE_URL, f"{integration} {unique}")
        return f"{{{name}}}" if integration == "bitbucket" else str(name)
    return str(9_000_000_000 + unique)


def _pick(chance: random.Random, weights: Mapping[str, int]) -> str:
    return chance.choices(list(weights), list(weights.values()))[0]
