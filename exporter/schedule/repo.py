"""One polled repo: when its turn is, and what it is worth."""

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
"""What a poll may be late where many are due: a share of its interval, and seconds at most."""
_AHEAD = 0.97
"""The most of the longest interval that an idle repo has when it will wait for its turn too."""
_GONE = 3
"""Polls in a row without finding a repo before its unfinished builds are shown no longer."""


class RepoState(msgspec.Struct):
    """What the schedule knows of a repo.

    `due` and `moved_at` are monotonic, the other times are epoch seconds, spans seconds.
    """

    repo: Repo
    due: float
    demand: Demand
    interval: float
    """The one in force."""
    moved_at: float
    """When a poll last brought news; before the first one, when the repo was met."""
    notes: RepoNotes = msgspec.field(default_factory=RepoNotes)
    last_success: float = 0.0
    error: str | None = None
    reason: str | None = None
    advice: str | None = None
    """What a person can do, where that is not what the reason alone suggests."""
    failures: int = 0
    unread: int = 0
    """Parts that the last poll could not read while it could read the others."""
    gone: int = 0
    is_unfinished: bool = False
    """Whether the last poll had more to read than it could; the next one goes on at once."""
    target: int | None = None
    ticket: int | None = None
    """Its place in the line for the next poll; None while it is polled."""
    saved_at: float | None = None
    """Monotonic seconds when its row was last handed out to be written."""
    is_polled: bool = False
    """Whether a poll of it is under way."""
    is_hastened: bool = False
    """Whether a poll was asked for that has not begun."""
    was_polled: bool = False
    """Whether this process has polled it to the end."""
    begun_at: float = 0.0
    """Monotonic seconds when its last poll began, or when it was added."""
    backs_off: bool = False
    """Whether its last poll failed for its own sake, and not for the account's."""
    backoff_until: float = 0.0
    """No poll before then, as the last one failed; monotonic seconds."""

    @property
    def deadline(self) -> float:
        """By when its next poll should have begun: what usually brings more news comes first."""
        return self.due + min(_SLACK * self.demand.short, _MOST_SLACK)

    @property
    def is_gone(self) -> bool:
        """Whether the provider has denied it often enough."""
        return self.gone >= _GONE

    def succeeded(self, now: float) -> None:
        """Note a poll to the end at `now`."""
        self.last_success, self.was_polled = now, True
        self.backs_off, self.backoff_until = False, 0.0
        self.error, self.reason, self.failures, self.gone = None, None, 0, 0
        self.advice, self.unread = None, 0

    def failed(self, error: ProviderError, at: float) -> None:
        """Note a poll that failed at the monotonic second `at`."""
        self.backs_off = not error.account_wide
        if self.backs_off and isinstance(error, TryLater) and error.delay is not None:
            self.backoff_until = at + error.delay
        self.error, self.reason, self.advice = str(error), error.reason, error.advice
        self.is_unfinished = False
        self.failures += 1
        self.gone = self.gone + 1 if isinstance(error, Gone) else 0


def log_facts(
    account: str, state: RepoState, requests: RequestCount, seconds: float
) -> dict[str, object]:
    """The facts of a log line about a poll of it that took so many seconds."""
    return {
        "account": account,
        "repo": state.repo.entry,
        "duration": round(seconds, 3),
        "requests": requests.sent,
        "result": state.reason or "ok",
    }


def demand_in_trouble(span: Span, error: ProviderError, failures: int) -> Demand:
    """What a failing repo gets: more with each failure, the longest if only a person can help."""
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
    """What a sound repo with these unfinished builds is worth.

    `at` is monotonic, `now` the provider's clock. While the budget has plenty only the silence
    that was witnessed makes an interval longer; when it is short, what the repo usually brings
    is all that counts.
    """
    activity = state.notes.activity
    silence, gap = at - state.moved_at, activity.mean_gap(now)
    plenty = idle_interval(span, silence=silence, gap=gap)
    short = habitual_interval(span, silence=max(silence, activity.idle_for(now)), gap=gap)
    age = min((now - begun for build in active if (begun := _begun(build))), default=math.inf)
    short = min(short, max(span.interval, _AHEAD * span.longest))
    busy = busy_interval(span, age=max(age, 0.0))
    if busy is not None:
        plenty, short = min(plenty, busy), span.interval
    return Demand(plenty, short, span.longest)


def _begun(build: Build) -> float | None:
    """When an unfinished build began; one that is held for a person promises no news."""
    if build.only_jobs:
        return max((job.time for job in build.jobs if job.time is not None), default=None)
    return None if build.status is Status.WAITING else build.time
