"""One polled repo: when it is due, and how often it is worth a poll."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

import msgspec

from exporter.errors import Gone, ProviderError, Refused, TryLater
from exporter.http import RequestCount
from exporter.ledger.polling import GONE
from exporter.model import Build, Status
from exporter.providers import Repo
from exporter.schedule.plan import Demand
from exporter.sync.activity import Span, busy_interval, habitual_interval, idle_interval
from exporter.sync.notes import RepoNotes

Health = Literal["ok", "pending", "catching_up", "partial", "failing", "stale"]
"""How a repo is, as the status page says it."""

_SLACK, _MOST_SLACK = 0.05, 5.0
"""By how much a poll may be late: a share of its interval, and seconds at most."""
_BELOW_LONGEST = 0.97
"""The share of the longest interval that an idle repo has when the budget is short: its polls
then wait for a free worker too."""
_WHILE_CATCHING_UP = 2.0
"""Intervals between two polls of the newest page while the past of a repo is read: it is worth
requests too."""
_STALE = 3.0
"""Intervals without a successful poll after which a repo is stale."""
_LONG = 30.0
"""Seconds after which a first poll that has not ended no longer keeps others waiting."""


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
    """When its newest page was last read, epoch seconds; 0 if never."""
    error: str | None = None
    reason: str | None = None
    advice: str | None = None
    """What to do about the error, where the reason alone does not say it."""
    failures: int = 0
    unread: int = 0
    """Parts that the last poll could not read."""
    gone: int = 0
    is_unfinished: bool = False
    """Whether there is a past left to read, in polls of its own."""
    reads_past: bool = False
    """Whether the poll that is under way, or was the last one, reads that and no newest page."""
    past_success: float = 0.0
    """When a poll of the past last went well, epoch seconds."""
    past_rests_until: float = 0.0
    """No poll of the past before then, as the last one had to wait for the budget."""
    newest_share: float = 0.0
    """How much of the time that the first walk reads the newest page covers, from 0 to 1."""
    past_share: float = 0.0
    """How much of the rest this process has read, from 0 to 1."""
    target: int | None = None
    ticket: int | None = None
    """The number of its valid entry in the due queue; None while it is polled."""
    saved_at: float | None = None
    """When its row was last written."""
    taken_at: float = 0.0
    """When it was last taken from the due queue."""
    is_polled: bool = False
    """Whether a poll of it is under way, or about to begin."""
    is_hastened: bool = False
    """Whether a poll was asked for that has not begun."""
    was_polled: bool = False
    """Whether this process has read its newest page."""
    begun_at: float = 0.0
    """When its newest page was last asked for, or when it was added."""
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
        return self.gone >= GONE

    @property
    def is_pending(self) -> bool:
        """Whether it was never polled, well or not."""
        return not self.last_success and self.error is None

    @property
    def is_catching_up(self) -> bool:
        """Whether builds of before it was added are still to be read."""
        return self.is_unfinished or self.is_pending

    @property
    def awaits_newest(self) -> bool:
        """Whether it catches up, and this process has not read its newest page yet."""
        return not self.was_polled and self.is_catching_up

    def holds_up_the_past(self, now: float) -> bool:
        """Whether its newest page comes before the past of any repo. `now` is monotonic."""
        return self.awaits_newest and not (self.is_polled and now - self.taken_at > _LONG)

    def is_stale(self, now: float, interval: float) -> bool:
        """Whether no poll has succeeded for three intervals, or never one. `now` is epoch.

        `interval` is what a plan made now would give it.
        """
        succeeded_at = max(self.last_success, self.past_success)
        return now - succeeded_at > _STALE * max(self.interval, interval)

    def health(self, now: float, interval: float) -> Health:
        """How it is. The arguments are those of `is_stale`."""
        if self.is_unfinished:
            return "catching_up"
        if self.error is not None:
            return "partial" if self.unread and not self.failures else "failing"
        if self.is_pending:
            return "pending"
        return "stale" if self.is_stale(now, interval) else "ok"

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
        """Note a poll that read all that it was to, at `now` (epoch seconds)."""
        if self.reads_past:
            self.past_success = now
        else:
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
    if state.is_unfinished:
        ample = scarce = span.within(_WHILE_CATCHING_UP * span.interval)
    return Demand(ample, scarce, span.longest)


def _begun(build: Build) -> float | None:
    """When an unfinished build began; None for one that is held for a person or another."""
    if build.only_jobs:
        return max((job.time for job in build.jobs if job.time is not None), default=None)
    return None if build.status is Status.WAITING else build.time
