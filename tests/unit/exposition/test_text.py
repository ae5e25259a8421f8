"""What is written says what prometheus-client would say, whatever the values and labels."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest as generate_text
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.utils import floatToGoString

from exporter.metrics import families as f
from exporter.metrics.buckets import Buckets
from exporter.metrics.labels import clean
from exporter.outputs.prometheus import Format
from tests.unit.exposition import FORMATS, HOSTILE, Values, ours, parsed, written

BUCKETS = Buckets((10.0, 60.0, 3600.0, 1e7), (0.5, 5.0))


class Reference:
    """The same values in prometheus-client's own words."""

    def __init__(self, values: Values) -> None:
        self._values = values

    def collect(self) -> Iterator[Metric]:
        for family, series in self._values.items():
            metric = Metric(family.name.removesuffix("_total"), family.help, family.kind)
            for labels, vector in series.items():
                named = dict(zip(family.labels, labels, strict=True))
                if family.kind != "histogram":
                    metric.add_sample(family.name, named, vector[0])
                    continue
                running = 0.0
                for bound, count in zip((*BUCKETS.of(family), math.inf), vector, strict=False):
                    running += count
                    le = {"le": floatToGoString(bound)}
                    metric.add_sample(f"{family.name}_bucket", named | le, running)
                metric.add_sample(f"{family.name}_count", named, running)
                metric.add_sample(f"{family.name}_sum", named, vector[-1])
            yield metric


def reference(values: Values, form: Format) -> bytes:
    registry = CollectorRegistry()
    registry.register(Reference(values))
    generate: Any = generate_openmetrics if form == "openmetrics" else generate_text
    return bytes(generate(registry))


COUNTS = st.integers(0, 10**7).map(float)
NUMBERS = COUNTS | st.floats(0, allow_infinity=False).filter(bool)
ANY = st.floats() | st.sampled_from([math.nan, math.inf, -math.inf])
LABELS = st.text(st.characters(exclude_categories=())).map(clean) | st.sampled_from(
    ["main", 'a"b', "a\\nb", "\\", '\\"', ",", "}", " ", "%s", *map(clean, HOSTILE)]
)


@st.composite
def expositions(draw: st.DrawFn) -> Values:
    values: dict[Any, Any] = {}
    for family in draw(st.lists(st.sampled_from(f.FAMILIES), unique=True, max_size=5)):
        width = BUCKETS.width(family)
        numbers = ANY if family.kind == "gauge" else NUMBERS
        vectors = st.tuples(*(COUNTS for _ in range(width - 1)), numbers)
        rows = st.dictionaries(st.tuples(*(LABELS for _ in family.labels)), vectors, max_size=3)
        values[family] = draw(rows)
    return values


@pytest.mark.parametrize("form", FORMATS)
@given(values=expositions(), shared=st.sampled_from([0, 5]))
def test_it_says_what_prometheus_client_would_say(
    values: Values, shared: int, form: Format
) -> None:
    if not all(family.labels for family in values):
        shared = 0
    body = written(values, BUCKETS, form, shared=shared)

    assert ours(form, body) == parsed(form, reference(values, form))


@given(value=st.floats(allow_nan=False) | st.integers(-(2**60), 2**60).map(float))
def test_a_number_can_be_read_back(value: float) -> None:
    line = written({f.STATE_OK: {(): (value,)}}, BUCKETS, "text").decode().splitlines()[2]

    assert float(line.rsplit(" ", 1)[1]) == value


def test_zero_has_no_sign() -> None:
    for value in (-0.0, 0.0):
        line = written({f.STATE_OK: {(): (value,)}}, BUCKETS, "text").splitlines()[2]
        assert line == b"cicd_exporter_state_ok 0.0"


def test_lone_surrogates_that_slip_through_do_not_take_the_scrape_down() -> None:
    for form in FORMATS:
        body = written({f.ACCOUNT_UP: {("github", "\ud800"): (1.0,)}}, BUCKETS, form)
        (sample,) = ours(form, body)["cicd_exporter_account_up"][2]
        assert dict(sample[1]) == {"provider": "github", "account": "?"}
