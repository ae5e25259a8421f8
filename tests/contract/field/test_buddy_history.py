"""Two weeks in the life of Buddy's pipelines, told by the seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from exporter.providers.buddy import Buddy
from tests.contract.field.history import play
from tests.contract.field.life import Build, Job, Pipeline, System
from tests.tools.buddy_station import provider
from tests.tools.emulators import buddy as emulated
from tests.tools.emulators.rig import iso

_STATUS = {"queued": "ENQUEUED", "waiting": "WAITING_FOR_APPLY", "in_progress": "INPROGRESS"}
_ENDS = {"passed": "SUCCESSFUL", "failed": "FAILED", "cancelled": "TERMINATED"}


class Workspace(System):
    """Two projects; an execution that is run again goes on under its id."""

    prefix = "/api"
    pipelines = tuple(
        Pipeline(f"acme/{project}", name, "main", f"{project}/{name}")
        for project in ("shop", "api")
        for name in ("build", "deploy")
    )
    can = frozenset({"rerun", "part", "delete", "fail", "hold"})
    reruns = "again"
    retries = False

    def __init__(self) -> None:
        self._world = emulated.Buddy()
        self._listed = {
            where.part: self._world.pipeline(*where.part.split("/")) for where in self.pipelines
        }
        self._executions: dict[int, dict[str, Any]] = {}
        self._broken: set[int] = set()
        self._world.fails = self._fails
        self.app = self._world.app()

    def provider(self) -> Buddy:
        return provider("acme/*", jobs=True)

    def show(self, build: Build) -> None:
        pipeline = self._listed[build.pipeline.part]
        execution = self._executions.get(build.id)
        if execution is None:
            execution = self._world.run(pipeline, lasts=None, age=0, id=build.id)
            execution["start_date"] = iso(build.created_at)
            self._executions[build.id] = execution
        go = build.last
        if go.status in {"in_progress", "completed"}:
            go.started_at = build.created_at  # no other start is told
        execution["status"] = _ENDS.get(go.conclusion or "", _STATUS.get(go.status, ""))
        execution["finish_date"] = iso(go.ended_at)
        jobs = {job.id: job for one in build.goes for job in one.jobs if not job.carried}
        execution["action_executions"] = [_action(job) for job in jobs.values()]
        newest = self._world.executions[pipeline["id"]][-1]
        pipeline["last_execution_status"] = newest["status"]
        # What ends alike on one revision looks unchanged for a quarter of an hour: not shown here.
        pipeline["last_execution_revision"] = f"{build.id}.{go.number}"

    def delete(self, build: Build) -> None:
        executions = self._world.executions[self._listed[build.pipeline.part]["id"]]
        gone = self._executions[build.id]
        executions[:] = [one for one in executions if one is not gone]

    def fail(self, part: str) -> None:
        self._broken.add(self._listed[part]["id"])

    def heal(self, part: str) -> None:
        self._broken.discard(self._listed[part]["id"])

    def _fails(self, request: Request) -> Response | None:
        is_broken = request.path_params["pipeline"] in self._broken
        return PlainTextResponse("Oops", 502) if is_broken else None


def _action(job: Job) -> dict[str, Any]:
    ended = _ENDS.get(job.conclusion or "")
    return {
        "action": {"id": job.name, "name": job.name, "type": "BUILD"},
        "status": ended or ("INITIAL" if job.started_at is None else "INPROGRESS"),
        "start_date": iso(job.started_at),
        "finish_date": iso(job.ended_at),
    }


@pytest.mark.parametrize("seed", [1, 2])
def test_two_weeks_of_pipelines_are_told_as_they_were(tmp_path: Path, seed: int) -> None:
    history = play(Workspace, tmp_path / "state.db", seed=seed)

    assert history.polls > 300
