"""Maps GitLab's pipelines and jobs to builds and jobs. No I/O."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any, cast

import msgspec
from msgspec.structs import replace

from exporter.model import Actor, Build, BuildKey, Job, Ref, Status, Unmapped
from exporter.model.summary import filled_by, summary
from exporter.model.vocabulary import State, Words, by_word, resolve_state, trigger, unchanged
from exporter.payload import Id, at, each, moment, names, span, subject, text, whole, word
from exporter.providers import Repo, Site

WORDS = Words(
    status=by_word(
        {
            Status.QUEUED: "created preparing waiting_for_callback pending"
            " scheduled",  # scheduled: delayed jobs, not a cron
            Status.WAITING: "manual waiting_for_resource",  # which only one may use at a time
            Status.IN_PROGRESS: "running canceling",
        }
    ),
    conclusion=by_word(
        {
            "passed": "success",
            "partial": "success-with-warnings success_with_warnings",
            "failed": "failed",
            "cancelled": "canceled",
            "skipped": "skipped",
        }
    ),
    trigger=by_word(
        {
            "push": "push",
            "merge_request": "merge_request_event external_pull_request_event",
            "cron": "schedule pipeline_execution_policy_schedule",
            "web": "web webide chat",
            "api": "api trigger",
        }
    )
    | unchanged(
        "unknown external pipeline parent_pipeline ondemand_dast_scan ondemand_dast_validation"
        " security_orchestration_policy container_registry_push duo_workflow"
        " dependency_management_security_update"
    ),
)
"""REST API v4: `status` of pipelines and jobs, the group of `detailed_status`, `source`."""

REASONS = by_word(
    {
        "failed": "unknown_failure script_failure missing_dependency_failure archived_failure"
        " forward_deployment_failure failed_outdated_deployment_job user_blocked project_deleted"
        " pipeline_loop_detected trace_size_exceeded builds_disabled environment_creation_failure"
        " deployment_rejected protected_environment_failure secrets_provider_not_found"
        " ip_restriction_failure insufficient_bridge_permissions"
        " downstream_bridge_project_not_found invalid_bridge_trigger"
        " upstream_bridge_project_not_found insufficient_upstream_permissions"
        " bridge_pipeline_is_child_pipeline downstream_pipeline_creation_failed"
        " reached_max_descendant_pipelines_depth reached_max_pipeline_hierarchy_size"
        " reached_downstream_pipeline_trigger_rate_limit duo_workflow_not_allowed"
        " downstream_project_trigger_resolved_to_empty id_token_burned_project_path",
        "timeout": "job_execution_timeout job_execution_server_timeout server_timeout_running"
        " server_timeout_canceling stuck_or_timeout_failure stuck_pending_with_matching_runners"
        " stuck_pending_no_matching_runners no_updates_running no_updates_canceling",
        # The server or the runner: the job's script had no part in it.
        "error": "runner_system_failure api_failure data_integrity_failure scheduler_failure"
        " stale_schedule runner_unsupported no_matching_runner unmet_prerequisites"
        " ci_quota_exceeded runner_configuration_error runner_external_dependency_failure"
        " runner_interrupted job_router_failure job_token_expired",
    }
)
"""Conclusions of failed jobs by their `failure_reason`."""


_REQUEST = re.compile(r"refs/(?:merge-requests|pull)/(?P<number>[^/]+)/(?P<kind>\w+)")
"""The ref of a merge request: `head` as it is, `merge` as merged, `train` as queued for it."""
_SPELLED_OUT = {"refs/heads/": Ref.BRANCH, "refs/tags/": Ref.TAG}
_BOT = re.compile(r"(?:project|group)_\d+_bot|service_account|.*\[bot\]\Z")
"""How the user names begin that GitLab gives to access tokens and service accounts."""


class Pipeline(msgspec.Struct, frozen=True, omit_defaults=True):
    """A pipeline. Lists leave out the tag flag, the times of the run, the user and the details."""

    id: int | Id
    iid: Any = None
    status: Any = None
    source: Any = None
    ref: Any = None
    sha: Any = None
    name: Any = None
    """As `workflow:name` sets it."""
    web_url: Any = None
    user: Any = None
    tag: Any = None
    detailed_status: Any = None
    created_at: Any = None
    updated_at: Any = None
    started_at: Any = None
    finished_at: Any = None


_Listed = msgspec.defstruct(
    "_Listed",
    [(member, msgspec.Raw, msgspec.Raw()) for member in Pipeline.__struct_fields__],
    omit_defaults=True,
)
"""A pipeline in a list: its members as they came, so that one odd one does not spoil the list."""

LISTED = cast(
    "type[list[Any]]",
    list[_Listed | str | int | float | bool | list[Any] | None],  # type: ignore[valid-type]
)
"""The type of a list of pipelines: a stored response keeps these fields alone."""


class JobItem(msgspec.Struct, frozen=True):
    """A job of a pipeline."""

    id: int | Id
    name: Any = None
    status: Any = None
    failure_reason: Any = None
    created_at: Any = None
    started_at: Any = None
    finished_at: Any = None
    queued_duration: Any = None
    commit: Any = None
    """That of its pipeline."""
    web_url: Any = None
    tag_list: Any = None
    """Of the runner that it asks for."""


def pipelines(listed: Iterable[Any]) -> tuple[list[Pipeline], int]:
    """The items of a `LISTED`, and how many could not be understood."""
    return each((msgspec.Raw(msgspec.json.encode(item)) for item in listed), Pipeline)


def to_build(item: Pipeline, repo: Repo, site: Site) -> Build:
    """Map a pipeline. Pipeline ids are unique in a GitLab instance."""
    begun, ended = moment(item.started_at), moment(item.finished_at)
    state = _state(item, begun, ended)
    source = word(item.source)
    why, unknown = trigger(WORDS, source)
    branch, ref = _ref(text(item.ref), source, is_tag=item.tag is True)
    request = _REQUEST.match(branch or "")
    by = subject(at(item.user, "username")) or subject(at(item.user, "name"))
    return Build(
        key=BuildKey(str(item.id)),
        native_id=str(item.id),
        repo=repo.entry,
        branch=branch,
        ref=ref,
        default_branch=repo.default_branch,
        number=whole(item.iid),
        trigger=why,
        created_at=moment(item.created_at),
        changed_at=moment(item.updated_at),
        commit=subject(item.sha),
        title=subject(item.name),
        triggered_by=by,
        triggered_by_type=None if by is None else Actor.BOT if _BOT.match(by) else Actor.USER,
        pull_request=None if request is None else whole(request["number"]),
        url=site.own(item.web_url) or _page(site, repo, "pipelines", item.id),
        **state.fields(*unknown),
    )


def as_listed(build: Build) -> Build:
    """A listed build, with its last change in place of the times that lists leave out.

    So it is as old as its place in the list says: a pipeline that was created long ago
    and has just completed is no known ground. `detail` puts the real times in.
    """
    if build.status is Status.COMPLETED:
        return replace(build, completed_at=build.changed_at, partial=True)
    return replace(build, started_at=build.changed_at, partial=True)


def with_commit(build: Build, items: Iterable[JobItem]) -> Build:
    """`build` with the subject of its commit and its time, which its jobs tell."""
    own = (item.commit for item in items if build.commit in (None, at(item.commit, "id")))
    commit = next((told for told in own if isinstance(told, dict)), None)
    if commit is None:
        return build
    return replace(
        build,
        commit=build.commit or subject(commit.get("id")),
        commit_at=moment(commit.get("committed_date")),
        title=subject(commit.get("title")) or build.title,
    )


def _page(site: Site, repo: Repo, kind: str, number: Any) -> str | None:
    """The page of a pipeline or job, made of the project's path; None where that is not known."""
    return None if repo.entry.isdecimal() else site.page(repo.entry, "-", kind, number)


