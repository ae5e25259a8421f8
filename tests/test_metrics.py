"""The families, what a build does to them, and how many series there may be."""

from __future__ import annotations

import ast
import re
import time
import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from exporter import exposition
from exporter.metrics import effects, facts, gauges, reference
from exporter.metrics import families as f
from exporter.metrics.book import Book, sample_count
from exporter.metrics.draft import digest, tally
from exporter.metrics.families import Buckets, Family
from exporter.metrics.labels import MAX_BYTES, branch, clean, pipeline
from exporter.model import (
    ACTIVE,
    CONCLUSIONS,
    FAILING,
    OTHER,
    Build,
    Job,
    Ref,
    Status,
    Unmapped,
)
from exporter.record import (
    AttemptKey,
    Completed,
    JobCompleted,
    Labels,
    Vector,
    Verdict,
)
from tests.books import PIPELINE, SHOWN, a_book, completed, job_done, learn
from tests.conftest import ROOT
from tests.scripted import BUCKETS, DAY, Rig, build, done

# --- the table of families ---


class Row(msgspec.Struct, frozen=True):
    """What the contract fixes of a family."""

    name: str
    kind: str
    labels: Labels


def contracted(page: str) -> list[Row]:
    """The table of the contract's section 3."""
    section = page.split("\n## 3. ")[1].split("\n## ", 1)[0]
    rows = []
    for line in section.splitlines():
        if not line.startswith("| `cicd_"):
            continue
        names, kind, labels = (cell.strip() for cell in line.split("|")[1:4])
        first, *endings = re.findall(r"`(\w+)`", names)
        # `_remaining` goes behind the first name, `_config_...` in the place of its own `_config`.
        heads = [first.split("_".join(ending.split("_")[:2]))[0] for ending in endings]
        words = [] if labels == "-" else labels.split(", ")
        full = tuple(x for word in words for x in (f.PIPELINE if word == "B" else (word,)))
        rows += [
            Row(name, kind, full)
            for name in (first, *(h + e for h, e in zip(heads, endings, strict=True)))
        ]
    return rows


def test_the_families_are_those_of_the_contract(shared: Path) -> None:
    rows = contracted((shared / "CONTRACT.md").read_text())

    assert rows == [Row(x.name, x.kind, x.labels) for x in f.FAMILIES]


def test_what_persists_is_what_the_contract_says() -> None:
    persists = re.compile(
        r"cicd_(builds?|jobs?)_\w+"
        r"|cicd_exporter_(missing_values|unmapped_values|anomalies|gaps)_total"
    )

    assert [] == [x.name for x in f.FAMILIES if x.persistent != bool(persists.fullmatch(x.name))]


@pytest.mark.parametrize("family", f.FAMILIES, ids=lambda family: family.name)
def test_a_family_follows_the_conventions(family: Family) -> None:
    name = family.name
    units = r"(_seconds|_total|_ratio)$"

    assert re.fullmatch(r"cicd(_[a-z]+)+", name)
    assert (family.kind == "counter") == name.endswith("_total")
    assert (family.kind == "histogram") == (family.buckets is not None)
    assert not re.search(r"_(bucket|count|sum|created|info)$", name) or name.endswith("build_info")
    assert re.search(units, name) or family.kind == "gauge"
    assert re.fullmatch(r"[A-Z01][^\"\\\n]*\.", family.help)
    assert len(set(family.labels)) == len(family.labels)
    assert not {"job", "instance", "le", "quantile"} & set(family.labels)


def test_every_family_of_the_module_is_in_the_table() -> None:
    tree = ast.parse((ROOT / "exporter/metrics/families.py").read_text())
    made = [node for node in ast.walk(tree) if is_call(node, "Family")]

    assert len(made) == len(f.FAMILIES) == len(f.BY_NAME)


