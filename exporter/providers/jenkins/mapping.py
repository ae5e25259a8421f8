"""Maps builds, queue items and stages of Jenkins to builds and jobs. No I/O."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

import msgspec
from msgspec.structs import replace

from exporter.model import Build, BuildKey, Job, Ref, Status, Unmapped
from exporter.model.summary import filled_by, summary
from exporter.model.vocabulary import resolve_state, trigger
from exporter.payload import at, listed, moment, span, subject, text, whole, word
from exporter.providers.jenkins import refs
from exporter.providers.jenkins.origin import checkouts, origin
from exporter.providers.jenkins.vocabulary import BY_DESCRIPTION, PRIORITY, WORDS

_MOST_CHANGES = 25
"""Commits of a build that are asked for; the newest stands last."""
_CHANGES = f"[items[commitId,timestamp,msg]{{0,{_MOST_CHANGES}}}]"
RUN_FIELDS = (
    "_class,number,displayName,queueId,building,result,timestamp,duration,"
    "actions[_class,causes[_class,shortDescription,userId,userName],"
    "lastBuiltRevision[SHA1,branch[name]],queuingDurationMillis],"
    f"changeSet{_CHANGES},changeSets{_CHANGES}"
)
"""The `tree` parameter for a build. A pipeline has `changeSets`, any other job one `changeSet`."""
QUEUE_FIELDS = "items[id,inQueueSince,task[url]]"
LEFT_FIELDS = "cancelled,inQueueSince,task[url],executable[number]"
_TASK = re.compile(r"(?:^|/)((?:job/[^/]+/?)+)$")
"""The end of a job's URL; a part of a running pipeline that waits has its number behind."""
_INTERRUPTED = "InterruptedBuildAction"
_TOO_LONG = re.compile(r"ExceededTimeout$|time_?out", re.IGNORECASE)


class Run(msgspec.Struct, frozen=True, rename="camel"):
    """A listed build. Times are in milliseconds; 0 if the controller has lost them."""

    number: int
    timestamp: Any = None
    kind: Any = msgspec.field(default=None, name="_class")
    queue_id: Any = None
    building: Any = None
    result: Any = None
    duration: Any = None
    actions: Any = None
    display_name: Any = None
    change_set: Any = None
    change_sets: Any = None

    @property
    def is_pipeline(self) -> bool:
        """Whether it may have stages; true if its class is missing."""
        return text(self.kind) is None or str(self.kind).endswith("WorkflowRun")

    @property
    def is_blank(self) -> bool:
        """Whether status, result and start are all missing."""
        has_state = isinstance(self.building, bool) or word(self.result) is not None
        return not has_state and moment(self.timestamp) is None


class QueueItem(msgspec.Struct, frozen=True, rename="camel"):
    """An item of the queue, which waits for an executor."""

    id: int
    in_queue_since: Any = None
    task: Any = None

    @property
    def path(self) -> str | None:
        """The path of the job that it will be a build of."""
        return _job_path(self.task)


class LeftItem(msgspec.Struct, frozen=True, rename="camel"):
    """A queue item that may have left the queue."""

    in_queue_since: Any = None
    task: Any = None
    cancelled: Any = None
    executable: Any = None
    """The build that came of it."""

    def is_of(self, path: str, known: Build) -> bool:
        """Whether this is the known queued build: ids start again when a queue is lost."""
        since, job = moment(self.in_queue_since), _job_path(self.task)
        return (since is None or known.created_at is None or since == known.created_at) and (
            job is None or job == path
        )


class Stage(msgspec.Struct, frozen=True, rename="camel"):
    """A stage of a pipeline run, as the stage view has it. Times are milliseconds."""

    id: str
    name: Any = None
    status: Any = None
    start_time_millis: Any = None
    duration_millis: Any = None


