"""What goes with the exporter in the chart: rules, dashboards, image, notes, the guide."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

import exporter
from scripts.chart import CHART
from tests.conftest import ROOT
from tests.tools import charts
from tests.tools.charts import CASES, HELMS, Helm, values

# --- rules and dashboards ---


def shipped() -> list[Any]:
    return [
        group
        for file in sorted((ROOT / "rules").glob("*.yaml"))
        for group in yaml.safe_load(file.read_text())["groups"]
    ]


@pytest.mark.parametrize("version", HELMS)
def test_the_rules_are_those_of_the_project_untouched(version, helm):
    made = helm.render(values(prometheusRule={"enabled": True}), helm=version)

    assert charts.only(made, "PrometheusRule")["spec"]["groups"] == shipped()


def test_alerts_can_be_left_out_labelled_and_linked(helm):
    groups = charts.only(helm.render(CASES["prometheus-operator"]), "PrometheusRule")["spec"][
        "groups"
    ]
    alerts = {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}
    known = {rule["alert"] for group in shipped() for rule in group["rules"] if "alert" in rule}

    assert (known - {"CicdNoBuilds"}) | {"CicdNothingPolled"} == set(alerts)
    for name in known & set(alerts):
        assert alerts[name]["labels"].keys() == {"severity", "team"}
        link = f"https://wiki.example/cicd/{name}.md"
        assert alerts[name]["annotations"]["runbook_url"] == link
        board = alerts[name]["annotations"]["dashboard_url"]
        assert board.startswith("https://grafana.example/d/cicd-")
    summary = alerts["CicdNothingPolled"]["annotations"]["summary"]
    assert summary == "{{ $labels.job }} polls nothing."


@pytest.mark.parametrize("version", HELMS)
def test_a_dashboard_reaches_grafana_as_it_is(version, helm, tmp_path):
    copy = tmp_path / CHART.name
    shutil.copytree(CHART, copy)
    shutil.rmtree(copy / "files" / "dashboards", ignore_errors=True)
    (copy / "files" / "dashboards").mkdir()
    text = '{\n  "title": "{{ .Values }} ü",\n  "legendFormat": "{{repo}}"}\n'
    for name in ("fleet", "queue"):
        (copy / "files" / "dashboards" / f"{name}.json").write_text(text)

    made = helm.render(values(dashboards={"enabled": True}), helm=version, chart=copy)

    found = {
        m["metadata"]["name"]: m for m in made if "grafana_dashboard" in m["metadata"]["labels"]
    }
    assert set(found) == {"ci-cicd-exporter-dashboard-fleet", "ci-cicd-exporter-dashboard-queue"}
    assert found["ci-cicd-exporter-dashboard-fleet"]["data"] == {"fleet.json": text}


def test_every_dashboard_of_the_project_is_made(helm):
    made = helm.render(CASES["prometheus-operator"])

    found = {name: text for m in made for name, text in m.get("data", {}).items()}
    given = {file.name: file.read_text() for file in (ROOT / "dashboards").glob("*.json")}
    assert found == given | {"config.yaml": charts.configuration(made)}


# --- the rest ---


@pytest.mark.parametrize(
    ("given", "image"),
    [
        ({}, f"cicd-exporter:{exporter.__version__}"),
        (
            {"registry": "registry.example"},
            f"registry.example/cicd-exporter:{exporter.__version__}",
        ),
        ({"registry": "r.example", "repository": "a/b", "tag": "x"}, "r.example/a/b:x"),
        ({"tag": "x", "digest": f"sha256:{'0' * 64}"}, f"cicd-exporter@sha256:{'0' * 64}"),
    ],
    ids=["default", "registry", "all", "digest"],
)
def test_the_image_is_the_one_that_is_named(given, image, helm):
    assert image == charts.container(helm.render(values(image=given)))["image"]


def test_a_part_of_another_chart_can_be_turned_off_and_takes_its_registry(helm, tmp_path):
    whole = tmp_path / "whole"
    shutil.copytree(CHART, whole / "charts" / CHART.name)
    dependency = {"name": CHART.name, "version": "*", "condition": f"{CHART.name}.enabled"}
    about = {"apiVersion": "v2", "name": "whole", "version": "1.0.0", "dependencies": [dependency]}
    (whole / "Chart.yaml").write_text(yaml.safe_dump(about))
    shared = {"global": {"imageRegistry": "r.example", "domain": "ours.example"}}

    there = helm.render({CHART.name: values(enabled=True), **shared}, chart=whole)
    assert charts.container(there)["image"].startswith("r.example/cicd-exporter:")
    assert [] == helm.render({CHART.name: values(enabled=False), **shared}, chart=whole)


def notes(helm: Helm, folder: Path, given: Path | Mapping[str, Any]) -> str:
    """What Helm says after an installation."""
    copy = folder / CHART.name
    shutil.copytree(CHART, copy)
    (copy / "templates" / "said.yaml").write_text(
        '{{ dict "kind" "Said" "apiVersion" "v1" "text" '
        '(include (print .Template.BasePath "/NOTES.txt") .) | toJson }}\n'
    )
    return str(charts.only(helm.render(given, chart=copy), "Said")["text"])


def test_the_notes_say_where_things_are_and_what_is_missing(helm, tmp_path):
    said = notes(helm, tmp_path, CASES["openshift"])

    assert f"cicd-exporter {exporter.__version__} polls acme-unified." in said
    assert "port-forward service/ci-cicd-exporter 10054:10054" in said
    assert "http://ci-cicd-exporter.ci.svc:10054/metrics once it is told to" in said
    assert "all counters start anew" in said
    assert "rollout restart statefulset/ci-cicd-exporter" in said


def test_the_notes_are_short_where_nothing_is_missing(helm, tmp_path):
    said = notes(helm, tmp_path, CASES["network-policy"])

    assert "polls acme-github, jenkins, old-jenkins, acme-bitbucket, acme-gitlab." in said
    assert "start anew" not in said
    assert "rollout restart" not in said
    assert "\n\n\n" not in said


# --- the guide ---

GUIDE = (ROOT / "docs" / "HELM.md").read_text()


@pytest.mark.parametrize("text", re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL))
def test_an_example_of_the_guide_renders(text, helm):
    given = yaml.safe_load(text)

    assert helm.render(given if "config" in given else values(**given))


def test_what_the_guide_sets_on_the_command_line_is_there():
    properties = json.loads((CHART / "values.schema.json").read_text())["properties"]
    found = [key.split(".") for key in re.findall(r"--set[ =]([\w.]+)=", GUIDE)]

    assert found
    assert [] == [k for k in found if k[1] not in properties[k[0]]["properties"]]


@pytest.mark.parametrize("page", [ROOT / "docs" / "HELM.md", CHART / "README.md"], ids=str)
def test_a_link_of_the_guide_leads_somewhere(page):
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())

    assert [] == [link for link in links if not (page.parent / link).exists()]
