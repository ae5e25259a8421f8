"""A busy account at each emulated CI system, and what happens there between two polls."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import httpx
from starlette.applications import Starlette

from exporter.http import Api
from tests.contract.fuzz.values import changed, places, spelled
from tests.contract.fuzz.worlds import class_of, connect
from tests.tools.emulators import azure_devops, bitbucket, buddy, circleci, gitlab, jenkins, travis
from tests.tools.emulators.github import Hub
from tests.tools.emulators.github import iso as github_iso

Spoils = dict[int, list[tuple[int, Any]]]


class Stage(NamedTuple):
    """An emulator with its builds, and the account that polls it."""

    app: Starlette
    keys: dict[str, Any]
    prefix: str = ""
    """Where the API begins."""
    later: Callable[[], None] = lambda: None
    """Lets what runs end, and what ended run again."""


def _azure_devops() -> Stage:
    world = azure_devops.AzureDevOps()
    failed = world.run(result="failed")
    world.rerun(failed, at=time.time() - 600)
    world.end(failed, at=time.time() - 500)
    world.run(sourceBranch="refs/pull/7/merge", reason="pullRequest")
    held = world.run(age=300, lasts=None)
    world.record(held, "Checkpoint.Approval", "approval", started=time.time() - 200, inside="build")

    def later() -> None:
        world.end(held, at=time.time() - 5, result="canceled")
        world.rerun(failed, at=time.time() - 60)

    return Stage(world.app(), {"repos": ["acme/shop", "acme/*"]}, later=later)


def _bitbucket() -> Stage:
    world = bitbucket.Bitbucket()
    world.run()
    first = world.run(result="FAILED", run_number=2)
    running = world.run(age=60, lasts=None, stage="PAUSED")
    age = {"age": 60, "queued": 5, "lasts": 20}

    def later() -> None:
        world.end(running, result="STOPPED", **age)
        first["run_number"] = 3

    return Stage(world.app(), {"repos": ["acme/shop", "acme/*"]}, "/2.0", later)


def _buddy() -> Stage:
    world = buddy.Buddy()
    pipeline = world.pipeline()
    for execution in (world.run(pipeline), world.run(pipeline, status="FAILED")):
        world.action(execution, "test", "SUCCESSFUL")
    running = world.run(pipeline, age=60, lasts=None, revision="r2")

    def later() -> None:
        world.end(pipeline, running, at=time.time() - 10, status="TERMINATED")

    return Stage(world.app(), {"repos": ["acme/shop", "acme/*"]}, "/api", later)


def _circleci() -> Stage:
    world = circleci.CircleCI()
    world.run()
    world.pipeline(state="errored")
    running = world.workflow(world.pipeline(age=120), age=120)
    world.job(running, started_at=github_iso(time.time() - 100))

    def later() -> None:
        world.end(running, age=120, lasts=100, status="failed")

    return Stage(world.app(), {"repos": ["gh/acme/shop"]}, "/api/v2", later)


def _github() -> Stage:
    hub = Hub()
    hub.repo("acme/shop")
    ended, again, running = (hub.begin(ago=ago) for ago in (900, 600, 60))
    hub.end(ended)
    hub.end(again, "failure")
    hub.again(again, ago=300)
    hub.end(again, after=20)
    for serial, key in enumerate(((ended, 1), (again, 1), (again, 2), (running, 1))):
        begun = github_iso(time.time() - 500)
        job = {"id": serial, "name": "test", "status": "completed", "conclusion": "success"}
        times = dict.fromkeys(("created_at", "started_at", "completed_at"), begun)
        hub.jobs[key] = [{**job, **times, "run_attempt": key[1]}]
    hub.tokens.add("demo")

    def later() -> None:
        hub.end(running, "cancelled")
        hub.again(ended, ago=30)

    return Stage(hub.app, {"repos": ["acme/shop", "acme/*"]}, "/api/v3", later)


def _gitlab() -> Stage:
    world = gitlab.World()
    now = time.time()
    ended = world.ran("acme/shop", now - 900, 60, "failed")
    world.job(ended, "test", "failed", now - 890)
    running = world.pipeline("acme/shop", now - 100, status="manual")
    world.job(running, "deploy", "running", now - 90)

    def later() -> None:
        running.turns("running")
        running.turns("success")
        ended.turns("running")

    return Stage(world.app(), {"repos": ["acme/shop", "acme/*", "acme/**"]}, "/api/v4", later)


def _jenkins() -> Stage:
    world = jenkins.Jenkins()
    world.run("team/shop")
    running = world.run("team/shop", age=100, lasts=None)
    world.stage_view("team/shop", 1, "SUCCESS", {"id": "3", "name": "Test", "status": "SUCCESS"})
    world.stage_view("team/shop", 2, "PAUSED_PENDING_INPUT")
    world.job("team/web", jenkins.MULTIBRANCH)
    checkout = {"lastBuiltRevision": {"branch": [{"name": "refs/remotes/origin/main"}]}}
    for branch in ("main", "PR-7", "fix%2Fone"):
        world.run(f"team/web/{branch}", result="ABORTED", actions=[checkout])
    world.wait(77, "team/shop")
    world.wait(78, "team/web/main")

    def later() -> None:
        world.end(running, lasts=50, result="FAILURE")
        world.queue.clear()
        world.run("team/shop", age=5, lasts=None, queueId=77)

    keys = {"username": "me", "repos": ["team/web", "team/shop", "*", "team/**"]}
    return Stage(world.app(), keys, "/ci", later)


def _travis() -> Stage:
    world = travis.World()
    ended = world.ran("acme/shop", time.time() - 900, 60, "failed", jobs=2)
    running = world.build("acme/shop", time.time() - 60, tag="v1")
    running.turns("started", time.time() - 50)

    def later() -> None:
        running.turns("errored")
        ended.restart()

    return Stage(world.app(), {"repos": ["acme/shop", "acme/*"]}, later=later)


STAGES: dict[str, Callable[[], Stage]] = {
    "azure_devops": _azure_devops,
    "bitbucket": _bitbucket,
    "buddy": _buddy,
    "circleci": _circleci,
    "github": _github,
    "gitlab": _gitlab,
    "jenkins": _jenkins,
    "travis": _travis,
}


class Spoiling(httpx.ASGITransport):
    """The way to an emulator, on which answers are spoilt.

    `spoils` has, by class of request, places in the body among those that are `known` and
    what takes their place; a place is counted on from the end of their list.
    """

    def __init__(self, stage: Stage, known: frozenset[str], spoils: Spoils) -> None:
        super().__init__(stage.app, raise_app_exceptions=False)
        self._stage = stage
        self._known = known
        self._spoils = spoils

    def api(self, headers: dict[str, str]) -> Api:
        """A client of the emulator."""
        return connect(Api, self, headers, self._stage.prefix)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """What the emulator answers, spoilt."""
        response = await super().handle_async_request(request)
        body = await response.aread()
        if response.is_success:
            value = json.loads(body)
            for place, odd in self._spoils.get(class_of(request.url), ()):
                found = sorted(places(value, self._known), key=str)
                value = changed(value, found[place % len(found)], odd) if found else value
            body = spelled(value)
        kept = [(k, v) for k, v in response.headers.raw if k.lower() != b"content-length"]
        return httpx.Response(response.status_code, headers=kept, stream=httpx.ByteStream(body))
