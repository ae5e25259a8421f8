"""The branches of multibranch jobs and the jobs of folders are found, and each build counted."""

from __future__ import annotations

from typing import Any

import pytest

from exporter.errors import Gone
from exporter.metrics import families as f
from exporter.model import Build, BuildKey, Status
from exporter.providers.jenkins.mapping import split_id
from tests.tools.emulators import jenkins
from tests.tools.emulators.jenkins import FREESTYLE, MULTIBRANCH
from tests.tools.emulators.rig import entries
from tests.tools.jenkins_station import EVENT, provider, station


def test_the_branches_of_a_multibranch_job_are_its_builds() -> None:
    world = jenkins.Jenkins()
    world.job("team/shop", MULTIBRANCH)
    world.run("team/shop/main", age=900, lasts=10, actions=[EVENT])
    world.run("team/shop/feature%2Fcart", age=800, lasts=20, actions=[EVENT])
    world.run("team/shop/PR-3", age=700, lasts=30, actions=[EVENT])
    rig = station(world)
    rig.polled()

    assert 1 == len(rig.polled())
    world.run("team/shop/main", age=100, lasts=10, actions=[EVENT])
    assert 2 == len(rig.polled())
    assert 4 == rig.value(f.BUILDS, repo="team/shop", workflow="shop")
    assert 2 == rig.value(f.BUILDS, branch="main", trigger="push")
    assert 1 == rig.value(f.BUILDS, branch="pull_request", trigger="merge_request")
    assert 1 == rig.value(f.BUILDS, branch="other")


@pytest.mark.parametrize(
    ("status", "key", "native_id"),
    [
        (Status.IN_PROGRESS, BuildKey("team/shop/main#7", 1_700_000_000), "7"),
        (Status.QUEUED, BuildKey("team/shop/main#queue-7"), "7"),
        (Status.IN_PROGRESS, BuildKey("team/shop/main#7", 1_700_000_000), "team/shop/main/7"),
    ],
)
def test_an_unfinished_build_of_an_older_state_is_asked_for_in_its_branch(
    status: Status, key: BuildKey, native_id: str
) -> None:
    known = Build(key=key, native_id=native_id, repo="team/shop", status=status)

    assert split_id(known) == ("team/shop/main", "7")


def test_bursts_in_several_branches_are_counted_whole() -> None:
    world = jenkins.Jenkins()
    world.job("team/shop", MULTIBRANCH)
    world.run("team/shop/main")
    rig = station(world)
    rig.polled()
    for i in range(80):
        world.run("team/shop/main", age=300 - i, lasts=1)
        world.run("team/shop/PR-1", age=300 - i, lasts=1)
        if i < 5:
            world.run("team/shop/PR-2", age=300 - i, lasts=1)

    requests = rig.polled()

    assert 1 + 3 + 2 + 2 == len(requests)
    assert 166 == rig.value(f.BUILDS)


def test_a_branch_with_old_builds_does_not_end_the_reading_of_another() -> None:
    world = jenkins.Jenkins()
    world.job("team/shop", MULTIBRANCH)
    for branch in ("aa", "mm", "zz"):
        world.job(f"team/shop/{branch}")
    told = [{"_class": "jenkins.metrics.impl.TimeInQueueAction", "queuingDurationMillis": 10}]
    for i in range(40):
        for branch in ("aa", "zz"):
            world.run(f"team/shop/{branch}", age=9000 - i, actions=told)
    rig = station(world)
    rig.polled()
    for i in range(80):
        world.run("team/shop/mm", age=300 - i, lasts=1, actions=told)
    for branch in ("aa", "zz"):
        world.run(f"team/shop/{branch}", age=100, lasts=1, actions=told)

    rig.polled()

    assert 162 == rig.value(f.BUILDS)


def test_a_branch_that_was_deleted_while_it_was_read_spoils_nothing() -> None:
    world = jenkins.Jenkins()
    job = world.job("team/shop", MULTIBRANCH)
    world.run("team/shop/main")
    world.run("team/shop/gone")
    told = world._told

    def hides(place: dict[str, Any]) -> dict[str, Any]:
        answer = told(place)
        if place is world.root:
            job["jobs"] = [branch for branch in job["jobs"] if branch["name"] != "gone"]
        return answer

    world._told = hides  # type: ignore[method-assign]
    rig = station(world)

    rig.polled()

    assert 1 == rig.value(f.BUILDS)


def test_a_branch_job_may_be_polled_alone_under_its_multibranch_jobs_name() -> None:
    world = jenkins.Jenkins()
    world.job("team/shop", MULTIBRANCH)
    world.run("team/shop/main")
    world.run("team/shop/other")
    rig = station(world, "team/shop/main")

    rig.polled()

    assert 1 == rig.value(f.BUILDS) == rig.value(f.BUILDS, repo="team/shop", branch="main")
    assert ["team/shop"] == entries(provider(), "team/shop", "team/shop/main")
    assert ["team/shop", "team/shop-2"] == entries(provider(), "team/shop", "team/shop-2")


def test_jobs_in_deep_folders_cost_a_request_for_each_folder_there() -> None:
    world = jenkins.Jenkins()
    deep = "a/b/c/d/e/f/g/h/i"
    world.run(deep, kind=FREESTYLE)
    world.job("a/b/c/d/shop", MULTIBRANCH)
    world.run("a/b/c/d/shop/main")
    rig = station(world, deep, "a/b/c/d/shop")
    rig.polled()

    assert 1 + 2 == len(rig.polled())
    assert 2 == rig.value(f.BUILDS)


@pytest.mark.parametrize(
    ("pattern", "exclude", "found"),
    [
        ("*", [], ["top"]),
        ("**", ["team/**"], ["top"]),
        ("team/*", [], ["team/shop", "team/api"]),
        ("team/**", ["**/api"], ["team/shop", "team/x/y/z/w/deep"]),
        ("team/x/**", [], ["team/x/y/z/w/deep"]),
    ],
)
def test_wildcards_discover_jobs_but_for_disabled_and_excluded_ones(
    pattern: str, exclude: list[str], found: list[str]
) -> None:
    world = jenkins.Jenkins()
    world.run("top")
    world.job("team/shop", MULTIBRANCH)
    world.run("team/shop/main")
    world.run("team/api")
    world.run("team/x/y/z/w/deep")
    world.job("team/old", color="disabled")
    world.job("team/frozen", buildable=False)
    rig = station(world, pattern, exclude=exclude)

    rig.polled()

    assert found == rig.entries
    assert len(found) == rig.value(f.BUILDS)


@pytest.mark.parametrize("entry", ["team", "team/none", "none/at/all"])
def test_a_folder_or_nothing_is_no_job(entry: str) -> None:
    world = jenkins.Jenkins()
    world.run("team/shop")
    rig = station(world, entry)

    with pytest.raises(Gone, match=r"there is no job|is a folder"):
        rig.polled()


def test_a_wildcard_below_no_folder_is_told() -> None:
    with pytest.raises(Gone, match="there is no folder nowhere"):
        station(jenkins.Jenkins(), "nowhere/*").polled()


def test_a_folder_that_is_listed_twice_is_read_once() -> None:
    world = jenkins.Jenkins()
    world.run("team/shop")
    world.root["jobs"] *= 2
    rig = station(world, "**")
    rig.polled()

    assert rig.entries == ["team/shop"]
    assert 1 == rig.value(f.BUILDS)
