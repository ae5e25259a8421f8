"""How builds are read from GitHub."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from time import monotonic
from urllib.parse import quote

from msgspec.structs import replace

from exporter.errors import ProviderError, Refused, TryLater
from exporter.http import Api
from exporter.model import Build, Status
from exporter.payload import moment, text, whole
from exporter.providers import (
    Matches,
    Page,
    Provider,
    Query,
    Repo,
    Source,
    Unread,
    optional,
    together,
    tried,
)
from exporter.providers.github.app import App, granted
from exporter.providers.github.cache import AttemptCache
from exporter.providers.github.client import Client, CutOff, Listed, has_more
from exporter.providers.github.mapping import (
    Earlier,
    Repository,
    Run,
    earlier,
    end_by_jobs,
    is_doubtful,
    to_build,
    with_jobs,
    with_page_of_its_own,
    without_jobs,
)
from exporter.providers.github.workflows import Shelf
from exporter.providers.grants import Granted

_MOST_ATTEMPTS = 50
"""Earlier attempts of one run that are asked for, the latest ones."""
_NOTHING = Earlier()
_SEES_ONLY_PUBLIC = "Let the token read the organization's private repositories."


class GitHubSource(Source[Provider]):
    """Reads the runs of one account, as an installation of `app` if there is one."""

    def __init__(self, account: Provider, api: Api, app: App | None) -> None:
        super().__init__(account, api)
        self._app = app
        self._cache = AttemptCache()
        self._granted = Granted("installation")

    def headers(self, token: str | None) -> dict[str, str]:
        """With the token in force of the App's installation."""
        return self.account.headers(token if self._app is None else self._granted.token())

    async def renew(self) -> None:
        """Fetch an installation token if there is none that lasts for a poll."""
        if self._app is not None:
            fetch = partial(granted, self._app, self.api, self.account.headers)
            await self._granted.renew(self.api, fetch)

    async def discover(self, pattern: str) -> list[Repo]:
        """The owner's repos, but for archived, disabled and excluded ones."""
        owner = pattern.partition("/")[0]
        client = Client(self.api)
        listed, error = await self._places(client, owner)
        found = {
            place.full_name: Repo(place.full_name, text(place.default_branch))
            for place in listed
            if place.full_name.partition("/")[0].lower() == owner.lower()
            and True not in (place.archived, place.disabled)
            and not self.account.excludes(place.full_name)
        }
        return Matches(found.values(), error or await self._shortfall(client, owner, listed))

    async def _places(self, client: Client, owner: str) -> Listed:
        if self._app is not None:
            return await client.places("/installation/repositories")
        listed = await optional(client.places(f"/orgs/{quote(owner)}/repos", type="all"))
        if listed is not None:
            return listed
        places, error = await client.places(f"/users/{quote(owner)}/repos", type="owner")
        if self.account.is_anonymous:
            return places, error
        # The private ones are listed only for their owner.
        own = await optional(client.places("/user/repos", affiliation="owner"))
        more, failure = own or ([], None)
        return places + more, error or failure

    async def _shortfall(
        self, client: Client, owner: str, places: list[Repository]
    ) -> ProviderError | None:
        """The error where an organization counts private repos and lists none of them."""
        if self._app is not None or self.account.is_anonymous or not places:
            return None
        if any(place.private is not False for place in places):
            return None
        hidden = await client.private_repos(owner)
        if not hidden:
            return None
        text = f"no private repo of {owner} is listed, of which there are {hidden}"
        return Refused(text, reason="forbidden", advice=_SEES_ONLY_PUBLIC)

    async def page(self, repo: Repo, query: Query) -> Page:
        """One page of the repo's runs, each after those earlier attempts that may be news."""
        client = Client(self.api)
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
                builds.append(self._build(repo, attempt, past.never_ran, later))
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

    def _build(self, repo: Repo, run: Run, never_ran: tuple[int, ...], later: Run | None) -> Build:
        """One attempt; partial if only its jobs can tell when it ended."""
        key = run.id, run.attempt
        workflows = self._cache.shelf(repo.entry).names
        build = to_build(run, repo, self.site, workflows, never_ran)
        if later is not None:
            build = with_page_of_its_own(build)
        if build.status is not Status.COMPLETED:
            self._cache.unfinished[key] = self.api.now()
        elif is_doubtful(run, build, self._cache.unfinished.get(key), later):
            ends, attempt_end = self._cache.ends, (key, build.completed_at)
            is_known = attempt_end in ends
            ended = ends[attempt_end] if is_known else build.completed_at
            build = replace(build, completed_at=ended, partial=not is_known)
        return build if self.account.jobs else without_jobs(build)

    async def detail(self, repo: Repo, build: Build, known: Build | None) -> Build:
        """`build` with its jobs if they are wanted, else with its end if only they tell it."""
        key = int(build.native_id), build.attempt
        if (failure := self._cache.failures.get(key)) is not None:
            raise failure
        if not self.account.jobs and not build.partial:
            return build
        final = build.status is Status.COMPLETED
        tasks = await optional(
            Client(self.api).jobs(repo.entry, build.native_id, build.attempt, final=final)
        )
        if build.partial:
            ended = end_by_jobs(build.completed_at, tasks or ())
            if ended is None and known is not None and not known.partial:
                ended = build.completed_at  # it went on until lately, and no job ran
            self._cache.ends[(key, build.completed_at)] = ended
            build = replace(build, completed_at=ended, partial=False)
        if tasks is None or not self.account.jobs:
            return without_jobs(build)
        return with_jobs(build, tasks, self.site, now=self.api.now())

    def without_detail(self, build: Build) -> Build:
        """`build` without its end if only its jobs could have shown it."""
        is_doubtful = build.partial and (int(build.native_id), build.attempt) not in (
            self._cache.failures
        )
        return replace(build, completed_at=None) if is_doubtful else build

    async def refresh(self, repo: Repo, known: Build) -> Build:
        """The run; if it is in a later attempt by now, what became of the known one.

        But one that was held for an approval never ran: its run goes on as the next.
        """
        if known.unfilled is not None and known.attempt > 1:
            # By itself it would be taken for a build whose earlier attempts nobody has seen.
            raise TryLater("it waits for its earlier attempts, which a page lists", reason="server")
        client = Client(self.api)
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
        build = self._build(repo, run, never_ran, later)
        return await self.detail(repo, build, known)

    async def _workflows(
        self, client: Client, repo: Repo, runs: list[Run], *, is_new: bool
    ) -> Shelf:
        """What the workflows of these runs are called, if that can be known for now."""
        shelf = self._cache.shelf(repo.entry)
        ids = {number for run in runs if (number := whole(run.workflow_id)) is not None}
        if shelf.is_due(ids, is_new=is_new, now=monotonic()):
            listed = await tried(optional(client.workflows(repo.entry)))
            if isinstance(listed, ProviderError):
                shelf.fail(listed, now=monotonic())
            else:
                shelf.put(listed, ids, now=monotonic())
        return shelf

    async def _earlier(
        self, client: Client, repo: Repo, reruns: Sequence[Run]
    ) -> dict[int, Earlier]:
        """The earlier attempts of runs by id; each is requested until it has been read once."""
        cache = self._cache
        wanted = {
            run.id: range(max(1, run.attempt - _MOST_ATTEMPTS), run.attempt) for run in reruns
        }
        unknown = [
            (run, number)
            for run, numbers in wanted.items()
            for number in numbers
            if (run, number) not in cache.attempts
        ]
        results = await together(optional(client.attempt(repo.entry, *key)) for key in unknown)
        failed: dict[int, ProviderError] = {}
        for key, result in zip(unknown, results, strict=True):
            if isinstance(result, ProviderError):
                failed[key[0]] = result
            else:
                is_it = result is not None and result.attempt == key[1]
                cache.attempts[key] = result if is_it else None
        found: dict[int, Earlier] = {}
        for run in reruns:
            known = [cache.attempts.get((run.id, number)) for number in wanted[run.id]]
            found[run.id] = earlier([r for r in known if r is not None], failed.get(run.id))
            cache.failures.pop((run.id, run.attempt), None)
            if run.id in failed:
                cache.failures[(run.id, run.attempt)] = failed[run.id]
        return found


def _is_rerun(run: Run, query: Query) -> bool:
    """Whether earlier attempts of a run may have ended since the last walk."""
    if run.attempt == 1:
        return False
    latest = moment(run.updated_at)
    return latest is None or latest >= query.since or str(run.id) in query.unfilled