def is_call(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name


@pytest.mark.parametrize(
    "module",
    sorted(p for p in (ROOT / "exporter").rglob("*.py") if p.stem != "families"),
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_no_other_module_makes_a_metric(module: Path) -> None:
    nodes = list(ast.walk(ast.parse(module.read_text())))
    strings = {node.value for node in nodes if isinstance(node, ast.Constant)}
    taken = {
        alias.name
        for node in nodes
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("prometheus_client")
        for alias in node.names
    }
    modules = {a.name for node in nodes if isinstance(node, ast.Import) for a in node.names}

    assert not strings & f.BY_NAME.keys()
    assert not any(is_call(node, "Family") for node in nodes)
    assert taken <= {
        "CollectorRegistry",
        "PlatformCollector",
        "ProcessCollector",
        "generate_latest",
        "floatToGoString",
    }
    assert "prometheus_client" not in modules


def test_the_reference_is_current() -> None:
    page = (ROOT / "docs/METRICS.md").read_text()

    assert page == reference.reference(), "run python -m exporter.metrics.reference"


def test_the_reference_tells_of_every_family_label_and_word() -> None:
    page = reference.reference()

    assert [x.name for x in f.FAMILIES if page.count(f"\n| `{x.name}` |") != 1] == []
    assert {label for x in f.FAMILIES for label in x.labels} == reference.LABELS.keys()
    assert {*CONCLUSIONS, *ACTIVE} == reference.WORDS.keys()


# --- what is remembered of a pipeline ---

MOMENTS = st.none() | st.sampled_from([1.0, 2.0, 3.0, 4.0])
ENDED = st.builds(
    Build,
    key=st.just("k"),
    repo=st.just("r"),
    status=st.just(Status.COMPLETED),
    attempt=st.integers(1, 2),
    number=st.none() | st.integers(0, 3),
    conclusion=st.sampled_from([*CONCLUSIONS, "neutral"]),
    created_at=MOMENTS,
    started_at=MOMENTS,
    completed_at=MOMENTS,
)


def after(builds: Iterable[Build]) -> facts.Facts:
    known = facts.Facts(touched=0.0)
    for each in builds:
        known = facts.completed(known, each, conclusion=each.conclusion or OTHER, now=0.0)
    return known


@given(st.lists(ENDED, max_size=8), st.randoms(use_true_random=False))
def test_the_facts_do_not_depend_on_the_order_of_arrival(builds: list[Build], random: Any) -> None:
    shuffled = builds[:]
    random.shuffle(shuffled)

    assert after(builds) == after(shuffled)


@given(st.lists(ENDED, min_size=1, max_size=8))
def test_the_facts_are_those_of_the_latest_builds(builds: list[Build]) -> None:
    known = after(builds)
    latest = max(b.order for b in builds)
    passes = [b.order for b in builds if b.conclusion == "passed"]
    failures = [b.order for b in builds if b.conclusion in FAILING]

    assert known.conclusion in {b.conclusion for b in builds if b.order == latest}
    assert known.completed_at in {b.completed_at for b in builds if b.order == latest}
    assert known.passed == max(passes, default=None)
    assert known.streak == sum(not passes or order >= max(passes) for order in failures)


def ended(at: float, conclusion: str, **values: Any) -> Build:
    return done(build("k", created_at=at - 10, started_at=at - 5, **values), conclusion, after=5)


@pytest.mark.parametrize(
    ("words", "streak"),
    [
        ("", 0),
        ("p", 0),
        ("f", 1),
        ("ff", 2),
        ("pfte", 3),
        ("pffcsrnf", 3),
        ("ffpf", 1),
        ("ffp", 0),
    ],
)
def test_a_streak_counts_what_broke_since_the_last_pass(words: str, streak: int) -> None:
    meant = {
        "p": "passed",
        "f": "failed",
        "t": "timeout",
        "e": "error",
        "c": "cancelled",
        "s": "skipped",
        "r": "partial",
        "n": "neutral",
    }
    builds = [ended(100.0 + i, meant[word]) for i, word in enumerate(words)]

    assert after(builds).streak == after(reversed(builds)).streak == streak


def test_a_late_pass_splits_a_streak() -> None:
    failed = [ended(at, "failed") for at in (100.0, 200.0, 300.0)]

    assert after([*failed, ended(250.0, "passed")]).streak == 1
    assert after([*failed, ended(50.0, "passed")]).streak == 3


def test_a_long_streak_is_counted_to_the_end() -> None:
    failed = [ended(float(at), "failed") for at in range(100, 1100)]

    assert after(failed).streak == 1000
    assert after([*failed, ended(2000.0, "passed")]).streak == 0
    assert after([*failed, ended(1090.5, "passed")]).streak == 9
    assert len(msgspec.msgpack.encode(after(failed))) < 10_000


def test_builds_that_end_together_are_counted_each() -> None:
    assert after([ended(100.0, "failed"), ended(100.0, "failed")]).streak == 2


@pytest.mark.parametrize(
    ("before", "now", "conclusion", "streak"),
    [
        (ended(100.0, "failed", number=1), ended(100.0, "passed", number=1), "passed", 0),
        (ended(100.0, "failed", number=1), ended(190.0, "cancelled", number=1), "cancelled", 0),
        (ended(100.0, "failed", number=1), ended(190.0, "error", number=1), "error", 1),
        (ended(100.0, "passed", number=1), ended(90.0, "failed", number=1), "failed", 0),
        (ended(100.0, "passed", number=1), ended(190.0, "failed", number=1), "failed", 1),
        (ended(100.0, "passed"), ended(100.0, "failed"), "failed", 1),
        (ended(100.0, "failed"), ended(100.0, "cancelled"), "cancelled", 0),
    ],
)
def test_a_corrected_build_takes_the_place_of_what_it_was(
    before: Build, now: Build, conclusion: str, streak: int
) -> None:
    known = facts.corrected(after([before]), now, conclusion=now.conclusion or "", now=0.0)

    assert (known.conclusion, known.streak) == (conclusion, streak)


def test_a_correction_takes_back_one_failure_of_two_that_ended_together() -> None:
    known = after([ended(100.0, "failed"), ended(100.0, "failed")])

    known = facts.corrected(known, ended(100.0, "cancelled"), conclusion="cancelled", now=0.0)

    assert known.streak == 1


def test_the_last_duration_is_of_the_latest_build_that_has_one() -> None:
    timed = ended(100.0, "passed")
    untimed = msgspec.structs.replace(ended(200.0, "passed"), started_at=None)
    backwards = msgspec.structs.replace(ended(300.0, "passed"), started_at=400.0)

    assert after([timed, untimed, backwards]).duration == 5.0


# --- labels ---

ANY_TEXT = st.text(st.characters(exclude_categories=()))
HOSTILE = [
    "",
    "\0",
    "line\nbreak\r\n",
    'quote"back\\slash',
    "\ud800 lone",
    "\u202eright to left",
    "\u2028\u2029\x85",
    "é" * 101,
    "🚀" * 50,
    "x" * 201,
    "y" * 10_000,
    "\0" * 200,
    "\ud800" * 300,
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text)[:20])
def test_hostile_text_becomes_a_sound_label_value(text: str) -> None:
    assert_sound(clean(text))


@given(ANY_TEXT | ANY_TEXT.map(lambda text: text * 50))
def test_any_text_becomes_a_sound_label_value(text: str) -> None:
    assert_sound(clean(text))


def assert_sound(value: str) -> None:

    assert len(value.encode("utf-8", "strict")) <= MAX_BYTES
    assert not any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in value)
    assert len(value.splitlines()) <= 1
    assert clean(value) == value == unicodedata.normalize("NFC", value)


