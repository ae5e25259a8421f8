"""Travis CI's API v3: builds by offset with their jobs, and restarts that use the id again."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from tests.tools.emulators.rig import COMMIT, TOKEN, Endpoint, emulator, iso

ENDED = ("passed", "failed", "errored", "canceled")


@dataclass
class Job:
    id: int
    created: float
    stage: str | None = None
    stage_number: int | None = None
    state: str = "created"
    begun: float | None = None
    ended: float | None = None
    restarted: float | None = None
    changed: float | None = None


@dataclass
class Build:
    id: int
    repo: str
    number: int
    jobs: list[Job]
    branch: str | None = "main"
    event: str = "push"
    tag: str | None = None
    pull_request: int | None = None
    message: str = "Add the cart\n\nAt last."
    login: str = "dev-1"
    code: str = "https://github.com"
    """Where the code is."""
    state: str = "created"
    begun: float | None = None
    ended: float | None = None
    changed: float | None = None

    def turns(self, state: str, at: float | None = None, *, only: int | None = None) -> None:
        """A change of state of all jobs that have not ended, or of one, and of the build."""
        at = time.time() if at is None else at
        self.changed = at
        for job in self.jobs if only is None else [self.jobs[only]]:
            if job.state in ENDED:
                continue
            job.state, job.changed = state, at
            job.begun = at if state == "started" else job.begun
            job.ended = at if state in ENDED else None
        if state in ENDED and any(job.state not in ENDED for job in self.jobs):
            return
        self.state = state
        self.begun = at if state == "started" and self.begun is None else self.begun
        self.ended = at if state in ENDED else None

    def restart(self, at: float | None = None, *, only: int | None = None) -> None:
        """The build, or one job of it, is to run again: times are wiped."""
        for job in self.jobs if only is None else [self.jobs[only]]:
            job.state, job.begun, job.ended = "created", None, None
            job.restarted = job.changed = time.time() if at is None else at
        self.state, self.begun, self.ended = "created", None, None
        self.changed = time.time() if at is None else at

    def errs(self, at: float | None = None, *, only: int | None = None) -> None:
        """It and its jobs, or one, end as errored without a start or an end."""
        self.turns("errored", at, only=only)
        self.begun = self.ended = None
        for job in self.jobs if only is None else [self.jobs[only]]:
            job.begun = job.ended = None


@dataclass
class World:
    """Builds, and repos by slug with what is odd about them."""

    repos: dict[str, dict[str, Any]] = field(default_factory=dict)
    builds: list[Build] = field(default_factory=list)
    tells: bool = True
    """Whether jobs have `restarted_at`, which came late."""
    limited: bool = False
    failing: set[str] = field(default_factory=set)
    """Repos of which nothing is told but that the server is in trouble."""
    ids: Any = field(default_factory=lambda: itertools.count(1000))

    def build(self, repo: str, created: float, jobs: int = 1, **values: Any) -> Build:
        self.repos.setdefault(repo, {})
        number = next(self.ids)
        made = [Job(next(self.ids), created) for _ in range(jobs)]
        self.builds.append(Build(number, repo, number - 999, made, **values))
        return self.builds[-1]

    def ran(self, repo: str, begun: float, seconds: float, state: str, **values: Any) -> Build:
        """A completed build that queued for 3 s."""
        made = self.build(repo, begun - 3, **values)
        made.turns("started", begun)
        made.turns(state, begun + seconds)
        return made

    def app(self) -> Starlette:
        endpoints: dict[str, Endpoint] = {
            "/owner/{login}/repos": self._repos,
            "/repo/{slug:path}/builds": self._list,
            "/build/{id:int}": self._single,
        }
        return emulator(endpoints, ("Authorization", f"token {TOKEN}"))

    def _page(self, request: Request, kind: str, items: list[Any]) -> dict[str, Any]:
        assert request.headers["travis-api-version"] == "3"
        offset = int(request.query_params.get("offset", 0))
        limit = min(int(request.query_params.get("limit", 25)), 100)
        is_last = offset + limit >= len(items)
        following = {"@href": "https://elsewhere.invalid/", "offset": offset + limit}
        told = {"limit": limit, "offset": offset, "count": len(items), "is_last": is_last}
        return {
            "@type": kind,
            "@pagination": told | {"next": None if is_last else following},
            kind: items[offset : offset + limit],
        }

    def _repos(self, request: Request) -> dict[str, Any]:
        login, query = request.path_params["login"], request.query_params
        found = []
        for slug, odd in self.repos.items():
            whole = {"slug": slug, "active": True, "default_branch": {"name": "trunk"}} | odd
            wanted = str(whole["active"]).lower() == query.get("repository.active", "true")
            if slug.startswith(f"{login}/") and wanted:
                found.append(whole)
        return self._page(request, "repositories", found)

    def _list(self, request: Request) -> dict[str, Any] | Response | None:
        if self.limited:
            return Response("Rate Limit Exceeded\n", 429, {"Retry-After": "60"}, "text/plain")
        slug = request.path_params["slug"]
        if slug not in self.repos:
            return None
        if slug in self.failing:
            return Response("Bad Gateway", 502)
        assert request.query_params["sort_by"] == "id:desc"
        mine = sorted((b for b in self.builds if b.repo == slug), key=lambda b: b.id, reverse=True)
        page = self._page(request, "builds", mine)
        return page | {"builds": [self._rendered(request, build) for build in page["builds"]]}

    def _single(self, request: Request) -> dict[str, Any] | Response | None:
        mine = [b for b in self.builds if b.id == request.path_params["id"]]
        if mine and mine[0].repo in self.failing:
            return Response("Bad Gateway", 502)
        return self._rendered(request, mine[0]) if mine else None

    def _rendered(self, request: Request, build: Build) -> dict[str, Any]:
        """A build in its standard form; its jobs are bare ids unless they are included."""
        whole = request.query_params.get("include") == "build.jobs"
        return {
            "id": build.id,
            "number": str(build.number),
            "state": build.state,
            "duration": 99_999 if build.ended else None,
            "event_type": build.event,
            "started_at": iso(build.begun, digits=0),
            "finished_at": iso(build.ended, digits=0),
            "updated_at": iso(build.changed),
            "branch": build.branch and {"name": build.branch},
            "tag": build.tag and {"name": build.tag},
            "pull_request_number": build.pull_request,
            "pull_request_title": build.pull_request and "Let people buy",
            "commit": {
                "sha": COMMIT,
                "message": build.message,
                "compare_url": f"{build.code}/{build.repo}/compare/{COMMIT}",
                "committed_at": iso(build.jobs[0].created - 60, digits=0) if build.jobs else None,
            },
            "created_by": {"@type": "user", "login": build.login},
            "jobs": [
                self._job(build, place, job) if whole else {"id": job.id}
                for place, job in enumerate(build.jobs, 1)
            ],
        }

    def _job(self, build: Build, place: int, job: Job) -> dict[str, Any]:
        told = {"restarted_at": iso(job.restarted, digits=0)} if self.tells else {}
        return told | {
            "id": job.id,
            "number": f"{build.number}.{place}",
            "state": job.state,
            "stage": job.stage and {"name": job.stage, "number": job.stage_number},
            "created_at": iso(job.created),
            "updated_at": iso(job.changed),
            "started_at": iso(job.begun, digits=0),
            "finished_at": iso(job.ended, digits=0),
        }
