"""One account: whether its API is reached, knows us, lets us read, and lists builds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import urlsplit

from exporter import daemon
from exporter.commands.doctor.checks import About, Check
from exporter.commands.doctor.network import reached
from exporter.config import Config
from exporter.errors import Gone, ProviderError, Refused, TryLater, Waiting
from exporter.http import Answer, RateLimit, RetryPolicy
from exporter.messages import duration
from exporter.providers import Matches, Page, Provider, Query, Repo, TokenPage
from exporter.providers.remedy import advice, credential
from exporter.schedule.budget_group import BudgetGroups
from exporter.schedule.discovery import name_fault

T = TypeVar("T")

_DEADLINE = 60.0
"""Seconds for one account."""
_RETRIES = RetryPolicy(attempts=2)
_SKEWED = 30.0
"""Seconds by which a clock may be wrong."""
_SOON = 14
"""Days before a token expires that are worth a warning."""
_PAGE = 10
"""Builds of the page that a repo is asked for; a hint."""

CHECKS = ("dns", "tls", "authentication", "scopes", "rate_limit", "clock", "repo")
"""The checks of an account, in order."""

Tell = Callable[[str], None]
"""Told, while it happens, what is being done."""


async def checked(
    account: Provider, config: Config, groups: BudgetGroups, *, sample: int, tell: Tell
) -> list[Check]:
    """All checks of one account; at most `sample` of its repos are asked for builds."""
    about = About(account.name)
    tell(f"{account.name}: looking for its host")
    checks = await reached(account, about)
    if checks[-1].status != "failed":
        examination = _Examination(account, config, groups, about, tell)
        checks += await examination.made(sample)
    made = {check.check for check in checks}
    cause = next((check.check for check in checks if check.status == "failed"), None)
    why = f"not asked: {cause} failed" if cause else "nothing to ask for"
    missing = [about.skipped(name, why) for name in CHECKS if name not in made]
    return sorted([*checks, *missing], key=lambda check: CHECKS.index(check.check))


class _Examination:
    """The requests to one account, and what they tell."""

    def _mend(self, error: ProviderError) -> str:
        """What to do about it, worded as the other remedies here are: no sentence."""
        text = advice(self._account, error.reason, error.advice)
        return f"{text[:1].lower()}{text[1:].removesuffix('.')}"

    def __init__(
        self, account: Provider, config: Config, groups: BudgetGroups, about: About, tell: Tell
    ) -> None:
        self._account = account
        self._lookback = config.polling.lookback
        self._reserve = config.polling.reserve
        self._about = about
        self._tell = tell
        self._source, self._group = daemon.account_source(account, config, groups, retries=_RETRIES)
        self._api = self._source.api
        self._host = urlsplit(account.root).netloc
        self._answered = False
        self._refusal: ProviderError | None = None
        """What the whole account failed with; nothing more is asked then."""
        self._checks: list[Check] = []
        self._token: list[Check] = []

    async def made(self, sample: int) -> list[Check]:
        """Ask, and tell the checks from `authentication` on."""
        try:
            async with asyncio.timeout(_DEADLINE):
                await self._introduced()
                await self._sampled(sample)
        except TimeoutError:
            late = f"not done after {_DEADLINE:g}s"
            self._refusal = self._refusal or TryLater(late, reason="timeout")
        except ProviderError as error:
            self._refusal = error
        finally:
            await self._api.aclose()
        return [
            self._authentication(),
            *self._token,
            self._rate_limit(),
            self._clock(),
            *self._checks,
        ]

    # -- asking

    async def _introduced(self) -> None:
        """Get a credential, ask for the account's health and what the token may do."""
        self._tell(f"{self._account.name}: asking who we are")
        await self._source.renew()
        await self._source.health()
        page = self._account.token_page
        told = None
        if page is not None and credential(self._account):
            told = await self._told(page)
        self._token.append(self._scopes(page, told))

    async def _told(self, page: TokenPage) -> Answer[dict[str, Any]] | None:
        """What the API tells about the token; None for a token or server that has no page."""
        try:
            answer = await self._api.get(page.path, into=dict[str, Any])
        except (Gone, Refused) as error:
            if error.account_wide:
                raise
            return None
        self._answered = True
        return answer

    async def _sampled(self, most: int) -> None:
        """Ask for what wildcards match, and some repos for builds: named ones first."""
        wild = self._account.is_wildcard
        repos = [Repo(entry) for entry in self._account.repos if not wild(entry)][:most]
        for pattern in filter(wild, self._account.repos):
            self._tell(f"{self._account.name}: discovering {pattern}")
            found = await self._unless_refused(pattern, self._source.discover(pattern))
            repos += self._matched(pattern, found) if found is not None else []
        for repo in repos[:most]:
            self._tell(f"{self._account.name}: asking for builds of {repo.entry}")
            query = Query(since=self._api.now() - self._lookback, size=_PAGE)
            page = self._source.page(repo, query)
            if (listed := await self._unless_refused(repo.entry, page)) is not None:
                self._checks.append(self._listed(repo, listed))
                for unread in listed.unread:
                    self._fails(f"{repo.entry}: {unread.part}", unread.error)

    async def _unless_refused(self, entry: str, asked: Awaitable[T]) -> T | None:
        """What is answered about an entry; None, told, if that is not to be had.

        Raises ProviderError for what is wrong with the whole account.
        """
        try:
            found = await asked
        except ProviderError as error:
            if error.account_wide or isinstance(error, Waiting):
                raise
            self._fails(entry, error)
            return None
        self._answered = True
        return found

    # -- telling

    def _fails(self, what: str, error: ProviderError) -> None:
        """An entry, or a part of what it lists, is not to be had."""
        mend = self._mend(error)
        self._checks.append(self._about.failed("repo", f"{what}: {error}", mend))

    def _matched(self, pattern: str, found: list[Repo]) -> list[Repo]:
        """Tell what a wildcard has found, and what of it is not polled; the repos that are."""
        faults = [(repo, name_fault(self._account, repo.entry)) for repo in found]
        odd = [fault for _, fault in faults if fault is not None]
        repos = [
            repo
            for repo, fault in faults
            if fault is None and not self._account.excludes(repo.entry)
        ]
        shortfall = found.error if isinstance(found, Matches) else None
        if odd:
            more = f" (and {len(odd) - 1} more)" if len(odd) > 1 else ""
            mend = "rename it, or leave it out by `exclude`"
            self._checks.append(self._about.warning("repo", f"{pattern}: {odd[0]}{more}", mend))
        if shortfall is not None:
            self._fails(pattern, shortfall)
        if repos:
            self._checks.append(self._about.ok("repo", f"{pattern} matches {len(repos)}"))
        elif not odd and shortfall is None:
            mend = "check its spelling, `exclude`, and what the token may see"
            self._checks.append(self._about.warning("repo", f"{pattern} matches nothing", mend))
        return repos

    def _listed(self, repo: Repo, page: Page) -> Check:
        if page.rejected:
            text = f"{repo.entry}: {page.rejected} of its builds cannot be understood"
            return self._about.warning("repo", text, "please report it, with --log.level=debug")
        times = [build.time for build in page.builds if build.time is not None]
        if times:
            age = duration(max(0, int(self._api.now() - max(times))))
            return self._about.ok("repo", f"{repo.entry}: lists builds, the newest {age} ago")
        if page.builds:
            return self._about.ok("repo", f"{repo.entry}: lists builds")
        text = f"{repo.entry}: no builds in the last {duration(self._lookback)}"
        return self._about.ok("repo", text)

    def _authentication(self) -> Check:
        name, error, key = "authentication", self._refusal, credential(self._account)
        if error is not None and error.reason != "rate_limited":
            return self._about.failed(name, str(error), self._mend(error))
        if not self._answered:
            return self._about.skipped(name, "not told: no request was answered")
        if key:
            return self._about.ok(name, f"the token of {key} is accepted")
        keys = " or ".join(self._account.credentials)
        text = "answers without a token, with a low rate limit"
        return self._about.warning(name, text, f"set {keys} for what is not public")

    def _scopes(self, page: TokenPage | None, told: Answer[dict[str, Any]] | None) -> Check:
        name = "scopes"
        if not credential(self._account):
            return self._about.skipped(name, "there is no token")
        if page is None or told is None:
            text = f"not told by the API; needed: {self._account.rights}"
            return self._about.skipped(name, text)
        expiry = _expiry(told, page.expires)
        scopes = _listed(told, page.scopes)
        if scopes is None:
            text = f"not told for such a token; needed: {self._account.rights}"
            return self._expiring(expiry) or self._about.skipped(name, text)
        shown = ", ".join(scopes) or "none"
        if not set(scopes) & set(page.enough):
            make = f"make a token that has {self._account.rights}"
            if page.required:
                return self._about.failed(name, f"the token has {shown}: not enough", make)
            text = f"the token has {shown}: only what is public can be read"
            return self._about.warning(name, text, f"for private repos {make}")
        return self._expiring(expiry) or self._about.ok(name, f"the token has {shown}")

    def _expiring(self, last: date | None) -> Check | None:
        if last is None or last - datetime.now(UTC).date() > timedelta(days=_SOON):
            return None
        mend = f"make a new one and put it into {credential(self._account)}"
        return self._about.warning("scopes", f"the token expires on {last}", mend)

    def _rate_limit(self) -> Check:
        name, error = "rate_limit", self._refusal
        limits = self._api.stats.rate_limits
        if error is not None and error.reason == "rate_limited":
            delay = error.delay if isinstance(error, TryLater) else None
            until = f" for another {duration(round(delay))}" if delay else ""
            mend = self._mend(error)
            return self._about.failed(name, f"limited: nothing is answered{until} ({error})", mend)
        if not limits:
            published = self._account.published
            told = ", ".join(f"{a.requests} in {duration(a.seconds)}" for a in published)
            text = f"not told by the API; published: {told}" if told else "not told by the API"
            return self._about.ok(name, text)
        resource, least = min(limits.items(), key=lambda item: _share(item[1]))
        text = self._limit(resource, least)
        if _share(least) <= self._reserve:
            mend = "polls wait: raise polling.interval, or see who else uses the token"
            return self._about.warning(name, text, mend)
        return self._about.ok(name, text)

    def _limit(self, resource: str, limit: RateLimit) -> str:
        left = "?" if limit.remaining is None else f"{limit.remaining:g}"
        of = "" if limit.limit is None else f" of {limit.limit:g}"
        full = ""
        if limit.reset_at is not None:
            full = f", full again in {duration(max(0, round(limit.reset_at - self._api.now())))}"
        return f"{left}{of} requests left{f' ({resource})' if resource else ''}{full}"

    def _clock(self) -> Check:
        skew = self._api.stats.clock_skew
        if skew is None:
            return self._about.skipped("clock", "no answer told the time")
        if abs(skew) <= _SKEWED:
            return self._about.ok(
                "clock", f"{abs(skew):.0f}s apart" if skew else "the same as here"
            )
        there = f"{duration(round(abs(skew)))} {'ahead of' if skew > 0 else 'behind'} ours"
        shown = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        mend = f"set this machine's clock by NTP (it says {shown}), or that of {self._host}"
        return self._about.failed("clock", f"the clock of {self._host} is {there}", mend)


def _share(limit: RateLimit) -> float:
    """The share of a limit that is left; 1 where that is not known."""
    if limit.remaining is None or not limit.limit:
        return 1.0 if limit.remaining is None or limit.remaining > 0 else 0.0
    return limit.remaining / limit.limit


def _listed(told: Answer[dict[str, Any]], name: str) -> list[str] | None:
    """The scopes in a header, with commas between, or in a list of the body."""
    text = told.headers.get(name)
    if text is not None:
        return [scope.strip() for scope in text.split(",") if scope.strip()]
    found = told.body.get(name)
    return [str(scope) for scope in found] if isinstance(found, list) else None


def _expiry(told: Answer[dict[str, Any]], name: str) -> date | None:
    text = told.headers.get(name) or told.body.get(name)
    try:
        return date.fromisoformat(text[:10]) if isinstance(text, str) else None
    except ValueError:
        return None
