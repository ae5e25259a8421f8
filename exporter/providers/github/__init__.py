"""GitHub Actions: a build is one attempt of a workflow run.

Token: Settings, Developer settings, Personal access tokens, Fine-grained tokens; the owner, the
repositories, and of the permissions Actions: Read-only (GitHub adds Metadata: Read-only). Or a
GitHub App with the same permission and no webhook, installed on the repositories: `app` in place
of the token; its wildcard finds what it is installed on. A classic token needs `repo`, which may
write; for public repos it needs no scope.

Requests: one per repo and poll. If nothing has changed GitHub answers 304, which counts against
no limit if there is a token. A new build costs nothing more, but one request for each unfinished
one that is no longer among the latest 30, and for each earlier attempt that nobody saw. With
`jobs: true` each build costs one more per poll until it has completed, and one then (one for
each 100 jobs). Discovery costs one for each 100 repos; that of an organization one, that of a
user two or three.

Limits: 5000 requests an hour for a user, 5000 to 15000 for an App's installation, 60 without a
token; GitHub Enterprise Server has none by default.

Self-hosted: GitHub Enterprise Server 3.4 or newer by `url` https://HOST/api/v3.

Known: duration, trigger, attempts, jobs; the queue only with `jobs: true`, as a run says that it
started when it was created.

Unknown: whether a person or the API dispatched a run; whether it ran for a tag or a branch.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, ClassVar, Literal
from urllib.parse import quote, urlsplit

from pydantic import PrivateAttr

from exporter.errors import Gone, ProviderError, Refused, TryLater
from exporter.http import Allowance, Api
from exporter.model import Build, Status
from exporter.payload import moment, text
from exporter.providers import Fault, Page, Provider, Query, Repo, TokenPage
from exporter.providers.github.app import App, granted
from exporter.providers.github.client import Client, has_more
from exporter.providers.github.memo import Memo
from exporter.providers.github.payload import Place, Run, to_build, with_jobs, without_jobs
from exporter.providers.github.words import WORDS
from exporter.providers.grants import Granted

__all__ = ["PROVIDER", "WORDS", "App", "GitHub"]

_ACCEPT = "application/vnd.github+json, application/json"
"""What GitHub asks for, and what its own description of the API knows."""
_MOST_ATTEMPTS = 50
"""Earlier attempts of one run that are asked for, the latest ones."""


class GitHub(Provider):
    """GitHub Actions, on github.com or GitHub Enterprise Server (url: https://HOST/api/v3)."""

    entry_form = "owner/name or owner/*"
    entry_pattern = r"[^/*\s]+/(?:[^/*\s]+|\*)"
    default_url = "https://api.github.com"
    root_path = "/api/v3"
    anonymous = True
    credentials: ClassVar[tuple[str, ...]] = ("token_env", "token_file", "app")
    rights = "`repo` of a classic token, or the permission Actions: read"
    example_values: ClassVar[dict[str, Any]] = {"repos": ["acme/*", "octocat/hello-world"]}

    token_page = TokenPage(
        path="/rate_limit",  # counts against no limit
        scopes="x-oauth-scopes",
        expires="github-authentication-token-expiration",
        enough=("repo",),
    )

    # Secondary limit of the REST API: 900 points a minute, a GET is one of them, also at 304.
    allowances = (Allowance(900, 60.0),)
    unchanged_is_free = True

    provider: Literal["github"]
    app: App | None = None
    """In place of a token, a GitHub App: {id: 12345, private_key_file: app.pem,
    installation_id: 67890}."""

    _memo: Memo = PrivateAttr(default_factory=Memo)
    _granted: Granted = PrivateAttr(default_factory=partial(Granted, "installation"))

    @classmethod
    def faults(cls, account: dict[str, Any]) -> list[Fault]:
        """Entries of another shape, and a key of the App that cannot be used."""
        found = super().faults(account)
        app = account.get("app")
        if isinstance(app, App) and (fault := app.fault()) is not None:
            found.append((("app", "private_key_file"), fault))
        return found

    @property
    def secret_files(self) -> tuple[str, ...]:
        """The App's private key."""
        return () if self.app is None else (self.app.private_key_file,)

    @property
    def likely_root(self) -> str | None:
        """Enterprise Cloud with data residency has a host for its API, all others a path."""
        host = urlsplit(self.root).hostname or ""
        if not host.endswith(".ghe.com"):
            return super().likely_root
        return None if host.startswith("api.") else f"https://api.{host}"

    def headers(self, token: str | None) -> dict[str, str]:
        """A bearer token, or that of the App's installation.

        Raises Refused(`unauthorized`) if the App has none yet.
        """
        return _headers(token if self.app is None else self._granted.token())

    async def renew(self, api: Api) -> None:
        """Fetch an installation token if there is none that lasts for a poll."""
        if self.app is not None:
            await self._granted.renew(api, partial(granted, self.app, api, _headers))

    def identity(self, entry: str) -> str:
        """Upper and lower case are one."""
        return entry.lower()

    async def discover(self, api: Api, pattern: str) -> list[Repo]:
        """The owner's repos, but for archived, disabled and excluded ones."""
        owner = pattern.partition("/")[0]
        listed = await self._places(Client(api), owner)
        found = {
            place.full_name: Repo(place.full_name, text(place.default_branch))
            for place in listed
            if place.full_name.partition("/")[0].lower() == owner.lower()
            and True not in (place.archived, place.disabled)
            and not self.excludes(place.full_name)
        }
        return list(found.values())

    async def _places(self, client: Client, owner: str) -> list[Place]:
        if self.app is not None:
            return await client.places("/installation/repositories")
        try:
            return await client.places(f"/orgs/{quote(owner)}/repos", type="all")
        except Gone:
            places = await client.places(f"/users/{quote(owner)}/repos", type="owner")
        if self.token_env is None and self.token_file is None:
            return places
        try:  # the private ones are listed only for their owner
            return places + await client.places("/user/repos", affiliation="owner")
        except (Gone, Refused) as error:
            if error.account_wide:
                raise
            return places

    async def page(self, api: Api, repo: Repo, query: Query) -> Page:
        """One page of the repo's runs, each after those earlier attempts that may be news."""
        number, size = 1, query.size
        if query.token is not None:
            number, size = map(int, query.token.split("x"))
        runs = await Client(api).runs(repo.entry, number, size)
        earlier = await self._earlier(api, repo, [r for r in runs.items if _is_rerun(r, query)])
        builds = [
            build if self.jobs else without_jobs(build)
            for run in runs.items
            for build in (to_build(each, repo) for each in (*earlier.get(run.id, ()), run))
        ]
        more = has_more(runs.total_count, number, size, listed=runs.listed)
        # Created earlier than wanted is the rest of the list too; what of it still runs is known.
        last = moment(runs.items[-1].created_at) if runs.items else None
        more = more and (query.deep or last is None or last >= query.since)
        return Page(tuple(builds), f"{number + 1}x{size}" if more else None, runs.rejected)

    async def detail(self, api: Api, repo: Repo, build: Build, known: Build | None) -> Build:
        """`build` with its jobs if they are wanted; a run lacks nothing else."""
        if not self.jobs:
            return build
        final = build.status is Status.COMPLETED
        try:
            tasks = await Client(api).jobs(repo.entry, build.native_id, build.attempt, final=final)
        except (Gone, Refused) as error:
            if error.account_wide:
                raise
            return without_jobs(build)
        return with_jobs(build, tasks, now=api.now())

    async def refresh(self, api: Api, repo: Repo, known: Build) -> Build:
        """The run; if it is in a later attempt by now, what became of the known one.

        But one that was held for an approval never ran: its run goes on as the next.
        """
        client = Client(api)
        build = to_build(await client.run(repo.entry, known.native_id), repo)
        if build.attempt != known.attempt:
            run = await client.attempt(repo.entry, known.native_id, known.attempt)
            own = to_build(run, repo)
            build = own if own.status is Status.COMPLETED else build
        return await self.detail(api, repo, build, known) if self.jobs else without_jobs(build)

    async def _earlier(self, api: Api, repo: Repo, reruns: list[Run]) -> dict[int, list[Run]]:
        """The earlier attempts of runs by id; each is asked for once.

        Those that were held for an approval never ran, and are left out.
        """
        wanted = [
            (run.id, attempt)
            for run in reruns
            for attempt in range(max(1, run.attempt - _MOST_ATTEMPTS), run.attempt)
        ]
        calls = [self._attempt(api, repo, key) for key in wanted if key not in self._memo]
        for failure in await asyncio.gather(*calls, return_exceptions=True):
            if failure is not None:
                raise failure
        found: dict[int, list[Run]] = {}
        for key in wanted:
            run = self._memo.recall(key)
            if run is not None:
                found.setdefault(run.id, []).append(run)
        return found

    async def _attempt(self, api: Api, repo: Repo, key: tuple[int, int]) -> None:
        """Ask for an attempt; one that fails again and again is given up."""
        run_id, attempt = key
        run: Run | None = None
        try:
            run = await Client(api).attempt(repo.entry, str(run_id), attempt)
        except ProviderError as error:
            if error.account_wide:
                raise
            if isinstance(error, TryLater) and not self._memo.gives_up(key):
                raise
        if run is not None and _ended(run, repo, attempt):
            self._memo.keep(key, run)
        else:
            self._memo.keep(key, None)


def _ended(run: Run, repo: Repo, attempt: int) -> bool:
    build = to_build(run, repo)
    return build.attempt == attempt and build.status is Status.COMPLETED


def _is_rerun(run: Run, query: Query) -> bool:
    """Whether earlier attempts of a run may have ended since the last walk."""
    if run.attempt == 1:
        return False
    latest = moment(run.updated_at)
    return latest is None or latest >= query.since


def _headers(token: str | None) -> dict[str, str]:
    headers = {"Accept": _ACCEPT, "X-GitHub-Api-Version": "2022-11-28"}
    return headers if token is None else {**headers, "Authorization": f"Bearer {token}"}


PROVIDER = GitHub