@pytest.mark.parametrize(
    "text", ["", "main", "release/1.0", "a b", "é", "🚀 ci", "\u202ex", "x" * 200]
)
def test_ordinary_text_is_its_own_label_value(text: str) -> None:
    assert clean(text) == text


@given(ANY_TEXT, ANY_TEXT, st.sampled_from(["x" * 200, "é" * 100, "\ud800" * 200]))
def test_long_values_that_differ_stay_different(one: str, other: str, long: str) -> None:
    assume(one != other)

    assert clean(f"{long}{one}!") != clean(f"{long}{other}!")
    assert clean(f"{one}{long}!") != clean(f"{other}{long}!")


@pytest.mark.parametrize(
    ("values", "label"),
    [
        ({"branch": "main"}, "main"),
        ({"branch": "release/1.0"}, "release/1.0"),
        ({"branch": "release/1.0/rc"}, OTHER),
        ({"branch": "Main"}, OTHER),
        ({"branch": "feature"}, OTHER),
        ({"branch": "trunk", "default_branch": "trunk"}, "trunk"),
        ({"branch": "trunk", "default_branch": "main"}, OTHER),
        ({"branch": None}, ""),
        ({"branch": ""}, ""),
        ({"branch": None, "default_branch": None}, ""),
        ({"branch": "v1.0", "ref": Ref.TAG}, "tag"),
        ({"branch": "main", "ref": Ref.TAG}, "tag"),
        ({"branch": "main", "ref": Ref.PULL_REQUEST}, "pull_request"),
        ({"branch": None, "ref": Ref.PULL_REQUEST}, "pull_request"),
        ({"branch": "release/a\nb"}, "release/a\ufffdb"),
    ],
    ids=str,
)
def test_a_branch_keeps_its_name_where_the_configuration_says_so(
    values: dict[str, Any], label: str
) -> None:
    assert branch(build("1", **values), ("main", "release/*")) == label


