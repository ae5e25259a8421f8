"""Two weeks of a fleet at GitHub, from several seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest

from exporter.providers.github import GitHub
from tests.contract.field.history import play
from tests.contract.field.life import Build, Go, Job, Pipeline, System
from tests.tools.emulators.github import NOISE, Hub, iso, said, workflow

WORDS = {"passed": "success", "failed": "failure", "timeout": "timed_out"}
FILES = {"CI": (11, "ci.yml"), "Deploy": (12, "deploy.yml")}
REPOS = ("acme/shop", "acme/api")


class Fleet(System):
    """Two repos with two workflows each. Of the runs that wait for a person every other one is
    of a fork, and goes on as the next attempt; each deployment has a title of its own."""

    prefix = "/api/v3"
    can: ClassVar[frozenset[str]] = frozenset({"rerun", "part", "hold", "touch", "delete", "fail"})
    conclusions: ClassVar[dict[str, int]] = {
        "passed": 60,
        "failed": 25,
        "cancelled": 10,
        "timeout": 5,
    }
    pipelines = tuple(Pipeline(repo, name, "main", repo) for repo in REPOS for name in FILES)

    def __init__(self, *, jobs: bool) -> None:
        self.hub = Hub()
        self.hub.tokens.add("demo")
        self.hub.remaining = 10**9
        self.app = self.hub.app
        self.durations = jobs  # without them the wait for a machine is in it
        self.touched_after = 60.0 if jobs else 1800.0
        self._jobs = jobs
        for repo in REPOS:
            self.hub.repo(repo)
            self.hub.workflows[repo] = [
                workflow(number, name, file) for name, (number, file) in FILES.items()
            ]

    def provider(self) -> GitHub:
        return GitHub(
            name="acme", provider="github", token_env="T", repos=[*REPOS], jobs=self._jobs
        )

    def show(self, build: Build) -> None:
        number, file = FILES[build.pipeline.workflow]
        is_titled = build.pipeline.workflow == "Deploy"
        run_id = 9_000_000_000 + build.id
        run: dict[str, Any] = {
            "id": run_id,
            "name": f"Deploy {build.id} by @someone" if is_titled else "CI",
            "path": f".github/workflows/{file}",
            "workflow_id": number,
            "run_number": build.id,
            "event": "push",
            "head_branch": "main",
            "created_at": iso(build.created_at),
            "repository": {"full_name": build.pipeline.repo, **NOISE},
            "head_repository": {"full_name": build.pipeline.repo, **NOISE},
        }
        attempts: list[dict[str, Any]] = []
        for go in build.goes:
            if go.held_at is not None and build.id % 2:
                if go.approved_at is None and go.ended_at is None:
                    attempts.append(
                        {**_stands("completed", "action_required"), **_at(go, go.asked_at)}
                    )
                    continue
                if go.approved_at is not None:
                    held = _stands("completed", "action_required")
                    attempts.append({**held, **_at(go, go.asked_at)})
            end = go.ended_at or go.started_at or go.approved_at or go.asked_at
            word = go.conclusion and WORDS.get(go.conclusion, go.conclusion)
            attempts.append({**_stands(go.status, word), **_at(go, end)})
            tasks = [_task(job, go, len(attempts)) for job in go.jobs]
            self.hub.jobs[run_id, len(attempts)] = [] if go.status == "waiting" else tasks
        self.hub.runs[build.pipeline.repo][run_id] = [
            {**run, **attempt, "run_attempt": place} for place, attempt in enumerate(attempts, 1)
        ]

    def touch(self, build: Build) -> None:
        attempts = self.hub.runs[build.pipeline.repo][9_000_000_000 + build.id]
        attempts[-1]["updated_at"] = iso(build.touched_at)

    def delete(self, build: Build) -> None:
        del self.hub.runs[build.pipeline.repo][9_000_000_000 + build.id]

    def fail(self, part: str) -> None:
        self.hub.broken[f"/repos/{part}/"] = said(502, "Server Error")

    def heal(self, part: str) -> None:
        del self.hub.broken[f"/repos/{part}/"]


def _stands(status: str, conclusion: str | None) -> dict[str, Any]:
    return {"status": status, "conclusion": conclusion}


def _at(go: Go, changed: float) -> dict[str, Any]:
    began = go.approved_at if go.approved_at is not None else go.asked_at
    return {"run_started_at": iso(min(began, changed)), "updated_at": iso(changed)}


def _task(job: Job, go: Go, attempt: int) -> dict[str, Any]:
    began = go.approved_at if go.approved_at is not None else go.asked_at
    ended = job.ended_at is not None or go.ended_at is not None
    conclusion = job.conclusion or go.conclusion
    return {
        "id": job.id * 10 + attempt,  # those of an earlier attempt get new ids too
        "name": job.name,
        "run_attempt": attempt,
        "status": "completed" if ended else go.status if job.started_at is None else "in_progress",
        "conclusion": WORDS.get(conclusion, conclusion) if ended and conclusion else None,
        "created_at": iso(began),
        "started_at": iso(job.started_at or began),
        "completed_at": iso(job.ended_at or go.ended_at),
    }


@pytest.mark.parametrize(("seed", "jobs"), [(1, False), (2, True), (8, False), (11, True)])
def test_two_weeks_of_runs_come_out_as_they_were(tmp_path: Path, seed: int, *, jobs: bool) -> None:
    history = play(lambda: Fleet(jobs=jobs), tmp_path / "state.db", seed=seed)

    assert history.polls > 300
