"""Azure DevOps behind the unified API is told as by itself, as far as that API tells it."""

from __future__ import annotations

import time
from typing import Any

import pytest
from starlette.requests import Request

from exporter.metrics import families as f
from exporter.model import Ref, Status
from tests.contract.providers.truto import AZURE, DAY, at, one, truto
from tests.tools.emulators.azure_devops import stamp
from tests.tools.emulators.rig import Endpoint, Station, emulator


class Unified:
    """A list of builds that is in order of completion, what is unfinished first."""

    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = []
        listed = "/unified/ci-cd/builds"
        endpoints: dict[str, Endpoint] = {listed: self._listed, f"{listed}/{{id}}": self._single}
        self.app = emulator(endpoints, ("authorization", "Bearer demo"))

    def build(self, number: int, *, age: float, lasts: float | None, **values: Any) -> None:
        """A build that began some seconds ago, and ended `lasts` seconds later."""
        began = time.time() - age
        over = lasts is not None
        raw = {
            "id": number,
            "definition": {"name": "CI"},
            "queueTime": stamp(began - 5),
            "lastChangedDate": stamp(began + (lasts or 0.0)),
        }
        item = {
            "id": str(number),
            "repo": "web",
            "branch": "refs/heads/main",
            "status": "completed" if over else "in_progress",
            "conclusion": "passed" if over else None,
            "started_at": stamp(began),
            "completed_at": stamp(began + lasts) if lasts is not None else None,
            "remote_data": raw,
        } | values
        self.items = [known for known in self.items if known["id"] != item["id"]] + [item]

    def _listed(self, request: Request) -> dict[str, Any]:
        items = sorted(self.items, key=lambda item: item["completed_at"] or "Z", reverse=True)
        return {"result": items, "next_cursor": None}

    def _single(self, request: Request) -> dict[str, Any] | None:
        number = request.path_params["id"]
        return next((item for item in self.items if item["id"] == number), None)


def station(world: Unified) -> Station:
    return Station(truto("azuredevops", name="acme"), world.app, "")


def test_builds_that_wait_for_days_hide_none_that_completed() -> None:
    world = Unified()
    for number in range(12):
        world.build(number, age=3 * 86400 + number, lasts=None)
    world.build(100, age=2 * 86400, lasts=2 * 86400 - 300, conclusion="failed")
    world.build(101, age=600, lasts=30)
    rig = station(world)

    rig.polled()
    world.build(102, age=40, lasts=10)
    rig.polled()

    assert 12 == rig.gauge(f.ACTIVE, status="in_progress")
    assert (2, 1) == (
        rig.value(f.BUILDS, conclusion="passed"),
        rig.value(f.BUILDS, conclusion="failed"),
    )


@pytest.mark.parametrize("restarts", [True, False])
def test_a_stage_is_run_again_and_the_build_ends_once_more(*, restarts: bool) -> None:
    world = Unified()
    world.build(7, age=9000, lasts=60, conclusion="failed")
    rig = station(world)
    rig.polled()
    world.build(7, age=9000, lasts=None)
    world.items[-1]["remote_data"]["lastChangedDate"] = stamp(time.time() - 300)
    if restarts:
        rig.native, rig.memories = truto("azuredevops", name="acme"), {}
    rig.polled()

    assert 1 == rig.gauge(f.ACTIVE, status="in_progress")

    world.build(7, age=9000, lasts=8990)
    rig.polled()

    assert 0 == rig.gauge(f.ACTIVE, status="in_progress")
    assert 1 == rig.gauge(f.LAST_CONCLUSION, conclusion="passed")
    assert (1, 0) == (rig.value(f.BUILDS), rig.gauge(f.STREAK))


def test_when_a_build_was_last_changed_is_told_by_its_end_or_its_raw_object() -> None:
    raw: dict[str, Any] = {"definition": {"name": "CI"}, "lastChangedDate": DAY + "12:00:00Z"}

    over = one("azuredevops", AZURE | {"remote_data": raw})
    running = one("azuredevops", AZURE | {"remote_data": raw, "status": "inProgress"})

    assert over.completed_at == over.changed_at
    assert (Status.IN_PROGRESS, at("12:00:00")) == (running.status, running.changed_at)


def test_groups_of_a_merge_queue_are_known() -> None:
    branch = "refs/heads/gh-readonly-queue/main/pr-7-ab12"

    assert Ref.MERGE_QUEUE is one("azuredevops", AZURE | {"branch": branch}).ref
