"""Builds as the unified API tells them, with exactly the fields each integration has.

One pure function an integration: a run, its repo, the instant and the account's ways
in, the unified item out. Which fields an integration fills is the
matrix of its "list builds" page; `remote_data` is what the CI system itself says.
"""

from __future__ import annotations

from collections.abc import Callable

from exporter.demo import render_jenkins
from exporter.demo.facts import (
    Facts,
    Item,
    View,
    committed,
    finish,
    number_of,
    numeric,
    triggers,
    updated_at,
    work,
)
from exporter.demo.timestamps import iso, iso_trimmed
from exporter.demo.vocabulary import CONCLUSION, STATUS
from exporter.demo.world import Run
from exporter.model import Ref, Status

Renderer = Callable[[View], Item]

BITBUCKET_SELECTORS = ("default", "branches", "tags", "pull-requests")
"""Any other name of a pipeline is a custom one's."""

AZURE_REFS = {
    Ref.BRANCH: "refs/heads/{}",
    Ref.TAG: "refs/tags/{}",
    Ref.PULL_REQUEST: "refs/pull/{}/merge",
}


def _by(run: Run) -> Item:
    kind = None if run.actor is None else "bot" if run.actor_is_bot else "user"
    return {"triggered_by": run.actor, "triggered_by_type": kind}


def _github(view: View) -> Item:
    repo, run, now = view.repo, view.run, view.now
    facts = Facts.at(run, now, STATUS["github"], CONCLUSION["github"])
    event, trigger = triggers("github", run)
    status, conclusion, unified = facts.status, facts.conclusion, facts.unified
    ended = facts.completed_at
    if facts.phase is Status.WAITING and status == "action_required":
        # A fork's run that wants an approval is said to be complete; afterwards it goes on.
        status, conclusion, unified, ended = "completed", status, status, now
    changed = updated_at(run, now)
    started = run.born if view.ways.start_is_creation else facts.started_at
    kind = "Bot" if run.actor_is_bot else "User"
    actor = None if run.actor is None else {"login": run.actor, "type": kind}
    return {
        "id": run.id,
        "name": run.workflow,
        "number": run.number,
        "repo": repo.entry,
        "branch": run.branch,
        "commit": run.commit,
        "workflow": str(number_of(f"{repo.entry} {run.workflow}")),
        "build": run.id,
        "attempts": run.attempt,
        "status": STATUS["github"].unified(status),
        "conclusion": unified,
        "trigger": trigger,
        **_by(run),
        "created_at": iso(run.created_at),
        "started_at": iso(started),
        # The runs API has no time of completion: this is the last change.
        "completed_at": None if ended is None else iso(changed),
        "updated_at": iso(changed),
        "remote_data": {
            "id": numeric(run.id),
            "name": run.workflow,
            "path": f".github/workflows/{run.workflow.lower()}.yml",
            "display_title": run.title,
            "run_number": run.number,
            "run_attempt": run.attempt,
            "event": event,
            "status": status,
            "conclusion": conclusion,
            "head_branch": run.branch,
            "head_sha": run.commit,
            "html_url": f"https://github.com/{repo.entry}/actions/runs/{run.id}",
            "head_commit": {
                "id": run.commit,
                "message": f"{run.title}\n\nAt length.",
                "timestamp": iso(committed(run)),
            },
            "workflow_id": number_of(f"{repo.entry} {run.workflow}"),
            "created_at": iso(run.created_at),
            "run_started_at": iso(run.born if started is None else started),
            "updated_at": iso(changed),
            "actor": actor,
            "triggering_actor": actor,
            "pull_requests": [] if run.pull_request is None else [{"number": run.pull_request}],
            "repository": {"full_name": repo.entry, "default_branch": repo.default_branch},
            "head_repository": {"full_name": run.head_repo or repo.entry},
        },
    }


