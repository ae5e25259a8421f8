"""The rules of `rules/`: what they name exists, each alert fires and is silent when it should."""

from __future__ import annotations

import json
import re
import subprocess
from typing import get_args

import pytest
import yaml

from exporter.errors import Reason
from exporter.ledger.build_log import Which
from exporter.metrics import families as f
from exporter.metrics.families import PIPELINE, Family
from exporter.metrics.worker_families import WORKER_FAMILIES
from exporter.model import ACTIVE, CONCLUSIONS
from scripts import alerts as page
from tests.conftest import ROOT

CASES = {
    file: yaml.safe_load(file.read_text())["tests"]
    for file in sorted((ROOT / "tests/system/rules").glob("*.yaml"))
}
"""What promtool is to run, by file."""
RUNBOOKS = ROOT / "docs" / "runbooks"
FILES = sorted(page.RULES.glob("*.yaml"))
RULES = [rule for file in FILES for rule in page.rules(file.stem)]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RUNBOOK = (
    '{{ with query "cicd_exporter_web_info" | sortByLabel "external_url" -}}'
    ' {{ label "external_url" (first .) }}/docs/runbooks/NAME'
    " {{- else }}docs/runbooks/NAME.md{{ end }}"
)
"""Where any exporter serves it, else where it is in this project."""
EXPORTER = (
    '{{ with query (printf "cicd_exporter_web_info and on (job, instance)'
    ' cicd_exporter_account_up{account=%q}" $labels.account) | sortByLabel "external_url" -}}'
    ' {{ label "external_url" (first .) }}'
)
"""The address of the exporter that has the account, with all after it only where there is one."""
PIPELINE_QUERY = "&".join(f"{label}=<{label}>" for label in PIPELINE[1:])
VARIABLES = {
    board["uid"]: {variable["name"] for variable in board["templating"]["list"]}
    for board in (json.loads(file.read_text()) for file in (ROOT / "dashboards").glob("*.json"))
}
"""Of each dashboard."""
RECORDS = {rule["record"]: rule["expr"] for rule in RULES if "record" in rule}

TARGET = {"job", "instance", "pod"}
"""Labels that Prometheus gives a target."""
TEAM = {"label_team"}
"""What the configuration's `labels` say of a repo, as far as the rules carry it."""
LEVELS = {
    "pipeline": PIPELINE,
    "workflow": PIPELINE[:4],
    "repo": (*PIPELINE[:3], "branch"),
    "account": PIPELINE[:2],
}
"""The labels that a recorded series keeps, by the first word of its name; `repo:` has the branch
where that is the default one."""
BY_NAME = f.BY_NAME | {family.name: family for family in WORKER_FAMILIES}
NAME = re.compile(r"\b[a-z_]*:?cicd_\w+(?::\w+)?")
SELECTOR = re.compile(rf"({NAME.pattern})\s*\{{([^}}]*)\}}")
MATCHER = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"')
GROUPING = re.compile(r"\b(?:without|by|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")


