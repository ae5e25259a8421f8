"""The mixin is the rules and dashboards themselves, and lets its users change them."""

from __future__ import annotations

import json
from typing import Any

import _jsonnet
import yaml

from scripts.alerts import RULES
from tests.conftest import ROOT


def made(expression: str) -> Any:
    """What real Jsonnet makes of an expression about the `mixin`."""
    snippet = f"local mixin = import 'mixin/mixin.libsonnet'; {expression}"
    return json.loads(_jsonnet.evaluate_snippet("test", snippet, jpathdir=[str(ROOT)]))


def groups(*names: str) -> list[Any]:
    """The groups of these files of rules."""
    files = [RULES / f"{name}.yaml" for name in names]
    return [group for file in files for group in yaml.safe_load(file.read_text())["groups"]]


def test_its_rules_are_those_of_the_files():
    assert made("mixin.prometheusAlerts") == {"groups": groups("builds", "exporter")}
    assert made("mixin.prometheusRules") == {"groups": groups("recording")}
    assert {"builds", "exporter", "recording"} == {file.stem for file in RULES.iterdir()}


def test_its_dashboards_are_those_of_the_files_by_their_uid():
    files = [json.loads(file.read_text()) for file in (ROOT / "dashboards").iterdir()]

    assert made("mixin.grafanaDashboards") == {f"{file['uid']}.json": file for file in files}


def test_the_runbooks_are_where_its_user_keeps_them():
    changed = made(
        "(mixin + { _config+:: { runbookUrl: 'https://wiki.example/cicd/' } }).prometheusAlerts"
    )

    told = [rule for group in changed["groups"] for rule in group["rules"]]
    assert [rule["annotations"]["runbook_url"] for rule in told] == [
        f"https://wiki.example/cicd/{rule['alert']}.md" for rule in told
    ]


def test_the_dashboards_are_where_its_user_has_grafana():
    changed = made(
        "(mixin + { _config+:: { grafanaUrl: 'https://grafana.example' } }).prometheusAlerts"
    )

    for group in changed["groups"]:
        for rule in group["rules"]:
            assert rule["annotations"]["dashboard_url"].startswith("https://grafana.example/d/")


def test_it_adds_to_what_other_mixins_bring():
    other = "{ prometheusAlerts+:: { groups+: [{ name: 'theirs', rules: [] }] } }"

    both = made(f"({other} + mixin).prometheusAlerts")

    assert [group["name"] for group in both["groups"]] == [
        "theirs",
        "cicd-builds.alerts",
        "cicd-exporter.alerts",
    ]
