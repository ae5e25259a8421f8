"""GitHub's REST API as far as the exporter uses it: pages, entity tags, attempts, Apps."""

from __future__ import annotations

import functools
import hashlib
import json
import time
from datetime import UTC, datetime
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

TOKEN = "ghp_demo"
NOISE = {"url": "https://api.github.invalid/x", "node_id": "MDEyOldvcmtmbG93", "pull_requests": []}
SITE = "https://github.invalid"
"""Where people look at runs, as answers tell."""
ALICE = {"login": "alice", "id": 7, "type": "User", "site_admin": False}


@functools.lru_cache(maxsize=65536)  # a list tells the same times again with every poll
def iso(at: float | None) -> str | None:
    """Whole seconds with a Z, as GitHub writes times."""
    return None if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Hub:
    """Repositories with their runs; a run is the list of its attempts."""

    def __init__(self) -> None:
        self.repos: dict[str, dict[str, Any]] = {}
        self.runs: dict[str, dict[int, list[dict[str, Any]]]] = {}
        self.jobs: dict[tuple[int, int], list[dict[str, Any]]] = {}
        self.workflows: dict[str, list[dict[str, Any]]] = {}
        self.organizations = {"acme"}
        self.hidden: dict[str, int] = {}
        """Private repos that an organization tells of."""
        self.tokens = {TOKEN}
        self.requests: list[str] = []
        self.statuses: list[int] = []
        self.grants: list[dict[str, str]] = []
        self.broken: dict[str, Response] = {}
        self.remaining = 5000
        self.told: dict[str, str] = {}
        """Headers that every answer has beside its own."""
        self._serial = 9_000_000_000
        paths = {
            "/repos/{owner}/{repo}/actions/runs": self._list,
            "/repos/{owner}/{repo}/actions/runs/{id:int}": self._run,
            "/repos/{owner}/{repo}/actions/runs/{id:int}/attempts/{n:int}": self._attempt,
            "/repos/{owner}/{repo}/actions/runs/{id:int}/attempts/{n:int}/jobs": self._jobs,
            "/repos/{owner}/{repo}/actions/workflows": self._workflows,
            "/orgs/{owner}": self._organization,
            "/orgs/{owner}/repos": self._of_organization,
            "/users/{owner}/repos": self._of_user,
            "/rate_limit": lambda request: {"resources": {}},
            "/user/repos": lambda request: list(self.repos.values()),
            "/installation/repositories": self._installed,
        }
        routes = [Route(f"/api/v3{path}", self._answers(find)) for path, find in paths.items()]
        grant = "/api/v3/app/installations/{id:int}/access_tokens"
        self.app = Starlette(routes=[*routes, Route(grant, self._grant, methods=["POST"])])

    # -- what happens there

    def repo(self, name: str, **fields: Any) -> None:
        known = {"full_name": name, "archived": False, "disabled": False, "default_branch": "trunk"}
        self.repos[name] = {**known, "private": False, **fields}
        self.runs.setdefault(name, {})
        self.workflows.setdefault(name, [workflow()])

    def begin(self, name: str = "acme/shop", *, ago: float = 60.0, **fields: Any) -> int:
        """A run that was created and is running; its id."""
        self._serial += 1
        at = int(time.time() - ago)
        run: dict[str, Any] = {
            "id": self._serial,
            "name": "CI",
            "path": ".github/workflows/ci.yml",
            "workflow_id": 77,
            "run_number": self._serial % 1000,
            "run_attempt": 1,
            "event": "push",
            "head_branch": "main",
            "status": "in_progress",
            "conclusion": None,
            **dict.fromkeys(("created_at", "run_started_at", "updated_at"), iso(at)),
            "pull_requests": [],
            "display_title": "Fix the cart",
            "head_sha": f"{self._serial:040x}",
            "head_commit": {
                "id": f"{self._serial:040x}",
                "message": "Fix the cart\n\nIt was empty.",
                "timestamp": iso(at - 60),
                "author": {"name": "Alice"},
            },
            "actor": ALICE,
            "triggering_actor": ALICE,
            "html_url": f"{SITE}/{name}/actions/runs/{self._serial}",
            "repository": {"full_name": name, **NOISE},
            "head_repository": {"full_name": name, **NOISE},
        }
        self.runs[name][self._serial] = [{**run, **fields}]
        return self._serial

    def end(self, run: int, conclusion: str = "success", *, after: float = 30.0) -> None:
        """The latest attempt of a run completes `after` seconds."""
        latest = self._attempts(run)[-1]
        end = datetime.fromisoformat(latest["run_started_at"]).timestamp() + after
        latest |= {"status": "completed", "conclusion": conclusion, "updated_at": iso(end)}

    def again(self, run: int, *, ago: float = 20.0, **fields: Any) -> None:
        """Somebody runs it again."""
        attempts = self._attempts(run)
        begun = iso(int(time.time() - ago))
        state = {"status": "in_progress", "conclusion": None, "updated_at": begun}
        number = attempts[-1]["run_attempt"] + 1
        made = {**attempts[-1], **state, "run_started_at": begun, "run_attempt": number}
        attempts.append({**made, **fields})

    def _attempts(self, run: int) -> list[dict[str, Any]]:
        return next(runs[run] for runs in self.runs.values() if run in runs)

    # -- what it answers

    def _answers(self, find: Any) -> Any:
        async def endpoint(request: Request) -> Response:
            response = self._respond(request, find)
            self.requests.append(str(request.url).partition("/api/v3")[2])
            self.statuses.append(response.status_code)
            self.remaining -= response.status_code != 304
            limit = {"limit": "5000", "remaining": str(self.remaining), "resource": "core"}
            response.headers.update({f"x-ratelimit-{key}": limit[key] for key in limit})
            response.headers.update(self.told)
            return response

        return endpoint

    def _respond(self, request: Request, find: Any) -> Response:
        credential = request.headers.get("authorization", "")
        if request.headers.get("x-github-api-version") != "2022-11-28":
            return said(400, "which version?")
        if credential and credential.removeprefix("Bearer ") not in self.tokens:
            return said(401, "Bad credentials")
        broken = next((r for part, r in self.broken.items() if part in str(request.url)), None)
        if broken is not None:
            return broken
        found = find(request)
        if found is None:
            return said(404, "Not Found")
        body = json.dumps(found).encode()
        tag = f'W/"{hashlib.sha256(credential.encode() + body).hexdigest()}"'
        if request.headers.get("if-none-match") == tag:
            return Response(None, 304, {"etag": tag})
        return Response(body, 200, {"etag": tag}, "application/json; charset=utf-8")

    def _page(self, request: Request, items: list[Any]) -> list[Any]:
        size = min(int(request.query_params.get("per_page", 30)), 100)
        start = (int(request.query_params.get("page", 1)) - 1) * size
        return items[start : start + size]

    def _list(self, request: Request) -> Any:
        runs = self.runs.get("{owner}/{repo}".format(**request.path_params))
        if runs is None:
            return None
        latest = [attempts[-1] for attempts in runs.values()]
        latest.sort(key=lambda run: (run["created_at"], run["id"]), reverse=True)
        return {"total_count": len(latest), "workflow_runs": self._page(request, latest)}

    def _run(self, request: Request) -> Any:
        attempts = self._found(request)
        return attempts[-1] if attempts else None

    def _attempt(self, request: Request) -> Any:
        number = request.path_params["n"]
        return next((a for a in self._found(request) if a["run_attempt"] == number), None)

    def _found(self, request: Request) -> list[dict[str, Any]]:
        runs = self.runs.get("{owner}/{repo}".format(**request.path_params), {})
        return runs.get(request.path_params["id"], [])

    def _jobs(self, request: Request) -> Any:
        jobs = self.jobs.get((request.path_params["id"], request.path_params["n"]))
        page = None if jobs is None else self._page(request, jobs)
        return None if jobs is None else {"total_count": len(jobs), "jobs": page}

    def _workflows(self, request: Request) -> Any:
        known = self.workflows.get("{owner}/{repo}".format(**request.path_params))
        page = None if known is None else self._page(request, known)
        return None if known is None else {"total_count": len(known), "workflows": page}

    def _organization(self, request: Request) -> Any:
        owner = request.path_params["owner"]
        told = {"login": owner, "public_repos": 1}
        hidden = self.hidden.get(owner)
        return told if hidden is None else {**told, "total_private_repos": hidden}

    def _of_organization(self, request: Request) -> Any:
        owner = request.path_params["owner"]
        return self._owned(request, owner) if owner in self.organizations else None

    def _of_user(self, request: Request) -> Any:
        owned = self._owned(request, request.path_params["owner"])
        return [repo for repo in owned if not repo["private"]]

    def _owned(self, request: Request, owner: str) -> list[Any]:
        owned = [repo for name, repo in self.repos.items() if name.startswith(f"{owner}/")]
        return self._page(request, owned)

    def _installed(self, request: Request) -> Any:
        repos = list(self.repos.values())
        return {"total_count": len(repos), "repositories": self._page(request, repos)}

    async def _grant(self, request: Request) -> Response:
        self.requests.append(f"POST {request.url.path.removeprefix('/api/v3')}")
        broken = self.broken.get("access_tokens")
        if broken is not None:
            return broken
        self.grants.append({"jwt": request.headers["authorization"].removeprefix("Bearer ")})
        token = f"ghs_{len(self.grants)}_" + "x" * 500
        self.tokens.add(token)
        body = {"token": token, "expires_at": iso(time.time() + 3600)}
        return Response(json.dumps(body), 201, media_type="application/json")


def workflow(number: int = 77, name: str = "CI", file: str = "ci.yml") -> dict[str, Any]:
    """A workflow as the list of a repo has it."""
    path = file if "/" in file else f".github/workflows/{file}"
    return {"id": number, "name": name, "path": path, "state": "active", **NOISE}


def said(status: int, message: str, **headers: str) -> Response:
    """An error in GitHub's form."""
    return Response(json.dumps({"message": message}), status, headers, "application/json")
