"""The bytes of a scrape: what the book and the accounts hold, in the format asked for.

Samples are written when they have changed, and a scrape joins what is written. For each
format somebody asks for there is an `edition`; `text` writes, `packing` packs. What the
exporter shows of itself (`own`) is short and written anew each time.

All this is done in the event loop, in steps of less than a millisecond, between which
others have their turn. An answer is put together in one of them, so it is of one instant.
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
from exporter.metrics.families import Family, Kind
from exporter.metrics.gauges import Item, Items
from exporter.metrics.labels import clean
from exporter.outputs.prometheus.format_cache import FormatCache, Source, Writer, told, writer
from exporter.outputs.prometheus.negotiation import CONTENT_TYPES, negotiate, wants_gzip
from exporter.outputs.prometheus.packing import Packer, gzipped
from exporter.outputs.prometheus.self_metrics import (
    OF_REPO,
    AccountView,
    Health,
    RepoView,
    own_values,
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
    place: int = 0


class Exposition:
    """What a process shows to those who scrape it. `clock` gives epoch seconds."""

    def __init__(
        self,
        book: SeriesView,
        accounts: Callable[[], Iterable[AccountView]],
        health: Health,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._book = book
        self._accounts = accounts
        self._health = health
        self._clock = clock
        self._now = 0.0
        self._packer = Packer()
        self._editions: dict[Format, FormatCache] = {}
        self._repos: dict[Labels, dict[str, _Repo]] = {}
        """By account and entry."""
        self._of_repos = SlotTable[_Repo](f.LAST_SUCCESS.labels, *OF_REPO)
        self._sources = (
            Source(book.of_pipelines, self._read, _spreads),
            Source(book.of_jobs, self._read, _spreads),
            Source(self._of_repos, _read_repo),
        )

    @property
    def offers(self) -> tuple[Format, ...]:
        """The formats there are for those who ask."""
        known: tuple[Format, ...] = ("text", "openmetrics")
        return (*known, "protobuf") if self._book.rules.native else known

    def text(self, form: Format = "text") -> bytes:
        """All of it, at once."""
        for _ in self.steps(form):
            pass
        return b"".join(map(b"".join, self.answer(form).batches))

    def steps(self, form: Format, *, packed: bool = False) -> Iterator[None]:
        """Write, and pack, what has changed until now, step by step."""
        edition = self._edition(form)
        self._now = self._clock()
        self._book.age(self._now)
        self._look_at_repos()
        yield from edition.refresh()
        if packed:
            for sheet in edition.sheets.values():
                yield from sheet.pack(self._packer)

    def answer(self, form: Format, *, packed: bool = False) -> Answer:
        """What is there now. What has changed since the `steps` may be missing."""
        edition = self._edition(form)
        own = self._own(form, edition)
        if packed:
            sheets = [sheet.packed(self._packer) for sheet in edition.sheets.values()]
            body = gzipped([*sheets, self._packer.pack(own)])
            return Answer(len(body), [[body]])
        size = sum(sheet.size for sheet in edition.sheets.values()) + len(own)
        batches = [batch for sheet in edition.sheets.values() for batch in sheet.batches()]
        return Answer(size, [*batches, [own]])

    def _edition(self, form: Format) -> FormatCache:
        now = monotonic()
        if form not in self._editions:
            self._editions[form] = FormatCache(form, self._book.rules.buckets, self._sources)
        self._editions[form].asked_at = now
        for other, edition in list(self._editions.items()):
            if now - edition.asked_at > _OUT_OF_USE:
                edition.close()
                del self._editions[other]
        return self._editions[form]

    def _read(self, group: Group, families: Iterable[str]) -> Items:
        return self._book.read(group, families, self._now)

    def _own(self, form: Format, edition: FormatCache) -> bytes:
        """What the exporter shows of itself, and the end."""
        sizes = {
            name: sheet.samples
            for name, sheet in edition.sheets.items()
            if f.is_pipeline_family(name)
        }
        values = own_values(self._book, self._accounts(), self._health, sizes)
        if form == "protobuf":
            values |= map(_family, _process().collect())
        nothing, written = told(form, (), ()), b""
        for family, series in values.items():
            items: list[Item] = [(labels, vector, None) for labels, vector in series.items()]
            ours = _writer(family, form)
            (row,) = ours.rows([(nothing, items)])
            written += ours.head(len(row)) + row
        if form == "protobuf":
            return written
        generate = generate_openmetrics if form == "openmetrics" else generate_text
        return written + bytes(generate(_process()))

    def _look_at_repos(self) -> None:
        """See which repos are polled, and which were since the last time."""
        polled: dict[Labels, dict[str, _Repo]] = {}
        for view in self._accounts():
            known = polled[view.labels] = self._repos.pop(view.labels, {})
            for entry, repo in view.repos.items():
                shown = known.get(entry)
                if shown is None:
                    shown = known[entry] = _Repo((*view.labels, clean(entry)))
                    shown.place = self._of_repos.add(shown)
                elif (shown.last_success, shown.interval) == (repo.last_success, repo.interval):
                    continue
                shown.last_success, shown.interval = repo.last_success, repo.interval
                self._of_repos.mark(shown.place)
            if len(known) > len(view.repos):
                for entry in known.keys() - view.repos.keys():
                    self._of_repos.remove(known.pop(entry).place)
        for left in self._repos.values():
            for repo in left.values():
                self._of_repos.remove(repo.place)
        self._repos = polled


def _read_repo(repo: _Repo, families: Iterable[str]) -> Items:
    values = {f.LAST_SUCCESS.name: repo.last_success, f.POLL_INTERVAL.name: repo.interval}
    return {family: [((), (values[family],), None)] for family in families}


@cache
def _writer(family: Family, form: Format) -> Writer:
    """For a family of the exporter itself; their bounds are always the same."""
    bounds = f.POLL_BUCKETS if family.buckets else ()
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
def _process() -> CollectorRegistry:
    """Process and platform metrics; in OpenMetrics they bring the end mark with them."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return registry
