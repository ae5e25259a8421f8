"""Buddy's REST API."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from tests.tools.emulators.rig import COMMIT, emulator, iso

SITE = "https://app.buddy.works"
MOST = 40
"""Items of a page at most, whatever is asked for."""


class Buddy:
    """Projects of one workspace with their pipelines, as the API tells them."""

    def __init__(self, *, modern: bool = False) -> None:
        self.projects: dict[str, dict[str, Any]] = {}
        self.pipelines: dict[str, list[dict[str, Any]]] = {}
        self.executions: dict[int, list[dict[str, Any]]] = {}
        self.fails: Callable[[Request], Response | None] = lambda request: None
        """The answer to a request that fails."""
        self._trigger = "triggeredOn" if modern else "triggered_on"

    def pipeline(self, project: str = "shop", name: str = "deploy") -> dict[str, Any]:
        """Add a pipeline that never ran."""
        self.projects.setdefault(project, {"name": project, "status": "ACTIVE"})
        pipeline: dict[str, Any] = {
            "id": 100 + sum(map(len, self.pipelines.values())),
            "name": name,
            "last_execution_status": "INITIAL",
            "last_execution_revision": None,
        }
        self.pipelines.setdefault(project, []).append(pipeline)
        self.executions[pipeline["id"]] = []
        return pipeline

    def run(
        self,
        pipeline: dict[str, Any],
        *,
        age: float = 3600.0,
        lasts: float | None = 60.0,
        status: str = "SUCCESSFUL",
        revision: str = "r1",
        **values: Any,
    ) -> dict[str, Any]:
        """Execute a pipeline, `age` seconds ago; it goes on where `lasts` is None."""
        executions = self.executions[pipeline["id"]]
        begun = time.time() - age
        execution: dict[str, Any] = {
            "id": max((one["id"] for one in executions), default=-1) + 2,  # ids have holes
            "start_date": iso(begun, 3),
            "finish_date": None,
            self._trigger: "EVENT",
            "status": "INPROGRESS",
            "branch": {"name": "main", "default": True},
            "to_revision": {
                "revision": COMMIT,
                "commit_date": iso(begun - 60, 0),
                "message": "Add the cart\n\nAt last.",
            },
            "creator": {"id": 1, "name": "Dev One"},
            "action_executions": [],
        } | values
        execution.setdefault("html_url", f"{SITE}/acme/{pipeline['id']}/{execution['id']:024x}")
        executions.append(execution)
        pipeline |= {"last_execution_status": "INPROGRESS", "last_execution_revision": revision}
        if lasts is not None:
            self.end(pipeline, execution, at=begun + lasts, status=status)
        return execution

    def end(
        self, pipeline: dict[str, Any], execution: dict[str, Any], *, at: float, status: str
    ) -> None:
        """End an execution."""
        execution |= {"status": status, "finish_date": iso(at, 3)}
        pipeline["last_execution_status"] = self.executions[pipeline["id"]][-1]["status"]

    def action(self, execution: dict[str, Any], name: str, status: str, **values: Any) -> None:
        """Add an action to an execution."""
        number = len(execution["action_executions"])
        action = {
            "action": {"id": number, "name": name, "type": "BUILD"},
            "status": status,
            "html_url": f"{execution['html_url']}/action/{number}",
        }
        execution["action_executions"].append(action | values)

    def app(self) -> Starlette:
        base = "/api/workspaces/acme/projects"
        pipelines = base + "/{project}/pipelines"
        executions = pipelines + "/{pipeline:int}/executions"
        endpoints = {
            base: lambda r: {"projects": _page(r, list(self.projects.values()))},
            pipelines: self._pipelines,
            executions: self._executions,
            executions + "/{execution:int}": self._execution,
        }
        return emulator(endpoints, ("authorization", "Bearer demo"))

    def _pipelines(self, request: Request) -> Any:
        found = self.pipelines.get(request.path_params["project"])
        return None if found is None else {"pipelines": _page(request, found)}

    def _executions(self, request: Request) -> Any:
        if (failure := self.fails(request)) is not None:
            return failure
        found = self.executions.get(request.path_params["pipeline"], [])
        newest_first = [{**e, "action_executions": None} for e in reversed(found)]
        size = min(int(request.query_params.get("per_page", 20)), MOST)
        pages = -(-len(found) // size)
        return {"executions": _page(request, newest_first), "total_page_count": pages}

    def _execution(self, request: Request) -> Any:
        if (failure := self.fails(request)) is not None:
            return failure
        found = self.executions.get(request.path_params["pipeline"], [])
        return next((e for e in found if e["id"] == request.path_params["execution"]), None)


def _page(request: Request, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    size = min(int(request.query_params.get("per_page", 20)), MOST)
    start = (int(request.query_params.get("page", 1)) - 1) * size
    return items[start : start + size]
