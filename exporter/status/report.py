"""What `/status.json` and the status page say. Times are ISO 8601 in UTC, durations seconds.

It is made in short steps, so that thousands of repos do not block the event loop.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterable, Mapping
from time import monotonic

import msgspec

from exporter import __version__
from exporter.http import RateLimit
from exporter.ledger.shared import Beat
from exporter.metrics import families as f
from exporter.metrics import history
from exporter.metrics.facts import Facts
from exporter.providers.remedy import advice
from exporter.remedies import CATCHING_UP
from exporter.schedule import Schedule
from exporter.schedule.account import AccountPoller
from exporter.schedule.repo import RepoState
from exporter.status.document import (
    AccountReport,
    AccountState,
    BudgetReport,
    CatchingUp,
    Ended,
    LimitReport,
    ReloadReport,
    RepoReport,
    SeriesReport,
    StatusReport,
    WorkerReport,
)
from exporter.view.series import Pipeline
from exporter.view.series_view import SeriesView


class TargetSummary(msgspec.Struct):
    """What the view shows of a target: its counted builds, and the facts of its pipelines."""

    builds: int = 0
    facts: list[Facts] = []


class Reload(msgspec.Struct, frozen=True):
    """How the last attempt to load the configuration ended."""

    at: float
    """Epoch seconds."""
    error: str | None = None
    """Every fault on a line of its own; None if there was none."""


def of_process(  # noqa: PLR0913 - all that it says
    schedule: Schedule,
    view: SeriesView,
    *,
    started_at: float,
    reload: Reload,
    state_ok: bool,
    beat: Beat | None = None,
) -> Generator[None, None, StatusReport]:
    """The whole report; each step takes well under a millisecond.

    `started_at` is epoch seconds, `state_ok` whether the state can be written. `beat` tells of the
    exporters that share it, where several do.
    """
    now = time.time()
    known = yield from summaries(list(view.pipelines.values()))
    accounts = []
    workers = [] if beat is None else _workers(beat)
    holders = {account: worker.name for worker in workers for account in worker.accounts}
    for account in list(schedule.accounts):
        holder = holders.get(account.provider.name)
        made = yield from of_account(schedule, account, known, now, worker=holder)
        accounts.append(made)
    return StatusReport(
        version=__version__,
        now=iso(now),
        started_at=iso(started_at),
        uptime_seconds=max(round(now - started_at), 0),
        state_ok=state_ok,
        reload=ReloadReport(
            ok=reload.error is None,
            at=iso(reload.at),
            error=reload.error and _encodable(reload.error),
        ),
        series=SeriesReport(
            used=view.samples, limit=view.rules.series_limit, dropped=view.dropped.total()
        ),
        workers=workers,
        accounts=accounts,
    )


def _workers(beat: Beat) -> list[WorkerReport]:
    return [
        WorkerReport(
            name=_encodable(worker.name),
            version=worker.facts.version,
            started_at=iso(worker.started_at),
            accounts=beat.accounts_of(worker.id),
        )
        for worker in beat.workers.values()
    ]


def summaries(pipelines: Iterable[Pipeline]) -> Generator[None, None, dict[int, TargetSummary]]:
    """The summary of each target, by its id."""
    found: dict[int, TargetSummary] = {}
    for pipeline in pipelines:
        known = found.setdefault(pipeline.target, TargetSummary())
        counted = pipeline.items((f.BUILDS.name,))[f.BUILDS.name]
        known.builds += sum(int(vector[0]) for _, vector, _ in counted)
        known.facts.append(pipeline.facts)
        yield
    return found


def of_account(
    schedule: Schedule,
    account: AccountPoller,
    known: Mapping[int, TargetSummary],
    now: float,
    *,
    worker: str | None = None,
) -> Generator[None, None, AccountReport]:
    """One account; `known` is by target, `now` is epoch seconds, `worker` who polls it."""
    repos = []
    for state in list(account.repos.values()):
        found = None if state.target is None else known.get(state.target)
        repos.append(_of_repo(schedule, account, state, found or TargetSummary(), now))
        yield
    provider, health, stats = account.provider, account.health, account.api.stats
    discovery = account.discovery
    discovered = "; ".join([*discovery.unresolved.values(), *discovery.unmatched.values()])
    waiting = account.waiting if account.group.budget.is_closed else None
    error = health.error or discovered or waiting
    rest = health.backoff_until - monotonic()
    reason = health.reason or ("rate_limited" if waiting and not discovered else None)
    return AccountReport(
        name=provider.name,
        provider=provider.label,
        url=provider.root,
        worker=worker,
        up=health.up,
        state=_state(account),
        error=error and _encodable(error),
        reason=health.reason,
        advice=advice(provider, reason, health.advice if health.error else None) or None,
        since=None if health.since is None else iso(health.since),
        next_try_at=iso(now + rest) if 0 < rest < math.inf else None,
        errors=dict(stats.errors.items()),
        requests=stats.requests.total(),
        budget=_budget(account),
        catching_up=_catching_up(account),
        repos=repos,
    )


def _state(account: AccountPoller) -> AccountState:
    health = account.health
    if health.reason == "rate_limited" or account.group.budget.is_closed:
        return "limited"
    if health.error is None:
        if not health.up:
            return "starting"
        return "up" if account.first_walks.progress is None else "catching_up"
    return "unauthorized" if health.reason in {"unauthorized", "forbidden"} else "backing_off"


def _catching_up(account: AccountPoller) -> CatchingUp | None:
    progress = account.first_walks.progress
    if progress is None:
        return None
    left = progress.seconds_left
    return CatchingUp(
        done=progress.done,
        repos=progress.whole,
        seconds_left=None if left is None else round(left),
        text=f"catching up: {progress.text('repos')}",
    )


def _budget(account: AccountPoller) -> BudgetReport:
    group = account.group
    limits = account.api.stats.rate_limits
    return BudgetReport(
        exhausted=group.is_exhausted,
        next_request_in_seconds=round(group.budget.delay(), 1),
        requests_per_hour_limit=group.limit(),
        limits={_encodable(resource): _limit(limit) for resource, limit in limits.items()},
    )


def _limit(limit: RateLimit) -> LimitReport:
    at = None if limit.reset_at is None else iso(limit.reset_at)
    return LimitReport(limit=limit.limit, remaining=limit.remaining, reset_at=at)


def _of_repo(
    schedule: Schedule, account: AccountPoller, state: RepoState, known: TargetSummary, now: float
) -> RepoReport:
    active = account.active(state)
    statuses: dict[str, int] = {}
    for build in active:
        statuses[build.status] = statuses.get(build.status, 0) + 1
    begun = (b.started_at if b.created_at is None else b.created_at for b in active)
    oldest = min((at for at in begun if at is not None), default=None)
    ended = (facts for facts in known.facts if facts.latest is not None)
    last = max(ended, key=lambda facts: facts.latest or (), default=None)
    gate = schedule.not_now(account, state)
    age = now - state.last_success if state.last_success else None
    planned = account.group.plan.interval(state.demand)
    return RepoReport(
        repo=_encodable(state.repo.entry),
        state=state.health(now, planned),
        last_success_at=iso(state.last_success) if state.last_success else None,
        age_seconds=None if age is None else round(age),
        stale=state.is_stale(now, planned),
        interval_seconds=state.interval,
        next_poll_at=iso(now if gate is None else now + gate.until - monotonic()),
        error=state.error and _encodable(state.error),
        reason=state.reason,
        advice=(
            CATCHING_UP
            if state.is_unfinished
            else advice(account.provider, state.reason, state.advice) or None
        ),
        active=len(active),
        active_by_status=statuses,
        oldest_active_at=None if oldest is None else iso(oldest),
        last_conclusion=None if last is None else last.conclusion,
        last_completed_at=(
            None if last is None or last.completed_at is None else iso(last.completed_at)
        ),
        history=[
            Ended(at=None if build.at is None else iso(build.at), conclusion=build.conclusion)
            for build in history.merged(facts.recent for facts in known.facts)
        ],
        builds=known.builds,
    )


def _encodable(text: str) -> str:
    """`text` with lone surrogates replaced, which cannot be encoded."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def iso(at: float) -> str:
    """Epoch seconds as ISO 8601; later ones as the last second of the year 9999."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(min(max(at, 0.0), 253402300799.0)))
