"""GitHub Actions: a build is one attempt of a workflow run.

Token: Settings, Developer settings, Personal access tokens, Fine-grained tokens; the owner, the
repositories, and of the permissions Actions: Read-only (GitHub adds Metadata: Read-only). Or a
GitHub App with the same permission and no webhook, installed on the repositories: `app` in place
of the token; its wildcard finds what it is installed on. A classic token needs `repo`, which may
write; for public repos it needs no scope.

Requests: one per repo and poll. If nothing has changed GitHub answers 304, which counts against
no limit if there is a token. A new build costs nothing more, but one request for each unfinished
one that is no longer among the latest 30, and for each earlier attempt that nobody saw. The
names of a repo's workflows cost one at the start and when there is a new workflow, and while
there are new builds one an hour that is mostly free (one for each 100 workflows). A run that
seems to have gone on for more than half an hour since anybody saw it costs one for its jobs,
once. With `jobs: true` each build costs one more per poll until it has completed, and one then
(one for each 100 jobs; where GitHub cannot make such pages, one for each 50 or 25). Discovery
costs one for each 100 repos; that of an organization two, that of a user two or three.

Limits: 5000 requests an hour for a user, 5000 to 15000 for an App's installation, 60 without a
token; GitHub Enterprise Server has none by default.

Self-hosted: GitHub Enterprise Server 3.4 or newer by `url` https://HOST/api/v3.

Known: duration, trigger, attempts, jobs; the queue only with `jobs: true`, as a run says that it
started when it was created. A pipeline is called what the list of workflows calls it today, so
one that is renamed begins a new series within an hour; of several workflows of one name the
oldest keeps it, and the others are `name (file name)`. A workflow without a name, or that the
list lacks (an organization's, one whose file is gone), is called after its file. A title that
`run-name` gives is no name. A run that waited for an approval counts from its first attempt
that ran.

Unknown: whether a person or the API dispatched a run; whether it ran for a tag or a branch; without
`jobs: true`, that a run nobody saw was touched (its logs deleted) within half an hour.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from time import monotonic
from typing import Any, ClassVar, Literal
from urllib.parse import quote, urlsplit

from msgspec.structs import replace
from pydantic import PrivateAttr

from exporter.errors import ProviderError, Refused, TryLater
from exporter.http import Api, Dialect, PublishedLimit
from exporter.model import Build, Status
from exporter.payload import moment, text, whole
from exporter.providers import (
    Fault,
    Matches,
    Page,
    Provider,
    Query,
    Repo,
    TokenPage,
    Unread,
    optional,
)
from exporter.providers.github.app import App, granted
from exporter.providers.github.client import Client, CutOff, Listed, has_more
from exporter.providers.github.enterprise import enterprise_api
from exporter.providers.github.mapping import (
    Earlier,
    Place,
    Run,
    earlier,
    end_by_jobs,
    is_doubtful,
    is_vouched,
    ref_of,
    to_build,
    with_jobs,
    without_jobs,
)
from exporter.providers.github.memo import Memo
from exporter.providers.github.vocabulary import WORDS
from exporter.providers.github.workflows import Shelf, file_of
from exporter.providers.grants import Granted

__all__ = ["PROVIDER", "WORDS", "App", "GitHub", "file_of", "is_vouched", "ref_of"]

_ACCEPT = "application/vnd.github+json, application/json"
"""What GitHub asks for, and what its own description of the API knows."""
_MOST_ATTEMPTS = 50
"""Earlier attempts of one run that are asked for, the latest ones."""
_NOTHING = Earlier()
_SEES_ONLY_PUBLIC = "Let the token read the organization's private repositories."


class GitHub(Provider):
    """GitHub Actions, on github.com or GitHub Enterprise Server (url: https://HOST/api/v3)."""

    entry_form = "owner/name or owner/*"
    entry_pattern = r"[^/*\s]+/(?:[^/*\s]+|\*)"
    name_pattern = r"[A-Za-z0-9_-]{1,100}/(?!\.{1,2}$)[A-Za-z0-9._-]{1,100}"
    default_url = "https://api.github.com"
    sites: ClassVar[tuple[str, ...]] = ("github.com",)
    root_path = "/api/v3"
    anonymous = True
    credentials: ClassVar[tuple[str, ...]] = ("token_env", "token_file", "app")
    dialect = Dialect(
        scope_headers=("x-accepted-github-permissions", "x-accepted-oauth-scopes"),
        sso_header="x-github-sso",
    )
    rights = "`repo` of a classic token, or the permission Actions: read"
    example_values: ClassVar[dict[str, Any]] = {"repos": ["acme/*", "octocat/hello-world"]}

    token_page = TokenPage(
        path="/rate_limit",  # counts against no limit
        scopes="x-oauth-scopes",
        expires="github-authentication-token-expiration",
        enough=("repo",),
    )

    # Secondary limit of the REST API: 900 points a minute, a GET is one of them, also at 304.
    published_limits = (PublishedLimit(900, 60.0),)
    unchanged_is_free = True

    provider: Literal["github"]
    app: App | None = None
    """In place of a token, a GitHub App: {id: 12345, private_key_file: app.pem,
    installation_id: 67890}."""

    _memo: Memo = PrivateAttr(default_factory=Memo)
    _granted: Granted = PrivateAttr(default_factory=partial(Granted, "installation"))

    @classmethod
    def api_instead_of(cls, url: str) -> str | None:
        """Of an Enterprise Server all that has a name and no path is its site for people."""
        return super().api_instead_of(url) or enterprise_api(url)

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
        client = Client(api)
        listed, error = await self._places(client, owner)
        found = {
            place.full_name: Repo(place.full_name, text(place.default_branch))
            for place in listed
            if place.full_name.partition("/")[0].lower() == owner.lower()
            and True not in (place.archived, place.disabled)
            and not self.excludes(place.full_name)
        }
        return Matches(found.values(), error or await self._shortfall(client, owner, listed))

    async def _places(self, client: Client, owner: str) -> Listed:
        if self.app is not None:
            return await client.places("/installation/repositories")
        listed = await optional(client.places(f"/orgs/{quote(owner)}/repos", type="all"))
        if listed is not None:
            return listed
        places, error = await client.places(f"/users/{quote(owner)}/repos", type="owner")
        if self._is_anonymous:
            return places, error
        # The private ones are listed only for their owner.
        own = await optional(client.places("/user/repos", affiliation="owner"))
        more, failure = own or ([], None)
        return places + more, error or failure

    async def _shortfall(
        self, client: Client, owner: str, places: list[Place]
    ) -> ProviderError | None:
        """Private repos that an organization tells of and has not listed."""
        if self.app is not None or self._is_anonymous or not places:
            return None
        if any(place.private is not False for place in places):
            return None
        hidden = await client.private_repos(owner)
        if not hidden:
            return None
        text = f"no private repo of {owner} is listed, of which there are {hidden}"
        return Refused(text, reason="forbidden", advice=_SEES_ONLY_PUBLIC)

    @property
    def _is_anonymous(self) -> bool:
        return self.app is None and self.token_env is None and self.token_file is None

    async def page(self, api: Api, repo: Repo, query: Query) -> Page:
        """One page of the repo's runs, each after those earlier attempts that may be news."""
        client = Client(api)
        number, size = 1, query.size
        if query.token is not None:
            number, size = map(int, query.token.split("x"))
        try:
            runs, is_new = await client.runs(repo.entry, number, size)
        except CutOff:
            return Page((), cut_off=True)
        shelf = await self._workflows(client, repo, runs.items, is_new=is_new)
        pasts = await self._earlier(client, repo, [r for r in runs.items if _is_rerun(r, query)])
        builds: list[Build] = []
        for run in runs.items:
            past = pasts.get(run.id, _NOTHING)
            attempts = (*past.ran, run)
            for attempt, later in zip(attempts, (*attempts[1:], None), strict=True):
                builds.append(self._build(api, repo, attempt, past.never_ran, later))
            if past.error is not None:  # an earlier attempt would be taken for lost
                builds[-1] = replace(builds[-1], partial=True)
        more = has_more(runs.total_count, number, size, listed=runs.listed)
        # Created earlier than wanted is the rest of the list too; what of it still runs is known.
        last = moment(runs.items[-1].created_at) if runs.items else None
        more = more and (query.deep or last is None or last >= query.since)
        return Page(
            tuple(builds),
            f"{number + 1}x{size}" if more else None,
            runs.rejected,
            unread=() if shelf.error is None else (Unread("workflows", shelf.error),),
        )

    def _build(
        self, api: Api, repo: Repo, run: Run, never_ran: tuple[int, ...], later: Run | None
    ) -> Build:
        """One attempt; partial if only its jobs can tell when it ended."""
        key = run.id, run.attempt
        build = to_build(run, repo, self._memo.shelf(repo.entry).names, never_ran)
        if build.status is not Status.COMPLETED:
            self._memo.unfinished.put(key, api.now())
        elif is_doubtful(run, build, self._memo.unfinished.get(key), later):
            ends, told = self._memo.ends, (key, build.completed_at)
            is_known = told in ends
            ended = ends[told] if is_known else build.completed_at
            build = replace(build, completed_at=ended, partial=not is_known)
        return build if self.jobs else without_jobs(build)

    async def detail(self, api: Api, repo: Repo, build: Build, known: Build | None) -> Build:
        """`build` with its jobs if they are wanted, else with its end if only they tell it."""
        key = int(build.native_id), build.attempt
        if (failure := self._memo.failures.get(key)) is not None:
            raise failure
        if not self.jobs and not build.partial:
            return build
        final = build.status is Status.COMPLETED
        tasks = await optional(
            Client(api).jobs(repo.entry, build.native_id, build.attempt, final=final)
        )
        if build.partial:
            ended = end_by_jobs(build.completed_at, tasks or ())
            if ended is None and known is not None and not known.partial:
                ended = build.completed_at  # it went on until lately, and no job ran
            self._memo.ends.put((key, build.completed_at), ended)
            build = replace(build, completed_at=ended, partial=False)
        if tasks is None or not self.jobs:
            return without_jobs(build)
        return with_jobs(build, tasks, now=api.now())

    def without_detail(self, build: Build) -> Build:
        """`build` without an end that only its jobs could have told."""
        is_doubtful = build.partial and (int(build.native_id), build.attempt) not in (
            self._memo.failures
        )
        return replace(build, completed_at=None) if is_doubtful else build

    async def refresh(self, api: Api, repo: Repo, known: Build) -> Build:
        """The run; if it is in a later attempt by now, what became of the known one.

        But one that was held for an approval never ran: its run goes on as the next.
        """
        if known.unfilled is not None and known.attempt > 1:
            # By itself it would be taken for a build whose earlier attempts nobody has seen.
            raise TryLater("it waits for its earlier attempts, which a page lists", reason="server")
        client = Client(api)
        run = await client.run(repo.entry, known.native_id)
        never_ran, later = known.never_ran, None
        if run.attempt != known.attempt:
            past = (await self._earlier(client, repo, [run]))[run.id]
            if past.error is not None:
                raise past.error
            never_ran = past.never_ran
            attempts = [*past.ran, run]
            place = next((i for i, r in enumerate(past.ran) if r.attempt == known.attempt), None)
            if place is not None:
                run, later = attempts[place], attempts[place + 1]
        await self._workflows(client, repo, [run], is_new=False)
        build = self._build(api, repo, run, never_ran, later)
        return await self.detail(api, repo, build, known)

    async def _workflows(
        self, client: Client, repo: Repo, runs: list[Run], *, is_new: bool
    ) -> Shelf:
        """What the workflows of these runs are called, if that can be known for now."""
        shelf = self._memo.shelf(repo.entry)
        ids = {number for run in runs if (number := whole(run.workflow_id)) is not None}
        if shelf.is_due(ids, is_new=is_new, now=monotonic()):
            try:
                listed = await optional(client.workflows(repo.entry))
            except ProviderError as error:
                if error.account_wide:
                    raise
                shelf.fail(error, now=monotonic())
            else:
                shelf.put(listed, ids, now=monotonic())
        return shelf

    async def _earlier(
        self, client: Client, repo: Repo, reruns: Sequence[Run]
    ) -> dict[int, Earlier]:
        """The earlier attempts of runs by id; each is asked for until it has been told once."""
        memo = self._memo
        wanted = {
            run.id: range(max(1, run.attempt - _MOST_ATTEMPTS), run.attempt) for run in reruns
        }
        unknown = [
            (run, number)
            for run, numbers in wanted.items()
            for number in numbers
            if (run, number) not in memo.attempts
        ]
        results = await asyncio.gather(
            *(optional(client.attempt(repo.entry, *key)) for key in unknown),
            return_exceptions=True,
        )
        failed: dict[int, ProviderError] = {}
        for key, result in zip(unknown, results, strict=True):
            if isinstance(result, ProviderError) and not result.account_wide:
                failed[key[0]] = result
            elif isinstance(result, BaseException):
                raise result
            else:
                is_it = result is not None and result.attempt == key[1]
                memo.attempts.put(key, result if is_it else None)
        found: dict[int, Earlier] = {}
        for run in reruns:
            known = [memo.attempts.get((run.id, number)) for number in wanted[run.id]]
            found[run.id] = earlier([r for r in known if r is not None], failed.get(run.id))
            memo.failures.pop((run.id, run.attempt), None)
            if run.id in failed:
                memo.failures.put((run.id, run.attempt), failed[run.id])
        return found


def _is_rerun(run: Run, query: Query) -> bool:
    """Whether earlier attempts of a run may have ended since the last walk."""
    if run.attempt == 1:
        return False
    latest = moment(run.updated_at)
    return latest is None or latest >= query.since or str(run.id) in query.unfilled


def _headers(token: str | None) -> dict[str, str]:
    headers = {"Accept": _ACCEPT, "X-GitHub-Api-Version": "2022-11-28"}
    return headers if token is None else {**headers, "Authorization": f"Bearer {token}"}


PROVIDER = GitHub
