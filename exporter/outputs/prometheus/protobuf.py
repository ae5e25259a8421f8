"""The protobuf format: how a family and its samples are written, with native histograms.

Messages of io.prometheus.client, each with its length before it (prometheus/client_model,
metrics.proto). They are few and small, so they are put together here, from pieces that are
written once: a library would make an object of every number. A test reads them with one.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

from exporter.ledger.rows import Exemplar, Labels, SparseBuckets
from exporter.metrics import native
from exporter.metrics.exemplars import LABELS
from exporter.metrics.families import Family
from exporter.metrics.gauges import Item
from exporter.view.series import Own

_KINDS = {"counter": 0, "gauge": 1, "histogram": 4}
_MOST_NUMBERS, _MOST_LABELS = 65536, 1024
"""How many pieces are remembered, of all numbers and of each family's last labels."""
_double = struct.Struct("<d").pack

# Tags of fields: the number times 8, plus how the value is written.
_VARINT, _DOUBLE, _BYTES = 0, 1, 2


class Shared(NamedTuple):
    """What the series of a group have in common."""

    labels: bytes
    spreads: Mapping[Own, SparseBuckets] | None
    """Of its histograms, where native buckets are counted."""


def varint(value: int) -> bytes:
    """A whole number that is not negative."""
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)


class _Varints(dict[int, bytes]):
    """What was written before, as most numbers are small."""

    def __missing__(self, value: int) -> bytes:
        if len(self) >= _MOST_NUMBERS:
            self.clear()
        written = self[value] = varint(value)
        return written


_known = _Varints().__getitem__


def _signed(value: int) -> bytes:
    """A whole number of either sign."""
    return _known(value << 1 if value >= 0 else (-value << 1) - 1)


def _tag(number: int, kind: int) -> bytes:
    return varint(number << 3 | kind)


def _message(number: int, content: bytes) -> bytes:
    return _tag(number, _BYTES) + _known(len(content)) + content


def _text(number: int, text: str) -> bytes:
    return _message(number, text.encode("utf-8", "replace"))


def encode_labels(names: Labels, values: Labels) -> bytes:
    """Labels as they are written."""
    return b"".join(
        _message(1, _text(1, name) + _text(2, value))
        for name, value in zip(names, values, strict=True)
    )


_METRIC = _tag(4, _BYTES)
_VALUES = {
    "counter": _tag(3, _BYTES) + varint(9) + _tag(1, _DOUBLE),
    "gauge": _tag(2, _BYTES) + varint(9) + _tag(1, _DOUBLE),
}
_HISTOGRAM = _tag(7, _BYTES)
_COUNT, _SUM, _BUCKET = _tag(1, _VARINT), _tag(2, _DOUBLE), _tag(3, _BYTES)
_CUMULATED, _BOUND = _tag(1, _VARINT), _tag(2, _DOUBLE)
_NATIVE = _tag(5, _VARINT) + _signed(native.SCHEMA) + _tag(6, _DOUBLE) + _double(native.ZERO)
_NO_SPANS = [(0, 0)]
"""A span of nothing: without one it would not be a native histogram."""
_ZERO_COUNT, _OFFSET, _LENGTH = _tag(7, _VARINT), _tag(1, _VARINT), _tag(2, _VARINT)


class _Labels(dict[Labels, bytes]):
    """The labels that the series of a family do not share, as they are written."""

    def __init__(self, names: Labels) -> None:
        self._names = names

    def __missing__(self, values: Labels) -> bytes:
        if len(self) >= _MOST_LABELS:
            self.clear()
        written = self[values] = encode_labels(self._names, values)
        return written


class _Counts(dict[float, bytes]):
    """A classic bucket up to its bound, by how many observations it has."""

    def __missing__(self, count: float) -> bytes:
        if len(self) >= _MOST_NUMBERS:
            self.clear()
        content = _CUMULATED + varint(int(count)) + _BOUND
        written = self[count] = _BUCKET + varint(len(content) + 8) + content
        return written


_bucket = _Counts().__getitem__


