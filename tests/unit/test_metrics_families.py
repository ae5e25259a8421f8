"""The families are those of the contract, and any text becomes a sound label value."""

from __future__ import annotations

import ast
import re
import unicodedata
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from exporter.ledger.rows import Labels
from exporter.metrics import families as f
from exporter.metrics import reference
from exporter.metrics.families import Family
from exporter.metrics.labels import MAX_BYTES, branch, clean, pipeline
from exporter.metrics.worker_families import WORKER_FAMILIES
from exporter.model import ACTIVE, CONCLUSIONS, OTHER, Ref
from tests.conftest import ROOT
from tests.tools.scripted import build

# --- the table of families ---


class Row(msgspec.Struct, frozen=True):
    """What the contract fixes of a family."""

    name: str
    kind: str
    labels: Labels


def contracted(page: str) -> list[Row]:
    """The table of the contract's section 3."""
    section = page.split("\n## 3. ")[1].split("\n## ", 1)[0].split("\nInsight (new", maxsplit=1)[0]
    rows = []
    built = {family.name for family in f.FAMILIES}
    for line in section.splitlines():
        if not line.startswith("| `cicd_"):
            continue
        names, kind, labels = (cell.strip() for cell in line.split("|")[1:4])
        if "(new" in names and not built & {*re.findall(r"`(\w+)`", names)}:
            continue  # it is to come
        first, *endings = re.findall(r"`(\w+)`", names)
        # `_remaining` goes behind the first name, `_config_...` in the place of its own `_config`.
        heads = [first.split("_".join(ending.split("_")[:2]))[0] for ending in endings]
        words = [] if labels == "-" else labels.split(", ")
        words = [word for word in words if word != "label_*"]  # as the configuration says
        full = tuple(x for word in words for x in (f.PIPELINE if word == "B" else (word,)))
        rows += [
            Row(name, kind, full)
            for name in (first, *(h + e for h, e in zip(heads, endings, strict=True)))
        ]
    return rows


def test_the_families_are_those_of_the_contract(shared: Path) -> None:
    rows = contracted((shared / "CONTRACT.md").read_text())

    of_a_fleet = {f.WORKERS, f.ACCOUNTS_UNHELD, f.CONFIG_AGREED}  # another page of the team's
    ours = [x for x in f.FAMILIES if x is not f.WEB_INFO and x not in of_a_fleet]
    assert rows == [Row(x.name, x.kind, x.labels) for x in ours]


def test_what_persists_is_what_the_contract_says() -> None:
    persists = re.compile(
        r"cicd_(builds?|jobs?)_\w+"
        r"|cicd_exporter_(missing_values|unmapped_values|anomalies|gaps)_total"
        r"|cicd_exporter_series_dropped_total"
        r"|cicd_exporter_poll_(last_success_timestamp|interval)_seconds"  # as the schedule does
    )

    assert [] == [x.name for x in f.FAMILIES if x.persistent != bool(persists.fullmatch(x.name))]


@pytest.mark.parametrize("family", f.FAMILIES, ids=lambda family: family.name)
def test_a_family_follows_the_conventions(family: Family) -> None:
    name = family.name
    units = r"(_seconds|_total|_ratio)$"

    assert re.fullmatch(r"cicd(_[a-z]+)+", name)
    assert (family.kind == "counter") == name.endswith("_total")
    assert (family.kind == "histogram") == (family.buckets is not None)
    assert not re.search(r"_(bucket|count|sum|created)$", name)
    assert name.endswith("_info") == family.help.startswith("1; ")
    assert re.search(units, name) or family.kind == "gauge"
    assert re.fullmatch(r"[A-Z01][^\"\\\n]*\.", family.help)
    assert len(set(family.labels)) == len(family.labels)
    assert not {"job", "instance", "le", "quantile"} & set(family.labels)


def test_every_family_of_the_module_is_in_the_table() -> None:
    tree = ast.parse((ROOT / "exporter/metrics/families.py").read_text())
    assigned = [node.value for node in tree.body if isinstance(node, ast.Assign)]
    made = [value for value in assigned if is_call(value, "Family")]

    assert len(made) == len(f.FAMILIES) == len(f.BY_NAME)


def is_call(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name


OF_ONE_WORKER = {
    ROOT / "exporter/metrics/worker_families.py",
    ROOT / "exporter/fleet/worker_metrics.py",
}
"""One process of several, shown at a path of its own, by prometheus-client."""


@pytest.mark.parametrize(
    "module",
    sorted({*(ROOT / "exporter").rglob("*.py")} - {Path(f.__file__), *OF_ONE_WORKER}),
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
        "Metric",  # what a collector of theirs tells
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

    families = (*f.FAMILIES, *WORKER_FAMILIES)
    assert [x.name for x in families if page.count(f"\n| `{x.name}` |") != 1] == []
    assert {label for x in families for label in x.labels} == reference.LABELS.keys()
    assert {*CONCLUSIONS, *ACTIVE} == reference.WORDS.keys()


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
