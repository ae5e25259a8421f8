"""The encoded bytes of one format: encoded when samples change, joined when they are read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from exporter.ledger.rows import Labels, SparseBuckets
from exporter.metrics.buckets import Buckets
from exporter.metrics.families import Family
from exporter.metrics.gauges import Item, Items
from exporter.outputs.prometheus import protobuf, text
from exporter.outputs.prometheus.packing import Packer, Segment, joined
from exporter.outputs.prometheus.text import Format
from exporter.view.series import Own
from exporter.view.slots import DirtySlots, SlotTable

_BATCH = 1 << 19
"""Bytes, about, that are joined and sent at once."""
_GROUPS = 32
"""Groups that are written in one step."""
_HISTOGRAMS, _SEVERAL, _SINGLES = 16, 64, 512
"""Places in a segment, by what is at each: some histograms, some samples or one, so that it
has around 100 kB. A changed sample costs the packing of a segment."""

Read = Callable[[Any, Iterable[str]], Items]
"""Returns what these families of a group show."""


Spreads = Callable[[Any], Mapping[Own, SparseBuckets] | None]
"""Returns the sparse buckets of a group's histograms, if they are counted."""


class GroupReader(NamedTuple):
    """Groups and how they are read."""

    table: SlotTable[Any]
    read: Read
    spreads: Spreads = lambda _: None


class Writer(Protocol):
    """Writes the samples of one family in one format."""

    samples_each: int

    def head(self, size: int) -> bytes:
        """What is before the samples of the family, which are so many bytes."""

    def encode(self, groups: Iterable[tuple[Any, Sequence[Item]]]) -> list[bytes]:
        """The samples of each group: its labels, as `encode_labels` gives them, and its series."""


def writer(family: Family, form: Format, *, bounds: tuple[float, ...], shared: int) -> Writer:
    """What writes a family; `shared` is how many labels a group of its series has in common."""
    if form == "protobuf":
        return protobuf.Writer(family, bounds=bounds, shared=shared)
    return text.Writer(family, form, bounds=bounds, shared=shared)


def encode_labels(
    form: Format, names: Labels, values: Labels, spreads: Mapping[Own, SparseBuckets] | None = None
) -> Any:
    """The labels of a group, and with protobuf its sparse buckets, in the form a writer takes."""
    if form == "protobuf":
        return protobuf.Shared(protobuf.encode_labels(names, values), spreads)
    return text.encode_labels(names, values)


class FamilyBuffer:
    """The bytes of one family, by slot, and their compressed segments."""

    def __init__(self, writer: Writer, step: int) -> None:
        self._head = writer.head
        self._write = writer.encode
        self._samples_each = writer.samples_each
        self._step = step
        self._rows: list[bytes] = []
        self._counts: list[int] = []
        """How many series are at each slot."""
        self._segments: list[Segment | None] = []
        self._size: int | None = None
        self._packed: Segment | None = None

    def put(self, entries: list[tuple[int, Any, list[Item]]]) -> None:
        """Replace the bytes of some slots: the slot, the labels of its group, its series."""
        rows, counts, segments = self._rows, self._counts, self._segments
        written = self._write([(shared, items) for _, shared, items in entries])
        for (slot, _, items), row in zip(entries, written, strict=True):
            if slot >= len(rows):
                self._grow(slot + 1)
            if row != rows[slot]:
                rows[slot] = row
                counts[slot] = len(items)
                segments[slot // self._step] = self._packed = self._size = None

    def _grow(self, size: int) -> None:
        more = size - len(self._rows)
        self._rows += [b""] * more
        self._counts += [0] * more
        self._segments += [None] * (-(-size // self._step) - len(self._segments))

    @property
    def samples(self) -> int:
        """How many samples it has."""
        return sum(self._counts) * self._samples_each

    @property
    def size(self) -> int:
        """Bytes of the text."""
        return len(self._head(self._body)) + self._body

    @property
    def _body(self) -> int:
        """Bytes of the samples."""
        if self._size is None:
            self._size = sum(map(len, self._rows))
        return self._size

    def batches(self) -> Iterator[list[bytes]]:
        """The text, in lists of about the same size."""
        step = max(1, _BATCH * len(self._rows) // self.size)
        yield [self._head(self._body)]
        for start in range(0, len(self._rows), step):
            yield self._rows[start : start + step]

    def pack(self, packer: Packer) -> Iterator[None]:
        """Pack what is not; one segment a step."""
        for n, segment in enumerate(self._segments):
            if segment is None:
                self._segments[n] = packer.pack(self._text(n))
                yield

    def packed(self, packer: Packer) -> Segment:
        """The text, packed."""
        if self._packed is None:
            rest = [
                packer.pack(self._text(n)) if segment is None else segment
                for n, segment in enumerate(self._segments)
            ]
            head = self._head(sum(segment.size for segment in rest))
            self._packed = joined((packer.pack(head), *rest))
        return self._packed

    def _text(self, n: int) -> bytes:
        return b"".join(self._rows[n * self._step : (n + 1) * self._step])


class FormatCache:
    """All families of the readers in one format."""

    def __init__(self, form: Format, buckets: Buckets, readers: Iterable[GroupReader]) -> None:
        self.used_at = 0.0
        """When a scrape last asked for it; monotonic seconds."""
        self._form = form
        self._readers = [(reader, reader.table.track()) for reader in readers]
        self.buffers = {
            family.name: FamilyBuffer(
                writer(
                    family,
                    form,
                    bounds=buckets.of(family),
                    shared=len(reader.table.labels),
                ),
                _step(family, reader.table),
            )
            for reader, _ in self._readers
            for family in reader.table.families
        }

    def refresh(self) -> Iterator[None]:
        """Write what has changed; some groups a step."""
        for reader, dirty in self._readers:
            slots = sorted(dirty)
            for start in range(0, len(slots), _GROUPS):
                self._write(reader, dirty, slots[start : start + _GROUPS])
                yield

    def _write(self, reader: GroupReader, dirty: DirtySlots, slots: list[int]) -> None:
        table = reader.table
        entries = defaultdict[str, list[tuple[int, Any, list[Item]]]](list)
        for slot in slots:
            bits = dirty.pop(slot, 0)  # another one may have been here between two steps
            families, group = table.chosen(bits), table.groups[slot]
            if group is None:
                shared = encode_labels(self._form, (), ())
                for family in families:
                    entries[family].append((slot, shared, []))
            else:
                spreads = reader.spreads(group)
                shared = encode_labels(self._form, table.labels, group.labels, spreads)
                for family, items in reader.read(group, families).items():
                    entries[family].append((slot, shared, items))
        for family, known in entries.items():
            self.buffers[family].put(known)

    def close(self) -> None:
        """Let go of the readers: no scrape asks for this format any more."""
        for reader, dirty in self._readers:
            reader.table.untrack(dirty)


def _step(family: Family, table: SlotTable[Any]) -> int:
    if family.kind == "histogram":
        return _HISTOGRAMS
    return _SEVERAL if len(family.labels) > len(table.labels) else _SINGLES
