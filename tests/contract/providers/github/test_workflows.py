"""What the workflows of a repo are called, whatever their runs are titled."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from exporter.errors import TryLater
from exporter.providers.github.workflows import Names, Shelf, Workflow, file_of
from tests.contract.providers.github import NAMES, build

FOLDER = ".github/workflows"


def workflow(number: int, name: Any, file: str, **fields: Any) -> Workflow:
    return Workflow(number, name, f"{FOLDER}/{file}", **fields)


@pytest.mark.parametrize(
    ("fields", "label"),
    [
        ({}, "CI"),
        ({"workflow_id": 78}, "ci.yml"),  # of which the list knows nothing
        ({"workflow_id": None}, "ci.yml"),
        ({"workflow_id": "odd", "path": None}, ""),
        ({"workflow_id": 5, "path": "dynamic/dependabot/dependabot-updates"}, "dependabot-updates"),
        ({"workflow_id": 5, "path": f"acme/rules/{FOLDER}/scan.yaml@refs/heads/main"}, "scan.yaml"),
    ],
)
def test_a_run_is_of_the_workflow_that_its_id_names(fields: dict[str, Any], label: str) -> None:
    assert label == build(**fields).workflow


@pytest.mark.parametrize(
    ("path", "file"),
    [
        (f"{FOLDER}/ci.yml", "ci.yml"),
        (f"{FOLDER}/ci.yml@feature/x", "ci.yml"),
        (f"{FOLDER}/deploy@eu.yaml@refs/heads/a@b.yml", "deploy@eu.yaml"),
        ("dynamic/pages/pages-build-deployment", "pages-build-deployment"),
        ("dynamic/github-code-scanning/codeql@main", "codeql"),
        (None, ""),
        (7, "7"),
    ],
)
def test_the_name_of_a_file_is_found_in_every_form_of_its_path(path: Any, file: str) -> None:
    assert file == file_of(path)


def test_a_workflow_without_a_name_is_called_after_its_file() -> None:
    names = Names([workflow(1, f"{FOLDER}/ci.yml", "ci.yml"), workflow(2, None, "b.yml")])

    assert ["ci.yml", "b.yml"] == [names.label(number, None) for number in (1, 2)]


def test_of_workflows_of_one_name_the_oldest_keeps_it_however_they_are_listed() -> None:
    listed = [
        workflow(3, "CI", "c.yml"),
        workflow(1, "CI", "a.yml"),
        workflow(2, "CI (c.yml)", "b.yml"),
        workflow(4, "ci", "d.yml"),
    ]
    wanted = ["CI", "CI (c.yml)", "CI (c.yml) (3)", "ci"]

    for order in itertools.permutations(listed):
        names = Names(order)
        assert wanted == [names.label(number, None) for number in (1, 2, 3, 4)]


def test_a_file_that_took_the_place_of_another_takes_its_name_too() -> None:
    gone = workflow(1, "CI", "old.yml", state="deleted", created_at="2024-01-01T00:00:00Z")
    names = Names([gone, workflow(2, "CI", "ci.yml", state="active")])

    assert ["CI (old.yml)", "CI"] == [names.label(number, None) for number in (1, 2)]


def test_the_file_of_another_repo_is_not_taken_for_a_workflow_of_that_name() -> None:
    names = Names([workflow(1, None, "scan.yml")])

    assert f"acme/rules/{FOLDER}/scan.yml" == names.label(9, f"acme/rules/{FOLDER}/scan.yml@main")
    assert "lint.yml" == names.label(9, f"acme/rules/{FOLDER}/lint.yml@main")


def test_the_list_is_asked_for_only_where_it_can_tell_something_new() -> None:
    shelf = Shelf()
    assert not shelf.is_due(set(), is_new=True, now=0.0)
    assert shelf.is_due({77}, is_new=False, now=0.0)
    shelf.names = NAMES
    shelf.put(None, {77, 8}, now=0.0)

    assert not shelf.is_due({77, 8}, is_new=True, now=3000.0)  # 8 is not in the list
    assert shelf.is_due({77, 9}, is_new=True, now=1.0)
    assert shelf.is_due({77}, is_new=True, now=3700.0)  # it may be called otherwise by now
    assert not shelf.is_due({77}, is_new=False, now=99_999.0)


def test_a_list_that_fails_is_asked_for_again_in_a_while() -> None:
    shelf = Shelf()
    shelf.fail(TryLater("no", reason="server"), now=0.0)

    assert not shelf.is_due({77}, is_new=True, now=200.0)
    assert shelf.is_due({77}, is_new=True, now=400.0)
    shelf.put([], {77}, now=400.0)
    assert shelf.error is None
