"""Two weeks in the life of a Jenkins controller, told by the seed."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from exporter.providers.jenkins import Jenkins
from tests.contract.field.history import play
from tests.contract.field.life import HOUR, Build, Go, Pipeline, System
from tests.tools.emulators import jenkins as emulated
from tests.tools.emulators.jenkins import MULTIBRANCH, PIPELINE, cause, raw_path
from tests.tools.jenkins_station import provider

_ENDS = {"passed": "SUCCESS", "failed": "FAILURE", "cancelled": "ABORTED"}
_STAGES = {"passed": "SUCCESS", "failed": "FAILED", "cancelled": "ABORTED"}
_SETTLED = 14 * HOUR
"""After which whatever has ended has been counted, be the exporter away for a night."""


class Controller(System):
    """A multibranch job and a plain one; what is run again is another build, a replay."""

    prefix = "/ci"
    pipelines = (
        Pipeline("team/shop", "shop", "main", "team/shop/main"),
        Pipeline("team/shop", "shop", "other", "team/shop/feature%2Fcart"),
        Pipeline("team/shop", "shop", "pull_request", "team/shop/PR-7-head"),
        Pipeline("team/deploy", "deploy", "", "team/deploy"),
    )
    can = frozenset({"rerun", "delete", "fail", "hold", "restart"})
    reruns = "builds"
    retries = False

    def __init__(self) -> None:
        self._world = emulated.Jenkins()
        self._world.job("team/shop", MULTIBRANCH)
        for pipeline in self.pipelines:
            self._world.job(pipeline.part, PIPELINE)
        self._numbers: dict[str, int] = {}
        self._runs: dict[tuple[int, int], dict[str, Any]] = {}
        self._builds: dict[int, Build] = {}
        self._broken: set[str] = set()
        self._random = random.Random(1)
        self._world.fails = self._fails
        self.app = self._world.app()

    def provider(self) -> Jenkins:
        return provider("team/*", jobs=True)

    def show(self, build: Build) -> None:
        go, path = build.last, build.pipeline.part
        self._builds[build.id] = build
        if go.held_at is not None:  # it has begun before somebody is asked
            go.started_at = go.held_at
        for job in go.jobs:
            if job.started_at is None:  # a stage that never began is not listed
                job.ended_at = job.conclusion = None
        number = 10 * build.id + go.number
        if go.status == "queued":
            self._world.wait(number, path, age=0)
            return
        self._world.queue.pop(number, None)
        run = self._runs.get((build.id, go.number)) or self._begun(build, go, number)
        run["timestamp"] = int(1000 * (go.started_at or 0))
        if go.ended_at is not None:
            lasted = go.ended_at - (go.started_at or 0)
            self._world.end(run, lasts=lasted, result=_ENDS[go.conclusion or ""])
        self._show_stages(build, go, run["number"])

    def _begun(self, build: Build, go: Go, queue_id: int) -> dict[str, Any]:
        path = build.pipeline.part
        self._numbers[path] = self._numbers.get(path, 0) + 1
        run = self._world.run(
            path,
            lasts=None,
            number=self._numbers[path],
            queueId=queue_id,
            actions=[cause("jenkins.branch.BranchEventCause")],
        )
        self._runs[build.id, go.number] = run
        return run

    def _show_stages(self, build: Build, go: Go, number: int) -> None:
        stages = [
            {
                "id": str(job.id),
                "name": job.name,
                "status": _STAGES.get(job.conclusion or "", "IN_PROGRESS"),
                "startTimeMillis": int(1000 * job.started_at),
                "durationMillis": int(1000 * ((job.ended_at or job.started_at) - job.started_at)),
            }
            for job in go.jobs
            if job.started_at is not None
        ]
        status = "PAUSED_PENDING_INPUT" if go.status == "waiting" else "IN_PROGRESS"
        self._world.stage_view(
            build.pipeline.part, number, _STAGES.get(go.conclusion or "", status), *stages
        )

    def delete(self, build: Build) -> None:
        runs = self._world.job(build.pipeline.part)["runs"]
        mine = [run for (number, _), run in self._runs.items() if number == build.id]
        runs[:] = [run for run in runs if all(run is not one for one in mine)]

    def restart(self, now: float, running: list[Build]) -> None:
        """Some running builds die, some lose their start for now; old ones lose their times."""
        for build in running:
            go = build.last
            run = self._runs[build.id, go.number]
            if self._random.random() < 0.5:
                run["timestamp"] = 0
                continue
            # It is as old as its start, for nobody knows how long it lasted.
            self._world.end(run, lasts=0, result="FAILURE")
            go.ended_at, go.started_at, go.conclusion = go.started_at, None, "failed"
        for build in self._builds.values():
            for go in build.goes:
                run = self._runs.get((build.id, go.number), {})
                is_old = go.ended_at is not None and go.ended_at < now - _SETTLED
                if run and is_old and not build.deleted and self._random.random() < 0.3:
                    self._world.lose(run)

    def fail(self, part: str) -> None:
        self._broken.add(part)

    def heal(self, part: str) -> None:
        self._broken.discard(part)

    def _fails(self, request: Request) -> Response | None:
        path = raw_path(request)
        urls = (emulated.url_of(part) for part in self._broken)
        is_broken = any(path.startswith(f"{url}/") for url in urls)
        return PlainTextResponse("Oops", 502) if is_broken else None


@pytest.mark.parametrize("seed", [1, 2])
def test_two_weeks_of_a_controller_are_told_as_they_were(tmp_path: Path, seed: int) -> None:
    history = play(Controller, tmp_path / "state.db", seed=seed)

    assert history.polls > 300
