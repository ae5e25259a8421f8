"""Two weeks in the life of GitLab projects, told by the seed."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from starlette.requests import Request

from exporter.providers.gitlab import GitLab
from tests.contract.field.history import play
from tests.contract.field.life import Build, Job, Pipeline, System
from tests.tools.emulators import gitlab as emulated
from tests.tools.gitlab_station import gitlab

_STATUS = {"queued": "pending", "waiting": "manual", "in_progress": "running"}
_ENDS = {"passed": "success", "failed": "failed", "cancelled": "canceled"}


class Projects(System):
    """A few projects of one group; one of them answers nothing for a day."""

    prefix = "/api/v4"
    pipelines = tuple(
        Pipeline(repo, "", branch, repo)
        for repo in ("acme/shop", "acme/api")
        for branch in ("main", "pull_request", "tag")
    )
    can = frozenset({"rerun", "part", "touch", "delete", "fail", "hold"})
    reruns = "again"
    retries = False  # a pipeline that goes on is still the first attempt

    def __init__(self) -> None:
        self._world = emulated.World(projects={"acme/shop": {}, "acme/api": {}})
        self._shown: dict[int, emulated.Pipeline] = {}
        self._broken: set[str] = set()
        self._world.fails = self._fails
        self.app = self._world.app()

    def provider(self) -> GitLab:
        return gitlab(repos=["acme/*"], jobs=True)

    def show(self, build: Build) -> None:
        shown = self._shown.get(build.id) or self._made(build)
        first, last = build.goes[0], build.last
        if last.status in {"in_progress", "completed"}:
            last.started_at = shown.begun = first.started_at  # which a retry does not move
        shown.status = _ENDS.get(last.conclusion or "", _STATUS.get(last.status, ""))
        if last.ended_at is not None:
            shown.ended = last.ended_at
        kept = {job.id for job in last.jobs}
        jobs = {job.id: job for go in build.goes for job in go.jobs}
        shown.jobs = [_job(job, build, retried=job.id not in kept) for job in jobs.values()]
        shown.updated = time.time()

    def _made(self, build: Build) -> emulated.Pipeline:
        where = build.pipeline
        made = self._world.pipeline(
            where.repo,
            build.created_at,
            ref="main" if where.branch == "main" else f"some-{build.id}",
            source="merge_request_event" if where.branch == "pull_request" else "push",
            tag=where.branch == "tag",
        )
        self._shown[build.id] = made
        return made

    def touch(self, build: Build) -> None:
        self._shown[build.id].updated = time.time()

    def delete(self, build: Build) -> None:
        self._world.pipelines.remove(self._shown[build.id])

    def fail(self, part: str) -> None:
        self._broken.add(part)

    def heal(self, part: str) -> None:
        self._broken.discard(part)

    def _fails(self, request: Request) -> int | None:
        return 502 if request.path_params.get("id") in self._broken else None


def _job(job: Job, build: Build, *, retried: bool) -> emulated.Job:
    """A job that has not begun is one that somebody may play."""
    ended = _ENDS.get(job.conclusion or "")
    status = ended or ("manual" if job.started_at is None else "running")
    return emulated.Job(
        job.name,
        status,
        build.created_at,
        job.started_at,
        job.ended_at,
        queued=None if job.started_at is None else 1.0,
        id=job.id,
        retried=retried,
    )


@pytest.mark.parametrize("seed", [1, 2])
def test_two_weeks_of_projects_are_told_as_they_were(tmp_path: Path, seed: int) -> None:
    history = play(Projects, tmp_path / "state.db", seed=seed)

    assert history.polls > 300
