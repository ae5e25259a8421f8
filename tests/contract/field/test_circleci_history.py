"""Two weeks in the life of CircleCI projects, told by the seed."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any, ClassVar

import pytest
from starlette.responses import Response

from exporter.providers.circleci import CircleCI
from tests.contract.field.history import play
from tests.contract.field.life import Build, Go, Job, Pipeline, System
from tests.tools.emulators import circleci as emulated
from tests.tools.emulators.rig import iso

_STATUS = {"queued": "queued", "waiting": "on_hold", "in_progress": "running"}
_ENDS = {"passed": "success", "failed": "failed", "cancelled": "canceled", "error": "error"}


class Projects(System):
    """Two projects with two workflows each; the pipelines of one workflow fail for a day.

    A re-run is another workflow in the pipeline of the first one.
    """

    prefix = "/api/v2"
    pipelines = tuple(
        Pipeline(repo, workflow, branch, f"{repo} {branch}")
        for repo in ("gh/acme/shop", "gh/acme/api")
        for workflow in ("ci", "deploy")
        for branch in ("main", "tag")
    )
    can = frozenset({"rerun", "part", "hold", "fail"})
    reruns = "builds"
    shows_reruns = False
    conclusions: ClassVar[dict[str, int]] = {
        "passed": 55,
        "failed": 25,
        "cancelled": 10,
        "error": 5,
    }

    def __init__(self) -> None:
        self._world = emulated.CircleCI()
        for pipeline in self.pipelines:
            self._world.pipelines[pipeline.repo] = []
        self._pipelines: dict[int, dict[str, Any]] = {}
        self._parts: dict[str, list[dict[str, Any]]] = {}
        self._broken: set[str] = set()
        self.app = self._world.app()

    def provider(self) -> CircleCI:
        return CircleCI(
            name="acme",
            provider="circleci",
            token_env="T",
            repos=["gh/acme/shop", "gh/acme/api"],
            jobs=True,
        )

    def show(self, build: Build) -> None:
        if build.id not in self._pipelines:
            self._triggered(build)
        pipeline = self._pipelines[build.id]
        shown = self._world.workflows[pipeline["id"]]
        for go in build.goes[len(shown) :]:
            self._began(build, go)
        for go, workflow in zip(build.goes, shown, strict=True):
            workflow["status"] = _ENDS.get(go.conclusion or "", _STATUS.get(go.status, ""))
            tells_end = build.id % 3 or not _ran(go)  # else only its jobs do
            workflow["stopped_at"] = iso(go.ended_at) if tells_end else None
            self._world.jobs[workflow["id"]] = [_job(job, go) for job in go.jobs]

    def _triggered(self, build: Build) -> None:
        where = build.pipeline
        ref = {"branch": "main"} if where.branch == "main" else {"tag": f"v{build.id}"}
        pipeline = self._world.pipeline(where.repo, vcs=ref, created_at=iso(build.created_at))
        self._pipelines[build.id] = pipeline
        self._parts.setdefault(where.part, []).append(pipeline)
        self._spoil(pipeline["id"], where.part)

    def _began(self, build: Build, go: Go) -> None:
        again: dict[str, Any] = {}
        if go.number > 1:
            again["tag"] = "rerun-workflow-from-failed"
            again["auto_rerun_number"] = go.number - 1 if build.id % 2 else None
        workflow = self._world.workflow(
            self._pipelines[build.id],
            name=build.pipeline.workflow,
            id=str(uuid.UUID(int=build.id * 100 + go.number)),
            created_at=iso(go.asked_at),
            **again,
        )
        self._spoil(workflow["id"], build.pipeline.part)

    def _spoil(self, wanted: str, part: str) -> None:
        if part in self._broken:
            self._world.faults[wanted] = Response("Bad Gateway", 502)

    def fail(self, part: str) -> None:
        self._broken.add(part)
        for pipeline in self._parts.get(part, []):
            self._spoil(pipeline["id"], part)
            for workflow in self._world.workflows[pipeline["id"]]:
                self._spoil(workflow["id"], part)

    def heal(self, part: str) -> None:
        self._broken.discard(part)
        for pipeline in self._parts.get(part, []):
            for item in (pipeline, *self._world.workflows[pipeline["id"]]):
                self._world.faults.pop(item["id"], None)


def _ran(go: Go) -> bool:
    return any(job.ended_at is not None and not job.carried for job in go.jobs)


def _job(job: Job, go: Go) -> dict[str, Any]:
    ended = _ENDS.get(job.conclusion or "")
    waits = "on_hold" if go.status == "waiting" else "queued"
    status = waits if job.started_at is None else "running"
    return {
        "id": str(uuid.UUID(int=job.id)),
        "name": job.name,
        "type": "build",
        "status": ended or status,
        "started_at": iso(job.started_at),
        "stopped_at": iso(job.ended_at),
    }


@pytest.mark.parametrize("seed", [1])
def test_two_weeks_of_projects_are_told_as_they_were(tmp_path: Path, seed: int) -> None:
    history = play(Projects, tmp_path / "state.db", seed=seed, often=0.15)

    assert history.polls > 300
