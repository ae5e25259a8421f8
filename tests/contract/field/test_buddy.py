"""What happened to pipelines of Buddy over time, and what an operator needs to see then."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from exporter.errors import ProviderError, StateUnavailable
from exporter.metrics import families as f
from tests.contract.field.meanwhile import Pause, whatever_it_does
from tests.tools.buddy_station import station
from tests.tools.emulators import buddy
from tests.tools.emulators.rig import iso


def fails(pipeline: dict[str, Any], status: int) -> Callable[[Request], Response | None]:
    """The executions of a pipeline answer so."""

    def answer(request: Request) -> Response | None:
        is_it = request.path_params["pipeline"] == pipeline["id"]
        return PlainTextResponse("Oops", status) if is_it else None

    return answer


@whatever_it_does
@pytest.mark.parametrize("status", [400, 403, 404, 500, 200])
def test_a_pipeline_that_fails_hides_no_other_and_is_read_whole_when_it_answers_again(
    tmp_path: Path, meanwhile: Pause, status: int
) -> None:
    world = buddy.Buddy()
    build, secret = world.pipeline(name="build"), world.pipeline(name="secret")
    for pipeline in (build, secret):
        world.run(pipeline, age=3600)
    rig = station(world, path=tmp_path / "state.db")
    world.fails = fails(secret, status)
    for i in range(4):
        for pipeline in (build, secret):
            world.run(pipeline, age=3000 - i, lasts=5, revision=f"r{i}")
        meanwhile(rig)
        rig.polled()

        assert ([str(secret["id"])], 2 + i) == ([*rig.unread], rig.value(f.BUILDS))

    world.fails = lambda request: None
    meanwhile(rig)
    rig.polled()

    assert ({}, 10) == (dict(rig.unread), rig.value(f.BUILDS))


def test_a_project_of_which_nothing_answers_has_failed() -> None:
    world = buddy.Buddy()
    for name in ("build", "deploy"):
        world.run(world.pipeline(name=name))
    world.fails = lambda request: PlainTextResponse("Oops", 500)

    with pytest.raises(ProviderError, match="500"):
        station(world).polled()


@whatever_it_does
def test_an_execution_that_is_run_again_moves_what_is_shown(
    tmp_path: Path, meanwhile: Pause
) -> None:
    world = buddy.Buddy()
    deploy = world.pipeline()
    execution = world.run(deploy, age=3600, status="FAILED")
    begun = time.time()
    world.action(
        execution,
        "ship",
        "FAILED",
        start_date=iso(begun - 3590),
        finish_date=iso(begun - 3540),
    )
    rig = station(world, path=tmp_path / "state.db", jobs=True)
    rig.polled()

    assert 1 == rig.gauge(f.STREAK)

    execution["action_executions"][0] |= {
        "status": "SUCCESSFUL",
        "start_date": iso(begun - 60),
        "finish_date": iso(begun - 30),
    }
    world.end(deploy, execution, at=begun - 30, status="SUCCESSFUL")
    meanwhile(rig)
    rig.polled()
    rig.polled(deep=True)

    assert (1, 0) == (rig.value(f.BUILDS), rig.gauge(f.STREAK))
    assert 1 == rig.gauge(f.LAST_CONCLUSION, conclusion="passed")
    assert 1 == rig.value(f.JOBS, job_name="ship", conclusion="failed")
    assert 1 == rig.value(f.JOBS, job_name="ship", conclusion="passed")
    assert 1 == rig.value(f.ANOMALIES)


def test_what_was_read_but_not_committed_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    world = buddy.Buddy()
    deploy = world.pipeline()
    world.run(deploy, age=3600)
    rig = station(world)
    rig.polled()
    world.run(deploy, age=60, lasts=5, revision="r2")

    async def broken(*args: Any, **keys: Any) -> None:
        raise StateUnavailable("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(rig.recorder, "record", broken)
        for _ in range(3):
            with pytest.raises(StateUnavailable):
                rig.polled()
    rig.polled()

    assert 2 == rig.value(f.BUILDS)


@whatever_it_does
def test_of_two_pipelines_of_one_name_the_oldest_keeps_it(tmp_path: Path, meanwhile: Pause) -> None:
    world = buddy.Buddy()
    first, second = world.pipeline(name="deploy"), world.pipeline(name="deploy")
    world.run(first, age=900, status="FAILED")
    world.run(second, age=800)
    world.pipelines["shop"].reverse()
    rig = station(world, path=tmp_path / "state.db", jobs=True)
    rig.polled()
    world.run(first, age=700, status="FAILED", revision="r2")
    world.run(second, age=600, revision="r2")
    meanwhile(rig)
    rig.polled()

    other = f"deploy ({second['id']})"
    assert 2 == rig.value(f.BUILDS, workflow="deploy", conclusion="failed")
    assert 2 == rig.value(f.BUILDS, workflow=other, conclusion="passed")
    assert (2, 0) == (rig.gauge(f.STREAK, workflow="deploy"), rig.gauge(f.STREAK, workflow=other))


def test_a_list_that_is_too_much_at_once_is_read_in_parts() -> None:
    world = buddy.Buddy()
    deploy = world.pipeline()
    for i in range(70):
        world.run(deploy, age=3000 - i, lasts=5)
    world.fails = lambda request: (
        PlainTextResponse("Oops", 500)
        if int(request.query_params.get("per_page", 1)) > 20
        else None
    )
    rig = station(world)
    rig.polled()

    assert 70 == rig.value(f.BUILDS)


def test_an_execution_without_an_end_has_that_of_its_actions() -> None:
    world = buddy.Buddy()
    execution = world.run(world.pipeline(), age=600)
    begun = time.time() - 600
    execution["finish_date"] = None
    world.action(
        execution,
        "build",
        "SUCCESSFUL",
        start_date=iso(begun),
        finish_date=iso(begun + 50),
    )
    rig = station(world)
    rig.polled()

    assert (1, 0) == (rig.value(f.BUILD_DURATION), rig.value(f.MISSING, field="duration"))
