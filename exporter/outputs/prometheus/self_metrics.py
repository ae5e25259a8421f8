"""What the exporter shows of itself: a page that is short and made anew for each scrape."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

import msgspec

from exporter import __version__
from exporter.http import ApiStats
from exporter.ledger.rows import Labels, Vector
from exporter.metrics import families as f
from exporter.metrics.families import Family
from exporter.metrics.labels import clean
from exporter.view.series_view import SeriesView

OF_REPO = (f.LAST_SUCCESS, f.POLL_INTERVAL)
"""The families with a sample for each repo: there may be thousands, so they are not here."""

_ELSEWHERE = (*OF_REPO, f.REPO_INFO)


class RepoView(Protocol):
    """What the poller shows of one repo."""

    @property
    def last_success(self) -> float:
        """Epoch seconds; 0 before the first."""

    @property
    def interval(self) -> float:
        """Seconds between two polls."""

    @property
    def default_branch(self) -> str | None:
        """Where discovery tells it."""


class AccountView(msgspec.Struct):
    """What the poller shows of one account."""

    provider: str
    account: str
    stats: ApiStats
    up: bool
    budget_exhausted: bool
    rejected: int
    polls: Vector
    """The poll duration histogram."""
    repos: Mapping[str, RepoView]
    """By entry."""
    page_of: Callable[[str], str | None]
    """The address of a repo's page at the provider, by its `repo` label."""
    states: Callable[[], Mapping[str, int]]
    """Counts the repos by state."""

    @property
    def labels(self) -> Labels:
        """Who it is."""
        return (self.provider, clean(self.account))


class FleetHealth(msgspec.Struct, frozen=True):
    """What a scrape shows of all processes that write the same state."""

    workers: int
    """How many live."""
    unheld: int
    """Accounts that none of them polls."""
    is_agreed: bool
    """Whether their files say the same."""
    reload_ok: bool
    """Whether each has read its file well the last time."""
    reload_time: float
    """When the one last did that did it first, epoch seconds."""
    builds: frozenset[Labels]
    """Version, revision and Python of those that run."""


class Health(msgspec.Struct):
    """What the process shows of itself."""

    state_ok: bool = True
    reload_ok: bool = True
    reload_time: float = 0.0
    revision: str = ""
    external_url: str | None = None
    """Where people reach the pages."""
    fleet: FleetHealth | None = None
    """What is shown instead where several processes write the state."""


Values = dict[Family, dict[Labels, Vector]]


def self_metrics(
    shown: SeriesView, views: Iterable[AccountView], health: Health, sizes: Mapping[str, int]
) -> Values:
    """All values but those of builds, jobs and repos.

    `sizes` are how many samples each build and job family has.
    """
    values: Values = {
        family: {} for family in f.FAMILIES if family.name not in sizes and family not in _ELSEWHERE
    }
    for view in views:
        _zeros(values, view)
        _account(values, view)
    for series in shown.others.series():
        name, labels = series.key
        values[f.BY_NAME[name]][labels] = series.vector
    for name, size in sizes.items():
        values[f.SERIES][(name,)] = (float(size),)
        values[f.SERIES_DROPPED][(name,)] = (float(shown.dropped[name]),)
    values[f.SERIES_LIMIT][()] = (float(shown.rules.series_limit),)
    if health.external_url is not None:
        values[f.WEB_INFO][(clean(health.external_url.rstrip("/")),)] = (1.0,)
    for family, labels, value in _of_processes(health):
        values[family][labels] = (float(value),)
    return values


def _of_processes(health: Health) -> Iterator[tuple[Family, Labels, float]]:
    """Of this process, or of all that write the state: an answer says that it can be read."""
    fleet = health.fleet
    if fleet is None:
        yield f.RELOAD_OK, (), health.reload_ok
        yield f.RELOAD_TIME, (), health.reload_time
        yield f.STATE_OK, (), health.state_ok
        yield f.BUILD_INFO, (__version__, clean(health.revision), platform.python_version()), 1
        return
    yield f.RELOAD_OK, (), fleet.reload_ok
    yield f.RELOAD_TIME, (), fleet.reload_time
    yield f.STATE_OK, (), 1
    yield f.WORKERS, (), fleet.workers
    yield f.ACCOUNTS_UNHELD, (), fleet.unheld
    yield f.CONFIG_AGREED, (), fleet.is_agreed
    for running in fleet.builds:
        yield f.BUILD_INFO, tuple(map(clean, running)), 1


def _zeros(values: Values, view: AccountView) -> None:
    """What is there before the first event, so that `increase()` sees it."""
    values[f.GAPS][view.labels] = (0.0,)
    for family in f.FAMILIES:
        for word in family.zeros:
            values[family][(*view.labels[: len(family.labels) - 1], word)] = (0.0,)


def _account(values: Values, view: AccountView) -> None:
    for family, labels, vector in _of_account(view):
        values[family][(*view.labels, *labels)] = vector


def _of_account(view: AccountView) -> Iterator[tuple[Family, Labels, Vector]]:
    stats = view.stats
    yield f.ACCOUNT_UP, (), (float(view.up),)
    yield f.BUDGET_EXHAUSTED, (), (float(view.budget_exhausted),)
    yield f.REJECTED, (), (float(view.rejected),)
    yield f.POLL_DURATION, (), view.polls
    if stats.token_expiry is not None:
        yield f.TOKEN_EXPIRY, (), (stats.token_expiry,)
    states = view.states()
    for state in f.REPO_STATES:
        yield f.REPOS, (state,), (float(states.get(state, 0)),)
    if stats.clock_skew is not None:
        yield f.CLOCK_SKEW, (), (stats.clock_skew,)
    for code, sent in stats.requests.items():
        yield f.API_REQUESTS, (clean(code),), (float(sent),)
    for reason, failed in stats.errors.items():
        yield f.API_ERRORS, (reason,), (float(failed),)
    for resource, limit in stats.rate_limits.items():
        for family, value in (
            (f.RATE_LIMIT, limit.limit),
            (f.RATE_REMAINING, limit.remaining),
            (f.RATE_RESET, limit.reset_at),
        ):
            if value is not None:
                yield family, (clean(resource),), (value,)
