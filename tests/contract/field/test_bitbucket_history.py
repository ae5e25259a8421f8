"""Two weeks in the life of Bitbucket repositories, told by the seed."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

from exporter.providers.bitbucket import Bitbucket
from tests.contract.field.history import play
from tests.contract.field.life import Build, Job, Pipeline, System
from tests.tools.bitbucket_station import provider
from tests.tools.emulators import bitbucket as emulated
from tests.tools.emulators.rig import iso

_RESULTS = {
    "passed": "SUCCESSFUL",
    "failed": "FAILED",
    "error": "ERROR",
    "cancelled": "STOPPED",
    "timeout": "EXPIRED",
}
_TARGETS: dict[str, dict[str, Any]] = {
    "main": {"type": "pipeline_ref_target", "ref_type": "branch", "ref_name": "main"},
    "tag": {"type": "pipeline_ref_target", "ref_type": "tag", "ref_name": "v1"},
    "pull_request": {"type": "pipeline_pullrequest_target", "source": "fix"},
}


class Workspace(System):
    """A few repositories of one workspace; one of them answers nothing for a day."""

    prefix = "/2.0"
    pipelines = tuple(
        Pipeline(f"acme/{repo}", workflow, branch, repo)
        for repo in ("shop", "api")
        for workflow, branch in (
            ("default", "main"),
            ("nightly", "main"),
            ("tags", "tag"),
            ("pull-requests", "pull_request"),
        )
    )
    can = frozenset({"rerun", "part", "fail", "hold"})
    tells_earlier = False
    lists_carried = True
    conclusions = System.conclusions | {"error": 5, "timeout": 5}

    def __init__(self) -> None:
        self._world = emulated.Bitbucket()
        self._world.repos = {"shop": [], "api": []}
        self._shown: dict[int, dict[str, Any]] = {}
        self._broken: set[str] = set()
        self._world.fails = self._fails
        self.app = self._world.app()

    def provider(self) -> Bitbucket:
        return provider("acme/*", jobs=True)

    def show(self, build: Build) -> None:
        shown = self._shown.get(build.id) or self._made(build)
        last = build.last
        state: dict[str, Any] = {"name": "PENDING"}
        if last.conclusion is not None:
            state = {"name": "COMPLETED", "result": {"name": _RESULTS[last.conclusion]}}
        elif last.status != "queued":
            stage = "PAUSED" if last.status == "waiting" else "RUNNING"
            state = {"name": "IN_PROGRESS", "stage": {"name": stage}}
        shown |= {
            "run_number": last.number,
            "state": state,
            "completed_on": iso(last.ended_at, 6),
        }
        self._world.steps[shown["uuid"]] = [_step(job, build) for job in last.jobs]

    def _made(self, build: Build) -> dict[str, Any]:
        where = build.pipeline
        kind = "custom" if where.workflow == "nightly" else where.workflow
        made = self._world.run(
            where.part,
            lasts=None,
            created_on=iso(build.created_at, 6),
            target=_TARGETS[where.branch] | {"selector": {"type": kind, "pattern": "nightly"}},
        )
        self._shown[build.id] = made
        return made

    def fail(self, part: str) -> None:
        self._broken.add(part)

    def heal(self, part: str) -> None:
        self._broken.discard(part)

    def _fails(self, request: Request) -> int | None:
        return 502 if request.path_params.get("repo") in self._broken else None


def _step(job: Job, build: Build) -> dict[str, Any]:
    """A step as it ran last; one that has not run is pending, also when nothing else will."""
    ran_in = next(go for go in build.goes if any(one.id == job.id for one in go.jobs))
    state: dict[str, Any] = {"name": "PENDING" if job.started_at is None else "IN_PROGRESS"}
    if job.conclusion is not None:
        state = {"name": "COMPLETED", "result": {"name": _RESULTS[job.conclusion]}}
    return {
        "uuid": f"{{{uuid.uuid5(uuid.NAMESPACE_URL, f'{build.id} {job.name}')}}}",
        "name": job.name,
        "run_number": ran_in.number,
        "state": state,
        "started_on": iso(job.started_at, 9),
        "completed_on": iso(job.ended_at, 9),
    }


@pytest.mark.parametrize("seed", [1, 2])
def test_two_weeks_of_repositories_are_told_as_they_were(tmp_path: Path, seed: int) -> None:
    history = play(Workspace, tmp_path / "state.db", seed=seed, often=0.15)

    assert history.polls > 300
