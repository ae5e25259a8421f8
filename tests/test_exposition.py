"""The bytes of a scrape are what the values are, in both formats, whatever the labels say."""

from __future__ import annotations

import math
import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest as generate_text
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as read_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as read_text
from prometheus_client.utils import floatToGoString

from exporter import __version__
from exporter.errors import Reason
from exporter.exposition import (
    AccountView,
    Format,
    Health,
    RepoView,
    Snapshot,
    negotiate,
    render,
    snapshot,
    weighted,
)
from exporter.http import ApiStats, RateLimit
from exporter.metrics import families as f
from exporter.metrics.book import Book
from exporter.metrics.families import Buckets, Family
from exporter.metrics.labels import clean
from exporter.model import Job, Status
from exporter.record import Verdict
from tests.books import a_book, completed, job_done, learn
from tests.scripted import BUCKETS as SCRIPTED
from tests.scripted import build

BUCKETS = Buckets((10.0, 60.0, 3600.0, 1e7), (0.5, 5.0))
FORMATS: tuple[Format, ...] = ("text", "openmetrics")
HOSTILE = [
    "",
    "\0",
    "line\nbreak\r\n",
    'quote" back\\slash \\n \\" \\\\',
    "a\ud800b",
    "\u202eright to left",
    "\u2028\x85",
    '",le="1"} 7\n# EOF\n',
    "é🚀" * 50,
    "x" * 10_000,
]

Samples = Counter[tuple[str, tuple[tuple[str, str], ...], float]]


def parsed(form: Format, body: bytes) -> dict[str, tuple[str, str, Samples]]:
    """Type, help and samples of each family, as prometheus-client's strict parsers read them."""
    read: Any = read_openmetrics if form == "openmetrics" else read_text
    return {
        family.name: (
            family.type,
            family.documentation,
            Counter((s.name, tuple(sorted(s.labels.items())), s.value) for s in family.samples),
        )
        for family in read(body.decode("utf-8", "strict"))
    }


def ours(form: Format, body: bytes) -> dict[str, tuple[str, str, Samples]]:
    return {name: x for name, x in parsed(form, body).items() if name.startswith("cicd_")}


# --- the same as prometheus-client's own ---


class Reference:
    """The same values in prometheus-client's own words."""

    def __init__(self, values: Snapshot) -> None:
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


def reference(values: Snapshot, form: Format) -> bytes:
    registry = CollectorRegistry()
    registry.register(Reference(values))
    generate: Any = generate_openmetrics if form == "openmetrics" else generate_text
    return bytes(generate(registry))


COUNTS = st.integers(0, 10**7).map(float)
NUMBERS = COUNTS | st.floats(0, allow_infinity=False)
LABELS = st.text(st.characters(exclude_categories=())).map(clean) | st.sampled_from(
    ["main", 'a"b', "a\\nb", "\\", '\\"', ",", "}", " "]
)


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    values: Snapshot = {family: {} for family in f.FAMILIES}
    for family in draw(st.lists(st.sampled_from(f.FAMILIES), unique=True, max_size=5)):
        width = len(BUCKETS.of(family)) + 2 if family.buckets else 1
        vectors = st.tuples(*(COUNTS for _ in range(width - 1)), NUMBERS)
        rows = st.dictionaries(st.tuples(*(LABELS for _ in family.labels)), vectors, max_size=3)
        values[family] = draw(rows)
    return values


@pytest.mark.parametrize("form", FORMATS)
@given(values=snapshots())
def test_a_scrape_says_what_prometheus_client_would_say(values: Snapshot, form: Format) -> None:
    assert ours(form, render(values, BUCKETS, form)) == parsed(form, reference(values, form))


@given(value=st.floats(allow_nan=False) | st.integers(-(2**60), 2**60).map(float))
def test_a_number_can_be_read_back(value: float) -> None:
    shown: Snapshot = {f.CLOCK_SKEW: {("github", "acme"): (value,)}}

    line = render(shown, BUCKETS, "text").decode().splitlines()[2]

    assert float(line.rsplit(" ", 1)[1]) == value