class Writer:
    """Writes the samples of one family.

    `bounds` are those of a histogram, which is a native one too if it is of builds or jobs.
    `shared` is how many labels the samples written at once have in common.
    """

    def __init__(self, family: Family, *, bounds: tuple[float, ...], shared: int) -> None:
        self._name = family.name
        kind = _tag(3, _VARINT) + varint(_KINDS[family.kind])
        self._head = _text(1, family.name) + _text(2, family.help) + kind
        self._own = _Labels(family.labels[shared:])
        self._value = _VALUES.get(family.kind, b"")
        self._bounds = [_double(bound) for bound in (*bounds, math.inf)]
        self._homes = native.homes(bounds) if bounds and family.buckets != "poll" else ()
        self._is_histogram = family.kind == "histogram"
        self.samples_each = len(bounds) + 3 if self._is_histogram else 1
        """How many samples a series has in the text formats."""

    def head(self, size: int) -> bytes:
        """What is before the samples of the family, which are so many bytes."""
        return varint(len(self._head) + size) + self._head

    def encode(self, groups: Iterable[tuple[Shared, Sequence[Item]]]) -> list[bytes]:
        """The samples of each group."""
        return self._histograms(groups) if self._is_histogram else self._plain(groups)

    def _plain(self, groups: Iterable[tuple[Shared, Sequence[Item]]]) -> list[bytes]:
        own, value, rows = self._own, self._value, list[bytes]()
        last: Sequence[Item] = ()
        ends: list[bytes] = []
        for (labels, _), items in groups:
            if items is not last:  # gauges of many pipelines say the very same
                last = items
                ends = [
                    own[more] + _told_counter(number, exemplars[0])
                    if exemplars and number  # else it is of what is held back
                    else own[more] + value + _double(number or 0.0)
                    for more, (number,), exemplars in items
                ]
            size = len(labels)
            rows.append(
                b"".join(
                    [piece for x in ends for piece in (_METRIC, _known(size + len(x)), labels, x)]
                )
            )
        return rows

    def _histograms(self, groups: Iterable[tuple[Shared, Sequence[Item]]]) -> list[bytes]:
        own, rows = self._own, list[bytes]()
        for shared, items in groups:
            pieces: list[bytes] = []
            for more, vector, exemplars in items:
                content = self._classic(vector, exemplars or {})
                if self._homes:
                    spread = (shared.spreads or {}).get((self._name, more))
                    content += self._native(vector, {} if spread is None else spread.shown)
                labels = shared.labels + own[more]
                written = labels + _HISTOGRAM + _known(len(content)) + content
                pieces += (_METRIC, _known(len(written)), written)
            rows.append(b"".join(pieces))
        return rows

    def _classic(self, vector: Sequence[float], exemplars: Mapping[int, Exemplar]) -> bytes:
        """Count, sum and buckets."""
        counts = [*accumulate(vector[:-1])]
        buckets = [b""] * (2 * len(counts))
        buckets[::2] = map(_bucket, counts)
        buckets[1::2] = self._bounds
        for n, exemplar in exemplars.items():
            if vector[n]:  # else it is of what is held back
                content = _CUMULATED + varint(int(counts[n])) + _BOUND + self._bounds[n]
                buckets[2 * n] = _message(3, content + _message(3, _told_exemplar(exemplar)))
                buckets[2 * n + 1] = b""
        count = _COUNT + _known(int(counts[-1]))
        return count + _SUM + _double(vector[-1] or 0.0) + b"".join(buckets)

    def _native(self, vector: Sequence[float], cells: Mapping[int, int]) -> bytes:
        """The same observations in native buckets."""
        buckets = native.buckets(cells, vector[:-1], self._homes)
        zeros = _ZERO_COUNT + _known(buckets.pop(native.ZERO_BUCKET, 0))
        spans: list[tuple[int, int]] = []
        deltas: list[bytes] = []
        end = before = 0
        for number in sorted(buckets):
            count = buckets[number]
            if spans and number == end:
                spans[-1] = (spans[-1][0], spans[-1][1] + 1)
            else:
                spans.append((number - end, 1))
            deltas.append(_signed(count - before))
            end, before = number + 1, count
        told_spans = [
            _message(12, _OFFSET + _signed(offset) + _LENGTH + _known(length))
            for offset, length in spans or _NO_SPANS
        ]
        return _NATIVE + zeros + b"".join(told_spans) + _message(13, b"".join(deltas))


def _told_counter(number: float, exemplar: Exemplar) -> bytes:
    value = _tag(1, _DOUBLE) + _double(number)
    return _message(3, value + _message(2, _told_exemplar(exemplar)))


def _told_exemplar(exemplar: Exemplar) -> bytes:
    whole = math.floor(exemplar.at)
    nanoseconds = int((exemplar.at - whole) * 1e9)
    time = _tag(1, _VARINT) + varint(whole) + _tag(2, _VARINT) + varint(nanoseconds)
    labels = encode_labels(LABELS[: len(exemplar.build)], exemplar.build)
    return labels + _tag(2, _DOUBLE) + _double(exemplar.value) + _message(3, time)
