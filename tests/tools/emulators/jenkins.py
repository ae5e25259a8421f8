"""A Jenkins controller, as far as jobs, builds, the queue and the stage view are concerned."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, unquote

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from exporter.providers import basic
from tests.tools.emulators.rig import TOKEN, emulator

FOLDER = "com.cloudbees.hudson.plugins.folder.Folder"
MULTIBRANCH = "org.jenkinsci.plugins.workflow.multibranch.WorkflowMultiBranchProject"
PIPELINE = "org.jenkinsci.plugins.workflow.job.WorkflowJob"
FREESTYLE = "hudson.model.FreeStyleProject"
_PATH = re.compile(r"((?:/job/[^/]+)*)(?:/(\d+))?/(api/json|wfapi/describe)")


class Jenkins:
    """Jobs by path; `builds` hold the newest 100 only, `allBuilds` all, `{a,b}` cuts them."""

    def __init__(self) -> None:
        self.root: dict[str, Any] = {"jobs": []}
        self.queue: dict[int, dict[str, Any]] = {}
        self.stages: dict[str, dict[str, Any]] = {}
        """Answers of the stage view by build URL; empty where the plugin is missing."""
        self.fails: Callable[[Request], Response | None] = lambda request: None
        """The answer to a request that fails."""

    def job(self, path: str, kind: str = PIPELINE, **values: Any) -> dict[str, Any]:
        """A job, made with the folders above it if it is new."""
        place, above = self.root, ""
        names = path.split("/")
        for name in names:
            above += f"/job/{quote(name, safe='')}"
            inner = next((job for job in place["jobs"] if job["name"] == name), None)
            if inner is None:
                inner = {"_class": kind if name is names[-1] else FOLDER, "name": name}
                inner["url"] = f"http://jenkins.example{above}/"
                contains = inner["_class"] in (FOLDER, MULTIBRANCH)
                inner |= {"jobs": []} if contains else {"runs": [], "color": "blue"}
                place["jobs"].append(inner)
            place = inner
        place |= values
        return place

    def run(
        self,
        path: str,
        *,
        age: float = 3600.0,
        lasts: float | None = 60.0,
        result: str = "SUCCESS",
        kind: str = PIPELINE,
        **values: Any,
    ) -> dict[str, Any]:
        """Start a build `age` seconds ago; it still runs where `lasts` is None."""
        job = self.job(path, kind)
        run: dict[str, Any] = {
            "_class": job["_class"].replace("Job", "Run").replace("Project", "Build"),
            "number": max((run["number"] for run in job["runs"]), default=0) + 1,
            "queueId": 1000 + len(job["runs"]),
            "changeSets": [],
            "building": True,
            "result": None,
            "timestamp": int((time.time() - age) * 1000),
            "duration": 0,
            "actions": [cause("hudson.model.Cause$UserIdCause"), {}],
        } | values
        run.setdefault("displayName", f"#{run['number']}")
        job["runs"].insert(0, run)
        if lasts is not None:
            self.end(run, lasts=lasts, result=result)
        return run

    def end(self, run: dict[str, Any], *, lasts: float, result: str = "SUCCESS") -> None:
        run |= {"building": False, "result": result, "duration": int(lasts * 1000)}

    def lose(self, run: dict[str, Any], *, result: str = "ABORTED", **values: Any) -> None:
        """Have a build loaded after a restart of the controller without what it had in memory."""
        lost = {"building": False, "result": result, "timestamp": 0, "duration": 0}
        run |= lost | values

    def wait(self, number: int, path: str, *, age: float = 10.0) -> None:
        """Put a build of a job in the queue."""
        task = {"url": self.job(path)["url"], "name": path}
        since = int((time.time() - age) * 1000)
        self.queue[number] = {"id": number, "inQueueSince": since, "task": task}

    def stage_view(self, path: str, number: int, status: str, *stages: dict[str, Any]) -> None:
        self.stages[f"{url_of(path)}/{number}"] = {
            "id": str(number),
            "status": status,
            "stages": stages,
        }

    def app(self) -> Starlette:
        return emulator({"/{rest:path}": self._answer}, ("authorization", basic("me", TOKEN)))

    def _answer(self, request: Request) -> Any:
        path = raw_path(request)
        if (failure := self.fails(request)) is not None:
            return failure
        missing = HTMLResponse("<html><title>Error 404 Not Found</title>", 404)
        spec = dict(_parsed(iter(request.query_params.get("tree", "") + "]")))
        if path == "/queue/api/json":
            return _cut({"items": list(self.queue.values())}, spec)
        if item := re.fullmatch(r"/queue/item/(\d+)/api/json", path):
            left = self.queue.get(int(item[1]))
            return missing if left is None else _cut(left, spec)
        match = _PATH.fullmatch(path)
        found = None if match is None else self._found(match, spec)
        return missing if found is None else found

    def _found(self, match: re.Match[str], spec: dict[str, Any]) -> Any:
        url, number, what = match.groups()
        if what == "wfapi/describe":
            return self.stages.get(f"{url}/{number}")
        place: Any = self.root
        for name in map(unquote, url.split("/job/")[1:]):
            inside = () if place is None else place.get("jobs", ())
            place = next((job for job in inside if job["name"] == name), None)
        if place is not None and number is None:
            return _cut(self._told(place), spec)
        runs = [] if place is None else place["runs"]
        return next((_cut(run, spec) for run in runs if run["number"] == int(number or 0)), None)

    def _told(self, place: dict[str, Any]) -> dict[str, Any]:
        if "jobs" in place:
            return place | {"jobs": [self._told(job) for job in place["jobs"]]}
        runs = place["runs"]
        waits = any(item["task"]["url"] == place["url"] for item in self.queue.values())
        last = runs[0] if runs else None
        told = place | {"builds": runs[:100], "allBuilds": runs, "lastBuild": last}
        return {"inQueue": waits} | told


def url_of(path: str) -> str:
    """The path of a job's URL below the controller's root."""
    return "".join(f"/job/{quote(name, safe='')}" for name in path.split("/"))


def raw_path(request: Request) -> str:
    """The path below the controller's root, quoted as it was sent."""
    return str(request.scope["raw_path"].decode().removeprefix("/ci"))