@given(ANY_TEXT, ANY_TEXT, ANY_TEXT, ANY_TEXT)
def test_the_labels_of_a_pipeline_are_sound(
    account: str, repo: str, workflow: str, name: str
) -> None:
    known = build("1", repo=repo, workflow=workflow, branch=name)

    labels = pipeline(known, provider="github", account=account, shown=["**"])

    assert len(labels) == len(f.PIPELINE)
    assert labels == tuple(clean(label) for label in labels)


# --- what news does ---


def brought(verdict: Verdict) -> dict[str, float]:
    """What a verdict adds, of histograms the sum, under `family label label`.

    The labels of the one pipeline are left out.
    """
    change = digest(a_book(), SHOWN, verdict, now=1e9)
    found: dict[str, float] = {}
    for delta in change.deltas:
        labels = delta.series.labels
        own = labels[5:] if labels[:5] == PIPELINE else labels
        name = " ".join((delta.series.family, *own))
        if any(delta.vector):
            found[name] = delta.vector[0] if len(delta.vector) == 1 else delta.vector[-1]
    return found


@pytest.mark.parametrize(
    ("verdict", "adds"),
    [
        pytest.param(
            completed(),
            {
                "cicd_builds_total push passed": 1,
                "cicd_build_duration_seconds passed": 20,
                "cicd_build_queue_seconds": 3,
            },
            id="a passed build",
        ),
        pytest.param(
            completed(attempt=2, conclusion="failed"),
            {
                "cicd_builds_total push failed": 1,
                "cicd_build_retries_total": 1,
                "cicd_build_duration_seconds failed": 20,
            },
            id="a retry has no queue time and misses none",
        ),
        pytest.param(
            completed(attempt=3, missed=2),
            {
                "cicd_builds_total push passed": 1,
                "cicd_build_retries_total": 1,
                "cicd_build_duration_seconds passed": 20,
                "cicd_exporter_missing_values_total scripted attempt": 2,
            },
            id="attempts that nobody saw",
        ),
        pytest.param(
            completed(started_at=None, conclusion="cancelled"),
            {
                "cicd_builds_total push cancelled": 1,
                "cicd_exporter_missing_values_total scripted duration": 1,
                "cicd_exporter_missing_values_total scripted queue": 1,
            },
            id="cancelled before it began",
        ),
        pytest.param(
            completed(conclusion="skipped"),
            {"cicd_builds_total push skipped": 1, "cicd_build_queue_seconds": 3},
            id="skipped has no duration and misses none",
        ),
        pytest.param(
            completed(conclusion="skipped", started_at=None, completed_at=None),
            {"cicd_builds_total push skipped": 1},
            id="skipped without times misses nothing",
        ),
        pytest.param(
            completed(conclusion=None),
            {
                "cicd_builds_total push other": 1,
                "cicd_build_duration_seconds other": 20,
                "cicd_build_queue_seconds": 3,
                "cicd_exporter_missing_values_total scripted conclusion": 1,
            },
            id="no conclusion",
        ),
        pytest.param(
            completed(conclusion="neutral", trigger="manual"),
            {
                "cicd_builds_total manual neutral": 1,
                "cicd_build_duration_seconds neutral": 20,
                "cicd_build_queue_seconds": 3,
            },
            id="documented native words keep their names",
        ),
        pytest.param(
            completed(
                conclusion="other",
                trigger="other",
                unmapped=(Unmapped("conclusion", "odd"), Unmapped("trigger", "strange")),
            ),
            {
                "cicd_builds_total other other": 1,
                "cicd_build_duration_seconds other": 20,
                "cicd_build_queue_seconds": 3,
                "cicd_exporter_unmapped_values_total scripted conclusion": 1,
                "cicd_exporter_unmapped_values_total scripted trigger": 1,
            },
            id="undocumented words",
        ),
        pytest.param(
            completed(started_at=130.0, created_at=140.0),
            {
                "cicd_builds_total push passed": 1,
                "cicd_exporter_anomalies_total scripted negative_duration": 1,
                "cicd_exporter_anomalies_total scripted negative_queue": 1,
            },
            id="negative spans",
        ),
        pytest.param(
            Verdict(anomalies=["reopened", "reopened"], unmapped=[Unmapped("status", "odd")]),
            {
                "cicd_exporter_anomalies_total scripted reopened": 2,
                "cicd_exporter_unmapped_values_total scripted status": 1,
            },
            id="what the ledger noticed",
        ),
    ],
)
def test_a_completed_build_adds(verdict: Verdict, adds: dict[str, float]) -> None:
    assert brought(verdict) == adds


