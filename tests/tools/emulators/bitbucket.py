"""Bitbucket Cloud, as far as Pipelines are concerned."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse

from tests.tools.emulators.rig import COMMIT, Endpoint, emulator, iso

ELSEWHERE = "http://192.0.2.1/2.0/next"
"""A `next` that must not be followed."""


class Bitbucket:
    """Repositories of one workspace with their pipelines, as the API tells them."""

    def __init__(self) -> None:
        self.repos: dict[str, list[dict[str, Any]]] = {}
        self.steps: dict[str, list[dict[str, Any]]] = {}
        self.off: set[str] = set()
        self.fails: Callable[[Request], int | None] = lambda request: None
        """The status that a request fails with, if it does."""

    def run(
        self,
        repo: str = "shop",
        *,
        age: float = 3600.0,
        queued: float = 5.0,
        lasts: float | None = 60.0,
        result: str = "SUCCESSFUL",
        stage: str = "RUNNING",
        **values: Any,
    ) -> dict[str, Any]:
        """Begin a pipeline `age` seconds ago; it is still running where `lasts` is None."""
        pipelines = self.repos.setdefault(repo, [])
        pipeline: dict[str, Any] = {
            "type": "pipeline",
            "uuid": f"{{{uuid.uuid4()}}}",
            "build_number": len(pipelines) + 1,
            "run_number": 1,
            "created_on": iso(time.time() - age, 6),
            "completed_on": None,
            "state": {"name": "IN_PROGRESS", "stage": {"name": stage}},
            "trigger": {"type": "pipeline_trigger_push", "name": "PUSH"},
            "creator": {"type": "user", "display_name": "Dev One", "nickname": "dev-1"},
            "target": {
                "type": "pipeline_ref_target",
                "ref_type": "branch",
                "ref_name": "main",
                "selector": {"type": "default"},
                "commit": {"type": "commit", "hash": COMMIT},
            },
            "duration_in_seconds": 7,
        } | values
        pipelines.append(pipeline)
        self.steps[pipeline["uuid"]] = []
        if lasts is not None:
            self.end(pipeline, queued=queued, lasts=lasts, result=result, age=age)
        return pipeline

    def end(
        self, pipeline: dict[str, Any], *, queued: float, lasts: float, result: str, age: float
    ) -> None:
        """Complete this attempt: one step that ran as long as the pipeline did."""
        begun = time.time() - age + queued
        state = {"name": "COMPLETED", "result": {"name": result}}
        pipeline |= {"state": state, "completed_on": iso(begun + lasts, 6)}
        self.step(pipeline, begun=begun, ended=begun + lasts, result=result)

    def step(
        self, pipeline: dict[str, Any], *, begun: float, ended: float, result: str, name: str = ""
    ) -> None:
        """Add a step of the attempt in force; it takes the place of the one of that name."""
        name = name or "Build"
        steps = self.steps[pipeline["uuid"]]
        steps[:] = [s for s in steps if s["name"] != name]
        steps.append(
            {
                "uuid": f"{{{uuid.uuid5(uuid.NAMESPACE_URL, pipeline['uuid'] + name)}}}",
                "name": name,
                "run_number": pipeline["run_number"],
                "state": {"name": "COMPLETED", "result": {"name": result}},
                "started_on": iso(begun, 9),
                "completed_on": iso(ended, 9),
            }
        )

    def app(self, credential: str = "Bearer demo") -> Starlette:
        base = "/2.0/repositories/{workspace}"
        repo = base + "/{repo}"
        endpoints: dict[str, Endpoint] = {
            base: self._repos,
            repo + "/pipelines_config": self._config,
            repo + "/pipelines": self._pipelines,
            repo + "/pipelines/{uuid}": self._pipeline,
            repo + "/pipelines/{uuid}/steps": lambda r: _page(
                r, self.steps.get(r.path_params["uuid"]), tells_size=True
            ),
        }
        failing = {path: self._failing(endpoint) for path, endpoint in endpoints.items()}
        return emulator(failing, ("authorization", credential))

    def _failing(self, endpoint: Endpoint) -> Endpoint:
        def answer(request: Request) -> Any:
            status = self.fails(request)
            if status is None:
                return endpoint(request)
            return JSONResponse({"type": "error", "error": {"message": "out of order"}}, status)

        return answer

    def _repos(self, request: Request) -> Any:
        names = [f"{request.path_params['workspace']}/{slug}" for slug in sorted(self.repos)]
        listed = [{"full_name": name, "mainbranch": {"name": "trunk"}} for name in names]
        return _page(request, listed, tells_size=False)

    def _config(self, request: Request) -> Any:
        return None if request.path_params["repo"] in self.off else {"enabled": True}

    def _pipelines(self, request: Request) -> Any:
        pipelines = self.repos.get(request.path_params["repo"])
        if pipelines is None:
            return None
        oldest_first = sorted(pipelines, key=lambda p: p["created_on"])
        newest_first = request.query_params.get("sort") == "-created_on"
        return _page(request, oldest_first[::-1] if newest_first else oldest_first, tells_size=True)

    def _pipeline(self, request: Request) -> Any:
        every = (p for pipelines in self.repos.values() for p in pipelines)
        return next((p for p in every if p["uuid"] == request.path_params["uuid"]), None)


def _page(request: Request, items: list[dict[str, Any]] | None, *, tells_size: bool) -> Any:
    """A page; some lists tell how many items there are, others only where the next page is."""
    if items is None:
        return None
    page = int(request.query_params.get("page", 1))
    pagelen = int(request.query_params.get("pagelen", 10))
    if not 1 <= pagelen <= 100:
        return JSONResponse({"error": {"message": "Invalid pagelen"}}, 400)
    values = items[(page - 1) * pagelen : page * pagelen]
    if tells_size:
        return {"values": values, "page": page, "pagelen": pagelen, "size": len(items)}
    more = {"next": ELSEWHERE} if page * pagelen < len(items) else {}
    return {"values": values, "pagelen": pagelen, **more}
