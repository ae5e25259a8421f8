"""The history as OpenMetrics with timestamps.

`promtool tsdb create-blocks-from openmetrics` reads it. Families, series and points are in
the order that OpenMetrics 1.0 wants: a series is written from its first point to its last.
Each has a point at every step, as a query sees a sample for five minutes only, and begins
at 0, as `increase()` cannot see what the first sample already has.
"""

from __future__ import annotations

from collections.abc import Container, Iterator

from exporter.backfill.grid import Grid
from exporter.backfill.recording import HistoryRecorder, SeriesHistory
from exporter.ledger.rows import Labels, SeriesKey, Vector
from exporter.metrics import families as f
from exporter.metrics.buckets import Buckets
from exporter.metrics.families import Family
from exporter.outputs.prometheus.text import Format, Writer, encode_labels, head

_FORM: Format = "openmetrics"
_BATCH = 200
"""Points that are written at once."""

FAMILIES = tuple(family for family in f.FAMILIES if family.persistent and family.kind != "gauge")


class OpenMetricsText:
    """Writes a recorded history. `more` are labels, by name, that every series gets.

    Series of the targets `without` are left out.
    """

    def __init__(
        self,
        recording: HistoryRecorder,
        grid: Grid,
        buckets: Buckets,
        *,
        more: dict[str, str],
        without: Container[int] = (),
    ) -> None:
        self._recording = recording
        self._grid = grid
        self._buckets = buckets
        self._more = more
        self._keys = {family.name: recording.series(family.name, without) for family in FAMILIES}

    @property
    def samples(self) -> int:
        """How many samples the text has."""
        return sum(
            self._writer(family).samples_each * self._grid.samples(self._first(key))
            for family in FAMILIES
            for key in self._keys[family.name]
        )

    def pieces(self) -> Iterator[tuple[bytes, int]]:
        """The text in pieces of some hundred kilobytes, and the samples in each."""
        for family in FAMILIES:
            keys = self._keys[family.name]
            if not keys:
                continue
            yield head(family, _FORM), 0
            writer = self._writer(family)
            for key in keys:
                for text, points in self._series(family, writer, key):
                    yield text.encode(), points * writer.samples_each
        yield b"# EOF\n", 0

    def _writer(self, family: Family) -> Writer:
        names = self._names(family)
        wide = family.with_labels(names)
        return Writer(wide, _FORM, bounds=self._buckets.of(family), shared=len(names))

    def _names(self, family: Family) -> Labels:
        return (*family.labels, *self._more)

    def _first(self, key: SeriesKey) -> int:
        return self._grid.before(self._recording.began(key))

    def _series(self, family: Family, writer: Writer, key: SeriesKey) -> Iterator[tuple[str, int]]:
        labels = encode_labels(self._names(family), (*key.labels, *self._more.values()))
        at = self._first(key)
        for vector, end in self._runs(self._recording.history(key)):
            (row,) = writer.encode([(labels, [((), vector, None)])])
            point = row.decode()
            while at < end:
                stop = min(end, at + _BATCH * self._grid.step)
                times = range(at, stop, self._grid.step)
                # A label value has no line break in it: it is written as two characters.
                yield "".join(point.replace("\n", f" {time}\n") for time in times), len(times)
                at = stop

    def _runs(self, history: SeriesHistory) -> Iterator[tuple[Vector, int]]:
        """What the series shows, and until which sample, that one not included."""
        vector: Vector = (0.0,) * history.width
        since: int | None = None
        for at, grown in history.steps():
            sample = self._grid.sample_of(at)
            if sample != since:
                yield vector, sample
            vector, since = grown, sample
        yield vector, self._grid.until + self._grid.step
