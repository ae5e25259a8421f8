"""The protobuf exposition says what the text says, and the same once more in native buckets."""

from __future__ import annotations

import gzip
import math
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.ledger.rows import Exemplar, Findings
from exporter.metrics import families as f
from exporter.metrics import native
from exporter.metrics.buckets import POLL_BUCKETS
from exporter.metrics.increments import observation
from exporter.metrics.labels import clean
from exporter.outputs.prometheus import negotiate
from exporter.outputs.prometheus.format_cache import encode_labels, writer
from tests.tools.views import PIPELINE, a_view, completed, job_done, learn, some_findings
from tests.unit.exposition import HOSTILE, Values, account_view, exposition, lively, ours, written
from tests.unit.exposition.messages import families, labels_of, natives, read
from tests.unit.exposition.test_text import BUCKETS, expositions

NATIVE = (f.BUILD_DURATION, f.BUILD_QUEUE, f.JOB_DURATION, f.JOB_QUEUE)


def of_ours(body: bytes) -> Mapping[str, Any]:
    return {name: x for name, x in read(body).items() if name.startswith("cicd_")}


def of_builds(body: bytes) -> list[Any]:
    return [x for x in families(body) if x.name.startswith(("cicd_build", "cicd_job"))]


def put(values: Values, *, shared: int = 0) -> bytes:
    """What `written` does, in protobuf."""
    body = b""
    for family, series in values.items():
        most = min(shared, len(family.labels))
        hand = writer(family, "protobuf", bounds=BUCKETS.of(family), shared=most)
        rows = b""
        for labels, vector in series.items():
            group = encode_labels("protobuf", family.labels[:most], labels[:most])
            rows += b"".join(hand.encode([(group, [(labels[most:], vector, None)])]))
        body += hand.head(len(rows)) + rows
    return body


@settings(max_examples=50)
@given(values=expositions(), shared=st.sampled_from([0, 5]))
def test_it_says_what_the_text_says_of_any_numbers(values: Values, shared: int) -> None:
    if not all(family.labels for family in values):
        shared = 0

    assert read(put(values, shared=shared)) == ours("text", written(values, BUCKETS, "text"))


@settings(max_examples=25)
@given(st.lists(some_findings(), max_size=4))
def test_it_says_what_the_text_says_of_any_builds(news: list[Findings]) -> None:
    view = a_view(native=True)
    shown = exposition(view, [account_view()])
    for findings in news:
        learn(view, findings)
        shown.text("protobuf")
    body = shown.text("protobuf")

    assert of_ours(body) == ours("text", shown.text())
    assert of_builds(body) == of_builds(exposition(view).text("protobuf"))
    for family in NATIVE:
        natives(body, family.name)


def test_hostile_labels_and_what_libraries_show_are_the_same_too() -> None:
    shown = exposition(lively(*HOSTILE), [account_view(text) for text in HOSTILE])
    body = read(shown.text("protobuf"))

    assert {k: v for k, v in body.items() if k.startswith("cicd_")} == ours("text", shown.text())
    repos = {dict(labels)["repo"] for _, labels, _ in body["cicd_builds_active"][2]}
    assert repos == {clean(text) for text in HOSTILE}
    assert body["process_cpu_seconds"][0] == "counter"
    assert body["process_start_time_seconds"][0] == "gauge"
    assert body["python_info"][2].total() == 1


def test_gzip_holds_the_same_bytes() -> None:
    view = a_view(native=True)
    learn(view, completed())
    shown = exposition(view, [account_view()], clock=lambda: 2e9)
    for _ in shown.steps("protobuf", packed=True):
        pass
    ((packed,),) = shown.answer("protobuf", packed=True).batches

    known = {x.name: x for x in families(shown.text("protobuf")) if x.name.startswith("cicd_")}
    assert {x.name: x for x in families(gzip.decompress(packed)) if x.name in known} == known


# --- native buckets ---


def bounds(number: int) -> tuple[float, float]:
    """What a native bucket holds: more than the first, up to the second."""
    return 2 ** ((number - 1) / 8), 2 ** (number / 8)


@given(st.floats(min_value=2.0**-10, max_value=1e300, exclude_min=True))
def test_an_observation_is_between_the_bounds_of_its_bucket(seconds: float) -> None:
    low, high = bounds(native.bucket(seconds))

    assert low * (1 - 1e-12) < seconds <= high * (1 + 1e-12)