@pytest.mark.parametrize(
    ("verdict", "adds"),
    [
        pytest.param(
            job_done(),
            {
                "cicd_jobs_total test passed": 1,
                "cicd_job_duration_seconds test passed": 20,
                "cicd_job_queue_seconds test": 3,
            },
            id="a passed job",
        ),
        pytest.param(
            job_done(conclusion="skipped"), {"cicd_jobs_total test skipped": 1}, id="skipped"
        ),
        pytest.param(
            job_done(started_at=None), {"cicd_jobs_total test passed": 1}, id="without a start"
        ),
        pytest.param(
            job_done(started_at=130.0, created_at=140.0),
            {
                "cicd_jobs_total test passed": 1,
                "cicd_exporter_anomalies_total scripted negative_job_duration": 1,
                "cicd_exporter_anomalies_total scripted negative_job_queue": 1,
            },
            id="negative spans",
        ),
        pytest.param(
            job_done(conclusion=None, started_at=None, unmapped=(Unmapped("conclusion", "odd"),)),
            {
                "cicd_jobs_total test other": 1,
                "cicd_exporter_unmapped_values_total scripted job_conclusion": 1,
            },
            id="an undocumented word",
        ),
        pytest.param(
            job_done(build("1", attempt=2, started_at=200.0), attempt=2), {}, id="carried over"
        ),
    ],
)
def test_a_completed_job_adds(verdict: Verdict, adds: dict[str, float]) -> None:
    assert brought(verdict) == adds


def test_the_table_has_every_kind_of_anomaly() -> None:
    modules = (ROOT / "exporter").rglob("*.py")
    source = "".join(module.read_text() for module in modules)
    noticed = re.findall(r'anomalies\.(?:append\(|extend\(\[)"(\w+)"', source)
    spans = [f"negative_{job}{span}" for job in ("", "job_") for span in ("duration", "queue")]

    assert {*noticed, *spans} == set(f.ANOMALIES.zeros)


@pytest.mark.parametrize(
    ("seconds", "counts"),
    [(0, (1, 0, 0)), (10, (1, 0, 0)), (10.1, (0, 1, 0)), (60, (0, 1, 0)), (1e9, (0, 0, 1))],
)
def test_a_bound_includes_its_own_value(seconds: float, counts: Vector) -> None:
    assert effects.observation(seconds, (10.0, 60.0)) == (*counts, seconds)


def test_a_pipeline_starts_with_the_eight_named_conclusions_of_a_trigger_at_0() -> None:
    book = a_book()
    change = digest(book, SHOWN, Verdict(active=[build("1", trigger="cron")]), now=1e9)

    zeros = {d.series.labels[5:] for d in change.deltas if d.series.family == f.BUILDS.name}
    assert zeros == {("cron", conclusion) for conclusion in CONCLUSIONS}
    assert not any(any(d.vector) for d in change.deltas)


def test_a_partial_build_is_not_shown_before_it_is_known() -> None:
    partial = build("1", partial=True, jobs=(Job(id="1", name="t", status=Status.QUEUED),))
    book = a_book()
    learn(book, Verdict(active=[build("2")]))

    learn(book, Verdict(active=[partial]))

    assert shown_gauges(book, f.ACTIVE) == {(*PIPELINE, "in_progress"): 1.0}
    assert shown_gauges(book, f.JOBS_ACTIVE) == {}


def test_builds_and_jobs_older_than_the_open_age_leave_the_gauges() -> None:
    job = Job(id="1", name="t", status=Status.QUEUED)
    old = build("1", created_at=time.time() - 8 * DAY, started_at=time.time(), jobs=(job,))
    new = build("2", created_at=time.time() - 6 * DAY, jobs=(job,))
    book = a_book()

    learn(book, Verdict(active=[old, new]))

    assert shown_gauges(book, f.ACTIVE) == {(*PIPELINE, "in_progress"): 1.0}
    assert shown_gauges(book, f.OLDEST_ACTIVE) == {(*PIPELINE, "in_progress"): new.created_at}
    assert shown_gauges(book, f.JOBS_ACTIVE) == {(*PIPELINE, "t", "queued"): 1.0}


