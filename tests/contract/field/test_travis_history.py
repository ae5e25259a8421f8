"""Two weeks in the life of repos at Travis CI, told by the seed."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from exporter.providers.travis import Travis
from tests.contract.field.history import play
from tests.contract.field.life import Build, Go, Pipeline, System
from tests.tools.emulators import travis as emulated

_STATES = {"passed": "passed", "failed": "failed", "cancelled": "canceled", "error": "errored"}


class Repos(System):
    """Three repos; each of two fails for a day, and every seventh build finds no machine.

    A restart uses the id again and wipes the times.
    """

    pipelines = tuple(
        Pipeline(repo, "", branch, repo)
        for repo in ("acme/shop", "acme/api", "acme/web")
        for branch in ("main", "tag", "pull_request")
    )
    can = frozenset({"rerun", "part", "delete", "fail"})
    tells_earlier = False
    numbers = False
    job_names = ("unit 1", "lint 2")
    conclusions: ClassVar[dict[str, int]] = {
        "passed": 55,
        "failed": 25,
        "cancelled": 10,
        "error": 5,
    }

    def __init__(self) -> None:
        self._world = emulated.World(repos={pipeline.repo: {} for pipeline in self.pipelines})
        self._builds: dict[int, emulated.Build] = {}
        self.app = self._world.app()

    def provider(self) -> Travis:
        return Travis(name="acme", provider="travis", token_env="T", repos=["acme/*"], jobs=True)

    def show(self, build: Build) -> None:
        go = build.last
        if build.id not in self._builds:
            self._builds[build.id] = self._triggered(build)
        made = self._builds[build.id]
        if build.id % 7 == 0:
            _finds_no_machine(go)
        made.changed = go.ended_at or go.started_at or go.asked_at
        made.begun, made.ended = go.started_at, go.ended_at if go.started_at else None
        made.state = _state(go.conclusion, go.started_at)
        for shown, job in zip(made.jobs, go.jobs, strict=True):
            if go.number > 1 and not job.carried:
                shown.restarted = go.asked_at
            shown.state = _state(job.conclusion, job.started_at)
            shown.begun, shown.ended = job.started_at, job.ended_at if job.started_at else None
            shown.changed = job.ended_at or job.started_at or go.asked_at

    def _triggered(self, build: Build) -> emulated.Build:
        where = build.pipeline
        made = self._world.build(where.repo, build.created_at, jobs=len(self.job_names))
        made.tag = f"v{build.id}" if where.branch == "tag" else None
        made.event = "pull_request" if where.branch == "pull_request" else "push"
        for job, name in zip(made.jobs, self.job_names, strict=True):
            job.stage = name.partition(" ")[0]
        return made

    def delete(self, build: Build) -> None:
        self._world.builds.remove(self._builds[build.id])

    def fail(self, part: str) -> None:
        self._world.failing.add(part)

    def heal(self, part: str) -> None:
        self._world.failing.discard(part)


def _state(conclusion: str | None, started: float | None) -> str:
    if conclusion is not None:
        return _STATES[conclusion]
    return "created" if started is None else "started"


def _finds_no_machine(go: Go) -> None:
    """It stays queued, and then errs without ever having begun."""
    go.started_at = None
    for job in go.jobs:
        job.started_at = None
        if go.ended_at is not None:
            go.conclusion = job.conclusion = "error"
            job.ended_at = go.ended_at


@pytest.mark.parametrize("seed", [1])
def test_two_weeks_of_repos_are_told_as_they_were(tmp_path: Path, seed: int) -> None:
    history = play(Repos, tmp_path / "state.db", seed=seed, often=0.15)

    assert history.polls > 300