# --- a whole scrape ---


def view(text: str = "acme", **values: Any) -> AccountView:
    """An account of which everything is known; `text` is every free label."""
    stats = ApiStats()
    stats.requests.update({"200": 5, "error": 1})
    stats.errors["timeout"] += 2
    stats.rate_limits[text] = RateLimit(limit=5000.0, remaining=4999.0, reset_at=1.7e9)
    stats.clock_skew = -2.5
    known: dict[str, Any] = {
        "provider": "github",
        "account": text,
        "stats": stats,
        "up": True,
        "budget_exhausted": False,
        "rejected": 3,
        "polls": (*range(len(f.POLL_BUCKETS) + 1), 12.5),
        "repos": [RepoView(text, 1.7e9, 60.0), RepoView(f"{text}/2", 0.0, 900.0)],
    }
    return AccountView(**known | values)


def lively(*texts: str) -> Book:
    """A book that knows builds and jobs with these texts for names."""
    book = a_book()
    for text in texts:
        names: dict[str, Any] = {"repo": text, "workflow": text, "trigger": text}
        waiting = Job(id="1", name=text, status=Status.QUEUED)
        learn(book, Verdict(active=[build(f"{text}1", **names, jobs=(waiting,))]))
        learn(book, completed(**names, conclusion=text or None))
        learn(book, completed(**names, attempt=2))
        learn(book, job_done(build("1", **names), name=text))
    return book


def scraped(book: Book, *views: AccountView) -> Snapshot:
    return snapshot(book, views, Health(revision="abc"), now=time.time())


def body(values: Snapshot, form: Format = "text") -> bytes:
    return render(values, SCRIPTED, form)


@pytest.fixture(scope="module")
def hostile() -> Snapshot:
    """A scrape of everything, in which every free text is hostile."""
    return scraped(lively(*HOSTILE), *(view(text) for text in HOSTILE))


def filled(values: Snapshot) -> set[Family]:
    return {family for family, series in values.items() if series}


def test_a_scrape_of_everything_has_every_family(hostile: Snapshot) -> None:
    assert set(f.FAMILIES) - filled(hostile) == set()
    assert list(hostile) == list(f.FAMILIES)


@pytest.mark.parametrize("form", FORMATS)
def test_hostile_labels_are_rendered_and_read_back(hostile: Snapshot, form: Format) -> None:
    read = ours(form, body(hostile, form))

    repos = {dict(labels)["repo"] for _, labels, _ in read["cicd_builds_active"][2]}
    assert repos == {clean(text) for text in HOSTILE}


@pytest.mark.parametrize("form", FORMATS)
def test_no_series_is_shown_twice(hostile: Snapshot, form: Format) -> None:
    for _, _, samples in parsed(form, body(hostile, form)).values():
        names = [(name, labels) for name, labels, _ in samples.elements()]
        assert len(set(names)) == len(names)


def test_no_sample_has_a_timestamp(hostile: Snapshot) -> None:
    for form in FORMATS:
        read: Any = read_openmetrics if form == "openmetrics" else read_text
        families = read(body(hostile, form).decode())
        assert not any(s.timestamp or s.exemplar for family in families for s in family.samples)


def test_lone_surrogates_that_slip_through_do_not_take_the_scrape_down() -> None:
    values: Snapshot = {f.ACCOUNT_UP: {("github", "\ud800"): (1.0,)}}

    for form in FORMATS:
        (sample,) = ours(form, render(values, BUCKETS, form))["cicd_exporter_account_up"][2]
        assert dict(sample[1]) == {"provider": "github", "account": "?"}


@pytest.mark.parametrize("form", FORMATS)
def test_buckets_rise_to_the_count(hostile: Snapshot, form: Format) -> None:
    for family in f.FAMILIES:
        if family.kind != "histogram":
            continue
        series: dict[Any, dict[str, float]] = {}
        for name, labels, value in ours(form, body(hostile, form))[family.name][2]:
            own = {k: v for k, v in labels if k != "le"}
            part = dict(labels).get("le", name.removeprefix(family.name))
            series.setdefault(tuple(own.items()), {})[part] = value
        for parts in series.values():
            total, _ = parts.pop("_count"), parts.pop("_sum")
            counts = [parts[le] for le in sorted(parts, key=float)]
            assert counts == sorted(counts)
            assert counts[-1] == parts["+Inf"] == total


