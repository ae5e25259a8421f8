"""Two weeks of Azure DevOps come out as they went, whatever happens to builds and to us."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest

from exporter.providers.azure_devops import AzureDevOps
from tests.contract.field.history import play
from tests.contract.field.life import Build, Go, Job, Pipeline, System
from tests.tools.emulators import azure_devops
from tests.tools.emulators.azure_devops import stamp

RESULTS = {
    "passed": "succeeded",
    "failed": "failed",
    "cancelled": "canceled",
    "partial": "partiallySucceeded",
}


class Fleet(System):
    """Two projects with three repositories; a stage `go` whose failed jobs can be run again.

    Two pipelines of one project have one name, so the younger one shows its folder.
    """

    pipelines = (
        Pipeline("acme/shop/web", "CI", "main", "shop"),
        Pipeline("acme/shop/web", r"team\CI", "main", "shop"),
        Pipeline("acme/shop/api", "deploy", "main", "shop"),
        Pipeline("acme/tools/cli", "CI", "main", "tools"),
    )
    can = System.can | {"hold"}
    conclusions: ClassVar[dict[str, int]] = {**System.conclusions, "partial": 5}

    def __init__(self) -> None:
        self.world = azure_devops.AzureDevOps()
        self.world.projects = {"shop": [], "tools": []}
        self.app = self.world.app()

    def provider(self) -> AzureDevOps:
        keys: dict[str, Any] = {"token_env": "T", "jobs": True, "repos": ["acme/shop", "acme/*"]}
        return AzureDevOps(name="acme", provider="azure_devops", **keys)

    def show(self, build: Build) -> None:
        project = build.pipeline.part
        rows = self.world.projects[project]
        rows[:] = [row for row in rows if row["id"] != build.id]
        rows.append(listed(build))
        own = build.last.number
        timelines = {f"t{go.number}": left_behind(build, go) for go in build.goes[:-1]}
        self.world.timelines[build.id] = {"": records(build, build.last), **timelines}
        assert own == len(build.goes)

    def touch(self, build: Build) -> None:
        for row in self.world.projects[build.pipeline.part]:
            if row["id"] == build.id:
                row["lastChangedDate"] = stamp(build.touched_at)

    def delete(self, build: Build) -> None:
        rows = self.world.projects[build.pipeline.part]
        rows[:] = [row for row in rows if row["id"] != build.id]

    def fail(self, part: str) -> None:
        self.world.broken.add(part)

    def heal(self, part: str) -> None:
        self.world.broken.discard(part)


def listed(build: Build) -> dict[str, Any]:
    """A build as lists have it: `startTime` is of its first go, the end of its last."""
    last, names = build.last, build.pipeline.workflow.split("\\")
    ids = {pipeline: number for number, pipeline in enumerate(Fleet.pipelines, 1)}
    is_queued = last.number == 1 and last.status == "queued" and last.approved_at is None
    row = {
        "id": build.id,
        "status": "notStarted" if is_queued else "inProgress",
        "queueTime": stamp(build.created_at),
        "startTime": stamp(build.goes[0].started_at),
        "lastChangedDate": stamp(max(t for t in times(last) if t is not None)),
        "definition": {
            "id": ids[build.pipeline],
            "name": names[-1],
            "path": "\\" + "\\".join(names[:-1]),
        },
        "repository": {"name": build.pipeline.repo.split("/")[-1], "type": "TfsGit"},
        "reason": "individualCI",
        "sourceBranch": f"refs/heads/{build.pipeline.branch}",
    }
    if last.ended_at is not None:
        ran_out = last.started_at is None
        result = "failed" if ran_out else RESULTS[last.conclusion or ""]
        row |= {"status": "completed", "result": result, "finishTime": stamp(last.ended_at)}
    return row


def times(go: Go) -> list[float | None]:
    return [go.asked_at, go.held_at, go.approved_at, go.started_at, go.ended_at]


def records(build: Build, go: Go) -> list[dict[str, Any]]:
    """The timeline in force while `go` was the last: what ran before and was not run again too."""
    before = [
        {"attempt": earlier.number, "timelineId": f"t{earlier.number}"}
        for earlier in build.goes[: go.number - 1]
    ]
    stage = record("go", "Stage", go.number, go, previousAttempts=before)
    found = [stage, *(job_record(build, job) for job in go.jobs)]
    if go.held_at is not None:
        found.append(check(go))
    return found


def left_behind(build: Build, go: Go) -> list[dict[str, Any]]:
    """The timeline of a go that another one followed: its stage, and what has run again."""
    kept = {job.id for job in build.last.jobs if job.carried}
    found = [record("go", "Stage", go.number, go)]
    found += [job_record(build, j) for j in go.jobs if not j.carried and j.id not in kept]
    return [*found, check(go)] if go.held_at is not None else found


def job_record(build: Build, job: Job) -> dict[str, Any]:
    """A job with the number of the go that it ran in."""
    number = next(go.number for go in build.goes if any(job.id == own.id for own in go.jobs))
    return record(job.name, "Job", number, job, parentId="go")


def record(name: str, kind: str, attempt: int, ran: Go | Job, **more: Any) -> dict[str, Any]:
    over = ran.ended_at is not None
    result = RESULTS.get(ran.conclusion or "", "skipped")
    if kind == "Stage" and over and ran.started_at is None:
        result = "skipped"
    if result == "partiallySucceeded":
        result = "succeededWithIssues"
    return {
        "id": name,
        "type": kind,
        "name": name,
        "attempt": attempt,
        "startTime": stamp(ran.started_at),
        "finishTime": stamp(ran.ended_at),
        "state": "completed" if over else "inProgress" if ran.started_at else "pending",
        "result": result if over else None,
        **more,
    }


def check(go: Go) -> dict[str, Any]:
    """The approval that a go waits for; where nobody gave it, it is abandoned with the build."""
    decided = go.ended_at if go.approved_at is None else go.approved_at
    return {
        "id": "approval",
        "parentId": "go",
        "type": "Checkpoint.Approval",
        "name": "approval",
        "attempt": go.number,
        "startTime": stamp(go.held_at),
        "finishTime": stamp(decided),
        "state": "inProgress" if decided is None else "completed",
        "result": None if decided is None else "succeeded" if go.approved_at else "abandoned",
    }


@pytest.mark.parametrize("seed", [1, 2])
def test_two_weeks_come_out_as_they_went(tmp_path: Path, seed: int) -> None:
    """Builds wait, end, run again in whole and in part and are deleted; a project fails for a
    day; we restart, are killed and are away: each hour every value is what it must be."""
    history = play(Fleet, tmp_path / "state.db", seed=seed)

    assert history.polls > 300
    assert len(history.life.builds) > 200