class Where(NamedTuple):
    """The job of a build, by its label and its path."""

    label: str
    """The `repo` label: the job path, of a multibranch job without its branch."""
    path: str
    """The full job path; that of a branch job ends with the quoted branch."""
    page: str | None = None
    """The address of the job's page."""

    @property
    def branch(self) -> str | None:
        """The branch of a multibranch job's branch job."""
        inner = self.path.removeprefix(f"{self.label}/")
        return unquote(inner) if inner != self.path else None

    def native_id(self, number: int) -> str:
        """The id under which a build or queue item of this job is requested."""
        return f"{self.path}/{number}"

    def queue_key(self, item: int) -> BuildKey:
        """The key of a queued build, which has no number yet."""
        return BuildKey(f"{self.path}#queue-{item}")


def to_build(run: Run, where: Where) -> Build:
    """Map a listed build. Numbers may start again, so the start is part of the key."""
    started = moment(run.timestamp)
    ended = None if run.building is True else end_of(started, run.duration)
    state = resolve_state(WORDS, word(run.building), word(run.result), started=started, ended=ended)
    if state.conclusion == "cancelled" and _timed_out(run):
        state = state._replace(conclusion="timeout")
    if state.status is Status.QUEUED:  # a listed build has left the queue
        state = state._replace(status=Status.IN_PROGRESS, started_at=started)
    why, unmapped = _trigger(run)
    title = subject(run.display_name)
    refs_seen = list(checkouts(run.actions))
    if where.branch is None:
        branch, ref = refs.of_checkout(refs_seen)
    else:
        branch, ref = refs.of_branch_job(where.branch, refs_seen)
    build = Build(
        key=BuildKey.begun(f"{where.path}#{run.number}", started),
        key_per_attempt=True,
        native_id=where.native_id(run.number),
        number=whole(run.number),
        repo=where.label,
        workflow=where.label.rpartition("/")[2],
        branch=branch,
        ref=Ref.PULL_REQUEST if why == "merge_request" else ref,
        trigger=why,
        created_at=_created(run, started),
        url=where.page and f"{where.page}{run.number}/",
        **origin(run.actions, [run.change_set, *listed(run.change_sets)], branch),
        **state.fields(*unmapped),
    )
    if build.title is None and title != f"#{run.number}":
        build = replace(build, title=title)
    return build


def in_order(
    builds: Iterable[Build], *, newer: float | None, since: float, high: int | None
) -> tuple[list[Build], float | None, bool]:
    """Listed builds, newest first, without those that may be of any age.

    Also returns when the oldest of a known age began, and whether all are older than `since`.

    A controller that crashed lists builds without their times. How old one is tell its number
    and its neighbours: what began before the next newer one (`newer` for the first), and after
    an older one. One that has completed, began neither after `since` nor above the number
    `high`, up to which all was read, is history or known by itself. Epoch seconds.
    """
    found = sorted(builds, key=lambda build: build.number or 0, reverse=True)
    for place, build in enumerate(found):
        if build.time is None:
            found[place] = replace(build, started_before=newer)
        elif build.started_at is not None:
            newer = build.started_at
    older = -math.inf
    news: list[Build] = []
    for build in reversed(found):
        older = older if build.started_at is None else build.started_at
        is_new = older >= since or (high is not None and (build.number or 0) > high)
        if build.time is not None or build.status is not Status.COMPLETED or is_new:
            news.append(build)
    ages = [build.started_before if build.time is None else build.time for build in found]
    return news[::-1], newer, all(at is not None and at < since for at in ages)


def split_id(known: Build) -> tuple[str, str]:
    """The job's path and the number of a build, or of the queue item that it is.

    The native ids of states up to format 4 lack the path, which is also in the key.
    """
    path, _, number = known.native_id.rpartition("/")
    return path or known.key.id.rpartition("#")[0], number


def resumed(build: Build, known: Build | None) -> Build:
    """Give a build that has lost its start the one that was known before."""
    if known is None or build.started_at is not None or known.started_at is None:
        return build
    return replace(build, key=known.key, started_at=known.started_at, created_at=known.created_at)


def end_of(started: float | None, duration: Any) -> float | None:
    """`timestamp` in seconds plus `duration` in milliseconds.

    The duration is 0 while a build runs, and stays 0 if the controller dies meanwhile.
    """
    lasted = span(duration, per_second=1000)
    return started + lasted if started is not None and lasted else None


