"""What builds, queue items and stages of Jenkins say: pure reading, no requests."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote

import msgspec
from msgspec.structs import replace

from exporter.model import Build, Job, Ref, Status, Unmapped
from exporter.payload import at, listed, moment, span, text, whole, word
from exporter.providers.jenkins.words import BY_DESCRIPTION, PRIORITY, WORDS
from exporter.words import standing, trigger

RUN_FIELDS = (
    "_class,number,queueId,building,result,timestamp,duration,"
    "actions[_class,causes[_class,shortDescription],lastBuiltRevision[branch[name]],"
    "queuingDurationMillis]"
)
"""What is asked for of a build."""
QUEUE_FIELDS = "items[id,inQueueSince,task[url]]"
_CHANGE = re.compile(r"(?:PR|MR)-\d+")
_TASK = re.compile(r"(?:^|/)((?:job/[^/]+/?)+)$")
"""The end of a job's URL; a part of a running pipeline that waits has its number behind."""
_INTERRUPTED = "InterruptedBuildAction"
_TOO_LONG = re.compile(r"ExceededTimeout$|time_?out", re.IGNORECASE)


class Run(msgspec.Struct, frozen=True, rename="camel"):
    """A build as it is listed. Times are milliseconds."""

    number: int
    timestamp: int
    kind: Any = msgspec.field(default=None, name="_class")
    queue_id: Any = None
    building: Any = None
    result: Any = None
    duration: Any = None
    actions: Any = None

    @property
    def is_pipeline(self) -> bool:
        """Whether it may have stages; true where its class is not told."""
        return text(self.kind) is None or str(self.kind).endswith("WorkflowRun")


class QueueItem(msgspec.Struct, frozen=True, rename="camel"):
    """What waits for an executor."""

    id: int
    in_queue_since: Any = None
    task: Any = None

    @property
    def path(self) -> str | None:
        """The job it will be a build of."""
        match = _TASK.search(text(at(self.task, "url")) or "")
        if match is None:
            return None
        parts = match[1].strip("/").split("/")
        return "/".join(unquote(name) for name in parts[1::2])


class Stage(msgspec.Struct, frozen=True, rename="camel"):
    """A stage of a pipeline run, as the stage view has it. Times are milliseconds."""

    id: str
    name: Any = None
    status: Any = None
    start_time_millis: Any = None
    duration_millis: Any = None


class Where(NamedTuple):
    """The job of a build, and what its labels come from."""

    label: str
    """The `repo` label: the job path, of a multibranch job without its branch."""
    path: str
    """The full job path; that of a branch job ends with the quoted branch."""

    @property
    def branch(self) -> str | None:
        """The branch of a multibranch job's branch job."""
        inner = self.path.removeprefix(f"{self.label}/")
        return unquote(inner) if inner != self.path else None


def to_build(run: Run, where: Where) -> Build:
    """A listed build. Its numbers may start again, so the start is part of the key."""
    started = moment(run.timestamp)
    ended = _end(run, started)
    stands = standing(WORDS, word(run.building), word(run.result), started=started, ended=ended)
    conclusion = stands.conclusion
    if conclusion == "cancelled" and _timed_out(run):
        conclusion = "timeout"
    why, unmapped = _trigger(run)
    branch = where.branch if where.branch is not None else _checked_out(run)
    change = branch is not None and _CHANGE.fullmatch(branch) is not None
    if change and why == "push":
        why = "merge_request"
    second = "" if started is None else int(started)
    return Build(
        key=f"{where.path}#{run.number}@{second}",
        native_id=str(run.number),
        number=whole(run.number),
        repo=where.label,
        workflow=where.label.rpartition("/")[2],
        branch=branch,
        ref=Ref.PULL_REQUEST if change or why == "merge_request" else Ref.BRANCH,
        status=stands.status,
        conclusion=conclusion,
        trigger=why,
        created_at=_created(run, started),
        started_at=started,
        completed_at=ended if stands.status is Status.COMPLETED else None,
        unmapped=(*stands.unmapped, *unmapped),
    )


