"""GitLab's REST API v4 as far as pipelines go: lists by last change, basic and single items."""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from exporter.times import instant
from tests.tools.emulators.rig import TOKEN, Endpoint, emulator, iso

ENDED = ("success", "failed", "canceled", "skipped")
SITE = "https://gitlab.invalid"
"""Where people look at pipelines, as answers tell."""


@dataclass
class Job:
    name: str
    status: str
    created: float
    begun: float | None = None
    ended: float | None = None
    queued: float | None = None
    tags: tuple[str, ...] = ()
    reason: str | None = None
    id: int = 0
    retried: bool = False


@dataclass
class Pipeline:
    project: str
    id: int
    iid: int
    created: float
    ref: str = "main"
    source: str = "push"
    tag: bool = False
    status: str = "created"
    warned: bool = False
    user: dict[str, Any] = field(default_factory=lambda: {"username": "alice", "name": "Alice"})
    name: str | None = None
    title: str = "Fix the cart"
    """The subject of its commit."""
    begun: float | None = None
    ended: float | None = None
    updated: float = 0.0
    jobs: list[Job] = field(default_factory=list)

    def turns(self, status: str, at: float | None = None) -> None:
        """A change of status. The first start stays, each end overwrites the one before."""
        at = time.time() if at is None else at
        if status == "running" and self.begun is None:
            self.begun = at
        if status in ENDED and status != "skipped":
            self.ended = at
        self.status, self.updated = status, at


