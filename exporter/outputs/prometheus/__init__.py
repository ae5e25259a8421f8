"""The bytes of a scrape: what the view and the accounts show, in the format asked for.

Samples are encoded when they have changed, and a scrape joins what is encoded. Each format that
is asked for has a `FormatCache`; `text` and `protobuf` encode, `packing` compresses. The metrics
about the exporter (`self_metrics`) are few and encoded anew each time.

All this is done in the event loop, in steps of less than a millisecond, so that other requests
and polls go on in between. An answer is joined in one step, so it is of one instant.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from time import monotonic
from typing import NamedTuple

import msgspec
from prometheus_client import CollectorRegistry, Metric, PlatformCollector, ProcessCollector
from prometheus_client.exposition import generate_latest as generate_text
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from exporter.ledger.rows import Labels, SparseBuckets, Vector
from exporter.metrics import families as f
from exporter.metrics import grouping
from exporter.metrics.buckets import POLL_BUCKETS
from exporter.metrics.families import Family, Kind
from exporter.metrics.gauges import Item, Items
from exporter.metrics.labels import clean
from exporter.outputs.prometheus import repo_info
from exporter.outputs.prometheus.format_cache import (
    FormatCache,
    GroupReader,
    Writer,
    encode_labels,
    writer,
)
from exporter.outputs.prometheus.negotiation import CONTENT_TYPES, negotiate, wants_gzip
from exporter.outputs.prometheus.packing import Packer, gzipped
from exporter.outputs.prometheus.self_metrics import (
    OF_REPO,
    AccountView,
    FleetHealth,
    Health,
    RepoView,
    self_metrics,
)
from exporter.outputs.prometheus.text import Format
from exporter.view.series import Group, Own
from exporter.view.series_view import SeriesView
from exporter.view.slots import SlotTable

__all__ = [
    "CONTENT_TYPES",
    "AccountView",
    "Answer",
    "Exposition",
    "FleetHealth",
    "Format",
    "Health",
    "RepoView",
    "negotiate",
    "wants_gzip",
]

_OUT_OF_USE = 900.0
"""Seconds after which a format that nobody asked for again is given up with its bytes."""


class Answer(NamedTuple):
    """What a scrape is answered with."""

    size: int
    """In bytes."""
    batches: list[list[bytes]]
    """Its pieces, in lists of about half a megabyte."""


class _Repo(msgspec.Struct):
    """What was written of a polled repo."""

    labels: Labels
    last_success: float = 0.0
    interval: float = 0.0
    default_branch: str | None = None
    slot: int = 0


class Exposition:
    """What a process shows to those who scrape it. `clock` gives epoch seconds."""

    def __init__(
        self,
        view: SeriesView,
        accounts: Callable[[], Iterable[AccountView]],
        health: Health,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._view = view
        self._accounts = accounts
        self._health = health
        self._clock = clock
        self._now = 0.0
        self._packer = Packer()
        self._caches: dict[Format, FormatCache] = {}
        self._repos: dict[Labels, dict[str, _Repo]] = {}
        """By account and entry."""
        self._of_repos = SlotTable[_Repo](f.LAST_SUCCESS.labels, *OF_REPO)
        self._repo_info = repo_info.RepoInfo(view)
        self._readers = (
            GroupReader(view.of_pipelines, self._read, _spreads),
            GroupReader(view.of_jobs, self._read, _spreads),
            GroupReader(self._of_repos, _read_repo),
            GroupReader(self._repo_info.table, repo_info.read),
        )

    @property
    def offers(self) -> tuple[Format, ...]:
        """The formats there are for those who ask."""
        known: tuple[Format, ...] = ("text", "openmetrics")
        return (*known, "protobuf") if self._view.rules.native else known

    def text(self, form: Format = "text") -> bytes:
        """All of it, at once."""
        for _ in self.steps(form):
            pass
        return b"".join(map(b"".join, self.answer(form).batches))

    def steps(self, form: Format, *, packed: bool = False) -> Iterator[None]:
        """Write, and pack, what has changed until now, step by step."""
        kept = self._cache(form)
        self._now = self._clock()
        self._view.age(self._now)
        self._look_at_repos()
        yield from kept.refresh()
        if packed:
            for buffer in kept.buffers.values():
                yield from buffer.pack(self._packer)

    def answer(self, form: Format, *, packed: bool = False) -> Answer:
        """What is there now. What has changed since the `steps` may be missing."""
        kept = self._cache(form)
        own = self._own(form, kept)
        if packed:
            buffers = [buffer.packed(self._packer) for buffer in kept.buffers.values()]
            body = gzipped([*buffers, self._packer.pack(own)])
            return Answer(len(body), [[body]])
        size = sum(buffer.size for buffer in kept.buffers.values()) + len(own)
        batches = [batch for buffer in kept.buffers.values() for batch in buffer.batches()]
        return Answer(size, [*batches, [own]])

    def _cache(self, form: Format) -> FormatCache:
        now = monotonic()
        if form not in self._caches:
            self._caches[form] = FormatCache(form, self._view.rules.buckets, self._readers)
        self._caches[form].used_at = now
        for other, kept in list(self._caches.items()):
            if now - kept.used_at > _OUT_OF_USE:
                kept.close()
                del self._caches[other]
        return self._caches[form]

    def _read(self, group: Group, families: Iterable[str]) -> Items:
        return self._view.read(group, families, self._now)

    def _own(self, form: Format, kept: FormatCache) -> bytes:
        """What the exporter shows of itself, and the end."""
        sizes = {
            name: buffer.samples
            for name, buffer in kept.buffers.items()
            if grouping.is_pipeline_family(name)
        }
        values = self_metrics(self._view, self._accounts(), self._health, sizes)
        is_shared = self._health.fleet is not None  # then /metrics/worker has what is one process's
        if form == "protobuf" and not is_shared:
            values |= map(_family, _process().collect())
        nothing, written = encode_labels(form, (), ()), b""
        for family, series in values.items():
            items: list[Item] = [(labels, vector, None) for labels, vector in series.items()]
            ours = _writer(family, form)
            (row,) = ours.encode([(nothing, items)])
            written += ours.head(len(row)) + row
        if form == "protobuf":
            return written
        generate = generate_openmetrics if form == "openmetrics" else generate_text
        return written + bytes(generate(_nothing() if is_shared else _process()))

    def _look_at_repos(self) -> None:
        """See which repos are polled, and which were since the last time."""
        polled: dict[Labels, dict[str, _Repo]] = {}
        moved: set[Labels] = set()
        accounts = [*self._accounts()]
        for view in accounts:
            known = polled[view.labels] = self._repos.pop(view.labels, {})
            for entry, repo in view.repos.items():
                shown = known.get(entry)
                if shown is None:
                    shown = known[entry] = _Repo((*view.labels, clean(entry)))
                    shown.slot = self._of_repos.add(shown)
                elif (shown.last_success, shown.interval) == (repo.last_success, repo.interval):
                    continue
                shown.last_success, shown.interval = repo.last_success, repo.interval
                self._of_repos.mark(shown.slot)
                if shown.default_branch != repo.default_branch:
                    shown.default_branch = repo.default_branch
                    moved.add(view.labels)
            if len(known) > len(view.repos):
                for entry in known.keys() - view.repos.keys():
                    self._of_repos.remove(known.pop(entry).slot)
        for left in self._repos.values():
            for repo in left.values():
                self._of_repos.remove(repo.slot)
        self._repos = polled
        self._repo_info.look(accounts, moved)


def _read_repo(repo: _Repo, families: Iterable[str]) -> Items:
    values = {f.LAST_SUCCESS.name: repo.last_success, f.POLL_INTERVAL.name: repo.interval}
    return {family: [((), (values[family],), None)] for family in families}


@cache
def _writer(family: Family, form: Format) -> Writer:
    """For a family of the exporter itself; their bounds are always the same."""
    bounds = POLL_BUCKETS if family.buckets else ()
    return writer(family, form, bounds=bounds, shared=0)


def _spreads(group: Group) -> dict[Own, SparseBuckets] | None:
    return group.spreads


def _family(metric: Metric) -> tuple[Family, dict[Labels, Vector]]:
    """A counter or gauge of prometheus-client's, and its values."""
    name = metric.samples[0].name if metric.samples else metric.name
    labels = tuple(metric.samples[0].labels) if metric.samples else ()
    kind: Kind = "counter" if metric.type == "counter" else "gauge"
    family = f.foreign(name, kind, labels, metric.documentation)
    return family, {tuple(x.labels.values()): (float(x.value),) for x in metric.samples}


@cache
def _nothing() -> CollectorRegistry:
    return CollectorRegistry()


@cache
def _process() -> CollectorRegistry:
    """Process and platform metrics; in OpenMetrics they bring the end mark with them."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return registry
