"""Account reports: what the worker that polls an account says of it, for all to show the same.

What a scrape shows of an account is made of the report that was committed last, even by the worker
that polls it. Otherwise a counter would seem to go back when another worker answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

import msgspec

from exporter.errors import Reason
from exporter.http import ApiStats, RateLimit
from exporter.ledger.rows import Vector
from exporter.metrics.buckets import POLL_BUCKETS
from exporter.outputs.prometheus import AccountView, RepoView
from exporter.schedule.account import AccountPoller


class Report(msgspec.Struct, frozen=True, omit_defaults=True):
    """An account report. Its counters go on with whoever polls the account."""

    up: bool = False
    budget_exhausted: bool = False
    rejected: int = 0
    polls: Vector = (0.0,) * (len(POLL_BUCKETS) + 2)
    requests: dict[str, int] = {}
    errors: dict[Reason, int] = {}
    rate_limits: dict[str, RateLimit] = {}
    token_expiry: float | None = None
    clock_skew: float | None = None
    states: dict[str, int] = {}
    """How many repos there are by state."""


_encode = msgspec.msgpack.Encoder(order="sorted").encode
_decode = msgspec.msgpack.Decoder(Report).decode


def report_of(account: AccountPoller) -> bytes:
    """The report of an account that is polled here."""
    view = account.view()
    stats = view.stats
    return _encode(
        Report(
            up=view.up,
            budget_exhausted=view.budget_exhausted,
            rejected=view.rejected,
            polls=view.polls,
            requests=dict(stats.requests),
            errors=dict(stats.errors),
            rate_limits=dict(stats.rate_limits),
            token_expiry=stats.token_expiry,
            clock_skew=stats.clock_skew,
            states=dict(view.states()),
        )
    )


def decoded(report: bytes | None) -> Report:
    """A report as far as this version understands it; an empty one if there is none."""
    try:
        return Report() if report is None else _decode(report)
    except msgspec.DecodeError:  # of another version: its next one may be another
        return Report()


def resume(account: AccountPoller, report: Report) -> None:
    """Go on with the counters of whoever has polled the account before."""
    account.resume_counts(
        Counter(report.requests),
        Counter(report.errors),
        rejected=report.rejected,
        polls=report.polls,
    )


def view_of(
    who: tuple[str, str],
    report: Report,
    *,
    is_held: bool,
    repos: Mapping[str, RepoView],
    page_of: Callable[[str], str | None],
) -> AccountView:
    """What a scrape shows of an account, given its `provider` label and name.

    One that nobody polls is not up.
    """
    provider, name = who
    return AccountView(
        provider=provider,
        account=name,
        stats=ApiStats(
            requests=Counter(report.requests),
            errors=Counter(report.errors),
            rate_limits=report.rate_limits,
            token_expiry=report.token_expiry,
            clock_skew=report.clock_skew,
        ),
        up=report.up and is_held,
        budget_exhausted=report.budget_exhausted,
        rejected=report.rejected,
        polls=report.polls,
        repos=repos,
        page_of=page_of,
        states=lambda: report.states,
    )