def test_a_status_once_seen_goes_to_0_and_the_oldest_of_none_is_absent() -> None:
    book = a_book()
    learn(book, Verdict(active=[build("1", status=Status.WAITING)]))

    learn(book, Verdict(settled=[AttemptKey("1", 1)]))

    assert shown_gauges(book, f.ACTIVE) == {(*PIPELINE, "waiting"): 0.0}
    assert shown_gauges(book, f.OLDEST_ACTIVE) == {}


def test_the_last_conclusion_is_1_and_the_other_named_ones_are_0() -> None:
    book = a_book()

    learn(book, completed(conclusion="neutral"))

    shown = {labels[-1]: value for labels, value in shown_gauges(book, f.LAST_CONCLUSION).items()}
    assert shown == {**dict.fromkeys(CONCLUSIONS, 0.0), "neutral": 1.0}


def shown_gauges(book: Book, family: Family) -> dict[Labels, float]:
    now = time.time()
    return {labels: value for name, labels, value in book.gauges(now) if name == family.name}


# --- the draft ---

NAMES = st.sampled_from(["a", "b", "c"])
TIMES = st.none() | st.floats(0, 1e6)
JOBS = st.builds(
    Job,
    id=NAMES,
    name=NAMES,
    status=st.sampled_from(Status),
    conclusion=st.none() | st.sampled_from(["passed", "failed", "odd"]),
    created_at=TIMES,
    started_at=TIMES,
    completed_at=TIMES,
)
BUILDS = st.builds(
    Build,
    key=st.uuids().map(str),
    repo=NAMES,
    workflow=NAMES,
    branch=st.sampled_from(["main", "release/1", "release/2", "x"]),
    status=st.sampled_from(ACTIVE),
    attempt=st.integers(1, 3),
    trigger=st.sampled_from(["push", "cron"]),
    conclusion=st.none() | st.sampled_from(["passed", "failed", "odd"]),
    created_at=TIMES,
    started_at=TIMES,
    completed_at=TIMES,
    jobs=st.lists(JOBS, max_size=3).map(tuple),
    partial=st.booleans(),
    only_jobs=st.booleans(),
)


@st.composite
def verdicts(draw: st.DrawFn) -> Verdict:
    builds = draw(st.lists(BUILDS, max_size=6))
    verdict = Verdict()
    for each in builds:
        jobs = [job for job in each.jobs if job.status is Status.COMPLETED]
        verdict.jobs += [JobCompleted(each, job) for job in jobs]
        if each.only_jobs or draw(st.booleans()):
            verdict.active.append(each)
        else:
            ended = msgspec.structs.replace(each, status=Status.COMPLETED, partial=False)
            verdict.completed.append(Completed(ended, draw(st.integers(0, 2))))
    verdict.anomalies = draw(st.lists(st.just("reopened"), max_size=2))
    verdict.corrected = [news.build for news in verdict.completed[:1]]
    return verdict


def content(book: Book) -> bytes:
    """All that a book holds."""
    values = (
        list(book.series.items()),
        list(book.pipelines.items()),
        book.active,
        book.dropped,
        book._samples,
    )
    return msgspec.msgpack.encode(values)


@given(
    st.lists(verdicts(), min_size=1, max_size=3),
    st.sampled_from([40, 200, 100_000]),
    st.sampled_from([0.0, 60.0]),
)
def test_a_draft_changes_nothing(history: list[Verdict], limit: int, zero_hold: float) -> None:
    book = a_book(limit, zero_hold, clock=lambda: 5.0)
    for verdict in history[:-1]:
        learn(book, verdict)
    before = content(book)

    drafts = [digest(book, SHOWN, history[-1], now=7.0) for _ in range(2)]

    assert drafts[0] == drafts[1]
    assert content(book) == before


# --- the limit ---


def exposed(book: Book) -> Counter[str]:
    """How many samples of each build and job family a scrape shows."""
    shown = exposition.snapshot(book, [], exposition.Health(), now=time.time())
    text = exposition.render(shown, BUCKETS, "text").decode()
    names = re.findall(r"^(cicd_(?:builds?|jobs?)_\w+)", text, re.MULTILINE)
    return Counter(re.sub("_(bucket|sum|count)$", "", name) for name in names)