def cause(*kinds: str) -> dict[str, Any]:
    """The action that says why a build began."""
    return {"_class": "hudson.model.CauseAction", "causes": [{"_class": kind} for kind in kinds]}


def person(user: str, name: str) -> dict[str, Any]:
    """The action that says which user began a build."""
    kind = "hudson.model.Cause$UserIdCause"
    causes = [{"_class": kind, "userId": user, "userName": name}]
    return {"_class": "hudson.model.CauseAction", "causes": causes}


def checkout(branch: str, commit: str) -> dict[str, Any]:
    """The action that says what a build has checked out."""
    revision = {"SHA1": commit, "branch": [{"SHA1": commit, "name": branch}]}
    return {"_class": "hudson.plugins.git.util.BuildData", "lastBuiltRevision": revision}


def changes(*subjects: str, last: str, at: float) -> list[dict[str, Any]]:
    """Change sets of a build: commits, of which the last one is named, all of one time."""
    hashes = [*(f"{number:040x}" for number in range(1, len(subjects))), last]
    items = [
        {"commitId": commit, "msg": subject, "timestamp": int(at * 1000)}
        for commit, subject in zip(hashes, subjects, strict=True)
    ]
    return [{"_class": "hudson.plugins.git.GitChangeSetList", "kind": "git", "items": items}]


def _parsed(text: Iterator[str]) -> Iterator[tuple[str, Any]]:
    """The fields of a `tree` up to the closing bracket, with what is inside and the range."""
    name, inner, cut = "", None, None
    for letter in text:
        if letter == "[":
            inner = dict(_parsed(text))
        elif letter == "{":
            cut = [int(n) for n in "".join(iter(lambda: next(text), "}")).split(",")]
        elif letter in ",]":
            if name:
                yield name, (inner, cut)
            if letter == "]":
                return
            name, inner, cut = "", None, None
        else:
            name += letter


def _cut(value: Any, spec: dict[str, Any]) -> Any:
    """What a `tree` leaves of an answer; `_class` comes unasked."""
    if isinstance(value, list):
        return [_cut(item, spec) for item in value]
    if not isinstance(value, dict):
        return value
    found = {key: value[key] for key in ("_class",) if key in value}
    for name, (inner, cut) in spec.items():
        if name in value:
            part = value[name] if cut is None else value[name][cut[0] : cut[1]]
            found[name] = part if inner is None else _cut(part, inner)
    return found