@pytest.mark.parametrize("power", [*range(-9, 30), 1023])
def test_a_power_of_two_is_the_end_of_its_bucket(power: int) -> None:
    assert native.bucket(2.0**power) == 8 * power
    assert native.bucket(math.nextafter(2.0**power, math.inf)) == 8 * power + 1


def test_what_is_next_to_nothing_is_in_the_zero_bucket_and_nothing_is_too_much() -> None:
    last = native.bucket(1.7976931348623157e308)

    assert {native.bucket(x) for x in (0.0, 5e-324, 0.0009, 2.0**-10)} == {native.ZERO_BUCKET}
    assert native.bucket(math.nextafter(2.0**-10, 1.0)) == native.ZERO_BUCKET + 1
    assert (last, native.bucket(math.inf)) == (8192, 8193)


SECONDS = st.floats(0, 1e6) | st.sampled_from([0.0, 5.0, 10.0, 60.0, 1e308, math.inf, math.nan])


@given(counted=st.lists(SECONDS, max_size=20), before=st.lists(SECONDS, max_size=20))
def test_native_and_classic_buckets_hold_the_same_observations(
    counted: list[float], before: list[float]
) -> None:
    """`before` are observations that were made while nobody counted native buckets."""
    vectors = [observation(x, (10.0, 60.0)) for x in (*before, *counted)]
    counts = [sum(column) for column in zip((0.0,) * 4, *vectors, strict=True)][:-1]
    known: dict[int, int] = {}
    for vector in vectors[len(before) :]:
        for cell in native.cells(vector):
            known[cell] = known.get(cell, 0) + 1

    found = native.buckets(known, counts, native.homes((10.0, 60.0)))

    assert sum(found.values()) == len(vectors)
    exact = [native.bucket(x) for x in counted if not math.isnan(x)]
    assert all(found[number] >= exact.count(number) for number in exact)
    if not before and len(exact) == len(counted):
        assert found == {number: exact.count(number) for number in exact}


def test_cells_that_cannot_be_are_no_reason_to_lose_a_scrape() -> None:
    homes = native.homes((10.0, 60.0))
    (cell,) = native.cells(observation(20.0, (10.0, 60.0)))
    (other,) = native.cells(observation(20.0, (1.0, 2.0, 3.0)))

    plain = native.buckets({}, (1.0, 1.0, 0.0), homes)
    assert native.buckets({cell: 1}, (1.0, 1.0, 0.0), homes) != plain
    assert native.buckets({cell: 2}, (1.0, 1.0, 0.0), homes) == plain
    assert native.buckets({other: 1}, (1.0, 1.0, 0.0), homes) == plain


def lasting(seconds: float, **told: Any) -> Findings:
    return completed(created_at=1e6 - 3, started_at=1e6, completed_at=1e6 + seconds, **told)


def test_builds_and_jobs_are_shown_in_native_buckets() -> None:
    view = a_view(native=True)
    shown = exposition(view)
    for seconds in (0.0, 0.0, 9.0, 9.1, 100.0):
        learn(view, lasting(seconds))
    learn(view, job_done())
    body = shown.text("protobuf")

    passed = (*PIPELINE, "passed")
    assert natives(body, f.BUILD_DURATION.name) == {passed: (5, 2, {26: 2, 54: 1})}
    assert natives(body, f.BUILD_QUEUE.name) == {PIPELINE: (5, 0, {13: 5})}
    assert natives(body, f.JOB_DURATION.name) == {(*PIPELINE, "test", "passed"): (1, 0, {35: 1})}
    assert natives(body, f.JOB_QUEUE.name) == {(*PIPELINE, "test"): (1, 0, {13: 1})}


def test_a_histogram_of_nothing_is_a_native_one_too() -> None:
    view = a_view(native=True, zero_hold=60.0)
    learn(view, lasting(9.0))

    (shown,) = natives(exposition(view).text("protobuf"), f.BUILD_DURATION.name).values()
    assert shown == (0, 0, {})


def test_polls_are_shown_in_classic_buckets_only() -> None:
    body = exposition(a_view(native=True), [account_view()]).text("protobuf")
    (polls,) = (x for x in families(body) if x.name == f.POLL_DURATION.name)

    assert len(polls.metric[0].histogram.bucket) == len(POLL_BUCKETS) + 1
    assert not polls.metric[0].histogram.HasField("zero_threshold")