def room_of(book: Book) -> int:
    """How many samples a book may show, counted anew."""
    series = [s for known in book.pipelines.values() for s in known.series.values()]
    gauges_shown = sum(gauges.room_for(known.facts) for known in book.pipelines.values())
    return gauges_shown + sum(sample_count(s.vector) for s in series)


def total(book: Book, family: Family) -> float:
    """What a counter has counted, held or shown."""
    vectors = [
        vector
        for key, series in book.series.items()
        if key.family == family.name
        for vector in (series.vector, series.held)
        if vector is not None
    ]
    return sum(vector[0] for vector in vectors)


@given(st.lists(verdicts(), max_size=5), st.integers(1, 400), st.sampled_from([0.0, 60.0]))
def test_no_more_samples_are_exposed_than_the_limit(
    history: list[Verdict], limit: int, zero_hold: float
) -> None:
    book = a_book(limit, zero_hold)
    for verdict in history:
        learn(book, verdict)

        assert exposed(book).total() <= book._samples == room_of(book) <= limit


@given(st.lists(verdicts(), max_size=8), st.integers(150, 600))
def test_sums_stay_right_at_the_limit(history: list[Verdict], limit: int) -> None:
    book, free = a_book(limit), a_book()
    for verdict in history:
        learn(book, verdict)
        learn(free, verdict)

    for family in (f.BUILDS, f.RETRIES, f.JOBS, f.MISSING):
        assert total(book, family) == total(free, family)
    assert free.dropped.total() == 0
    if book.series.keys() >= free.series.keys():
        assert book.dropped.total() == 0


def test_at_the_limit_increments_fold_into_what_is_there() -> None:
    book = a_book(limit=90)
    learn(book, completed(branch="x"))
    learn(book, completed(branch="main"))

    learn(book, completed(branch="release/1"))

    builds = {
        k.labels[2:]: s.vector[0] for k, s in book.series.items() if k.family == f.BUILDS.name
    }
    assert builds["acme/shop", "CI", OTHER, "push", "passed"] == 2
    assert book.dropped == {f.BUILDS.name: 1, f.BUILD_DURATION.name: 1, f.BUILD_QUEUE.name: 1}


def test_what_fits_nowhere_goes_to_the_counters_of_the_account() -> None:
    book = a_book(limit=60)
    learn(book, completed())

    learn(book, completed(repo="acme/other"))
    learn(book, completed(repo="acme/third"))

    builds = {
        k.labels[1:]: s.vector[0] for k, s in book.series.items() if k.family == f.BUILDS.name
    }
    assert builds["acme", OTHER, OTHER, OTHER, "push", "passed"] == 2
    assert book.dropped == {f.BUILDS.name: 2, f.BUILD_DURATION.name: 2, f.BUILD_QUEUE.name: 2}
    assert shown_gauges(book, f.LAST_CONCLUSION).keys() == {(*PIPELINE, c) for c in CONCLUSIONS}


def test_refused_pipelines_leave_nothing_behind() -> None:
    book = a_book(limit=1)

    for number in range(20):
        learn(book, completed(repo=f"acme/{number}"))
        learn(book, job_done(build("1", repo=f"acme/{number}")))

    assert [*book.pipelines] == [("scripted", "acme", OTHER, OTHER, OTHER)]
    assert [*book.series.values()] == [*book.pipelines.popitem()[1].series.values()]
    assert book.dropped[f.BUILDS.name] == book.dropped[f.JOBS.name] == 20


def test_jobs_that_have_no_room_are_not_shown_and_their_build_is() -> None:
    jobs = tuple(Job(id=str(n), name=f"job {n}", status=Status.QUEUED) for n in range(100))
    book = a_book(limit=100)

    learn(book, Verdict(active=[build("1", jobs=jobs)]))

    assert shown_gauges(book, f.ACTIVE) == {(*PIPELINE, "in_progress"): 1.0}
    assert shown_gauges(book, f.JOBS_ACTIVE) == {}
    assert exposed(book).total() <= 100


def test_the_sizes_are_those_of_the_scrape() -> None:
    book = a_book()
    learn(book, completed(jobs=(Job(id="1", name="t", status=Status.QUEUED),)))
    learn(book, job_done())

    shown = exposition.snapshot(book, [], exposition.Health(), now=time.time())

    sizes = {labels[0]: int(value) for labels, (value,) in shown[f.SERIES].items()}
    assert {name: size for name, size in sizes.items() if size} == exposed(book)
    assert sizes.keys() == {x.name for x in f.FAMILIES if x.labels[:5] == f.PIPELINE}
    assert shown[f.SERIES_LIMIT] == {(): (100_000.0,)}


