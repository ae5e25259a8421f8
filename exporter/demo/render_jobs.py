"""Jobs as the unified API tells them, with exactly the fields each integration has.

The matrix is that of the "get job" page; Azure, which has only a list, is not in it and
gets what its timeline records can fill.
"""

from __future__ import annotations

from collections.abc import Callable

from exporter.demo.facts import Facts, Item, JobView, finish, numeric
from exporter.demo.timestamps import iso, iso_trimmed
from exporter.demo.vocabulary import CONCLUSION, JOB_CONCLUSION, JOB_STATUS, STATUS
from exporter.demo.world import JobRun, Run
from exporter.model import Status


def job_created(run: Run, job: JobRun) -> float:
    """When a job came into being, epoch seconds."""
    return run.born if job.created_at is None else job.created_at


def _facts(integration: str, view: JobView) -> Facts:
    return Facts.at(
        view.job,
        view.now,
        JOB_STATUS.get(integration) or STATUS[integration],
        JOB_CONCLUSION.get(integration) or CONCLUSION[integration],
    )


def _github(view: JobView) -> Item:
    run, job = view.run, view.job
    facts = _facts("github", view)
    created = job_created(run, job)
    started = facts.started_at
    if facts.phase in {Status.QUEUED, Status.WAITING}:
        started = created  # GitHub fills it in before the job has a runner
    elif job.conclusion == "skipped":
        started = facts.completed_at
    shared = {
        "name": job.name,
        "created_at": iso(created),
        "started_at": iso(started),
        "completed_at": iso(facts.completed_at),
    }
    return {
        "id": job.id,
        "build": run.id,
        "branch": run.branch,
        "commit": run.commit,
        "attempts": run.attempt,
        "status": STATUS["github"].unified(facts.status),
        "conclusion": facts.unified,
        **shared,
        "updated_at": iso(facts.completed_at or facts.started_at or created),
        "remote_data": {
            "id": numeric(job.id),
            "run_id": numeric(run.id),
            "run_attempt": run.attempt,
            "workflow_name": run.workflow,
            "head_branch": run.branch,
            "head_sha": run.commit,
            "status": facts.status,
            "conclusion": facts.conclusion,
            **shared,
            "steps": [],
        },
    }


def _azuredevops(view: JobView) -> Item:
    run, job = view.run, view.job
    facts = _facts("azuredevops", view)
    started, ended = iso_trimmed(facts.started_at), iso_trimmed(facts.completed_at)
    return {
        "id": job.id,
        "name": job.name,
        "build": run.id,
        "status": JOB_STATUS["azuredevops"].unified(facts.status),
        "conclusion": facts.unified,
        "started_at": started,
        "completed_at": ended,
        "remote_data": {
            "id": job.id,
            "type": "Job",
            "name": job.name,
            "state": facts.status,
            "result": facts.conclusion,
            "startTime": started,
            "finishTime": ended,
            "attempt": run.attempt,
            "previousAttempts": [],
        },
    }


def _bitbucket(view: JobView) -> Item:
    run, job = view.run, view.job
    facts = _facts("bitbucket", view)
    by_hand = facts.phase is Status.WAITING
    result = {} if facts.conclusion is None else {"result": {"name": facts.conclusion}}
    return {
        "id": job.id,
        "name": job.name,
        "build": run.id,
        "status": JOB_STATUS["bitbucket"].unified(facts.status),
        "conclusion": facts.unified,
        "created_at": iso(job_created(run, job), 3),
        "started_at": iso(facts.started_at, 6),
        "completed_at": iso(facts.completed_at, 6),
        "remote_data": {
            "type": "pipeline_step",
            "uuid": job.id,
            "name": job.name,
            "run_number": run.attempt,
            "pipeline": {"uuid": run.id},
            "state": {"name": facts.status, **result},
            "trigger": {"type": f"pipeline_step_trigger_{'manual' if by_hand else 'automatic'}"},
            "started_on": iso(facts.started_at, 6),
            "completed_on": iso(facts.completed_at, 6),
        },
    }


def _circleci(view: JobView) -> Item:
    run, job = view.run, view.job
    facts = _facts("circleci", view)
    created = iso(job_created(run, job))
    return {
        "id": job.id,
        "name": job.name,
        "status": STATUS["circleci"].unified(facts.status),
        "conclusion": facts.unified,
        "created_at": created,
        "started_at": iso(facts.started_at),
        "completed_at": iso(facts.completed_at),
        "remote_data": {
            "job_number": numeric(job.id),
            "name": job.name,
            "type": "build",
            "project_slug": view.repo.entry,
            "status": facts.conclusion or facts.status,
            "created_at": created,
            "started_at": iso(facts.started_at),
            "stopped_at": iso(facts.completed_at),
            "dependencies": [],
        },
    }


def _travisci(view: JobView) -> Item:
    run, job = view.run, view.job
    facts = _facts("travisci", view)
    created = job_created(run, job)
    changed = facts.completed_at or facts.started_at or created
    return {
        "id": job.id,
        "name": job.name,
        "build": run.id,
        "commit": run.commit,
        # One word for state and conclusion: where it ended is said in the CI system's own.
        "status": facts.conclusion or STATUS["travisci"].unified(facts.status),
        "created_at": iso(created),
        "started_at": iso(facts.started_at),
        "completed_at": iso(facts.completed_at),
        "updated_at": iso(changed),
        "remote_data": {
            "@type": "job",
            "id": numeric(job.id),
            "number": f"{run.number}.1",
            "state": facts.conclusion or facts.status,
            "created_at": iso(created, 3),
            "started_at": iso(facts.started_at),
            "finished_at": iso(facts.completed_at),
            "updated_at": iso(changed, 3),
            "build": {"@href": f"/build/{run.id}"},
            "stage": None,
        },
    }


def _buddy(view: JobView) -> Item:
    job = view.job
    facts = _facts("buddy", view)
    state = facts.conclusion or facts.status
    started = iso(facts.started_at, 3)
    remote: Item = {
        "status": state,
        "html_url": f"https://app.buddy.works/{view.repo.entry}/execution/{view.run.id}/{job.id}",
        "start_date": started,
        "action": {"id": numeric(job.id), "name": job.name, "type": "BUILD"},
    }
    if view.ways.finish_date:
        remote["finish_date"] = iso(facts.completed_at, 3)
    return {
        "id": job.id,
        "name": job.name,
        "status": state,
        "started_at": started,
        "remote_data": remote,
    }


JOBS: dict[str, Callable[[JobView], Item]] = {
    "github": _github,
    "azuredevops": _azuredevops,
    "bitbucket": _bitbucket,
    "circleci": _circleci,
    "travisci": _travisci,
    "buddy": _buddy,
}
"""How a job looks, by integration; the others have none."""


def job(integration: str, view: JobView) -> Item:
    """A job as lists and its own endpoint tell it."""
    return finish(JOBS[integration](view), view.job)
