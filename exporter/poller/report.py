"""What `/status.json` says of an account. Times are ISO 8601, UTC; spans are seconds."""

from __future__ import annotations

import time
from time import monotonic
from typing import TYPE_CHECKING

from exporter.http import RateLimit
from exporter.poller.repo import RepoState

if TYPE_CHECKING:
    from exporter.poller.account import AccountPoller

_STALE = 3.0
"""Intervals without a successful poll after which what is shown of a repo is old."""


def of_account(account: AccountPoller, counted: dict[int, int]) -> dict[str, object]:
    """The account with its repos; `counted` builds by target."""
    provider, trouble, stats = account.provider, account.trouble, account.api.stats
    told = "; ".join(account.discovery.unresolved.values())
    waiting = account.waiting if account.share.budget.is_closed else None
    return {
        "name": provider.name,
        "provider": provider.label,
        "url": provider.root,
        "up": trouble.up,
        "error": trouble.error or told or waiting,
        "reason": trouble.reason,
        "since": None if trouble.since is None else iso(trouble.since),
        "errors": dict(stats.errors),
        "requests": stats.requests.total(),
        "budget": _budget(account),
        "repos": [_of_repo(account, state, counted) for state in account.repos.values()],
    }


def _budget(account: AccountPoller) -> dict[str, object]:
    share = account.share
    limits = account.api.stats.rate_limits
    return {
        "exhausted": share.is_exhausted,
        "next_request_in_seconds": round(share.budget.delay(), 1),
        "requests_per_hour_limit": share.limit(),
        "limits": {resource: _limit(limit) for resource, limit in limits.items()},
    }


def _limit(limit: RateLimit) -> dict[str, object]:
    at = None if limit.reset_at is None else iso(limit.reset_at)
    return {"limit": limit.limit, "remaining": limit.remaining, "reset_at": at}


def _of_repo(
    account: AccountPoller, state: RepoState, counted: dict[int, int]
) -> dict[str, object]:
    active = account.active(state)
    now = time.time()
    due = max(state.due, account.trouble.rest_until)
    age = now - state.last_success if state.last_success else None
    return {
        "repo": state.repo.entry,
        "last_success_at": iso(state.last_success) if state.last_success else None,
        "age_seconds": None if age is None else round(age),
        "stale": age is None or age > _STALE * state.interval,
        "interval_seconds": state.interval,
        "next_poll_at": iso(now + max(due - monotonic(), 0.0)),
        "error": state.error,
        "reason": state.reason,
        "active": len(active),
        "builds": 0 if state.target is None else counted.get(state.target, 0),
    }


def iso(at: float) -> str:
    """Epoch seconds as ISO 8601; an absurd one as the last second of its year 9999."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(min(max(at, 0.0), 253402300799.0)))