def test_a_lowered_limit_hides_the_idlest_and_a_raised_one_shows_them_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Rig(tmp_path / "s.db")
    for number in range(4):
        rig.provider._builds = [done(build(str(number), repo=f"acme/{number}"))]
        rig.poll()
    rules = rig.rules

    rig.rules = msgspec.structs.replace(rules, series_limit=100)
    rig.restart()

    assert exposed(rig.book).total() <= 100
    assert {labels[2] for labels in rig.book.pipelines} == {"acme/2", "acme/3"}
    assert "series_limit" in caplog.text

    rig.provider._builds = [done(build("9", repo="acme/0"))]
    rig.poll()
    assert (rig.value(f.BUILDS), rig.book.dropped[f.BUILDS.name]) == (3, 1)
    rig.rules = rules
    rig.restart()

    assert rig.value(f.BUILDS) == 5
    assert rig.value(f.BUILDS, repo="acme/0") == 1
    rig.crash()


# --- forgetting ---


def test_an_idle_pipeline_is_forgotten_and_comes_back_from_0(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(tmp_path / "s.db", zero_hold=120.0, clock=lambda: 0.0)
    rig.provider._builds = [done(build("1")), done(build("2", branch="x"))]
    rig.poll()
    now = time.time()

    monkeypatch.setattr(time, "time", lambda: now + 29 * DAY)
    rig.provider._builds = [done(build("3", branch="x"))]
    rig.poll()
    rig.run(rig.recorder.sweep)
    assert rig.value(f.BUILDS, branch="main") == 1
    monkeypatch.setattr(time, "time", lambda: now + 31 * DAY)
    rig.run(rig.recorder.sweep)

    assert {labels[4] for labels in rig.book.pipelines} == {OTHER}
    assert {key.labels[4] for key, _ in rig.book.stored()} == {OTHER}
    assert rig.book._samples == room_of(rig.book)
    rig.restart()
    assert {labels[4] for labels in rig.book.pipelines} == {OTHER}
    rig.provider._builds = [done(build("4"))]
    rig.poll()
    main = {key.labels[5:]: s for key, s in rig.book.series.items() if key.labels[4] == "main"}
    assert main["push", "passed"].vector == (0.0,)
    assert main["push", "passed"].held == (1.0,)
    rig.crash()


def test_a_pipeline_with_an_unfinished_build_is_not_idle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(tmp_path / "s.db")
    rig.provider._builds = [build("1")]
    rig.poll()
    now = time.time()

    monkeypatch.setattr(time, "time", lambda: now + 31 * DAY)
    rig.run(rig.recorder.sweep)

    assert PIPELINE in rig.book.pipelines
    rig.crash()


# --- buckets ---


def test_changed_buckets_start_their_histogram_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Rig(tmp_path / "s.db")
    rig.provider._builds = [done(build(str(n))) for n in range(3)]
    rig.poll()
    caplog.clear()

    rig.restart()
    assert caplog.text == ""
    rig.rules = msgspec.structs.replace(rig.rules, buckets=Buckets((20.0,), BUCKETS.queue))
    rig.restart()

    assert rig.value(f.BUILD_DURATION) == 0
    assert rig.value(f.BUILD_QUEUE) == 3
    assert rig.value(f.BUILDS) == 3
    told = [record.__dict__["metric"] for record in caplog.records]
    assert told == [f.BUILD_DURATION.name, f.JOB_DURATION.name]

    rig.provider._builds.append(done(build("9")))
    rig.poll()
    assert rig.value(f.BUILD_DURATION) == 1
    rig.crash()


@pytest.mark.parametrize("account", ["acme", "a\nb", "a\x1fb", "x" * 300], ids=ascii)
def test_a_gap_is_counted_for_the_account(account: str) -> None:
    book = a_book()

    change = tally(book, SHOWN, [effects.count(f.GAPS, "scripted", account)])
    book.apply(SHOWN, Verdict(), change)

    ((key, vector),) = book.stored()
    assert (key.family, key.labels, vector) == (f.GAPS.name, ("scripted", clean(account)), (1.0,))
