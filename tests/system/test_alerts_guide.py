"""The guide to alerts and the runbooks: their links, examples, commands and keys are real."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from scripts.alerts import PAGE, rules
from tests.conftest import ROOT
from tests.system.test_rules import MATCHER, NAME, RUNBOOKS, SELECTOR, labels_of, promtool_says
from tests.tools.alerting import advised, blocks
from tests.unit.test_docs import PAGES_OF_THE_EXPORTER

PAGES = [PAGE, *sorted(RUNBOOKS.glob("*.md"))]
LINK = re.compile(r"\]\(([^)#]*)(?:#([^)]*))?\)")


def _anchors(page: Path) -> set[str]:
    """What its headings can be linked by."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in heads}


def _sections() -> dict[str, str]:
    """The guide by its headings."""
    _, *parts = re.split(r"^## (.+)$", PAGE.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_link_leads_somewhere(page):
    for file, anchor in LINK.findall(page.read_text()):
        if page in RUNBOOKS.iterdir() and re.fullmatch(PAGES_OF_THE_EXPORTER, file):
            continue
        target = page.parent / file if file else page
        assert target.is_file(), file
        assert not anchor or anchor in _anchors(target), anchor


def test_the_guide_leads_to_every_runbook():
    linked = {(PAGE.parent / file).resolve() for file, _ in LINK.findall(PAGE.read_text())}

    assert set(RUNBOOKS.iterdir()) <= linked


def test_the_guide_tells_window_and_guard_of_every_alert_about_builds():
    told = re.findall(r"^\| (Cicd\w+) \|", _sections()["Why the windows are long"], re.MULTILINE)

    assert told == [rule["alert"] for rule in rules("builds")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_command_that_is_named_is_one_of_the_exporter(page):
    commands = re.findall(r"^## (.+)$", (ROOT / "docs/COMMANDS.md").read_text(), re.MULTILINE)

    named = re.findall(r"`cicd-exporter ([a-z -]+?) --", page.read_text())
    assert [] == [command for command in named if command not in commands]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_key_that_is_named_is_one_of_the_configuration(page):
    known = json.loads((ROOT / "docs/config.schema.json").read_text())["properties"]

    named = re.findall(r"`(polling|metrics|state|web)\.(\w+)[`:]", page.read_text())
    assert [] == [key for part, key in named if key not in known[part]["properties"]]


def test_the_rules_of_the_guide_are_sound_and_name_what_exists(promtool, tmp_path):
    groups = [group for block in blocks() for group in block.get("groups", [])]
    file = tmp_path / "guide.yaml"
    file.write_text(yaml.safe_dump({"groups": groups}))

    assert len(groups) == 2
    assert "2 rules found" in promtool_says(promtool, "check", "rules", "--lint=all", file)
    for query in (rule["expr"] for group in groups for rule in group["rules"]):
        assert NAME.findall(query)
        for name, matchers in SELECTOR.findall(query):
            assert {label for label, _ in MATCHER.findall(matchers)} <= labels_of(name)


def test_the_files_of_rules_that_the_guide_loads_are_all_that_there_are():
    (loaded,) = (block["rule_files"] for block in blocks() if "rule_files" in block)

    assert {ROOT / file for file in loaded} == set((ROOT / "rules").iterdir())


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        ("severity=warning", "ci"),
        ("severity=critical", "on-call"),
        ("severity=info label_team=web", "nobody"),
        ("severity=warning label_team=payments", "payments"),
        ("severity=warning label_team=web", "web"),
        ("severity=warning label_team=unheard-of", "ci"),
    ],
)
def test_alertmanager_routes_as_the_guide_advises(amtool, tmp_path, labels, receiver):
    names = [{"name": name} for name in ("ci", "on-call", "nobody", "payments", "web")]
    file = tmp_path / "alertmanager.yml"
    file.write_text(json.dumps(advised() | {"receivers": names}))

    def said(*arguments: str) -> str:
        done = subprocess.run([amtool, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert f"{len(advised()['inhibit_rules'])} inhibit rules" in said("check-config", str(file))
    routed = said("config", "routes", "test", f"--config.file={file}", *labels.split())
    assert routed.split() == [receiver]