def check(promtool: Path, text: bytes) -> subprocess.CompletedProcess[bytes]:
    command = [str(promtool), "check", "metrics"]
    return subprocess.run(command, input=text, capture_output=True, check=False)


def test_promtool_has_nothing_to_say(hostile: Snapshot, promtool: Path) -> None:
    said = check(promtool, body(hostile))

    assert (said.returncode, said.stdout, said.stderr) == (0, b"", b"")


def test_promtool_has_nothing_to_say_about_a_young_exporter(promtool: Path) -> None:
    quiet = view(stats=ApiStats(), up=False, rejected=0, repos=[])

    for values in (scraped(a_book()), scraped(a_book(), quiet)):
        said = check(promtool, body(values))
        assert (said.returncode, said.stdout, said.stderr) == (0, b"", b"")


@pytest.mark.parametrize("form", FORMATS)
def test_openmetrics_ends_with_its_mark_and_text_has_none(hostile: Snapshot, form: Format) -> None:
    text = body(hostile, form)

    assert text.endswith(b"\n# EOF\n") == (form == "openmetrics")
    assert text.count(b"\n# EOF\n") == (form == "openmetrics")


def test_process_and_platform_are_shown_too(hostile: Snapshot) -> None:
    for form in FORMATS:
        assert {"python_info", "process_resident_memory_bytes"} <= parsed(
            form, body(hostile, form)
        ).keys()


# --- what is there from the start ---


def test_zeros_are_there_before_the_first_event() -> None:
    quiet = view(stats=ApiStats(), up=False, rejected=0, repos=[])
    values = scraped(a_book(), quiet, view(account="other", provider="jenkins"))

    acme = ("github", "acme")
    assert dict.fromkeys(get_args(Reason), (0.0,)) == {
        labels[2]: vector for labels, vector in values[f.API_ERRORS].items() if labels[:2] == acme
    }
    for family in (f.MISSING, f.UNMAPPED, f.ANOMALIES):
        words = [(provider, w) for provider in ("github", "jenkins") for w in family.zeros]
        assert dict.fromkeys(words, (0.0,)) == values[family]
    assert {acme: (0.0,), ("jenkins", "other"): (0.0,)} == values[f.GAPS]
    assert (0.0,) == values[f.REJECTED][acme] == values[f.ACCOUNT_UP][acme]


def test_what_was_counted_takes_the_place_of_the_zeros() -> None:
    book = lively("x")
    learn(book, completed(3, conclusion=None))

    values = scraped(book, view(provider="scripted"))

    assert values[f.MISSING]["scripted", "conclusion"] == (1.0,)
    assert values[f.MISSING]["scripted", "attempt"] == (3.0,)
    assert values[f.API_ERRORS]["scripted", "acme", "timeout"] == (2.0,)


def test_an_account_shows_what_it_knows_and_nothing_else() -> None:
    stats = ApiStats()
    stats.rate_limits[""] = RateLimit(limit=None, remaining=7.0, reset_at=None)
    values = scraped(a_book(), view(stats=stats, budget_exhausted=True))

    assert values[f.RATE_REMAINING] == {("github", "acme", ""): (7.0,)}
    assert values[f.RATE_LIMIT] == values[f.RATE_RESET] == values[f.CLOCK_SKEW] == {}
    assert values[f.BUDGET_EXHAUSTED] == {("github", "acme"): (1.0,)}
    assert values[f.LAST_SUCCESS] == {
        ("github", "acme", "acme"): (1.7e9,),
        ("github", "acme", "acme/2"): (0.0,),
    }


