"""Azure DevOps is read in the version that a server knows, by the names that its people gave."""

from __future__ import annotations

import re
from contextlib import aclosing
from typing import Any

import pytest

from exporter.demo.serve import serving
from exporter.errors import Refused
from exporter.metrics import families as f
from exporter.model import Ref
from exporter.providers.azure_devops import AzureDevOps
from exporter.providers.azure_devops.client import VERSIONS, Versions
from tests.contract.providers.test_azure_devops_words import built
from tests.tools.azure_devops_station import provider, station
from tests.tools.emulators import azure_devops
from tests.tools.emulators.rig import entries


def versions(requests: list[str]) -> list[str]:
    return [found[1] for r in requests if (found := re.search(r"api-version=([^&]*)", r))]


# -- versions


@pytest.mark.parametrize(
    ("newest", "used"),
    [
        ("5.0", "5.0"),
        ("5.1", "5.1"),
        ("6.0", "6.0"),
        ("6.1", "6.0"),
        ("7.0", "7.0"),
        ("7.2", "7.1"),
    ],
)
def test_a_server_is_asked_in_a_version_that_it_knows(newest: str, used: str) -> None:
    world = azure_devops.AzureDevOps()
    world.newest = newest
    world.run(age=300, queued=1, lasts=60)
    rig = station(world, "acme/*")

    first, second = versions(rig.polled()), versions(rig.polled())

    refused = 0 if used == "7.1" else 1
    assert ["7.1"] * refused + [used] * (len(first) - refused) == first
    assert {used} == set(second)
    assert 1 == rig.value(f.BUILDS, conclusion="passed")


@pytest.mark.parametrize(
    ("said", "newest"),
    [
        ("version of 7.1 is out of range. The latest version this server supports is 6.0.", "6.0"),
        ("Version 7.1 liegt außerhalb; die neueste, die der Server unterstützt, ist 5.1.", "5.1"),
        ('The requested version "7.1" is under preview, for example: "7.1-preview"', "7.0"),
        ("The requested version 7.1 is not known", "7.0"),
        ("TF401019: there is no repository of 6.0 MB", None),
        ("the version 7.1 is out of range of 3.2 and older", None),
    ],
)
def test_a_refusal_of_the_version_tells_another_one_in_any_language(
    said: str, newest: str | None
) -> None:
    known = Versions()
    error = Refused(f"host:8080/v7.1: answered 400 Bad Request: {said}", reason="bad_shape")

    assert (newest is not None) is known.refuses("7.1", error)
    assert known.newest == (newest or VERSIONS[0])


def test_the_oldest_version_has_none_below_it() -> None:
    error = Refused("host: 4.1 is out of range", reason="bad_shape")

    assert not Versions().refuses("4.1", error)


# -- pages


def test_pages_that_the_server_cannot_make_are_asked_for_with_fewer_items() -> None:
    world = azure_devops.AzureDevOps()
    world.largest = 100
    for i in range(150):
        world.run(age=9000 - i, lasts=5)
    world.run(age=60, lasts=None)
    rig = station(world)

    rig.polled()

    assert 150 == rig.value(f.BUILDS)
    assert 1 == rig.gauge(f.ACTIVE, status="in_progress")


def test_an_organization_may_have_more_than_ten_thousand_projects() -> None:
    world = azure_devops.AzureDevOps()
    world.projects = {f"project {n}": [] for n in range(10_050)}
    world.most_projects = 100
    rig = station(world, "acme/*")

    async def found() -> int:
        async with serving(rig.app) as url, aclosing(rig.api(url)) as api:
            return len(await rig.repos(api))

    assert 10_050 == rig.run(found)


def test_unfinished_builds_that_cannot_be_listed_hide_no_finished_ones() -> None:
    world = azure_devops.AzureDevOps()
    world.run(age=300)
    world.failing["inProgress,notStarted,cancelling,postponed"] = 500
    rig = station(world)

    rig.polled()

    assert 1 == rig.value(f.BUILDS)


# -- names of pipelines


def two(world: azure_devops.AzureDevOps, **values: Any) -> None:
    """Two pipelines of one name, of which the younger one is the newest and runs more often."""
    old = {"id": 3, "name": "CI", "path": "\\"}
    young = {"id": 8, "name": "CI", "path": "\\team\\web"}
    world.run(age=900, definition=old, result="succeeded", **values)
    for age in (800, 700, 600):
        world.run(age=age, definition=young, result="failed", **values)


def test_of_two_pipelines_of_one_name_the_oldest_keeps_it() -> None:
    world = azure_devops.AzureDevOps()
    two(world)
    rig = station(world)

    rig.polled()

    assert 1 == rig.value(f.BUILDS, workflow="CI", conclusion="passed")
    assert 3 == rig.value(f.BUILDS, workflow=r"team\web\CI", conclusion="failed")
    assert 3 == rig.gauge(f.STREAK, workflow=r"team\web\CI")


