"""What the unified endpoints answer to a request that was let in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any, TypeVar

from exporter.demo import render, render_jobs
from exporter.demo.facts import Item, JobView, View
from exporter.demo.integrations import INTEGRATIONS, discovered
from exporter.demo.paging import BadCursor, Listing, envelope
from exporter.demo.request import Request
from exporter.demo.world import Account, Behaviour, JobRun, Repo, Run, World, age

T = TypeVar("T")

FORMATS = {"list": ("unified",), "get": ("unified", "debug")}

PROVIDER_SECRET = "the-ci-systems-own-secret"  # noqa: S105 - so that a test can look for it
"""In `debug.requestOptions`: what a client must never log."""


class Failure(Exception):
    """An answer other than 200. Its body has the three fields of every error, and `extra`."""

    def __init__(
        self, status: int, message: str, *, headers: dict[str, str] | None = None, **extra: Any
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}
        self.body: Item = {
            "statusCode": status,
            "error": HTTPStatus(status).phrase,
            "message": message,
            **extra,
        }


def remote_failure(status: int, message: str, **extra: Any) -> Failure:
    """A failure that is the CI system's."""
    fields: Item = {
        "truto_is_remote_error": True,
        "raw_response": {"message": message},
        "truto_error_insight": {
            "remote_error": {"description": "The CI system answered with an error."}
        },
    }
    return Failure(status, message, **(fields | extra))


def missing_parameters(names: list[str]) -> Failure:
    """What is said when required query parameters are absent or empty."""
    insight = {"description": "The integration requires these query parameters.", "value": names}
    return Failure(
        400,
        "Missing required query parameters",
        truto_error_insight={"missing_required_query_parameters": insight},
    )


def page_of(
    listing: Listing[T], request: Request, most: int, ways: Behaviour
) -> tuple[list[T], str | None]:
    """The page that a request asks for, of at most `most` items, and the next cursor."""
    query = request.params
    limit = query.get("limit", "")
    if limit and not (limit.isdecimal() and int(limit)):
        raise Failure(400, "limit must be a positive integer")
    size = most if not limit or _is_true(query, "truto_ignore_limit") else min(int(limit), most)
    try:
        return listing.page(query.get("next_cursor", ""), size, ways)
    except BadCursor as error:
        raise Failure(400, "next_cursor is not one of this list's") from error