def to_jobs(items: Iterable[JobItem], repo: Repo, site: Site) -> tuple[Job, ...]:
    """Map the jobs of a pipeline. Jobs of one name are attempts in the order of their ids.

    A list that shifts while its pages are read repeats a job; the later state is taken.
    """
    listed = {str(item.id): item for item in items}
    attempts: Counter[str] = Counter()
    jobs: list[Job] = []
    for item in sorted(listed.values(), key=lambda item: whole(item.id) or 0):
        name = text(item.name) or ""
        attempts[name] += 1
        url = site.own(item.web_url) or _page(site, repo, "jobs", item.id)
        jobs.append(replace(to_job(item, name, attempts[name]), url=url))
    return tuple(jobs)


def to_job(item: JobItem, name: str, attempt: int) -> Job:
    """Map a job. It is queued from the moment its stage may begin, by `queued_duration`.

    Its creation says nothing: all jobs are created with their pipeline, also those that wait
    for earlier stages or that a person starts days later.
    """
    begun, ended = moment(item.started_at), moment(item.finished_at)
    state = resolve_state(WORDS, word(item.status), started=begun, ended=ended)
    reason = word(item.failure_reason) if state.conclusion == "failed" else None
    odd = () if reason is None or reason in REASONS else (Unmapped("failure_reason", reason),)
    if reason in REASONS:
        state = state._replace(conclusion=REASONS[reason])
    created, queued = moment(item.created_at), span(item.queued_duration)
    if begun is not None:
        created = None if queued is None else begun - queued
    return Job(
        id=str(item.id),
        name=name,
        attempt=attempt,
        created_at=created,
        labels=names(item.tag_list),
        **state.fields(*odd),
    )


def lacks(build: Build) -> bool:
    """Whether a completed build has no start or no end of its own; a skipped one needs none."""
    return (
        build.status is Status.COMPLETED
        and build.conclusion != "skipped"
        and (build.started_at is None or _end(build) is None)
    )


def _end(build: Build) -> float | None:
    """The end; None if the start is later, as the end is then that of an earlier run."""
    if build.completed_at is None or build.started_at is None:
        return build.completed_at
    return build.completed_at if build.completed_at >= build.started_at else None


def filled_by_jobs(build: Build, jobs: Iterable[Job]) -> Build:
    """A build with a missing start or end taken from its jobs."""
    if not lacks(build):
        return build
    full = filled_by(replace(build, completed_at=_end(build)), summary(jobs))
    ended = build.completed_at if full.completed_at is None else full.completed_at
    return replace(full, completed_at=ended, conclusion=build.conclusion)


def _state(item: Pipeline, begun: float | None, ended: float | None) -> State:
    """The state of a pipeline. Its group shows whether only jobs failed that may fail."""
    status, group = word(item.status), word(at(item.detailed_status, "group"))
    warned = status == "success" and WORDS.conclusion.get(group or "") == "partial"
    return resolve_state(WORDS, status, group if warned else None, started=begun, ended=ended)


def _ref(name: str | None, source: str | None, *, is_tag: bool) -> tuple[str | None, Ref]:
    """The branch and its kind. The pipeline of a merge request has a ref of its own."""
    if (found := _REQUEST.match(name or "")) is not None:
        return name, Ref.MERGE_QUEUE if found["kind"] == "train" else Ref.PULL_REQUEST
    if WORDS.trigger.get(source or "") == "merge_request":
        return name, Ref.PULL_REQUEST
    for prefix, kind in _SPELLED_OUT.items():
        if name is not None and name.startswith(prefix):
            return name.removeprefix(prefix), kind
    return name, Ref.TAG if is_tag else Ref.BRANCH