@dataclass
class World:
    """Projects by path with what is odd about them, and pipelines."""

    projects: dict[str, dict[str, Any]] = field(default_factory=dict)
    pipelines: list[Pipeline] = field(default_factory=list)
    shift: int = 0
    """Hours of the zone that times are written in."""
    limited: bool = False
    token: dict[str, Any] | None = None
    """What is told of the token; None at a server that tells nothing."""
    keyset: bool = True
    """Whether lists of projects have keyset pages."""
    tells: bool = True
    """Whether headers speak of the next page: a proxy may let none of them through."""
    fails: Callable[[Request], Response | int | None] = lambda request: None
    """What goes wrong with a request: an answer, a status, or nothing."""
    unchanged: int = 0
    """Answers of 304 so far."""
    ids: Any = field(default_factory=lambda: itertools.count(1000))

    def pipeline(self, project: str, created: float, **values: Any) -> Pipeline:
        self.projects.setdefault(project, {})
        number = next(self.ids)
        made = Pipeline(project, number, number - 999, created, **{"updated": created, **values})
        self.pipelines.append(made)
        return made

    def ran(
        self, project: str, begun: float, seconds: float, status: str, **values: Any
    ) -> Pipeline:
        """A completed pipeline that queued for 2 s."""
        made = self.pipeline(project, begun - 2, **values)
        made.turns("running", begun)
        made.turns(status, begun + seconds)
        return made

    def job(self, pipeline: Pipeline, name: str, status: str, begun: float, **values: Any) -> Job:
        """A job of 10 s that was created with its pipeline."""
        ended = begun + 10 if status in ENDED else None
        made = Job(name, status, pipeline.created, begun, ended, id=next(self.ids), **values)
        pipeline.jobs.append(made)
        return made

    def retry(self, pipeline: Pipeline, name: str, at: float, status: str = "running") -> Job:
        """Run a job of a pipeline again: a new job of that name, and the pipeline goes on."""
        for job in pipeline.jobs:
            job.retried = job.retried or job.name == name
        made = self.job(pipeline, name, status, at)
        made.created, made.queued = at, 0.0
        pipeline.turns("running", at)
        return made

    def play(self, pipeline: Pipeline, job: Job, at: float) -> None:
        """Start a manual job: the job itself runs, and its pipeline goes on."""
        job.status, job.begun, job.queued = "running", at, 0.0
        pipeline.turns("running", at)

    def app(self) -> Starlette:
        endpoints: dict[str, Endpoint] = {
            "/api/v4/personal_access_tokens/self": lambda request: self.token,
            "/api/v4/groups/{id:path}/projects": self._projects,
            "/api/v4/users/{id:path}/projects": self._projects,
            "/api/v4/projects/{id:path}/pipelines/{pid:int}/jobs": self._jobs,
            "/api/v4/projects/{id:path}/pipelines/{pid:int}": self._single,
            "/api/v4/projects/{id:path}/pipelines": self._list,
        }
        tagged = {path: self._tagged(endpoint) for path, endpoint in endpoints.items()}
        return emulator(tagged, ("PRIVATE-TOKEN", TOKEN))

    def _tagged(self, endpoint: Endpoint) -> Callable[[Request], Response | None]:
        """With a weak entity tag of the body, which alone decides about 304."""

        def answer(request: Request) -> Response | None:
            trouble = self.fails(request)
            if trouble is not None:
                message = {"message": "500 Internal Server Error"}
                return JSONResponse(message, trouble) if isinstance(trouble, int) else trouble
            found = endpoint(request)
            if found is None:
                return None
            response = found if isinstance(found, Response) else JSONResponse(found)
            if response.status_code != 200:
                return response
            digest = hashlib.sha256(bytes(response.body)).hexdigest()
            response.headers["etag"] = f'W/"{digest[:32]}"'
            if request.headers.get("if-none-match") == response.headers["etag"]:
                self.unchanged += 1
                kept = {k: v for k, v in response.headers.items() if not k.startswith("content-")}
                return Response(None, 304, kept)
            return response

        return answer

    def _time(self, at: float | None) -> str | None:
        if at is None or not self.shift:
            return iso(at)
        return iso(at + self.shift * 3600, zone=f"+{self.shift:02}:00")

    def _paged(self, request: Request, items: list[dict[str, Any]]) -> Response:
        """Offset paging with 20 items unless asked otherwise."""
        page = int(request.query_params.get("page", 1))
        size = min(int(request.query_params.get("per_page", 20)), 100)
        more = len(items) > page * size
        headers = (
            {}
            if not self.tells
            else {
                "X-Next-Page": str(page + 1) if more else "",
                "RateLimit-Limit": "2000",
                "RateLimit-Remaining": "1990",
                "RateLimit-Name": "throttle_authenticated_api",
            }
        )
        return JSONResponse(items[(page - 1) * size : page * size], headers=headers)

    def _projects(self, request: Request) -> Response:
        owner, query = request.path_params["id"], request.query_params
        found = []
        for number, (path, odd) in enumerate(self.projects.items(), 1):
            under = path.rpartition("/")[0]
            inside = under == owner or (
                query.get("include_subgroups") == "true" and under.startswith(f"{owner}/")
            )
            if inside and str(odd.get("archived", False)).lower() == query["archived"]:
                whole = {"id": number, "path_with_namespace": path, "default_branch": "trunk"}
                found.append(whole | {"builds_access_level": "enabled"} | odd)
        if query.get("pagination") != "keyset":
            return self._paged(request, found)
        if not self.keyset:
            error = "Keyset pagination is not yet available for this type of request"
            return JSONResponse({"error": error}, 405)
        assert (query["order_by"], query["sort"]) == ("id", "asc")
        size = min(int(query.get("per_page", 20)), 100)
        rest = found[int(query.get("id_after", 0)) :]
        headers = {}
        if len(rest) > size:
            more = urlencode({**query, "id_after": int(query.get("id_after", 0)) + size})
            headers["Link"] = f'<{request.url.replace(query=more)}>; rel="next"'
        return JSONResponse(rest[:size], headers=headers)

    def _list(self, request: Request) -> Response | None:
        if self.limited:
            return Response("Retry later\n", 429, {"Retry-After": "30"}, "text/plain")
        if request.path_params["id"] not in self.projects:
            return None
        after = instant(request.query_params["updated_after"]) or 0.0
        assert request.query_params["order_by"] == "updated_at"
        mine = [p for p in self._of(request) if p.updated > after]
        mine.sort(key=lambda p: p.updated, reverse=request.query_params["sort"] == "desc")
        return self._paged(request, [self._basic(p) for p in mine])

    def _single(self, request: Request) -> dict[str, Any] | None:
        for p in self._of(request):
            if p.id == request.path_params["pid"]:
                group = "success-with-warnings" if p.warned else p.status
                times = {"started_at": self._time(p.begun), "finished_at": self._time(p.ended)}
                more = {"tag": p.tag, "duration": 1, "detailed_status": {"group": group}}
                return self._basic(p) | times | more | {"user": p.user, "committed_at": None}
        return None

    def _jobs(self, request: Request) -> Response | None:
        for p in self._of(request):
            if p.id == request.path_params["pid"]:
                retried = request.query_params.get("include_retried") == "true"
                jobs = [job for job in p.jobs if retried or not job.retried]
                return self._paged(request, [self._job(job, p) for job in reversed(jobs)])
        return None

    def _of(self, request: Request) -> list[Pipeline]:
        return [p for p in self.pipelines if p.project == request.path_params["id"]]

    def _basic(self, p: Pipeline) -> dict[str, Any]:
        named = {"id": p.id, "iid": p.iid, "status": p.status, "source": p.source, "ref": p.ref}
        named |= {"project_id": 7, "sha": f"{p.id:040x}", "name": p.name}
        named["web_url"] = f"{SITE}/{p.project}/-/pipelines/{p.id}"
        return named | {"created_at": self._time(p.created), "updated_at": self._time(p.updated)}

    def _job(self, job: Job, p: Pipeline) -> dict[str, Any]:
        return {
            "id": job.id,
            "name": job.name,
            "status": job.status,
            "created_at": self._time(job.created),
            "started_at": self._time(job.begun),
            "finished_at": self._time(job.ended),
            "queued_duration": job.queued,
            "retried": job.retried,
            "web_url": f"{SITE}/{p.project}/-/jobs/{job.id}",
            "tag_list": list(job.tags),
            "commit": {
                "id": f"{p.id:040x}",
                "title": p.title,
                "message": f"{p.title}\n",
                "committed_date": self._time(p.created - 60.0),
            },
        } | ({"failure_reason": job.reason} if job.status == "failed" else {})