def test_the_process_shows_its_health() -> None:
    health = Health(state_ok=False, reload_ok=False, reload_time=1.7e9, revision="a\nb")
    values = snapshot(a_book(), [], health, now=time.time())

    assert values[f.STATE_OK] == values[f.RELOAD_OK] == {(): (0.0,)}
    assert values[f.RELOAD_TIME] == {(): (1.7e9,)}
    ((version, revision, python),) = values[f.BUILD_INFO]
    assert (version, revision, python[:2]) == (__version__, "a\ufffdb", "3.")


def test_a_snapshot_does_not_change_with_the_book() -> None:
    book = lively("x")
    values = scraped(book)
    before = body_of_ours(values)

    learn(book, completed(repo="x", workflow="x", trigger="x"))

    assert body_of_ours(values) == before
    assert body_of_ours(scraped(book)) != before


def body_of_ours(values: Snapshot) -> Iterable[bytes]:
    return [line for line in body(values).splitlines() if line.startswith(b"cicd_")]


# --- negotiation ---

PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)
PROMETHEUS_3_PROTOBUF = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;"
    f"q=0.6,{PROMETHEUS_3}"
)
PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
OLD = "application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
OM = "application/openmetrics-text"


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (PROMETHEUS_3, "openmetrics"),
        (PROMETHEUS_3_PROTOBUF, "openmetrics"),
        (PROMETHEUS_2, "openmetrics"),
        (OLD, "text"),
        (BROWSER, "text"),
        ("", "text"),
        ("*/*", "text"),
        ("text/plain", "text"),
        ("text/plain;version=0.0.4", "text"),
        ("text/plain;version=9", "text"),
        ("text/*", "text"),
        ("image/png", "text"),
        (OM, "openmetrics"),
        (OM.upper(), "openmetrics"),
        (f"{OM};version=1.0.0", "openmetrics"),
        (f"{OM}; version=1.0.0; charset=utf-8", "openmetrics"),
        (f'{OM};version="1.0.0"', "openmetrics"),
        (f"{OM} ; version = 1.0.0", "openmetrics"),
        (f"{OM};version=0.0.1", "text"),
        (f"{OM};version=2.0.0", "text"),
        (f"{OM};version=7.1.0", "text"),
        (f"{OM};version=abc", "text"),
        (f"{OM};version=", "text"),
        (f"{OM};version=1.0.0;q=0", "text"),
        (f"{OM};version=1.0.0;q=0.0", "text"),
        (f"{OM};version=1.0.0;q=0.1", "openmetrics"),
        (f"{OM};version=1.0.0;q=0.4,text/plain;q=0.6", "text"),
        (f"{OM};version=1.0.0;q=0.6,text/plain;q=0.4", "openmetrics"),
        (f"text/plain;q=0.4,{OM};version=1.0.0;q=0.6", "openmetrics"),
        (f"text/plain,{OM};version=1.0.0", "text"),
        (f"{OM};version=1.0.0,text/plain", "openmetrics"),
        (f"{OM};version=1.0.0;q=x", "text"),
        (f"{OM};version=1.0.0;q=", "text"),
        (f"{OM};version=1.0.0;q=nan", "text"),
        (f"{OM};version=1.0.0;q=-1", "text"),
        (f"{OM};version=1.0.0;q=2", "text"),
        (f"{OM};version=1.0.0;q=1e999", "text"),
        (f"{OM};q", "text"),
        (";;;,,,=;q=;", "text"),
        (",", "text"),
    ],
    ids=lambda value: value,
)
def test_the_format_is_the_best_that_is_asked_for(accept: str, form: Format) -> None:
    assert negotiate(accept) == form


@given(st.text() | st.text(';,=q.01 /*openmetrics-text"'))
def test_no_header_breaks_the_negotiation(header: str) -> None:
    assert negotiate(header) in FORMATS


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ("gzip", True),
        ("GZIP", True),
        ("deflate, gzip;q=0.5", True),
        ("gzip;q=0", False),
        ("gzip;q=0.000", False),
        ("gzip; q=0, identity", False),
        ("identity", False),
        ("x-gzipped", False),
        ("", False),
        ("*", False),
    ],
)
def test_a_choice_with_weight_0_is_none(header: str, accepted: bool) -> None:
    assert any(word == "gzip" for word, *_ in weighted(header)) is accepted
