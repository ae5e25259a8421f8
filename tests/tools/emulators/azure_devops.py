"""Azure DevOps Services, as far as builds, timelines and projects are concerned."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from exporter.providers import basic
from exporter.times import instant
from tests.tools.emulators.rig import TOKEN, emulator, iso

SITE = "https://azure.invalid/acme"
"""Where people look at builds of the organization, as answers tell."""
BY_ORDER = {"finishTime": "finishTime", "startTime": "startTime", "queueTime": "queueTime"}


class AzureDevOps:
    """Projects of one organization. Times have 7 digits of fraction, zeros cut off."""

    def __init__(self) -> None:
        self.projects: dict[str, list[dict[str, Any]]] = {}
        self.states: dict[str, str] = {}
        self.timelines: dict[int, dict[str, list[dict[str, Any]]]] = {}
        self.refused: dict[int, int] = {}
        """Statuses that timelines are answered with, by build id."""
        self.failing: dict[str, int] = {}
        """Statuses that lists are answered with, by a `statusFilter` or the list's name."""
        self.broken: set[str] = set()
        """Projects of which nothing can be read."""
        self.newest = "7.1"
        """Version of the API that the server knows, and none after it."""
        self.largest = 5000
        """Items of a page that the server can make before its time is up."""
        self.most_projects = 2
        """Projects on a page, however many are asked for."""
        self.definitions: dict[str, list[dict[str, Any]]] = {}
        """Pipelines by project; by default those of its builds."""

    def run(
        self,
        repository: str = "shop",
        *,
        project: str = "shop",
        age: float = 3600.0,
        queued: float = 5.0,
        lasts: float | None = 60.0,
        result: str = "succeeded",
        **values: Any,
    ) -> dict[str, Any]:
        """Begin a build `age` seconds ago; it still runs where `lasts` is None."""
        began = time.time() - age
        number = 100 + sum(map(len, self.projects.values()))
        build = {
            "id": number,
            "buildNumber": f"20261120.{number}",
            "status": "inProgress",
            "queueTime": stamp(began),
            "startTime": stamp(began + queued),
            "definition": {"id": 7, "name": "shop-ci", "path": "\\"},
            "repository": {"id": str(uuid.uuid4()), "name": repository, "type": "TfsGit"},
            "reason": "individualCI",
            "sourceBranch": "refs/heads/main",
            "sourceVersion": f"{number:040x}",
            "triggerInfo": {"ci.message": "Fix the cart", "ci.sourceBranch": "refs/heads/main"},
            "requestedFor": {"displayName": "Alice", "descriptor": "aad.MDAw"},
            "_links": {"web": {"href": f"{SITE}/{project}/_build/results?buildId={number}"}},
        } | values
        self.projects.setdefault(project, []).append(build)
        self.timelines[number] = {"": []}
        self.record(build, "Stage", "build", started=began + queued)
        self.record(build, "Job", "compile", started=began + queued, inside="build")
        if lasts is not None:
            self.end(build, at=began + queued + lasts, result=result)
        return build

    def record(
        self,
        build: dict[str, Any],
        kind: str,
        name: str,
        *,
        started: float | None = None,
        inside: str | None = None,
        **values: Any,
    ) -> dict[str, Any]:
        """Add a record to the timeline in force."""
        record = {
            "id": f"{build['id']}-{name}",
            "parentId": inside and f"{build['id']}-{inside}",
            "type": kind,
            "name": name,
            "startTime": stamp(started),
            "finishTime": None,
            "state": "inProgress" if started else "pending",
            "result": None,
            "attempt": 1,
            "previousAttempts": [],
            "issues": None,
        } | values
        self.timelines[build["id"]][""].append(record)
        return record

    def end(self, build: dict[str, Any], *, at: float, result: str = "succeeded") -> None:
        """Complete a build and whatever of it still runs."""
        build |= {"status": "completed", "result": result, "finishTime": stamp(at)}
        for record in self.timelines[build["id"]][""]:
            if record["state"] != "completed":
                record |= {"state": "completed", "result": result, "finishTime": stamp(at)}

    def rerun(self, build: dict[str, Any], *parts: str, at: float | None) -> None:
        """Run parts again under the same id, or all: the end is gone, the history moves away.

        What runs again is pending where `at` is None.
        """
        old = str(uuid.uuid4())
        records = self.timelines[build["id"]][""]
        chosen = [r for r in records if not parts or r["name"] in parts]
        self.timelines[build["id"]][old] = [dict(record) for record in chosen]
        build["status"] = "inProgress"
        build.pop("finishTime", None)
        build.pop("result", None)
        for record in chosen:
            before = {"attempt": record["attempt"], "timelineId": old, "recordId": record["id"]}
            record |= {
                "attempt": record["attempt"] + 1,
                "previousAttempts": [*record["previousAttempts"], before],
                "startTime": stamp(at),
                "finishTime": None,
                "state": "pending" if at is None else "inProgress",
                "result": None,
                "issues": None,
            }

    def app(self) -> Starlette:
        project = "/{organization}/{project}/_apis/build"
        builds = f"{project}/builds"
        endpoints = {
            "/{organization}/_apis/projects": self._projects,
            f"{project}/definitions": self._definitions,
            builds: self._builds,
            f"{builds}/{{id:int}}": self._build,
            f"{builds}/{{id:int}}/timeline": self._timeline,
            f"{builds}/{{id:int}}/timeline/{{timeline}}": self._timeline,
        }
        checked: dict[str, Callable[[Request], Any]] = {
            path: partial(self._checked, endpoint) for path, endpoint in endpoints.items()
        }
        return emulator(checked, ("authorization", basic("", TOKEN)))

    def _checked(self, endpoint: Callable[[Request], Any], request: Request) -> Any:
        """What an endpoint answers to those who ask for a version that the server knows."""
        asked = request.query_params["api-version"]
        if asked > self.newest:
            what = f"The requested REST API version of {asked} is out of range for this server."
            newest = f"The latest REST API version this server supports is {self.newest}."
            body = {"message": f"{what} {newest}", "typeKey": "VssVersionOutOfRangeException"}
            return JSONResponse(body, 400)
        if request.path_params.get("project") in self.broken:
            return JSONResponse({"message": "The database is down."}, 500)
        if int(request.query_params.get("$top", 0)) > self.largest:
            return JSONResponse({"message": "The request has timed out."}, 503)
        return endpoint(request)

    def _projects(self, request: Request) -> Any:
        names = list(self.projects)
        start = int(request.query_params.get("continuationToken", 0))
        if start and "projects" in self.failing:
            return JSONResponse({"message": "no"}, self.failing["projects"])
        rows = [{"name": n, "state": self.states.get(n, "wellFormed")} for n in names]
        size = min(int(request.query_params["$top"]), self.most_projects)
        return _page(rows, start, size, str(start + size))

    def _definitions(self, request: Request) -> Any:
        if "definitions" in self.failing:
            return JSONResponse({"message": "no"}, self.failing["definitions"])
        project = request.path_params["project"]
        own = [build["definition"] for build in self.projects.get(project, ())]
        rows = self.definitions.get(project, list({str(d): d for d in own}.values()))
        start = int(request.query_params.get("continuationToken", 0))
        size = int(request.query_params["$top"])
        return _page(rows, start, size, str(start + size))

    def _builds(self, request: Request) -> Any:
        asked = request.query_params
        listed = self.projects.get(request.path_params["project"])
        if listed is None:
            return None
        if asked.get("statusFilter", "") in self.failing:
            return JSONResponse({"message": "no"}, self.failing[asked["statusFilter"]])
        if "queryOrder" not in asked:
            return _page([b for b in listed if "finishTime" in b], 0, int(asked["$top"]), "")
        by = next(key for order, key in BY_ORDER.items() if asked["queryOrder"].startswith(order))
        wanted = [b for b in listed if b["status"] in asked["statusFilter"].split(",")]
        if "minTime" in asked:
            wanted = [b for b in wanted if _at(b, by) >= _instant(asked["minTime"])]
        if "continuationToken" in asked:
            wanted = [b for b in wanted if _at(b, by) <= _instant(asked["continuationToken"])]
        wanted.sort(key=lambda b: _at(b, by), reverse=True)
        top = int(asked["$top"])
        token = wanted[top][by] if len(wanted) > top else ""
        return _page(wanted, 0, top, token)

    def _build(self, request: Request) -> Any:
        listed = self.projects.get(request.path_params["project"], ())
        return next((b for b in listed if b["id"] == request.path_params["id"]), None)

    def _timeline(self, request: Request) -> Any:
        number = request.path_params["id"]
        refused = self.refused.get(number)
        if refused == 203:
            return HTMLResponse("<html>Sign in", refused)
        if refused is not None:
            return JSONResponse({"records": {}} if refused < 300 else {"message": "no"}, refused)
        records = self.timelines[number].get(request.path_params.get("timeline", ""))
        return None if records is None else {"records": records}


def stamp(at: float | None) -> str | None:
    """As .NET writes an instant."""
    text = iso(at, 7, "")
    return text and text.rstrip("0").rstrip(".") + "Z"


def _instant(text: str) -> float:
    at = instant(text)
    assert at is not None
    return at


def _at(build: dict[str, Any], key: str) -> float:
    return _instant(build[key]) if key in build else 0.0


def _page(rows: list[dict[str, Any]], start: int, size: int, token: str) -> Response:
    more = start + size < len(rows)
    headers = {"x-ms-continuationtoken": token} if more else {}
    chosen = rows[start : start + size]
    return JSONResponse({"count": len(chosen), "value": chosen}, headers=headers)
