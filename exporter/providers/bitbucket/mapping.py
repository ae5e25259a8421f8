"""Maps Bitbucket's pipelines and steps to builds and jobs. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec.structs import replace

from exporter.model import Actor, Build, BuildKey, Job, Ref, Status
from exporter.model.summary import filled_by, summary
from exporter.model.vocabulary import State, Words, by_word, resolve_state, trigger, unchanged
from exporter.payload import Id, at, moment, subject, text, whole, word
from exporter.providers import Repo, Site

WORDS = Words(
    status=by_word(
        {
            Status.QUEUED: "PARSING PENDING READY",
            # PAUSED: for a manual step, or a deployment to the same environment. HALTED: a step
            # was stopped, and the rest waits until somebody runs it.
            Status.WAITING: "PAUSED HALTED",
            Status.IN_PROGRESS: "IN_PROGRESS BUILDING RUNNING",
            Status.COMPLETED: "COMPLETED",
        }
    ),
    conclusion=by_word(
        {
            "passed": "SUCCESSFUL PASSED",
            "failed": "FAILED",
            "error": "ERROR",  # configuration or infrastructure
            "cancelled": "STOPPED",
            "timeout": "EXPIRED",
            "skipped": "NOT_RUN",
        }
    )
    | unchanged("UNKNOWN"),
    trigger=by_word(
        {
            "push": "PUSH pipeline_trigger_push",
            "merge_request": "PULL_REQUEST PULLREQUEST pipeline_trigger_pull_request"
            " pipeline_trigger_pullrequest",
            "web": "MANUAL pipeline_trigger_manual",  # runs by the API look alike
            "cron": "SCHEDULE SCHEDULED pipeline_trigger_schedule pipeline_trigger_scheduled",
            "parent_step": "PARENT_STEP pipeline_trigger_parent_step",
            "parent_pipeline": "PARENT_PIPELINE pipeline_trigger_parent_pipeline",
        }
    ),
)
"""REST API 2.0: pipeline and step states with their stages and results, trigger types."""

SECTIONS = unchanged("default") | by_word(
    {
        "pull-requests": "pull-requests pullrequests pull_requests pull-request pullrequest",
        "branches": "branches branch",
        "tags": "tags tag",
        "bookmarks": "bookmarks bookmark",
    }
)
"""Types of a selector that are sections of `bitbucket-pipelines.yml`. Any other (`custom`)
is named by its pattern."""

UUID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_ACTORS = {"user": Actor.USER, "team": Actor.USER, "app_user": Actor.BOT}
_KIND = re.compile(r"pipeline_(?:step_)?state_(?:(?:pending|in_progress|completed)_)?")


class Pipeline(msgspec.Struct, frozen=True):
    """A pipeline. Its start is not among its fields."""

    uuid: Id
    build_number: Any = None
    run_number: Any = None
    state: Any = None
    target: Any = None
    trigger: Any = None
    creator: Any = None
    created_on: Any = None
    completed_on: Any = None


class Step(msgspec.Struct, frozen=True):
    """A step. Older servers spell the keys in camel case."""

    uuid: Id
    name: Any = None
    run_number: Any = None
    state: Any = None
    trigger: Any = None
    started_on: Any = None
    completed_on: Any = None
    run_number_: Any = msgspec.field(name="runNumber", default=None)
    started_on_: Any = msgspec.field(name="startedOn", default=None)
    completed_on_: Any = msgspec.field(name="completedOn", default=None)


def to_build(item: Pipeline, repo: Repo, site: Site) -> Build:
    """Map a pipeline. The start of a completed one is still missing."""
    created, ended = moment(item.created_on), moment(item.completed_on)
    state = _state(item.state, started=None, ended=ended)
    kind = word(at(item.trigger, "name")) or word(at(item.trigger, "type"))
    why, unknown = trigger(WORDS, kind)
    branch, ref = _ref(item.target)
    key = item.uuid.strip("{}")
    number = whole(item.build_number)
    return Build(
        key=BuildKey(key),
        native_id=key,
        repo=repo.entry,
        workflow=selected(item.target),
        branch=branch,
        ref=ref,
        default_branch=repo.default_branch,
        number=number,
        attempt=max(1, whole(item.run_number) or 1),
        trigger=why,
        created_at=created,
        # Where a pipeline does not number its runs, one that runs again ends once more.
        changed_at=ended if whole(item.run_number) is None else None,
        partial=state.status is Status.COMPLETED and state.conclusion != "skipped",
        url=results(site, repo.entry, number),
        **origin(item.target, item.creator),
        **state.fields(*unknown),
    )


def origin(target: Any, creator: Any) -> dict[str, Any]:
    """What was built, and who began it, as fields of a build.

    The title of a commit is not always told; that of a pull request takes its place.
    """
    titles = (at(target, "commit.message"), at(target, "pullrequest.title"))
    by = subject(at(creator, "display_name")) or subject(at(creator, "nickname"))
    return {
        "commit": subject(at(target, "commit.hash")),
        "commit_at": moment(at(target, "commit.date")),
        "title": next(filter(None, map(subject, titles)), None),
        "triggered_by": by,
        "triggered_by_type": _ACTORS.get(word(at(creator, "type")) or "") if by else None,
        "pull_request": whole(at(target, "pullrequest.id")),
    }


def results(site: Site, entry: str, number: int | None, *below: str) -> str | None:
    """The address of a pipeline's page, or of one `below` it."""
    return site.page(braced(entry), "pipelines/results", number, *below)


