"""The build log: finished builds as people read them, each with its commit, author and link.

The transaction that counts a build writes it to the log, by the labels that its pipeline has before
the series limit folds any. Metrics never depend on the log, which forgets: it keeps the newest
builds of each pipeline, failed ones for the whole retention, and always the last passed one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Protocol

import msgspec

from exporter.ledger.rows import Labels
from exporter.model import FAILING, OTHER, Build, Job

_LONGEST_TITLE, _LONGEST_NAME, _LONGEST_URL = 200, 100, 2048
"""Characters."""
_MOST_JOBS = 20
"""Jobs of one build that are logged: those that did not pass, the failed ones first."""
_SPACE = re.compile(r"\s+")


class LoggedJob(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A finished job that did not pass."""

    name: str
    conclusion: str
    started_at: float | None = None
    completed_at: float | None = None
    url: str | None = None


class LoggedBuild(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One attempt of a build as people read it. What is not known is None.

    All text is one clean line of bounded length. Times are epoch seconds.
    """

    provider: str
    account: str
    repo: str
    workflow: str
    branch: str
    """The label; `ref` is the name that the provider has."""
    attempt: int = 1
    number: int | None = None
    status: str = "completed"
    conclusion: str | None = None
    trigger: str = OTHER
    ref: str | None = None
    commit: str | None = None
    commit_at: float | None = None
    title: str | None = None
    triggered_by: str | None = None
    triggered_by_type: str | None = None
    pull_request: int | None = None
    environment: str | None = None
    created_at: float | None = None
    started_at: float | None = None
    completed_at: float | None = None
    duration_seconds: float | None = None
    queue_seconds: float | None = None
    url: str | None = None
    jobs: tuple[LoggedJob, ...] = ()

    @property
    def pipeline(self) -> Labels:
        """The labels of its pipeline."""
        return (self.provider, self.account, self.repo, self.workflow, self.branch)

    @property
    def is_failing(self) -> bool:
        """Whether it failed, timed out, or ended in error."""
        return self.conclusion in FAILING


class Which(StrEnum):
    """A build of a pipeline that has a name; the latest one is by completion."""

    LAST = "last"
    LAST_FAILED = "last_failed"
    FIRST_FAILED = "first_failed"
    """The first failing build after the last pass; none while the pipeline is green."""
    LAST_PASSED = "last_passed"


class BuildFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which builds of the log are wanted; what is None does not matter."""

    provider: str | None = None
    account: str | None = None
    repo: str | None = None
    workflow: str | None = None
    branch: str | None = None
    """The label, or the name that the provider has."""
    conclusion: str | None = None
    commit: str | None = None
    """The beginning of the hash, in lower case."""
    since: float | None = None
    """Completed, else created, at this time or later. Epoch seconds."""
    until: float | None = None
    """Completed, else created, before this time."""
    accounts: tuple[str, ...] | None = None
    """Only of these."""


class BuildPage(msgspec.Struct, frozen=True):
    """A part of the log, newest first."""

    builds: list[LoggedBuild]
    next: str | None = None
    """Asks for the part after this one; None at the end. Opaque, and valid as long as the state
    is: builds that arrive meanwhile neither repeat nor hide any."""


class PipelineSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The builds of a pipeline that have a name."""

    last: LoggedBuild
    last_passed: LoggedBuild | None = None
    last_failed: LoggedBuild | None = None
    first_failed: LoggedBuild | None = None
    """The first failing build after the last pass."""
    failures: int = 0
    """Failing builds since the last pass."""

    def find(self, which: Which) -> LoggedBuild | None:
        """The build that has this name."""
        found: LoggedBuild | None = getattr(self, which.value)
        return found


class BuildLog(Protocol):
    """Reads the log. `Recorder.read_log` gives one between two steps of the ledger.

    Every method raises StateUnavailable if the store fails.
    """

    def builds(
        self, wanted: BuildFilter, *, limit: int = 100, cursor: str | None = None
    ) -> BuildPage:
        """The newest builds before `cursor` (`BuildPage.next`), at most `limit`.

        One call looks at a bounded number of rows: fewer builds than `limit`, even none, are
        the end only where `next` is None. Raises ValueError for a cursor that is none.
        """

    def summaries(self, pipelines: Sequence[Labels]) -> dict[Labels, PipelineSummary]:
        """The named builds of these pipelines; those without a build in the log are left out."""

    def pipelines(self, account: str, repo: str) -> list[Labels]:
        """The pipelines of a repo (the label) that have builds in the log, sorted."""


def logged(build: Build, labels: Labels, *, conclusion: str | None = None) -> LoggedBuild:
    """`build` as people read it; `labels` are those of its pipeline.

    `conclusion` is the label's word for a finished build; None for an unfinished one.
    """
    provider, account, repo, workflow, branch = labels
    duration, queue, actor = build.duration, build.queue, build.triggered_by_type
    return LoggedBuild(
        provider=provider,
        account=account,
        repo=repo,
        workflow=workflow,
        branch=branch,
        attempt=build.attempt,
        number=build.number,
        status=build.status.value,
        conclusion=conclusion,
        trigger=build.trigger,
        ref=line(build.branch, _LONGEST_TITLE),
        commit=line(build.commit, _LONGEST_NAME),
        commit_at=build.commit_at,
        title=line(build.title, _LONGEST_TITLE),
        triggered_by=line(build.triggered_by, _LONGEST_NAME),
        triggered_by_type=None if actor is None else actor.value,
        pull_request=build.pull_request,
        environment=line(build.environment, _LONGEST_NAME),
        created_at=build.created_at,
        started_at=build.started_at,
        completed_at=build.completed_at,
        duration_seconds=None if duration is None or duration < 0 else duration,
        queue_seconds=None if queue is None or queue < 0 else queue,
        url=_address(build.url),
        jobs=tuple(_logged_jobs(build)),
    )


def _logged_jobs(build: Build) -> list[LoggedJob]:
    bad = [job for job in build.jobs if job.conclusion not in (None, "passed", "skipped")]
    bad.sort(key=lambda job: (job.conclusion not in FAILING, job.completed_at or 0.0))
    return [_logged_job(job) for job in bad[:_MOST_JOBS]]


def _logged_job(job: Job) -> LoggedJob:
    return LoggedJob(
        name=line(job.name, _LONGEST_NAME) or "",
        conclusion=line(job.conclusion, _LONGEST_NAME) or OTHER,
        started_at=job.started_at,
        completed_at=job.completed_at,
        url=_address(job.url),
    )


def line(text: Any, longest: int) -> str | None:
    """The first line of `text`, at most `longest` characters, with nothing that is not printed.

    Control characters, escapes, what turns the direction of text, and lone surrogates become
    U+FFFD, so that no terminal and no page obeys them. None if nothing is left.
    """
    if not isinstance(text, str):
        return None
    if len(text) <= longest and text.isprintable() and text == text.strip():  # nearly always
        return text or None
    first = text.lstrip()[: 4 * longest].partition("\n")[0].rstrip()
    if not first.isprintable():
        first = _SPACE.sub(" ", first)
        first = "".join(c if c.isprintable() else "\ufffd" for c in first)
    if len(first) > longest:
        first = f"{first[: longest - 1]}…"
    return first or None


def _address(url: str | None) -> str | None:
    return url if url is not None and len(url) <= _LONGEST_URL else None