def _azuredevops(view: View) -> Item:
    repo, run, now = view.repo, view.run, view.now
    facts = Facts.at(run, now, STATUS["azuredevops"], CONCLUSION["azuredevops"])
    reason, trigger = triggers("azuredevops", run)
    project, _, name = repo.entry.partition("/")
    ref = AZURE_REFS[run.ref].format(run.pull_request or run.branch)
    above = f"https://dev.azure.com/acme/{project}"
    told = (
        {"ci.sourceSha": run.commit, "ci.message": run.title}
        if run.pull_request is None
        else {
            "pr.number": str(run.pull_request),
            "pr.title": run.title,
            "pr.sourceBranch": run.branch,
        }
    )
    # What is not known yet is left out here, not null.
    times = {
        "startTime": iso_trimmed(facts.started_at),
        "finishTime": iso_trimmed(facts.completed_at),
        "result": facts.conclusion,
    }
    return {
        "id": run.id,
        "number": run.number,
        "repo": name,
        "branch": ref,
        "status": STATUS["azuredevops"].unified(facts.status),
        "conclusion": facts.unified,
        "trigger": trigger,
        "started_at": times["startTime"],
        "completed_at": times["finishTime"],
        "updated_at": iso_trimmed(updated_at(run, now)),
        "remote_data": {
            "id": numeric(run.id),
            "url": f"{above}/_apis/build/Builds/{run.id}",
            "_links": {"web": {"href": f"{above}/_build/results?buildId={run.id}"}},
            "buildNumber": f"{(iso(run.created_at) or '')[:10].replace('-', '')}.{run.number}",
            "status": facts.status,
            "queueTime": iso_trimmed(run.created_at),
            **{key: value for key, value in times.items() if value is not None},
            "lastChangedDate": iso_trimmed(updated_at(run, now)),
            "reason": reason,
            "sourceBranch": ref,
            "sourceVersion": run.commit,
            "triggerInfo": told,
            "definition": {"id": number_of(run.workflow), "name": run.workflow, "path": "\\"},
            "project": {"id": project, "name": project},
            "repository": {"id": str(number_of(repo.entry)), "name": name, "type": "TfsGit"},
            "requestedFor": None if run.actor is None else {"displayName": run.actor},
        },
    }


def _bitbucket(view: View) -> Item:
    repo, run, now = view.repo, view.run, view.now
    facts = Facts.at(run, now, STATUS["bitbucket"], CONCLUSION["bitbucket"])
    native, trigger = triggers("bitbucket", run)
    custom = run.workflow not in (*BITBUCKET_SELECTORS, "")
    selector = (
        {"type": "custom", "pattern": run.workflow}
        if custom
        else {"type": run.workflow or "default"}
    )
    state: Item = {"name": facts.status, "type": f"pipeline_state_{facts.status.lower()}"}
    if facts.conclusion is not None:
        state["result"] = {
            "name": facts.conclusion,
            "type": f"pipeline_state_completed_{facts.conclusion.lower()}",
        }
    elif facts.status == "IN_PROGRESS":
        state["stage"] = {"name": "PAUSED" if facts.phase is Status.WAITING else "RUNNING"}
    from_pull_request = run.ref is Ref.PULL_REQUEST
    target = {"commit": {"type": "commit", "hash": run.commit}, "selector": selector} | (
        {
            "type": "pipeline_pullrequest_target",
            "source": run.branch,
            "destination": "main",
            "pullrequest": {"type": "pullrequest", "id": run.pull_request, "title": run.title},
        }
        if from_pull_request
        else {"type": "pipeline_ref_target", "ref_type": run.ref.value, "ref_name": run.branch}
    )
    remote: Item = {
        "type": "pipeline",
        "uuid": run.id,
        "build_number": run.number,
        "run_number": run.attempt,
        "created_on": iso(run.created_at, 6),
        "state": state,
        "trigger": {"name": "PUSH" if native == "PULL_REQUEST" else native},
        "target": target,
        "repository": {"full_name": repo.entry},
        "creator": None
        if run.actor is None
        else {"display_name": run.actor, "type": "app_user" if run.actor_is_bot else "user"},
        "build_seconds_used": work(run.jobs, now),
        "duration_in_seconds": work(run.jobs, now),  # of work, not of the wall's clock
    }
    if facts.completed_at is not None:
        remote["completed_on"] = iso(facts.completed_at, 6)
    return {
        "id": run.id,
        "build": str(run.number),
        "number": run.number,
        "repo": repo.entry.rpartition("/")[2],
        "branch": run.branch if run.ref is Ref.BRANCH else None,
        "commit": run.commit,
        "status": STATUS["bitbucket"].unified(facts.status),
        "trigger": trigger,
        **_by(run),
        "created_at": iso(run.created_at, 3),
        "remote_data": remote,
    }


