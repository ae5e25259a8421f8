"""The bytes of a scrape: what the book and the accounts hold, in the format asked for.

Reading is from memory only and in two steps: `snapshot` takes immutable values at one
instant, `render` turns them into bytes and may run in another thread.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import Literal, get_args

import msgspec
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.exposition import generate_latest as generate_text
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.utils import floatToGoString

from exporter import __version__
from exporter.errors import Reason
from exporter.http import ApiStats
from exporter.metrics import families as f
from exporter.metrics.book import Book, sample_count
from exporter.metrics.families import Buckets, Family
from exporter.record import Labels, Vector

Format = Literal["text", "openmetrics"]

CONTENT_TYPES: dict[Format, str] = {
    "text": "text/plain; version=0.0.4; charset=utf-8",
    "openmetrics": "application/openmetrics-text; version=1.0.0; charset=utf-8",
}

_OPENMETRICS_VERSIONS = frozenset({"1.0.0", "0.0.1"})

_ZEROS: dict[Family, tuple[str, ...]] = {
    f.MISSING: ("duration", "queue", "conclusion", "attempt"),
    f.UNMAPPED: ("status", "conclusion", "trigger"),
}
"""Label values that exist at 0 for every configured provider, so that `increase()` sees the
first event."""


class RepoView(msgspec.Struct):
    """What the poller shows of one repo. Times are epoch seconds, 0 before the first."""

    repo: str
    last_success: float
    interval: float


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
    repos: list[RepoView]


class Health(msgspec.Struct):
    """What the process shows of itself."""

    state_ok: bool = True
    reload_ok: bool = True
    reload_time: float = 0.0
    revision: str = ""


Values = dict[Labels, Vector]
Snapshot = dict[Family, Values]


def snapshot(
    book: Book, accounts: Iterable[AccountView], health: Health, *, now: float
) -> Snapshot:
    """All values at this instant. `now` is epoch seconds."""
    values: Snapshot = {family: {} for family in f.FAMILIES}
    views = list(accounts)
    _defaults(values, views)
    for key, vector in book.stored():
        values[f.BY_NAME[key.family]][key.labels] = vector
    for name, labels, value in book.gauges(now):
        values[f.BY_NAME[name]][labels] = (value,)
    _sizes(values, book)
    for view in views:
        _account(values, view)
    for family, value in (
        (f.SERIES_LIMIT, float(book.rules.series_limit)),
        (f.RELOAD_OK, float(health.reload_ok)),
        (f.RELOAD_TIME, health.reload_time),
        (f.STATE_OK, float(health.state_ok)),
    ):
        values[family][()] = (value,)
    values[f.BUILD_INFO][(__version__, health.revision, platform.python_version())] = (1.0,)
    return values


def _defaults(values: Snapshot, views: list[AccountView]) -> None:
    for view in views:
        for family, fields in _ZEROS.items():
            for field in fields:
                values[family][(view.provider, field)] = (0.0,)
        values[f.GAPS][(view.provider, view.account)] = (0.0,)
        for reason in get_args(Reason):
            values[f.API_ERRORS][(view.provider, view.account, reason)] = (0.0,)


def _sizes(values: Snapshot, book: Book) -> None:
    for family in f.FAMILIES:
        if family.labels[: len(f.PIPELINE)] == f.PIPELINE:
            size = sum(sample_count(vector) for vector in values[family].values())
            values[f.SERIES][(family.name,)] = (float(size),)
            values[f.SERIES_DROPPED][(family.name,)] = (float(book.dropped.get(family.name, 0)),)


def _account(values: Snapshot, view: AccountView) -> None:
    who = (view.provider, view.account)
    stats = view.stats
    values[f.ACCOUNT_UP][who] = (float(view.up),)
    values[f.BUDGET_EXHAUSTED][who] = (float(view.budget_exhausted),)
    values[f.REJECTED][who] = (float(view.rejected),)
    values[f.POLL_DURATION][who] = view.polls
    if stats.clock_skew is not None:
        values[f.CLOCK_SKEW][who] = (stats.clock_skew,)
    for code, sent in stats.requests.items():
        values[f.API_REQUESTS][(*who, code)] = (float(sent),)
    for reason, failed in stats.errors.items():
        values[f.API_ERRORS][(*who, reason)] = (float(failed),)
    for resource, limit in stats.rate_limits.items():
        for family, value in (
            (f.RATE_LIMIT, limit.limit),
            (f.RATE_REMAINING, limit.remaining),
            (f.RATE_RESET, limit.reset_at),
        ):
            if value is not None:
                values[family][(*who, resource)] = (value,)
    for repo in view.repos:
        values[f.LAST_SUCCESS][(*who, repo.repo)] = (repo.last_success,)
        values[f.POLL_INTERVAL][(*who, repo.repo)] = (repo.interval,)


class _Snapshot:
    """A snapshot as prometheus-client collects it."""

    def __init__(self, values: Snapshot, buckets: Buckets) -> None:
        self._values = values
        self._buckets = buckets

    def collect(self) -> Iterator[Metric]:
        for family, values in self._values.items():
            metric = Metric(family.name.removesuffix("_total"), family.help, family.kind)
            bounds = self._buckets.of(family)
            for labels, vector in values.items():
                named = dict(zip(family.labels, labels, strict=True))
                if family.kind == "histogram":
                    _histogram(metric, family.name, named, vector, bounds)
                else:
                    metric.add_sample(family.name, named, vector[0])
            yield metric


def _histogram(
    metric: Metric, name: str, named: dict[str, str], vector: Vector, bounds: tuple[float, ...]
) -> None:
    *counts, total = vector
    for bound, count in zip((*bounds, float("inf")), accumulate(counts), strict=True):
        metric.add_sample(f"{name}_bucket", {**named, "le": _le(bound)}, count)
    metric.add_sample(f"{name}_count", named, sum(counts))
    metric.add_sample(f"{name}_sum", named, total)


def _le(bound: float) -> str:
    return str(floatToGoString(bound))  # type: ignore[no-untyped-call]  # untyped upstream


def render(values: Snapshot, buckets: Buckets, form: Format) -> bytes:
    """The exposition of a snapshot, with process and platform metrics."""
    registry = CollectorRegistry(support_collectors_without_names=True)
    registry.register(_Snapshot(values, buckets))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    generate: Callable[[CollectorRegistry], bytes] = (
        generate_openmetrics if form == "openmetrics" else generate_text
    )
    return generate(registry)


def negotiate(accept: str) -> Format:
    """The best format for an `Accept` header: the highest q wins, plain text when in doubt."""
    best: tuple[float, Format] = (0.0, "text")
    for part in accept.split(","):
        media, *parameters = (piece.strip().lower() for piece in part.split(";"))
        options = dict(p.split("=", 1) for p in parameters if "=" in p)
        form: Format
        if media == "application/openmetrics-text":
            if options.get("version", "1.0.0").strip('"') not in _OPENMETRICS_VERSIONS:
                continue
            form = "openmetrics"
        elif media in ("text/plain", "text/*", "*/*"):
            form = "text"
        else:
            continue
        quality = _quality(options.get("q", "1"))
        if quality > best[0]:
            best = (quality, form)
    return best[1]


def _quality(text: str) -> float:
    try:
        quality = float(text)
    except ValueError:
        return 0.0
    return quality if 0.0 <= quality <= 1.0 else 0.0
