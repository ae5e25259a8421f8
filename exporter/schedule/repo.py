"""One polled repo: when it is due, and how often it is worth a poll."""

from __future__ import annotations

import math
from collections.abc import Iterable

import msgspec

from exporter.errors import Gone, ProviderError, Refused, TryLater
from exporter.http import RequestCount
from exporter.model import Build, Status
from exporter.providers import Repo
from exporter.schedule.plan import Demand
from exporter.sync.activity import Span, busy_interval, habitual_interval, idle_interval
from exporter.sync.notes import RepoNotes

_SLACK, _MOST_SLACK = 0.05, 5.0
"""By how much a poll may be late: a share of its interval, and seconds at most."""
_BELOW_LONGEST = 0.97
"""The share of the longest interval that an idle repo has when the budget is short: its polls
then wait for a free worker too."""
_GONE = 3
"""Polls in a row that do not find a repo until its unfinished builds are no longer shown."""


class RepoState(msgspec.Struct):
    """The schedule of one repo, and how its last polls went.

    Instants are monotonic seconds unless they are said to be epoch seconds.
    """

    repo: Repo
    due: float
    demand: Demand
    interval: float
    """The one in force."""
    moved_at: float
    """When a poll last found something new; before the first poll, when the repo was added."""
    notes: RepoNotes = msgspec.field(default_factory=RepoNotes)
    last_success: float = 0.0
    """When it was last polled to the end, epoch seconds; 0 if never."""
    error: str | None = None
    reason: str | None = None
    advice: str | None = None
    """What to do about the error, where the reason alone does not say it."""
    failures: int = 0
    unread: int = 0
    """Parts that the last poll could not read."""
    gone: int = 0
    is_unfinished: bool = False
    """Whether the last poll left builds unread; the next one goes on."""
    target: int | None = None
    ticket: int | None = None
    """The number of its valid entry in the due queue; None while it is polled."""
    saved_at: float | None = None
    """When its row was last written."""
    is_polled: bool = False
    """Whether a poll of it is under way, or about to begin."""
    is_hastened: bool = False
    """Whether a poll was asked for that has not begun."""
    was_polled: bool = False
    """Whether this process has polled it to the end."""
    begun_at: float = 0.0
    """When its last poll began, or when it was added."""
    backs_off: bool = False
    """Whether its last poll failed for a reason that is not the whole account's."""
    backoff_until: float = 0.0
    """No poll before then, as the last one failed."""
    asked_until: float = 0.0
    """No poll before then, as the API asked when the last one failed."""

    @property
    def default_branch(self) -> str | None:
        """Where discovery tells it."""
        return self.repo.default_branch

    @property
    def deadline(self) -> float:
        """When its next poll should have begun: earlier for a repo that is polled more often."""
        return self.due + min(_SLACK * self.demand.scarce, _MOST_SLACK)

    @property
    def is_gone(self) -> bool:
        """Whether enough polls in a row have not found it."""
        return self.gone >= _GONE

    def retry(self, span: Span, now: float, *, is_other: bool) -> None:
        """Be due if it was polled, or backs off, by another configuration. `now` is monotonic."""
        if self.backs_off:
            self.backoff_until = self.asked_until if self.asked_until > now else 0.0
            self.backs_off, self.due = self.backoff_until > 0, min(self.due, now)
        if is_other:
            self.demand = Demand(span.interval, span.interval, span.longest)
            if self.due > now + span.interval:
                self.due = now

    def succeeded(self, now: float) -> None:
        """Note a poll that read everything, at `now` (epoch seconds)."""
        self.last_success, self.was_polled = now, True
        self.backs_off, self.backoff_until, self.asked_until = False, 0.0, 0.0
        self.error, self.reason, self.failures, self.gone = None, None, 0, 0
        self.advice, self.unread = None, 0

    def failed(self, error: ProviderError, at: float) -> None:
        """Note a poll that failed at `at`."""
        self.backs_off = not error.account_wide
        if self.backs_off and isinstance(error, TryLater) and error.delay is not None:
            self.backoff_until = self.asked_until = at + error.delay
        self.error, self.reason, self.advice = str(error), error.reason, error.advice
        self.is_unfinished = False
        self.failures += 1
        self.gone = self.gone + 1 if isinstance(error, Gone) else 0


def log_facts(
    account: str, state: RepoState, requests: RequestCount, seconds: float
) -> dict[str, object]:
    """The fields of a log line about a poll that took so many seconds."""
    return {
        "account": account,
        "repo": state.repo.entry,
        "duration": round(seconds, 3),
        "requests": requests.sent,
        "result": state.reason or "ok",
    }


def demand_after_failure(span: Span, error: ProviderError, failures: int) -> Demand:
    """The demand of a failing repo: less with each failure, least if only a person can help."""
    if error.account_wide:
        wanted = span.interval  # the whole account rests instead
    elif isinstance(error, Gone | Refused):
        wanted = span.longest
    else:
        wanted = span.within(span.interval * 2.0 ** min(failures - 1, 10))
    return Demand(wanted, wanted, span.longest)


def demand_for(
    span: Span, state: RepoState, active: Iterable[Build], *, at: float, now: float
) -> Demand:
    """The demand of a repo with these unfinished builds that was polled well.

    `at` is monotonic, `now` the provider's clock. While the budget is ample only the time that
    polls have seen without news makes an interval longer; when it is short, how often the repo
    has new builds is all that counts.
    """
    activity = state.notes.activity
    idle_for, gap = at - state.moved_at, activity.mean_gap(now)
    ample = idle_interval(span, idle_for=idle_for, gap=gap)
    scarce = habitual_interval(span, idle_for=max(idle_for, activity.idle_for(now)), gap=gap)
    age = min((now - begun for build in active if (begun := _begun(build))), default=math.inf)
    scarce = min(scarce, max(span.interval, _BELOW_LONGEST * span.longest))
    busy = busy_interval(span, age=max(age, 0.0))
    if busy is not None:
        ample, scarce = min(ample, busy), span.interval
    return Demand(ample, scarce, span.longest)


def _begun(build: Build) -> float | None:
    """When an unfinished build began; None for one that is held for a person or another."""
    if build.only_jobs:
        return max((job.time for job in build.jobs if job.time is not None), default=None)
    return None if build.status is Status.WAITING else build.time
