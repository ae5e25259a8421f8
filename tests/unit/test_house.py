"""The house is in order: floors, docstrings, sizes, locks and reasons."""

from __future__ import annotations

import ast
import itertools
import json
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT

PACKAGE = ROOT / "exporter"
MODULES = sorted(PACKAGE.rglob("*.py"))
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


# --- the floors ---


def floors() -> list[set[str]]:
    """The top-level modules of each floor, the highest first."""
    contracts = {c["id"]: c for c in PYPROJECT["tool"]["importlinter"]["contracts"]}
    return [{m.strip() for m in floor.split("|")} for floor in contracts["floors"]["layers"]]


def test_every_top_level_module_stands_on_a_floor() -> None:
    modules = {p.relative_to(PACKAGE).parts[0].removesuffix(".py") for p in MODULES}

    assert modules - {"__init__"} <= set().union(*floors())


def test_the_floors_are_those_of_the_design() -> None:
    height = {module: -i for i, floor in enumerate(floors()) for module in floor}

    down = "cli daemon web status schedule sync recorder outputs view metrics ledger http model"
    heights = [height[room] for room in down.split()]
    assert heights == sorted(heights, reverse=True)
    assert len(set(heights)) == len(heights)
    assert height["web"] == height["demo"]
    assert height["metrics"] == height["providers"]
    assert height["model"] == height["errors"] == height["times"]


# --- the source ---


@pytest.mark.parametrize("module", MODULES, ids=relative)
def test_a_module_says_what_it_is_for(module: Path) -> None:
    assert ast.get_docstring(ast.parse(module.read_text()))


@pytest.mark.parametrize("module", MODULES, ids=relative)
def test_a_module_can_be_read_in_one_sitting(module: Path) -> None:
    assert len(module.read_text().splitlines()) <= 400


# --- the locks ---


class Pin(NamedTuple):
    version: str
    hashes: frozenset[str]


def pins(lock: str) -> dict[str, Pin]:
    """What a lock pins, by normalised name."""
    text = (ROOT / lock).read_text().replace("\\\n", " ")
    found: dict[str, Pin] = {}
    for line in text.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            requirement = Requirement(line.split(" --hash=")[0].strip())
            hashes = frozenset(re.findall(r"--hash=(sha256:[0-9a-f]{64})", line))
            name = canonicalize_name(requirement.name)
            found[name] = Pin(str(requirement.specifier), hashes)
    return found


@pytest.mark.parametrize(
    "lock",
    [
        "requirements.txt",
        "requirements-build.txt",
        "requirements-dev.txt",
        "requirements-conformance.txt",
        "requirements-helm.txt",
    ],
)
def test_a_lock_pins_every_version_and_hash_and_no_host(lock: str) -> None:
    text = (ROOT / lock).read_text()

    assert all(p.version.startswith("==") and p.hashes for p in pins(lock).values())
    assert "://" not in text
    assert "--index" not in text


@pytest.mark.parametrize(
    ("lock", "declared"),
    [
        ("requirements.txt", PYPROJECT["project"]["dependencies"]),
        ("requirements-build.txt", PYPROJECT["build-system"]["requires"]),
        ("requirements-dev.txt", PYPROJECT["dependency-groups"]["dev"]),
    ],
    ids=["runtime", "build", "dev"],
)
def test_a_lock_fulfils_what_is_declared(lock: str, declared: list[str]) -> None:
    pinned = pins(lock)

    for requirement in map(Requirement, declared):
        pin = pinned[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(pin.version.removeprefix("==")), requirement


def test_tests_run_with_the_versions_that_operators_get() -> None:
    shipped = pins("requirements.txt") | pins("requirements-build.txt")
    dev = pins("requirements-dev.txt")

    assert shipped == {name: dev.get(name) for name in shipped}


def test_what_is_imported_is_declared() -> None:
    imported = {
        name.split(".")[0]
        for module in MODULES
        for node in ast.walk(ast.parse(module.read_text()))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom) and not node.level
            else []
        )
    }
    shipped_by = packages_distributions()
    project = PYPROJECT["project"]
    every = [*project["dependencies"], *itertools.chain(*project["optional-dependencies"].values())]
    declared = {canonicalize_name(Requirement(one).name) for one in every}
    foreign = imported - sys.stdlib_module_names - {"exporter"}

    undeclared = {
        name
        for name in foreign
        if not declared & {canonicalize_name(d) for d in shipped_by.get(name, [])}
    }
    assert set() == undeclared


def test_every_dependency_and_every_exception_has_its_reason() -> None:
    lines = [line.strip() for line in (ROOT / "pyproject.toml").read_text().splitlines()]
    tools = PYPROJECT["tool"]
    entries = [
        *PYPROJECT["project"]["dependencies"],
        *PYPROJECT["dependency-groups"]["dev"],
        *tools["pytest"]["filterwarnings"],
        *tools["ruff"]["lint"]["ignore"],
        *(code for codes in tools["ruff"]["lint"]["per-file-ignores"].values() for code in codes),
    ]

    for entry in entries:
        reasons = [line for line in lines if line.startswith(f"{json.dumps(entry)},")]
        assert reasons, entry
        assert all(" # " in line for line in reasons), entry


# --- the pages ---


def test_the_licence_is_the_apache_licence() -> None:
    text = (ROOT / "LICENSE").read_text()

    assert text.split()[:6] == ["Apache", "License", "Version", "2.0,", "January", "2004"]
    assert "END OF TERMS AND CONDITIONS" in text


@pytest.mark.parametrize("page", sorted(ROOT.glob("*.md")), ids=relative)
def test_a_link_to_a_file_of_ours_leads_there(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())

    assert [] == [link for link in links if not (page.parent / link).exists()]