def braced(entry: str) -> str:
    """An entry as it is in addresses: ids have braces, which people leave out."""
    return "/".join(f"{{{p}}}" if re.fullmatch(UUID, p) else p for p in entry.split("/"))


def to_job(step: Step, build: Build, site: Site) -> Job:
    """Map a step. A step that is run again has a `run_number` of its own.

    A manual step is pending from the beginning; it waits for a person when its pipeline does.
    """
    begun = moment(step.started_on or step.started_on_)
    ended = moment(step.completed_on or step.completed_on_)
    state = _state(step.state, started=begun, ended=ended)
    manual = word(at(step.trigger, "type")) == "pipeline_step_trigger_manual"
    if state.status is Status.QUEUED and manual and build.status is Status.WAITING:
        state = state._replace(status=Status.WAITING, started_at=begun)
    attempt = whole(step.run_number) or whole(step.run_number_)
    key = step.uuid.strip("{}")
    return Job(
        id=key,
        name=text(step.name) or "",
        attempt=build.attempt if attempt is None else max(1, attempt),
        url=results(site, build.repo, build.number, "steps", f"{{{key}}}"),
        **state.fields(),
    )


def apart(steps: Iterable[Step]) -> list[Step]:
    """Each run of a step once, in its latest state: lists that shift between pages repeat some."""
    return list({(s.uuid, s.run_number or s.run_number_): s for s in steps}.values())


def filled(build: Build, jobs: tuple[Job, ...]) -> Build:
    """Add to a completed build what only its steps show, such as its start.

    Steps that passed in an earlier attempt are listed again as they were then, and those
    that were not run have a time too: that of the decision.
    """
    is_numbered = build.changed_at is None  # else all runs of it are one attempt
    mine = [job for job in jobs if job.attempt == build.attempt or not is_numbered]
    every, ran = summary(mine), summary(job for job in mine if job.conclusion != "skipped")
    build = replace(build, started_at=ran.started)
    if build.status is not Status.COMPLETED:
        return build
    return filled_by(build, ran._replace(conclusion=every.conclusion))


def _state(state: Any, *, started: float | None, ended: float | None) -> State:
    """The state of a pipeline or step. The stage of an unfinished one is more precise."""
    result = _said(at(state, "result"))
    found = resolve_state(WORDS, _said(state), result, started=started, ended=ended)
    stage = WORDS.status.get(_said(at(state, "stage")) or "")
    if found.status is not Status.COMPLETED and stage is Status.WAITING:
        return found._replace(status=stage)
    return found


def _said(named: Any) -> str | None:
    """The word of a state, stage or result: its name, else what its type ends with."""
    kind = word(at(named, "type"))
    return word(at(named, "name")) or (_KIND.sub("", kind, count=1) if kind else None)


def selected(target: Any) -> str:
    """Which part of `bitbucket-pipelines.yml` ran: a section, or a custom pipeline's name."""
    kind = word(at(target, "selector.type")) or ""
    return SECTIONS.get(kind, text(at(target, "selector.pattern")) or kind)


def _ref(target: Any) -> tuple[str | None, Ref]:
    name = text(at(target, "ref_name"))
    if is_pull_request(target):
        return name or text(at(target, "source")), Ref.PULL_REQUEST
    if word(at(target, "ref_type")) in ("tag", "annotated_tag"):
        return name, Ref.TAG
    return name, Ref.BRANCH


def is_pull_request(target: Any) -> bool:
    """Whether a pipeline ran for a pull request: by its target, or the section that ran."""
    kind, section = word(at(target, "type")), word(at(target, "selector.type"))
    return kind == "pipeline_pullrequest_target" or SECTIONS.get(section or "") == "pull-requests"