def test_an_older_pipeline_without_builds_keeps_its_name() -> None:
    world = azure_devops.AzureDevOps()
    world.run(definition={"id": 8, "name": "CI", "path": "\\team"})
    world.definitions["shop"] = [
        {"id": 3, "name": "CI", "path": "\\"},
        {"id": 8, "name": "CI", "path": "\\team"},
    ]
    rig = station(world)

    rig.polled()

    assert 1 == rig.value(f.BUILDS, workflow=r"team\CI")


def test_the_top_is_a_folder_too() -> None:
    world = azure_devops.AzureDevOps()
    world.run(definition={"id": 3, "name": "CI", "path": "\\team"})
    world.run(definition={"id": 8, "name": "CI", "path": "\\"})
    rig = station(world)

    rig.polled()

    assert (1, 1) == (rig.value(f.BUILDS, workflow="CI"), rig.value(f.BUILDS, workflow=r"\CI"))


@pytest.mark.parametrize("status", [403, 404, 500])
def test_where_pipelines_cannot_be_listed_builds_tell_their_names(status: int) -> None:
    world = azure_devops.AzureDevOps()
    two(world)
    world.failing["definitions"] = status
    rig = station(world)

    rig.polled()
    asked = sum("definitions" in request for request in rig.polled())

    assert 0 == asked
    assert 1 == rig.value(f.BUILDS, workflow="CI")
    assert 3 == rig.value(f.BUILDS, workflow=r"team\web\CI")


def test_a_name_does_not_pass_on_when_the_oldest_pipeline_is_deleted() -> None:
    world = azure_devops.AzureDevOps()
    two(world)
    rig = station(world)
    rig.polled()
    world.projects["elsewhere"] = [world.projects["shop"].pop(0)]
    world.run(age=60, lasts=10, definition={"id": 8, "name": "CI", "path": "\\team\\web"})

    rig.polled()

    assert 1 == rig.value(f.BUILDS, workflow="CI")
    assert 4 == rig.value(f.BUILDS, workflow=r"team\web\CI")


def test_the_list_of_pipelines_is_read_once() -> None:
    world = azure_devops.AzureDevOps()
    world.run()
    rig = station(world)

    asked = [sum("definitions" in request for request in rig.polled()) for _ in range(3)]

    assert [1, 0, 0] == asked


# -- names of projects and repositories


def test_an_entry_may_be_spelled_as_in_an_address() -> None:
    world = azure_devops.AzureDevOps()
    world.run(project="my tools")
    rig = station(world, "acme/my%20tools")

    rig.polled()

    assert 1 == rig.value(f.BUILDS, repo="acme/my tools/shop")
    assert ["acme/my tools"] == entries(provider(), "acme/my tools", "Acme/My%20Tools/shop")


def test_two_spellings_of_one_repository_are_one() -> None:
    world = azure_devops.AzureDevOps()
    world.run(age=900)["repository"] = {"id": "Octo/API", "type": "GitHub"}
    world.run(age=800)["repository"] = {"id": "octo/api", "type": "GitHub"}
    rig = station(world)

    rig.polled()

    assert 2 == rig.value(f.BUILDS, repo="acme/shop/Octo/API")


@pytest.mark.parametrize("name", ["shop", "my tools", "Ünïcode", "a.b-c_d", "x" * 64, "(old)!"])
def test_names_that_projects_may_have_are_taken(name: str) -> None:
    assert re.fullmatch(AzureDevOps.name_pattern, f"acme/{name}")


@pytest.mark.parametrize(
    "name",
    ["..", ".git", "end.", "_apis", "a/b", "%2e%2e", "<script>", "", "x" * 65, "a\nb", "a;b", "*"],
)
def test_names_that_no_project_may_have_are_not(name: str) -> None:
    assert not re.fullmatch(AzureDevOps.name_pattern, f"acme/{name}")


@pytest.mark.parametrize(
    ("source", "reason", "ref", "trigger"),
    [
        ("refs/heads/gh-readonly-queue/main/pr-7-ab12", "individualCI", Ref.MERGE_QUEUE, "push"),
        ("refs/pull/7/merge", "individualCI", Ref.PULL_REQUEST, "merge_request"),
        ("refs/pull/7/head", "manual", Ref.PULL_REQUEST, "web"),
        (None, "pullRequest", Ref.PULL_REQUEST, "merge_request"),
    ],
)
def test_queues_and_pull_requests_are_known_by_their_refs(
    source: str | None, reason: str, ref: Ref, trigger: str
) -> None:
    build = built(sourceBranch=source, reason=reason)

    assert (ref, trigger) == (build.ref, build.trigger)
