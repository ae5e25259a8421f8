"""The bytes of a scrape: what the book and the accounts hold, in the format asked for.

Reading is from memory only and in two steps: `snapshot` takes immutable values at one
instant, `render` turns them into bytes and may run in another thread. The encoder is
ours, because prometheus-client's takes 20 times as long; a test compares their output.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from itertools import accumulate
from typing import Literal

import msgspec
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.exposition import generate_latest as generate_text
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.utils import floatToGoString

from exporter import __version__
from exporter.http import ApiStats
from exporter.metrics import families as f
from exporter.metrics.book import Book, is_pipeline_family, sample_count
from exporter.metrics.families import Buckets, Family
from exporter.metrics.labels import clean
from exporter.record import Labels, Vector

Format = Literal["text", "openmetrics"]

CONTENT_TYPES: dict[Format, str] = {
    "text": "text/plain; version=0.0.4; charset=utf-8",
    "openmetrics": "application/openmetrics-text; version=1.0.0; charset=utf-8",
}


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


# -- what there is to show


def snapshot(
    book: Book, accounts: Iterable[AccountView], health: Health, *, now: float
) -> Snapshot:
    """All values at this instant. `now` is epoch seconds."""
    values: Snapshot = {family: {} for family in f.FAMILIES}
    views = list(accounts)
    for view in views:
        _zeros(values, view)
    by_name = {family.name: series for family, series in values.items()}
    for key, vector in book.stored():
        by_name[key.family][key.labels] = vector
    for name, labels, value in book.gauges(now):
        by_name[name][labels] = (value,)
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
    running = (__version__, clean(health.revision), platform.python_version())
    values[f.BUILD_INFO][running] = (1.0,)
    return values


def _zeros(values: Snapshot, view: AccountView) -> None:
    """What is there before the first event, so that `increase()` sees it."""
    who = (view.provider, clean(view.account))
    values[f.GAPS][who] = (0.0,)
    for family in f.FAMILIES:
        for word in family.zeros:
            values[family][(*who[: len(family.labels) - 1], word)] = (0.0,)


def _sizes(values: Snapshot, book: Book) -> None:
    for family, series in values.items():
        if is_pipeline_family(family.name):
            size = len(series)
            if family.kind == "histogram":
                size = sum(sample_count(vector) for vector in series.values())
            values[f.SERIES][(family.name,)] = (float(size),)
            values[f.SERIES_DROPPED][(family.name,)] = (float(book.dropped[family.name]),)


def _account(values: Snapshot, view: AccountView) -> None:
    who = (view.provider, clean(view.account))
    stats = view.stats
    values[f.ACCOUNT_UP][who] = (float(view.up),)
    values[f.BUDGET_EXHAUSTED][who] = (float(view.budget_exhausted),)
    values[f.REJECTED][who] = (float(view.rejected),)
    values[f.POLL_DURATION][who] = view.polls
    if stats.clock_skew is not None:
        values[f.CLOCK_SKEW][who] = (stats.clock_skew,)
    for code, sent in stats.requests.items():
        values[f.API_REQUESTS][(*who, clean(code))] = (float(sent),)
    for reason, failed in stats.errors.items():
        values[f.API_ERRORS][(*who, reason)] = (float(failed),)
    for resource, limit in stats.rate_limits.items():
        for family, value in (
            (f.RATE_LIMIT, limit.limit),
            (f.RATE_REMAINING, limit.remaining),
            (f.RATE_RESET, limit.reset_at),
        ):
            if value is not None:
                values[family][(*who, clean(resource))] = (value,)
    for repo in view.repos:
        values[f.LAST_SUCCESS][(*who, clean(repo.repo))] = (repo.last_success,)
        values[f.POLL_INTERVAL][(*who, clean(repo.repo))] = (repo.interval,)


# -- bytes


def render(values: Snapshot, buckets: Buckets, form: Format) -> bytes:
    """The exposition of a snapshot, with process and platform metrics."""
    lines: list[str] = []
    for family, series in values.items():
        lines.extend(_head(family, form))
        if family.kind == "histogram":
            lines.extend(_histograms(family, series, buckets.of(family)))
        else:
            lines.extend(_plain(family, series))
    # What a label could not be cleaned of must not take the whole scrape down.
    body = "".join(lines).encode("utf-8", "replace")
    generate = generate_openmetrics if form == "openmetrics" else generate_text
    return body + bytes(generate(_process()))


@cache
def _process() -> CollectorRegistry:
    """Process and platform metrics; in OpenMetrics they bring the end mark with them."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return registry


def _head(family: Family, form: Format) -> Iterator[str]:
    name = family.name.removesuffix("_total") if form == "openmetrics" else family.name
    yield f"# HELP {name} {family.help}\n"
    yield f"# TYPE {name} {family.kind}\n"


def _plain(family: Family, series: Values) -> Iterator[str]:
    template = _template(family.labels)
    start = f"{family.name}{{" if family.labels else family.name
    end = "} " if family.labels else " "
    for labels, (value,) in series.items():
        yield f"{start}{template % _escaped_all(labels)}{end}{_number(value)}\n"


def _histograms(family: Family, series: Values, bounds: tuple[float, ...]) -> Iterator[str]:
    template, name = _template(family.labels), family.name
    ends = [f',le="{_number(bound)}"}} ' for bound in (*bounds, float("inf"))]
    for labels, vector in series.items():
        named = template % _escaped_all(labels)
        start = f"{name}_bucket{{{named}"
        counts = [_number(count) for count in accumulate(vector[:-1])]
        for end, count in zip(ends, counts, strict=True):
            yield f"{start}{end}{count}\n"
        yield f"{name}_count{{{named}}} {counts[-1]}\n"
        yield f"{name}_sum{{{named}}} {_number(vector[-1])}\n"


def _template(names: Labels) -> str:
    return ",".join(f'{name}="%s"' for name in names)


_SPECIAL = re.compile(r'[\\"\n]')


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _escaped_all(labels: Labels) -> Labels:
    if _SPECIAL.search("".join(labels)) is None:
        return labels
    return tuple(_escaped(value) for value in labels)


@lru_cache(maxsize=65536)
def _number(value: float) -> str:
    return str(floatToGoString(value))  # type: ignore[no-untyped-call]  # untyped upstream


# -- what the client asks for


def weighted(header: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """The choices of an `Accept` or `Accept-Encoding` header: word, options, weight above 0."""
    for part in header.lower().split(","):
        word, *parameters = (piece.strip() for piece in part.split(";"))
        pairs = (p.partition("=") for p in parameters)
        options = {name.strip(): value.strip().strip('"') for name, _, value in pairs}
        weight = _weight(options.get("q", "1"))
        if weight > 0:
            yield word, options, weight


def negotiate(accept: str) -> Format:
    """The best format for an `Accept` header: the highest q wins, plain text when in doubt."""
    best: tuple[float, Format] = (0.0, "text")
    for media, options, weight in weighted(accept):
        form = _format(media, options)
        if form is not None and weight > best[0]:
            best = (weight, form)
    return best[1]


def _format(media: str, options: dict[str, str]) -> Format | None:
    if media == "application/openmetrics-text":
        return "openmetrics" if options.get("version", "1.0.0") == "1.0.0" else None
    return "text" if media in ("text/plain", "text/*", "*/*") else None


def _weight(text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        return 0.0
    return weight if 0.0 <= weight <= 1.0 else 0.0