def promtool_says(promtool, *arguments: object) -> str:
    done = subprocess.run(
        [promtool, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def family(name: str) -> Family | None:
    """The family that a sample of this name belongs to."""
    known = BY_NAME.get(name)
    if known is not None and known.kind != "histogram":
        return known
    base = BY_NAME.get(re.sub(r"_(bucket|sum|count)$", "", name))
    return base if base is not None and base.kind == "histogram" and base.name != name else None


def labels_of(name: str) -> set[str]:
    """The labels that a series of this name may have; raises KeyError for an unknown one."""
    if name in RECORDS:
        level = name.partition(":")[0].split("_")
        return TARGET | set(LEVELS.get(level[0], ())) | set(level[1:]) | {"le"} | TEAM
    known = family(name)
    if known is None:
        raise KeyError(name)
    told = TEAM if name == "cicd_repo_info" else set()
    return TARGET | set(known.labels) | ({"le"} if name.endswith("_bucket") else set()) | told


QUERIES = {rule.get("alert") or rule["record"]: rule["expr"] for rule in RULES} | {
    file.name: "\n".join(re.findall(r"^    (.*)$", file.read_text(), re.MULTILINE))
    for file in sorted(RUNBOOKS.glob("*.md"))
}
"""All PromQL, by where it is: the rules' and the runbooks'."""


@pytest.mark.parametrize("where", QUERIES)
def test_what_a_query_names_exists(where):
    query = QUERIES[where]

    for name in NAME.findall(query):
        assert labels_of(name), name
    for name, matchers in SELECTOR.findall(query):
        assert {label for label, _ in MATCHER.findall(matchers)} <= labels_of(name), name
    every = {label for known in BY_NAME.values() for label in known.labels} | TARGET | TEAM
    for grouping in GROUPING.findall(query):
        assert set(re.findall(r"\w+", grouping)) <= every, grouping


def test_a_word_that_a_rule_asks_for_is_one_of_the_exporter():
    words = {"conclusion": CONCLUSIONS, "status": ACTIVE, "reason": get_args(Reason)}
    asked = [
        (label, word)
        for rule in RULES
        for label, value in MATCHER.findall(rule["expr"])
        if label in words
        for word in value.split("|")
    ]

    assert asked
    assert [] == [(label, word) for label, word in asked if word not in words[label]]


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_says_all_that_its_reader_needs(alert):
    rule = ALERTS[alert]
    said = rule["annotations"]

    assert re.fullmatch(r"Cicd([A-Z][a-z]+)+", alert)
    assert rule["labels"].keys() == {"severity"}
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert "for" in rule
    assert said.keys() - {"build_url"} == {
        "summary",
        "description",
        "dashboard_url",
        "runbook_url",
    }
    assert re.fullmatch(r"[A-Z][^{}]*\.", said["summary"]), "static, a sentence"
    assert "{{" in said["description"]
    assert said["description"].endswith(".")
    assert said["runbook_url"] == RUNBOOK.replace("NAME", alert)


@pytest.mark.parametrize("alert", ALERTS)
def test_a_dashboard_that_an_alert_links_to_has_the_variables_that_it_sets(alert):
    link = ALERTS[alert]["annotations"]["dashboard_url"]
    found = re.fullmatch(r"(\{\{.+?\}\})/d/([\w-]+)\?(.+)", link)
    assert found is not None, link
    root, uid, asked = found.groups()

    assert root == "{{ $externalLabels.grafana_url }}"
    pairs = re.findall(r"var-(\w+)=\{\{ urlquery \$labels\.(\w+) -?\}\}", asked)
    assert len(pairs) == asked.count("=")
    assert all(variable == label for variable, label in pairs)
    assert {variable for variable, _ in pairs} <= VARIABLES[uid]


@pytest.mark.parametrize("alert", [rule["alert"] for rule in page.rules("builds")])
def test_an_alert_about_builds_leads_to_them_at_the_exporter_that_polls_them(alert):
    link = re.sub(
        r"\{\{ urlquery \$labels\.(\w+)(?: \}\}| -\}\} )",
        r"<\1>",
        ALERTS[alert]["annotations"]["build_url"],
    )
    asked = link.removeprefix(EXPORTER).removesuffix(" {{- end }}")

    assert asked in {
        *(f"/go?{PIPELINE_QUERY}&build={which}" for which in Which),
        "/repo?account=<account>&repo=<repo>",
        *(f"/builds?account=<account>&conclusion={word}" for word in CONCLUSIONS),
    }


def test_every_alert_about_a_repo_carries_its_team_and_none_is_lost_without_one():
    about = {name for name, rule in ALERTS.items() if "$labels.repo" in str(rule["annotations"])}
    joined = re.compile(
        r"\* on \(provider, account, repo\) group_left \(label_team\)"
        r" \( repo:cicd_repo:team or on \(provider, account, repo\)"
        r" group by \(provider, account, repo\) \([^()]+(?:\([^()]+\))? ?\) \)"
    )

    assert about == {name for name, rule in ALERTS.items() if "repo:cicd_repo:team" in rule["expr"]}
    told = {name: " ".join(ALERTS[name]["expr"].split()) for name in about}
    assert [] == [name for name, text in told.items() if not joined.search(text)]


@pytest.mark.parametrize("alert", ALERTS)
def test_what_an_alert_says_uses_labels_that_it_has(alert):
    rule = ALERTS[alert]
    there = set().union(*(labels_of(name) for name in NAME.findall(rule["expr"])))
    dropped = set(re.findall(r"\w+", " ".join(re.findall(r"without \(([^)]*)\)", rule["expr"]))))

    used = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
    assert used
    assert used <= there - dropped


def test_every_alert_has_its_runbook_and_every_runbook_its_alert():
    assert {file.stem for file in RUNBOOKS.iterdir()} == set(ALERTS)


@pytest.mark.parametrize("alert", ALERTS)
def test_a_runbook_leads_from_the_alert_to_its_end(alert):
    text = (RUNBOOKS / f"{alert}.md").read_text()
    links = re.findall(r"\]\(([^)]+)\)", text)

    heads = ["What it means", "How to look", "What to do", "When it ends"]
    assert re.findall(r"^# (.+)$", text, re.MULTILINE) == [alert]
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == heads
    pages = [link for link in links if link.startswith("../../")]
    assert [] == [link for link in links if link not in pages and not (RUNBOOKS / link).is_file()]
    assert pages or alert == "CicdExporterDown", "that exporter serves none"
    assert "\n\n- First " in text.partition("## What to do")[2]


def test_the_tables_of_the_guide_are_current():
    guide = page.PAGE.read_text()

    assert page.written(guide) == guide, "make them anew: python scripts/alerts.py"
    assert all(f"runbooks/{alert}.md" in guide for alert in ALERTS)
    assert all(f"`{record}`" in guide for record in RECORDS)


def test_promtool_finds_nothing_to_say_about_the_rules(promtool):
    said = promtool_says(promtool, "check", "rules", "--lint=all", "--lint-fatal", *FILES)

    assert said.count("SUCCESS") == len(FILES)


def test_promtool_understands_every_query_of_the_runbooks(promtool, tmp_path):
    found = [
        query
        for file in sorted(RUNBOOKS.glob("*.md"))
        for query in re.findall(r"^    (\S.*(?:\n      .+)*)$", file.read_text(), re.MULTILINE)
    ]
    content = {
        "groups": [
            {
                "name": "runbooks",
                "rules": [{"record": f"q:{n}", "expr": query} for n, query in enumerate(found)],
            }
        ]
    }
    file = tmp_path / "runbooks.yaml"
    file.write_text(yaml.safe_dump(content))

    assert f"{len(found)} rules found" in promtool_says(promtool, "check", "rules", file)


@pytest.mark.parametrize("file", CASES, ids=lambda file: file.stem)
def test_the_rules_do_what_their_cases_say(promtool, file):
    assert "SUCCESS" in promtool_says(promtool, "test", "rules", file)


def _verdicts(alert: str) -> list[bool]:
    """Of each case that is named after an alert, whether it fires in it at any time."""
    return [
        any(
            told["exp_alerts"]
            for told in case.get("alert_rule_test", ())
            if told["alertname"] == alert
        )
        for cases in CASES.values()
        for case in cases
        if case["name"].startswith(f"{alert}: ")
        and any(told["alertname"] == alert for told in case.get("alert_rule_test", ()))
    ]


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_has_a_case_that_fires_and_one_that_never_does(alert):
    assert set(_verdicts(alert)) == {True, False}
