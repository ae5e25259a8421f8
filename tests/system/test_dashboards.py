"""The dashboards: sound by Grafana's own types, and every query answers for a live exporter."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import yaml

from exporter.ledger.build_log import Which
from exporter.metrics.families import JOB
from exporter.model import ACTIVE, CONCLUSIONS
from scripts import dashboards as made
from scripts.boards import common
from tests.conftest import ROOT
from tests.system.test_rules import (
    GROUPING,
    MATCHER,
    NAME,
    RECORDS,
    SELECTOR,
    TARGET,
    labels_of,
    promtool_says,
)
from tests.tools.dashboards import (
    DASHBOARDS,
    FILES,
    PANELS,
    QUERIES,
    TABLES,
    clicked,
    filled,
    links_of,
)

GRAFANA = ROOT / "tests/tools/grafana"


def labels_there(name: str) -> set[str]:
    """The labels that a series may have, with those that a configuration gives repos."""
    return labels_of(name) | ({"label_team"} if name == "cicd_repo_info" else set())


# -- as files


def test_the_files_are_those_of_the_table():
    assert {
        made.FOLDER / f"{name}.json": made.written(d) for name, d in made.DASHBOARDS.items()
    } == {file: file.read_text() for file in FILES}, (
        "make them anew: PYTHONPATH=. python scripts/dashboards.py"
    )


def faulty(dashboard: Any) -> Any:
    """The dashboard with five faults, the last in what only that kind of panel has."""
    stat, graph = (
        next(panel for panel in dashboard["panels"] if panel["type"] == kind)
        for kind in ("stat", "timeseries")
    )
    dashboard["title"] = 7
    stat["gridPos"]["width"] = 3
    stat["options"]["colorMode"] = "rainbow"
    graph["fieldConfig"]["defaults"]["unit"] = 7
    graph["fieldConfig"]["defaults"]["custom"]["drawStyle"] = "crayon"
    return dashboard


def test_grafanas_own_types_find_faults_in_a_wrong_one_and_none_in_ours(tmp_path):
    if not (GRAFANA / "node_modules").exists() or shutil.which("node") is None:
        pytest.skip("Grafana's types are not installed (scripts/test installs them where npm is)")
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps(faulty(json.loads(FILES[0].read_text()))))
    command = ["node", GRAFANA / "validate.mjs", *FILES, wrong]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (1, "")
    for word in ("/title:", '"width"', "/colorMode:", "/unit:", "/drawStyle:"):
        assert word in done.stdout
    assert [] == [line for line in done.stdout.splitlines() if not line.startswith(str(wrong))]


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_says_what_it_shows_and_in_which_unit(panel):
    defaults = panel["fieldConfig"]["defaults"]

    assert re.match("[A-Z]", panel["title"])
    assert re.fullmatch(r"[A-Z0-9].*\.", panel["description"])
    assert defaults["unit"]
    assert defaults["noValue"]
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_is_whole(name):
    dashboard = DASHBOARDS[name]
    first, *others = dashboard["templating"]["list"]
    panels = dashboard["panels"]
    places = [
        (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
        for panel in panels
        for x, y in itertools.product(range(panel["gridPos"]["w"]), range(panel["gridPos"]["h"]))
    ]

    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)
    assert len(set(places)) == len(places), "two panels in one place"
    assert max(x for x, _ in places) == 23
    assert first["type"] == "datasource"
    assert all(v["multi"] and v["includeAll"] and v["allValue"] == ".*" for v in others)
    assert dashboard["annotations"]["list"]
    assert dashboard["tags"] == ["cicd-exporter"]
    assert [link["tags"] for link in dashboard["links"]] == [dashboard["tags"]]
    assert dashboard["refresh"]
    assert dashboard["time"]["to"] == "now"


def test_dashboards_and_their_links_find_each_other():
    uids = {name: dashboard["uid"] for name, dashboard in DASHBOARDS.items()}
    text = "".join(file.read_text() for file in FILES)
    linked = re.findall(r'"/d/([\w-]+)\?[^"]*', text)

    assert uids == {
        "fleet": "cicd-fleet",
        "workflow": "cicd-workflow",
        "queue": "cicd-queue",
        "exporter": "cicd-exporter",
    }
    assert set(linked) == {"cicd-workflow"}
    known = {v["name"] for v in DASHBOARDS["workflow"]["templating"]["list"]}
    assert set(re.findall(r"[?&]var-(\w+)=", text)) <= known


@pytest.mark.parametrize("panel", TABLES)
def test_every_row_leads_to_the_exporter_and_to_the_provider(panel):
    titles = {title for title, _ in links_of(panel)}

    if panel["title"] == "Accounts":
        assert titles == {"Status of the exporter"}
    else:
        assert {"Page of the repo", "Repo at its provider"} <= titles
        assert titles & {"Build that broke it", "Builds"}


@pytest.mark.parametrize("panel", PANELS)
def test_a_link_asks_for_just_what_its_row_is_about(panel):
    hostile = {label: f"{label}&b=c#d/é ?%2F+'\"" for label in (*JOB, "status")}
    for title, url in links_of(panel):
        if url.startswith("/d/"):
            continue
        led = urlsplit(clicked(url, "https://ops.example/ci", **hostile))
        asked = dict(parse_qsl(led.query, strict_parsing=bool(led.query)))

        assert led.netloc == "ops.example", title
        assert not led.fragment
        assert asked.pop("build", None) in {None, *Which}
        assert asked == {name: hostile[name] for name in asked}
        assert bool(asked) == led.path.startswith(("/ci/go", "/ci/repo", "/ci/builds"))
        if led.path == "/ci/go":
            assert asked.keys() == {"account", "repo", "workflow", "branch"}


@pytest.mark.parametrize("panel", TABLES)
def test_labels_are_shown_as_they_are_since_links_are_made_of_what_is_shown(panel):
    grouped = {label for target in panel["targets"] for label in GROUPING.findall(target["expr"])}
    labels, *_ = panel["fieldConfig"]["overrides"]

    assert {"unit": "string", "noValue": ""} == {p["id"]: p["value"] for p in labels["properties"]}
    assert ", ".join(labels["matcher"]["options"]["names"]) in grouped


def test_each_word_has_a_colour_of_its_own():
    assert common.CONCLUSIONS.keys() == set(CONCLUSIONS)
    assert common.STATUSES.keys() == set(ACTIVE)
    for colours in (common.CONCLUSIONS, common.STATUSES, common.TRIGGERS, common.QUANTILES):
        assert len(set(colours.values())) == len(colours)


# -- as queries


@pytest.mark.parametrize("panel", PANELS)
def test_what_a_panel_asks_for_exists(panel):
    for target in panel["targets"]:
        query = re.sub(r"\$[a-z_]\w*", "x", target["expr"])
        names = set(NAME.findall(query))
        there = set().union(*(labels_there(name) for name in names))
        assert names
        for name, matchers in SELECTOR.findall(query):
            assert {label for label, _ in MATCHER.findall(matchers)} <= labels_there(name), name
        grouped = {label for g in GROUPING.findall(query) for label in re.findall(r"\w+", g)}
        assert grouped <= there
        legend = re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])
        assert set(legend) <= (grouped or there)


@pytest.mark.parametrize("panel", PANELS)
def test_counters_are_asked_for_their_increase_in_windows_that_follow_the_time_picker(panel):
    for target in panel["targets"]:
        query = target["expr"]
        inside = re.findall(r"(?:(\w+)\()?\b[a-z_]+_(?:total|bucket)\{", query)
        assert all(function in {"rate", "increase"} for function in inside), query
        windows = set(re.findall(r"\[([^\]]+)\]", query))
        instant = target.get("instant", False)
        allowed = {"$__range"} if instant else {"$__rate_interval", "6h"}
        assert windows <= allowed, query


def test_a_word_that_a_panel_asks_for_is_one_of_the_exporter():
    words = {"conclusion": CONCLUSIONS, "status": ACTIVE}
    asked = [
        (label, word)
        for query in QUERIES
        for label, value in MATCHER.findall(query)
        if label in words
        for word in value.split("|")
    ]

    assert asked
    assert [] == [(label, word) for label, word in asked if word not in words[label]]


def test_promtool_understands_every_query(promtool, tmp_path):
    rules = [{"record": f"q:{n}", "expr": filled(query)} for n, query in enumerate(QUERIES)]
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}))

    assert f"{len(QUERIES)} rules found" in promtool_says(promtool, "check", "rules", file)


def overlapping(name: str) -> Iterator[dict[str, str]]:
    """A series of two exporters that say the same and the opposite, with values."""
    told = labels_there(name) - TARGET
    differs = {"external_url", "url", "default_branch", "label_team", "le"}
    for pod in ("old", "new"):
        for instance in ("one:10054", "two:10054"):
            labels = {"job": "ci", "instance": instance, "pod": pod}
            labels |= {label: pod if label in differs else label for label in told}
            shown = ",".join(f'{label}="{value}"' for label, value in labels.items())
            yield {"series": f"{name}{{{shown}}}", "values": "1+1x20"}


def test_two_exporters_that_overlap_in_a_rollout_break_no_query(promtool, tmp_path):
    whole = "\n".join(QUERIES)
    names = set(NAME.findall(re.sub(r"\$[a-z_]\w*", "x", whole))) - set(RECORDS)
    tests = {
        "interval": "15s",
        "input_series": [series for name in sorted(names) for series in overlapping(name)],
        "promql_expr_test": [
            {
                "expr": f"0 * count({filled(query)}) or vector(0)",
                "eval_time": "4m",
                "exp_samples": [{"labels": "{}", "value": 0}],
            }
            for query in QUERIES
        ],
    }
    file = tmp_path / "overlap.yaml"
    file.write_text(yaml.safe_dump({"tests": [tests]}))

    assert "SUCCESS" in promtool_says(promtool, "test", "rules", file)