def _created(run: Run, started: float | None) -> float | None:
    """When it entered the queue; None without the Metrics plugin."""
    values = (at(action, "queuingDurationMillis") for action in listed(run.actions))
    spans = (span(value, per_second=1000) for value in values)
    queued = next((queued for queued in spans if queued is not None), None)
    return None if queued is None or started is None else started - queued


def _causes(run: Run, *, interrupted: bool) -> Iterator[Any]:
    """The causes of a build, or those of its interruption."""
    for action in listed(run.actions):
        kind = text(at(action, "_class")) or ""
        if kind.endswith(_INTERRUPTED) == interrupted:
            yield from listed(at(action, "causes"))


def _timed_out(run: Run) -> bool:
    """Whether a timeout step interrupted it, for which the result is ABORTED."""
    kinds = (text(at(cause, "_class")) or "" for cause in _causes(run, interrupted=True))
    return any(_TOO_LONG.search(kind) for kind in kinds)


def _trigger(run: Run) -> tuple[str, tuple[Unmapped, ...]]:
    """The trigger by the most specific known cause, else the first unknown one."""
    causes = list(_causes(run, interrupted=False))
    words = [(text(at(cause, "_class")) or "").lower() for cause in causes]  # some are long
    known = {WORDS.trigger[kind] for kind in words if kind in WORDS.trigger}
    for cause, kind in zip(causes, words, strict=True):
        description = (text(at(cause, "shortDescription")) or "").lower()
        known.update(
            why
            for start, why in BY_DESCRIPTION.items()
            if not kind and description.startswith(start)
        )
    first = next((why for why in PRIORITY if why in known), None)
    if first is not None:
        return first, ()
    return trigger(WORDS, word(next(filter(None, words), None)))


def _job_path(task: Any) -> str | None:
    match = _TASK.search(text(at(task, "url")) or "")
    if match is None:
        return None
    parts = match[1].strip("/").split("/")
    return "/".join(unquote(name) for name in parts[1::2])


def to_queued(item: QueueItem, where: Where) -> Build:
    """Map a queue item to a queued build, which gets another key when it starts."""
    branch, ref = (
        (None, Ref.BRANCH) if where.branch is None else refs.of_branch_job(where.branch, ())
    )
    return Build(
        key=where.queue_key(item.id),
        native_id=where.native_id(item.id),
        repo=where.label,
        workflow=where.label.rpartition("/")[2],
        branch=branch,
        ref=ref,
        status=Status.QUEUED,
        created_at=moment(item.in_queue_since),
    )


def to_job(stage: Stage, build: Build) -> Job:
    """Map a stage. A stage not executed yet is queued, and skipped once the build has ended."""
    started = moment(stage.start_time_millis)
    lasted = span(stage.duration_millis, per_second=1000)
    ended = None if started is None or lasted is None else started + lasted
    status = word(stage.status)
    status = None if status == "null" else status
    if status == "not_executed" and build.status is not Status.COMPLETED:
        status = "queued"
    state = resolve_state(WORDS, status, started=started, ended=ended)
    return Job(
        id=stage.id,
        name=text(stage.name) or "",
        url=build.url and f"{build.url}execution/node/{quote(stage.id, safe='')}/",
        **state.fields(),
    )


def with_stages(build: Build, status: Any, stages: Sequence[Stage], *, jobs: bool) -> Build:
    """A build with what the stage view adds.

    That is its jobs, that it waits for a person, and what it lacks since the controller died.
    """
    found = tuple(to_job(stage, build) for stage in stages)
    build = replace(build, jobs=found if jobs else (), partial=False)
    native = word(status) or ""
    if build.status is not Status.COMPLETED:
        held = WORDS.status.get(native) is Status.WAITING
        return replace(build, status=Status.WAITING if held else Status.IN_PROGRESS)
    by_stages = summary(found)
    conclusion = WORDS.conclusion.get(native) or by_stages.conclusion
    return filled_by(build, by_stages._replace(conclusion=conclusion))


def lacks(build: Build) -> bool:
    """Whether the stage view may show what a completed build lacks."""
    return build.status is Status.COMPLETED and (
        build.conclusion is None or (build.completed_at is None and build.conclusion != "skipped")
    )