def _end(run: Run, started: float | None) -> float | None:
    """`timestamp` plus `duration`; the duration of a running build is 0."""
    if run.building is True or started is None:
        return None
    lasted = span(run.duration, per_second=1000)
    return None if lasted is None else started + lasted


def _created(run: Run, started: float | None) -> float | None:
    """When it was put in the queue; only the Metrics plugin tells."""
    told = (at(action, "queuingDurationMillis") for action in listed(run.actions))
    spans = (span(value, per_second=1000) for value in told)
    queued = next((queued for queued in spans if queued is not None), None)
    return None if queued is None or started is None else started - queued


def _causes(run: Run, *, interrupted: bool) -> Iterator[Any]:
    """Why it began, or why it was interrupted."""
    for action in listed(run.actions):
        kind = text(at(action, "_class")) or ""
        if kind.endswith(_INTERRUPTED) == interrupted:
            yield from listed(at(action, "causes"))


def _timed_out(run: Run) -> bool:
    """Whether the step that limits time interrupted it; the result is ABORTED then."""
    kinds = (text(at(cause, "_class")) or "" for cause in _causes(run, interrupted=True))
    return any(_TOO_LONG.search(kind) for kind in kinds)


def _trigger(run: Run) -> tuple[str, tuple[Unmapped, ...]]:
    """The most telling cause that is known; an unknown one only where there is no other."""
    causes = list(_causes(run, interrupted=False))
    words = [word(at(cause, "_class")) or "" for cause in causes]
    known = {WORDS.trigger[kind] for kind in words if kind in WORDS.trigger}
    for cause, kind in zip(causes, words, strict=True):
        said = (text(at(cause, "shortDescription")) or "").lower()
        known.update(
            why for start, why in BY_DESCRIPTION.items() if not kind and said.startswith(start)
        )
    first = next((why for why in PRIORITY if why in known), None)
    if first is not None:
        return first, ()
    return trigger(WORDS, next(filter(None, words), None))


def _checked_out(run: Run) -> str | None:
    """The branch of the last checkout; those before it are of shared libraries."""
    found = (
        text(at(branch, "name"))
        for action in reversed(listed(run.actions))
        for branch in listed(at(action, "lastBuiltRevision.branch"))
    )
    name = next((name for name in found if name not in (None, "detached")), None)
    return name and re.sub(r"^(?:refs/remotes/)?origin/|^refs/heads/", "", name)


def to_queued(item: QueueItem, where: Where) -> Build:
    """A queue item as a queued build; it gets another key when it starts."""
    branch = where.branch
    change = branch is not None and _CHANGE.fullmatch(branch) is not None
    return Build(
        key=f"{where.path}#queue-{item.id}",
        native_id=str(item.id),
        repo=where.label,
        workflow=where.label.rpartition("/")[2],
        branch=branch,
        ref=Ref.PULL_REQUEST if change else Ref.BRANCH,
        status=Status.QUEUED,
        created_at=moment(item.in_queue_since),
    )


def to_job(stage: Stage, build: Build) -> Job:
    """A stage. One that has not been executed yet waits; at the end it was skipped."""
    started = moment(stage.start_time_millis)
    lasted = span(stage.duration_millis, per_second=1000)
    ended = None if started is None or lasted is None else started + lasted
    said = word(stage.status)
    status: str | None = None if said == "null" else said
    if status == "not_executed" and build.status is not Status.COMPLETED:
        status = "queued"
    stands = standing(WORDS, status, None, started=started, ended=ended)
    return Job(
        id=stage.id,
        name=text(stage.name) or "",
        status=stands.status,
        conclusion=stands.conclusion,
        started_at=started,
        completed_at=ended if stands.status is Status.COMPLETED else None,
        unmapped=stands.unmapped,
    )


def with_stages(build: Build, status: Any, stages: Sequence[Stage], *, jobs: bool) -> Build:
    """A build with what the stage view adds: that it waits for a person, and its jobs."""
    at_ = build.status
    if at_ is not Status.COMPLETED:
        held = WORDS.status.get(word(status) or "") is Status.WAITING
        at_ = Status.WAITING if held else Status.IN_PROGRESS
    listed = tuple(to_job(stage, build) for stage in stages) if jobs else ()
    return replace(build, status=at_, jobs=listed, partial=False)
