"""The chart's own files are whole and current; no Helm is needed for these."""

from __future__ import annotations

import json
import re
from functools import reduce
from typing import Any

import jsonschema
import pytest
import yaml

import exporter
from exporter.config import example
from exporter.config.json_schema import json_schema
from exporter.providers import catalogue
from scripts import chart
from tests.conftest import ROOT
from tests.tools.charts import CASES

REMEDY = "make it anew: python scripts/chart.py"
SCHEMA = json.loads((chart.CHART / "values.schema.json").read_text())
VALUES = [value for value in chart.values() if not value.section]


def test_the_version_of_the_chart_is_the_exporters():
    about = yaml.safe_load((chart.CHART / "Chart.yaml").read_text())

    assert about["appVersion"] == exporter.__version__


def test_the_chart_holds_the_rules_and_dashboards_as_they_are():
    assert chart.copied() == chart.files(), REMEDY


def test_the_committed_schema_of_the_values_is_current():
    assert chart.schema() == (chart.CHART / "values.schema.json").read_text(), REMEDY


def test_the_committed_table_of_values_is_current():
    assert chart.readme() == chart.README.read_text(), REMEDY


@pytest.mark.parametrize("value", VALUES, ids=lambda value: ".".join(value.path))
def test_a_value_says_what_it_is_for(value):
    assert value.text
    assert not value.text.endswith("."), "the cell of a table"


def test_every_value_is_changed_in_some_case():
    given = [yaml.safe_load(file.read_text()) for file in CASES.values()]

    def set_in(values: Any, path: tuple[str, ...]) -> bool:
        for key in path:
            if not isinstance(values, dict) or key not in values:
                return False
            values = values[key]
        return True

    same = [v.path for v in VALUES if not any(set_in(values, v.path) for values in given)]
    assert [] == same


def test_a_default_value_is_one_that_the_schema_takes():
    jsonschema.Draft7Validator.check_schema(SCHEMA)

    jsonschema.validate(yaml.safe_load(chart.VALUES.read_text()), SCHEMA)


def test_no_value_can_be_misspelt():
    def closed(schema: dict[str, Any]) -> bool:
        return schema.get("additionalProperties") is False

    sections = [value.path for value in chart.values() if value.section]
    found = {
        path: reduce(lambda schema, key: schema["properties"][key], path, SCHEMA)
        for path in [(), ("config",), *sections]
    }

    assert {("global",)} == {path for path, schema in found.items() if not closed(schema)}


def test_the_chart_knows_no_provider():
    """A new one costs no line here: the schema is generated, the rest passes `config` through."""
    words = re.compile(rf"\b({'|'.join(catalogue())})\b")
    written = [chart.VALUES, *(chart.CHART / "templates").iterdir(), ROOT / "scripts" / "chart.py"]

    assert [] == [file for file in written if words.search(file.read_text())]


def test_the_schema_takes_the_configuration_that_shows_every_key():
    jsonschema.validate({"config": yaml.safe_load(example())}, SCHEMA)


def _patterns(schema: Any) -> list[str]:
    if isinstance(schema, list):
        return [pattern for item in schema for pattern in _patterns(item)]
    if not isinstance(schema, dict):
        return []
    own = [schema["pattern"]] if isinstance(schema.get("pattern"), str) else []
    return own + [pattern for item in schema.values() for pattern in _patterns(item)]


def test_a_pattern_loses_only_what_go_cannot_read():
    exact = _patterns(json_schema())
    made = _patterns(chart._for_go(json_schema()))

    assert [p for p in made if "(?=" in p or "(?!" in p or "(?<" in p] == []
    assert len(exact) == len(made)
    assert [(a, b) for a, b in zip(exact, made, strict=True) if "(?" + "!" not in a and a != b] == [
        (a, b) for a, b in zip(exact, made, strict=True) if r"(?=\d)" in a
    ]
    for pattern in made:
        re.compile(pattern)


@pytest.mark.parametrize(
    ("pattern", "left"),
    [
        (r"^(?!a)b$", r"^b$"),
        (r"^\s*(?=\d)(?:\d+d)?$", r"^\s*(?:\d+d)?$"),
        (r"^(?!/(?:a|b)/?$)(?!c)(?:/(?!\.\.?(?:/|$))[a-z]+)+$", r"^(?:/[a-z]+)+$"),
        (r"(?![)(]\))x", r"x"),
        (r"^(?:a|b)$", r"^(?:a|b)$"),
    ],
)
def test_a_look_ahead_is_cut_out_whole(pattern, left):
    assert chart._without_looks(pattern) == left
