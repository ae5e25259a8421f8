"""CircleCI, API v2."""

from __future__ import annotations

import time
import uuid
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from tests.tools.emulators.rig import emulator, iso

ALICE = "1c762fc2-b0fb-4fe2-97d2-5e54ddd1eba7"
"""Who begins workflows: an id, which nothing tells the name of."""
PAGE = 20
"""Items of a page; no parameter changes it."""


class CircleCI:
    """Projects with their pipelines, workflows and jobs, as the API tells them."""

    def __init__(self) -> None:
        self.pipelines: dict[str, list[dict[str, Any]]] = {}
        self.workflows: dict[str, list[dict[str, Any]]] = {}
        self.jobs: dict[str, list[dict[str, Any]]] = {}
        self.faults: dict[str, Response] = {}
        """What is answered in place of anything about a pipeline or a workflow, by its id."""

    def pipeline(
        self, slug: str = "gh/acme/shop", *, age: float = 3600.0, **values: Any
    ) -> dict[str, Any]:
        """Trigger a pipeline `age` seconds ago."""
        pipelines = self.pipelines.setdefault(slug, [])
        at = iso(time.time() - age, 3)
        pipeline: dict[str, Any] = {
            "id": str(uuid.uuid4()),
            "number": len(pipelines) + 1,
            "state": "created",
            "errors": [],
            "created_at": at,
            "updated_at": at,
            "trigger": {"type": "webhook", "actor": {"login": "alice", "avatar_url": None}},
            "vcs": {
                "branch": "main",
                "revision": f"{len(pipelines) + 1:040x}",
                "commit": {"subject": "Fix the cart", "body": ""},
            },
        } | values
        pipelines.append(pipeline)
        self.workflows[pipeline["id"]] = []
        return pipeline

    def workflow(
        self, pipeline: dict[str, Any], *, age: float = 3600.0, name: str = "ci", **values: Any
    ) -> dict[str, Any]:
        """Begin a workflow of a pipeline."""
        workflow: dict[str, Any] = {
            "id": str(uuid.uuid4()),
            "pipeline_id": pipeline["id"],
            "pipeline_number": pipeline["number"],
            "name": name,
            "status": "running",
            "started_by": ALICE,
            "created_at": iso(time.time() - age, 0),
            "stopped_at": None,
        } | values
        self.workflows[pipeline["id"]].append(workflow)
        self.jobs[workflow["id"]] = []
        return workflow

    def job(self, workflow: dict[str, Any], **values: Any) -> dict[str, Any]:
        """Add a job to a workflow."""
        job: dict[str, Any] = {
            "id": str(uuid.uuid4()),
            "name": "build",
            "type": "build",
            "status": "running",
            "started_at": None,
            "stopped_at": None,
            "job_number": 1,
        } | values
        self.jobs[workflow["id"]].append(job)
        return job

    def end(
        self,
        workflow: dict[str, Any],
        *,
        age: float = 3600.0,
        queued: float = 5.0,
        lasts: float = 60.0,
        status: str = "success",
    ) -> None:
        """End a workflow that began `age` seconds ago: one job that ran all the time."""
        begun = int(time.time() - age) + queued
        times = {"started_at": iso(begun, 0), "stopped_at": iso(begun + lasts, 0)}
        workflow |= {"status": status, "stopped_at": times["stopped_at"]}
        self.job(workflow, status=status, **times)

    def run(self, slug: str = "gh/acme/shop", *, age: float = 3600.0, **end: Any) -> dict[str, Any]:
        """A pipeline with one workflow that has ended; returns the pipeline."""
        pipeline = self.pipeline(slug, age=age)
        self.end(self.workflow(pipeline, age=age), age=age, **end)
        return pipeline

    def app(self) -> Starlette:
        endpoints = {
            "/api/v2/project/{vcs}/{org}/{repo}/pipeline": self._pipelines,
            "/api/v2/pipeline/{id}": self._pipeline,
            "/api/v2/pipeline/{id}/workflow": lambda r: self._page(r, self.workflows),
            "/api/v2/workflow/{id}": self._workflow,
            "/api/v2/workflow/{id}/job": lambda r: self._page(r, self.jobs),
        }
        return emulator(endpoints, ("circle-token", "demo"))

    def _pipelines(self, request: Request) -> Any:
        slug = "/".join(request.path_params[part] for part in ("vcs", "org", "repo"))
        if slug not in self.pipelines:
            return None
        newest_first = sorted(self.pipelines[slug], key=lambda p: p["created_at"], reverse=True)
        return _sliced(request, newest_first)

    def _pipeline(self, request: Request) -> Any:
        return self._one(request, self.pipelines)

    def _workflow(self, request: Request) -> Any:
        return self._one(request, self.workflows)

    def _one(self, request: Request, lists: dict[str, list[dict[str, Any]]]) -> Any:
        wanted = request.path_params["id"]
        found = (item for items in lists.values() for item in items if item["id"] == wanted)
        return self.faults.get(wanted) or next(found, None)

    def _page(self, request: Request, lists: dict[str, list[dict[str, Any]]]) -> Any:
        wanted = request.path_params["id"]
        if wanted in self.faults:
            return self.faults[wanted]
        return _sliced(request, lists[wanted]) if wanted in lists else None


def _sliced(request: Request, items: list[dict[str, Any]]) -> Any:
    """A page by an opaque token, which holds what must be quoted in a query."""
    start = int(request.query_params.get("page-token", "+/=&0").removeprefix("+/=&"))
    more = start + PAGE < len(items)
    token = f"+/=&{start + PAGE}" if more else None
    return {"items": items[start : start + PAGE], "next_page_token": token}