class Reader:
    """One request about one account."""

    def __init__(self, world: World, account: Account, request: Request) -> None:
        self.world = world
        self.account = account
        self.ways = account.behaviour
        self.integration = INTEGRATIONS[account.integration]
        self.request = request
        self.query = request.params
        self.now = world.clock()

    def page(self, resource: str) -> Item:
        """A page of a resource, in its envelope."""
        self._check_format("list")
        if resource == "builds":
            page, following = self._builds()
        elif resource == "jobs":
            page, following = self._jobs()
        else:
            found = discovered(self.account, resource, self.query)
            page, following = self._page(found, lambda item: (item["id"],))
        shaped = [self._shape(item) for item in page]
        key = self.query.get("truto_key_by")
        return envelope(
            {str(item.get(key)): item for item in shaped} if key else shaped, following, self.ways
        )

    def item(self, resource: str, item_id: str) -> Item:
        """A single item, bare."""
        self._check_format("get")
        finders: dict[str, Callable[[str], Item | None]] = {
            "builds": self._build,
            "jobs": self._job,
        }
        if resource in finders:
            item = finders[resource](item_id)
        else:
            found = discovered(self.account, resource, self.query)
            item = next((item for item in found if item_id in {item["id"], item["name"]}), None)
        if item is None:
            raise remote_failure(404, "Not Found")
        raw = item.get("remote_data")
        shaped = self._shape(item)
        if self.query.get("truto_response_format") != "debug":
            return shaped
        options = {"method": "GET", "headers": {"Authorization": f"Bearer {PROVIDER_SECRET}"}}
        return {
            "result": shaped,
            "debug": {
                "requestUrl": f"https://ci.example/{resource}/{item_id}",
                "requestOptions": options,
                "data": raw,
                "responseHeaders": {"content-type": "application/json"},
            },
        }

    def _check_format(self, method: str) -> None:
        wanted = self.query.get("truto_response_format") or "unified"
        if wanted not in FORMATS[method]:
            raise Failure(400, f"truto_response_format={wanted} is not emulated for {method}")

    def _repos(self) -> list[Repo]:
        """The repos that the parameters select; 404 where there is none."""
        repos = [
            repo
            for repo in list(self.account.repos.values())
            if self.integration.matches(repo.entry, self.query)
        ]
        if not repos:
            raise remote_failure(404, "Not Found")
        return repos

    def _listed(self) -> list[tuple[Repo, Run]]:
        """Every build that the parameters select, newest first."""
        builds = [
            (repo, run)
            for repo in self._repos()
            for run in self.world.listed(self.account, repo.entry)
        ]
        return sorted(builds, key=lambda build: age(build[1]), reverse=True)

    def _builds(self) -> tuple[list[Item], str | None]:
        integration = self.account.integration
        wanted = {name: self.query[name] for name in self.integration.filters if name in self.query}

        def fits(build: tuple[Repo, Run]) -> bool:
            item = render.build(integration, self._view(*build))
            return all(item.get(name) == value for name, value in wanted.items())

        builds = self._listed()
        if wanted:
            builds = [build for build in builds if fits(build)]
        page, following = self._page(builds, lambda build: age(build[1])[:3])
        return [render.listed_build(integration, self._view(*build)) for build in page], following

    def _jobs(self) -> tuple[list[Item], str | None]:
        builds = self._listed()
        if ("builds", "list") in self.integration.required:
            wanted = self.query.get(self.ways.build_param) or self.query.get("build")
            builds = [build for build in builds if build[1].id == wanted]
            if not builds:
                raise remote_failure(404, "Not Found")
        jobs = [
            (self._job_view(repo, run, job), -index)
            for repo, run in builds
            for index, job in self._visible(run)
        ]
        page, following = self._page(jobs, lambda job: (*age(job[0].run)[:3], job[1]))
        return [render_jobs.job(self.account.integration, view) for view, _ in page], following

    def _build(self, build_id: str) -> Item | None:
        if any(not self.query.get(name) for name in self.integration.needed):
            return None
        for repo, run in self._listed():
            if run.id == build_id:
                return render.build(self.account.integration, self._view(repo, run))
        return None

    def _job(self, job_id: str) -> Item | None:
        build = self.query.get("build") if self.account.integration == "bitbucket" else None
        for repo in self._repos():
            for run in self.world.shown(self.account, repo.entry):
                for _, job in self._visible(run):
                    if job.id == job_id and build in {None, run.id}:
                        view = self._job_view(repo, run, job)
                        return render_jobs.job(self.account.integration, view)
        return None

    def _visible(self, run: Run) -> Iterator[tuple[int, JobRun]]:
        for index, job in enumerate(run.jobs):
            if render_jobs.job_created(run, job) <= self.now:
                yield index, job

    def _view(self, repo: Repo, run: Run) -> View:
        return View(repo=repo, run=run, now=self.now, ways=self.ways)

    def _job_view(self, repo: Repo, run: Run, job: JobRun) -> JobView:
        return JobView(repo=repo, run=run, job=job, now=self.now, ways=self.ways)

    def _page(
        self, items: list[T], key: Callable[[T], tuple[Any, ...]]
    ) -> tuple[list[T], str | None]:
        """The page asked for; its cursor fits no request with other parameters."""
        asked = sorted(
            pair for pair in self.request.query if pair[0] not in {"next_cursor", "limit"}
        )
        listing = Listing(items=items, key=key, name=f"{self.request.path} {asked}")
        return page_of(listing, self.request, self.world.page_size, self.ways)

    def _shape(self, item: Item) -> Item:
        """Leave out what the request or the account does not want."""
        excluded = {
            field
            for name, value in self.request.query
            if name.partition("[")[0] == "truto_exclude_fields"
            for field in value.split(",")
        }
        if not self.ways.remote_data or _is_true(self.query, "truto_ignore_remote_data"):
            excluded.add("remote_data")
        return {key: value for key, value in item.items() if key not in excluded}


def _is_true(query: dict[str, str], name: str) -> bool:
    return query.get(name, "").lower() in {"true", "1"}