def test_native_buckets_of_a_held_series_wait_with_it() -> None:
    now = 0.0
    view = a_view(native=True, zero_hold=60.0, clock=lambda: now)
    shown = exposition(view)
    learn(view, lasting(9.0))
    learn(view, lasting(100.0))
    seen = []
    for _ in range(2):
        (found,) = natives(shown.text("protobuf"), f.BUILD_DURATION.name).values()
        seen.append(found)
        view.scraped(1.0)
        now = 60.0
        view.release(view.due())

    assert seen == [(0, 0, {}), (2, 0, {26: 1, 54: 1})]


def test_exemplars_are_in_their_buckets() -> None:
    view = a_view(native=True)
    learn(view, lasting(9.0, number=7))
    (family,) = (
        x for x in families(exposition(view).text("protobuf")) if x.name == f.BUILD_DURATION.name
    )

    first, *others = family.metric[0].histogram.bucket
    assert labels_of(first.exemplar) == {"build": "7", "id": "1"}
    assert (first.exemplar.value, first.exemplar.timestamp.seconds) == (9.0, 1_000_009)
    assert not any(bucket.HasField("exemplar") for bucket in others)


def test_a_counter_has_its_exemplar() -> None:
    view = a_view(native=True)
    learn(view, lasting(9.0, number=7))
    (family,) = (x for x in families(exposition(view).text("protobuf")) if x.name == f.BUILDS.name)

    (counted,) = (x.counter for x in family.metric if x.counter.value)
    assert labels_of(counted.exemplar) == {"build": "7", "id": "1"}
    assert (counted.exemplar.value, counted.exemplar.timestamp.seconds) == (1.0, 1_000_009)
    assert not any(x.counter.HasField("exemplar") for x in family.metric if not x.counter.value)


@given(at=st.floats(0, 4e9))
def test_the_time_of_an_exemplar_is_kept_to_the_microsecond(at: float) -> None:
    hand = writer(f.BUILD_DURATION, "protobuf", bounds=(10.0, 60.0), shared=0)
    exemplars = {0: Exemplar(0, ("7",), 9.0, at)}
    (row,) = hand.encode(
        [(encode_labels("protobuf", (), ()), [(("",) * 6, (1.0, 0.0, 0.0, 9.0), exemplars)])]
    )
    (family,) = families(hand.head(len(row)) + row)
    known = family.metric[0].histogram.bucket[0].exemplar.timestamp

    assert known.seconds + known.nanos / 1e9 == pytest.approx(at, abs=1e-6, rel=0)


# --- who gets it ---

DELIMITED = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
)


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (DELIMITED, "protobuf"),
        (DELIMITED.replace(";", " ; ").replace("delimited", '"delimited"'), "protobuf"),
        (f"{DELIMITED};escaping=allow-utf-8;q=0.6,text/plain;q=0.2", "protobuf"),
        (f"{DELIMITED};q=0.6,application/openmetrics-text;version=1.0.0;q=0.7", "openmetrics"),
        (f"text/plain;version=0.0.4,{DELIMITED}", "text"),
        (f"{DELIMITED},text/plain;version=0.0.4", "protobuf"),
        (f"{DELIMITED};q=0,text/plain", "text"),
        (f"{DELIMITED};q=0", "text"),
        (DELIMITED.replace("delimited", "text"), "text"),
        (DELIMITED.replace("delimited", "compact-text"), "text"),
        (DELIMITED.replace("MetricFamily", "Metric"), "text"),
        ("application/vnd.google.protobuf", "text"),
        ("application/*", "openmetrics"),
        ("*/*", "text"),
        ("", "text"),
    ],
    ids=lambda value: value,
)
def test_protobuf_is_for_who_names_it_and_likes_it_best(accept: str, form: str) -> None:
    assert negotiate(accept, offers=exposition(a_view(native=True)).offers) == form


def test_nobody_gets_it_while_it_is_off() -> None:
    assert exposition(a_view()).offers == ("text", "openmetrics")
    assert negotiate(DELIMITED, offers=exposition(a_view()).offers) == "text"


def test_nothing_is_counted_in_native_buckets_while_it_is_off() -> None:
    view = a_view()
    learn(view, completed())

    assert all(known.spreads is None for known in view.pipelines.values())
