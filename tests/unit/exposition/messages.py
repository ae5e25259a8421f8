"""The protobuf format as others read it: with the protobuf library."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from itertools import accumulate
from typing import Any, NamedTuple

from google.protobuf import timestamp_pb2
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.proto import parse_length_prefixed
from prometheus_client.utils import floatToGoString

from tests.unit.exposition import Samples

_PACKAGE = "io.prometheus.client"
_KINDS = ("COUNTER", "GAUGE", "SUMMARY", "UNTYPED", "HISTOGRAM")
_SCHEMA = {
    "LabelPair": "name:1:string value:2:string",
    "Gauge": "value:1:double",
    "Counter": "value:1:double exemplar:2:Exemplar",
    "Exemplar": "label:1:LabelPair* value:2:double timestamp:3:.google.protobuf.Timestamp",
    "Bucket": "cumulative_count:1:uint64 upper_bound:2:double exemplar:3:Exemplar",
    "BucketSpan": "offset:1:sint32 length:2:uint32",
    "Histogram": (
        "sample_count:1:uint64 sample_sum:2:double bucket:3:Bucket* schema:5:sint32"
        " zero_threshold:6:double zero_count:7:uint64 negative_span:9:BucketSpan*"
        " negative_delta:10:sint64* positive_span:12:BucketSpan* positive_delta:13:sint64*"
    ),
    "Metric": "label:1:LabelPair* gauge:2:Gauge counter:3:Counter histogram:7:Histogram",
    "MetricFamily": "name:1:string help:2:string type:3:MetricType metric:4:Metric*",
}
"""What we write of prometheus/client_model, metrics.proto (proto2): name, number, type."""


def _class_of_family() -> Any:
    file = FileDescriptorProto(name="metrics.proto", package=_PACKAGE, syntax="proto2")
    file.dependency.append(timestamp_pb2.DESCRIPTOR.name)
    kinds = file.enum_type.add(name="MetricType")
    for number, kind in enumerate(_KINDS):
        kinds.value.add(name=kind, number=number)
    for message, fields in _SCHEMA.items():
        described = file.message_type.add(name=message)
        for text in fields.split():
            name, at, kind = text.rstrip("*").split(":")
            label = "LABEL_REPEATED" if text.endswith("*") else "LABEL_OPTIONAL"
            field = described.field.add(name=name, number=int(at))
            field.label = FieldDescriptorProto.Label.Value(label)
            if kind.isalnum() and kind.islower():
                field.type = FieldDescriptorProto.Type.Value(f"TYPE_{kind.upper()}")
            else:
                field.type_name = kind if kind.startswith(".") else f".{_PACKAGE}.{kind}"
    pool = DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    return GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.MetricFamily"))


_FAMILY = _class_of_family()


def families(body: bytes) -> Iterator[Any]:
    """The messages of a scrape. None may have a field that is not in the schema."""
    stream = BytesIO(body)
    while (family := parse_length_prefixed(_FAMILY, stream)) is not None:
        before = family.SerializeToString()
        family.DiscardUnknownFields()
        assert family.SerializeToString() == before, "a field that nobody knows"
        yield family


def labels_of(metric: Any) -> dict[str, str]:
    """Each label once."""
    labels = {pair.name: pair.value for pair in metric.label}
    assert len(labels) == len(metric.label)
    return labels


def read(body: bytes) -> dict[str, tuple[str, str, Samples]]:
    """Type, help and samples of each family, as `parsed` has them of the text."""
    found: dict[str, tuple[str, str, Samples]] = {}
    for family in families(body):
        samples = Samples()
        for metric in family.metric:
            labels = tuple(sorted(labels_of(metric).items()))
            for name, more, value in _samples(family.name, metric):
                samples[name, tuple(sorted((*labels, *more))), str(value or 0.0)] += 1
        kind = _KINDS[family.type].lower()
        name = family.name.removesuffix("_total") if kind == "counter" else family.name
        assert name not in found, f"{name} comes twice"
        found[name] = (kind, family.help, samples)
    return found


def _samples(name: str, metric: Any) -> Iterator[tuple[str, tuple[tuple[str, str], ...], float]]:
    if metric.HasField("histogram"):
        for bucket in metric.histogram.bucket:
            bound = floatToGoString(bucket.upper_bound)
            yield f"{name}_bucket", (("le", bound),), float(bucket.cumulative_count)
        yield f"{name}_count", (), float(metric.histogram.sample_count)
        yield f"{name}_sum", (), metric.histogram.sample_sum
    else:
        yield name, (), (metric.counter if metric.HasField("counter") else metric.gauge).value


class Native(NamedTuple):
    """A native histogram."""

    total: int
    zeros: int
    buckets: dict[int, int]


def native_of(histogram: Any) -> Native:
    """Its buckets by number; none is empty, and all together have every observation."""
    assert (histogram.schema, histogram.zero_threshold) == (3, 2.0**-10)
    assert not [*histogram.negative_span, *histogram.negative_delta]
    numbers: list[int] = []
    for span in histogram.positive_span:
        start = span.offset + (numbers[-1] + 1 if numbers else 0)
        numbers += range(start, start + span.length)
    counts = accumulate(histogram.positive_delta)
    buckets = dict(zip(numbers, counts, strict=True))
    assert all(count > 0 for count in buckets.values())
    assert histogram.zero_count + sum(buckets.values()) == histogram.sample_count
    return Native(histogram.sample_count, histogram.zero_count, buckets)


def natives(body: bytes, name: str) -> dict[tuple[str, ...], Native]:
    """The native histograms of a family, by the values of their labels."""
    return {
        tuple(labels_of(metric).values()): native_of(metric.histogram)
        for family in families(body)
        if family.name == name
        for metric in family.metric
    }