def _circleci(view: View) -> Item:
    repo, run, now = view.repo, view.run, view.now
    # A pipeline: once it is created it never changes, whatever its workflows do.
    native, trigger = triggers("circleci", run)
    state = "created" if run.jobs or run.status(now) is not Status.COMPLETED else "errored"
    at_tag = run.ref is Ref.TAG
    created = iso(run.created_at, 3)
    return {
        "id": run.id,
        "name": run.title,
        "number": run.number,
        "repo": repo.entry,
        "branch": None if at_tag else run.branch,
        "commit": run.commit,
        "status": "completed",
        "conclusion": state,
        "trigger": trigger,
        **_by(run),
        "created_at": created,
        "updated_at": created,
        "remote_data": {
            "id": run.id,
            "number": run.number,
            "project_slug": repo.entry,
            "state": state,
            "errors": [{"type": "config", "message": "bad config"}] if state == "errored" else [],
            "created_at": created,
            "updated_at": created,
            "trigger": {
                "type": "webhook" if native == "pull_request" else native,
                "received_at": created,
                "actor": {"login": run.actor or ""},
            },
            "vcs": {
                "provider_name": "GitHub",
                "revision": run.commit,
                "commit": {"subject": run.title, "body": ""},
            }
            | ({"tag": run.branch} if at_tag else {"branch": run.branch})
            | ({} if run.pull_request is None else {"review_id": str(run.pull_request)}),
        },
    }


def _travisci(view: View) -> Item:
    repo, run, now = view.repo, view.run, view.now
    words = CONCLUSION["travisci"]
    facts = Facts.at(run, now, STATUS["travisci"], words)
    event, trigger = triggers("travisci", run)
    changed, slug = updated_at(run, now), travis_slug(repo.entry)
    return {
        "id": run.id,
        "number": run.number,
        "name": run.title,
        "repo": slug,
        "branch": run.branch,
        "commit": run.commit,
        "attempts": run.attempt,
        "conclusion": facts.unified,
        "trigger": trigger,
        "created_at": iso(run.created_at),
        "completed_at": iso(facts.completed_at),
        "updated_at": iso(changed, 3),
        "remote_data": {
            "@type": "build",
            "id": numeric(run.id),
            "number": str(run.number),
            "state": facts.conclusion or facts.status,
            "duration": work(run.jobs, now),  # the sum of the jobs
            "event_type": event,
            "pull_request_number": run.pull_request,
            "pull_request_title": None if run.pull_request is None else run.title,
            "started_at": iso(facts.started_at),
            "finished_at": iso(facts.completed_at),
            "updated_at": iso(changed, 3),
            "repository": {"id": repo.entry, "slug": slug},
            "branch": {"name": run.branch},
            "tag": {"name": run.branch} if run.ref is Ref.TAG else None,
            "commit": {
                "sha": run.commit,
                "message": run.title,
                "committed_at": iso(committed(run)),
                "compare_url": f"https://github.com/{slug}/commit/{run.commit}",
            },
            "jobs": [{"@type": "job", "id": job.id} for job in run.jobs],
            "created_by": None if run.actor is None else {"@type": "user", "login": run.actor},
        },
    }


def travis_slug(entry: str) -> str:
    """The `owner/name` of a Travis repo, whose scope entry may be a number."""
    return entry if "/" in entry else f"acme/repo-{entry}"


BUILDS: dict[str, Renderer] = {
    "github": _github,
    "azuredevops": _azuredevops,
    "bitbucket": _bitbucket,
    "circleci": _circleci,
    "jenkins": render_jenkins.build,
    "travisci": _travisci,
}
"""How a build looks, by integration; the others have none."""

PARTIAL_BUILDS: dict[str, Renderer] = {"jenkins": render_jenkins.listed}
"""How it looks in a list, where that is less."""


def build(integration: str, view: View) -> Item:
    """A build as its single-build endpoint tells it."""
    return finish(BUILDS[integration](view), view.run)


def listed_build(integration: str, view: View) -> Item:
    """A build as a list tells it."""
    partial = None if view.ways.full_lists else PARTIAL_BUILDS.get(integration)
    return finish((partial or BUILDS[integration])(view), view.run)
