"""The contract of providers, and the catalogue of them.

A provider is a module or package of this folder that defines `PROVIDER`. It has three parts:

- An account (`Provider`): the keys of one account in the YAML file, frozen, and what follows from
  them without a request.
- A source (`Source`): reads the builds of one account with its client, an `http.Api`. It lives as
  long as the account's own keys are the same, also over a reload.
- A cache: what the source remembers between polls to save requests, each part of it bounded.

A provider knows the paths, parameters and words of its API. It does not know about retries, status
codes, rate limits, logging or metrics: the client and the schedule handle those for all.

A whole provider, for an API that lists all builds of a repo at once:

    class TinySource(Source["Tiny"]):
        async def page(self, repo: Repo, query: Query) -> Page:
            answer = await self.api.get(f"/{repo.entry}/builds", into=list[msgspec.Raw])
            return Page.of(answer.body, Item, lambda item: to_build(item, repo))

    class Tiny(Provider):
        source = TinySource
        default_url = "https://tiny.example/api"
        provider: Literal["tiny"]

    class Item(msgspec.Struct):
        id: int
        state: str
        started: str
        ended: str | None = None

    WORDS = Words(status=by_word({}), conclusion=by_word({"passed": "ok", "failed": "broken"}))

    def to_build(item: Item, repo: Repo) -> Build:
        times = {"started": moment(item.started), "ended": moment(item.ended)}
        state = resolve_state(WORDS, item.state, **times)
        return Build(key=BuildKey(str(item.id)), repo=repo.entry, **state.fields())

    PROVIDER = Tiny
"""

from __future__ import annotations

import base64
import importlib
import pkgutil
import re
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, ClassVar, Generic, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from exporter import times
from exporter.globs import matches
from exporter.http import Api, Dialect, PublishedLimit
from exporter.http.roots import api_of_site, likely_root
from exporter.model import Build
from exporter.providers.listing import Matches, Page, Query, Repo, Unread
from exporter.providers.parts import by_part, optional, together, tried
from exporter.providers.site import Site
from exporter.providers.token_page import TokenPage
from exporter.redaction import shown

__all__ = [
    "Duration",
    "Entry",
    "Fault",
    "Matches",
    "Page",
    "Provider",
    "Query",
    "Repo",
    "Site",
    "Source",
    "TokenPage",
    "Unread",
    "basic",
    "by_part",
    "catalogue",
    "optional",
    "together",
    "tried",
]


def _duration(value: Any) -> Any:
    return times.span(value) if isinstance(value, str) else value


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Duration = Annotated[
    float,
    BeforeValidator(_duration),
    Field(strict=True),
    WithJsonSchema({"type": ["number", "string"], "pattern": times.SPAN}),
]
"""Seconds; written `30s 5m 1h30m 1d` or as a number of seconds."""

Fault = tuple[tuple[str | int, ...], str]
"""Where in an account something is wrong, and what."""

Entry = Annotated[
    str,
    BeforeValidator(_text),
    Field(min_length=1),
    WithJsonSchema({"type": ["string", "integer"], "minLength": 1}),
]
"""One line of `repos`; a bare number is its own spelling."""


def basic(username: str, token: str) -> str:
    """The value of an `Authorization` header with a user name (RFC 7617)."""
    return "Basic " + base64.b64encode(f"{username}:{token}".encode()).decode()


class Provider(BaseModel):
    """One account: the keys that all accounts have, and what follows from them.

    A subclass adds the keys of its provider as fields, with their docstrings as documentation.
    Accounts are equal if their keys are.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True
    )

    default_url: ClassVar[str | None] = None
    """The public API root; None where every installation has its own."""
    credentials: ClassVar[tuple[str, ...]] = ("token_env", "token_file")
    """Keys of which exactly one names the credential."""
    example_values: ClassVar[dict[str, Any]] = {}
    """Values for the account in `config.example.yaml`."""
    entry_form: ClassVar[str] = "text"
    """What a line of `repos` looks like, in words."""
    entry_pattern: ClassVar[str] = r".+"
    """The same as a regular expression for all of it."""
    name_pattern: ClassVar[str] = r".+"
    """What a discovered entry may be, by the names that the provider allows."""
    has_odd_names: ClassVar[bool] = False
    """Whether names may hold spaces and `%2F`, so that only `name_pattern` restricts them."""
    anonymous: ClassVar[bool] = False
    """Whether the API answers without a token."""
    published_limits: ClassVar[tuple[PublishedLimit, ...]] = ()
    """The limits that are published for the hosted service, where no header tells them."""
    token_page: ClassVar[TokenPage | None] = None
    """Where the API tells about the token, if it does."""
    rights: ClassVar[str] = ""
    """What a token must be allowed, in words that end a sentence."""
    dialect: ClassVar[Dialect] = Dialect()
    """How the API words its refusals beyond the standards."""
    root_path: ClassVar[str] = ""
    """What the path of a self-hosted installation's API root ends with, such as `/api/v4`."""
    sites: ClassVar[tuple[str, ...]] = ()
    """Hosts of the hosted service's pages for people; one that begins with a dot stands for all
    below it."""
    web_hosts: ClassVar[dict[str, str]] = {}
    """The hosts of the hosted service's pages for people, by the host of its API."""
    source: ClassVar[type[Source[Any]]]
    """The class of this provider's sources; `connect` makes one."""
    described: ClassVar[Mapping[str, str]] = {}
    """What people read of a build that answers fill: keys of `config.reference.DESCRIPTIONS`,
    separated by spaces, by the kind of account ("" where there is one)."""
    unchanged_is_free: ClassVar[bool] = False
    """Whether an answer of 304 does not count against the limits that the API reports."""

    name: Annotated[str, Field(min_length=1)]
    """The `account` label; unique."""
    provider: str
    """Which of the providers this is."""
    url: str | None = None
    """The API root, for self-hosted installations and tests."""
    token_env: str | None = None
    """Environment variable that holds the token. Exactly one of token_env, token_file."""
    token_file: str | None = None
    """File that holds the token; read again when it changes."""
    web_url: str | None = None
    """Root of the provider's pages, for links; by default what follows from url."""
    ca_file: str | None = None
    """CA bundle for a private CA."""
    proxy: str | None = None
    """URL of an HTTP proxy; the environment's is not used."""
    interval: Duration | None = None
    """Overrides polling.interval for this account."""
    repos: Annotated[list[Entry], Field(min_length=1)]
    """What to poll; a wildcard discovers."""
    exclude: list[Entry] = []
    """Globs of repos to leave out."""
    jobs: bool = False
    """Poll the jobs of each build too."""

    @property
    def root(self) -> str:
        """The API root in force, without a slash at its end."""
        return (self.url or self.default_url or "").rstrip("/")

    @property
    def web_root(self) -> str | None:
        """The root of the provider's pages, without a slash at its end; None if unknown."""
        if self.web_url is not None:
            return self.web_url.rstrip("/")
        parts = urlsplit(self.root)
        if (host := self.web_hosts.get(parts.hostname or "")) is not None:
            return f"https://{host}"
        return self.root.removesuffix(self.root_path).rstrip("/") or None

    def page_of(self, repo: Repo) -> str | None:
        """The address of a repo's page at the provider; None if it is not known."""
        return None

    @property
    def likely_root(self) -> str | None:
        """The API root that was most probably meant; None if `url` may well be right."""
        owners = {entry.partition("/")[0] for entry in self.repos}
        return likely_root(self.root, public=self.default_url, below=self.root_path, owners=owners)

    @property
    def label(self) -> str:
        """The `provider` label."""
        return self.provider

    @property
    def quota(self) -> str:
        """Names the rate limit of the account, where one token has several; else empty."""
        return ""

    @property
    def published(self) -> tuple[PublishedLimit, ...]:
        """The published limits that hold for `url`: a self-hosted installation has its own."""
        return self.published_limits if self.root == (self.default_url or "").rstrip("/") else ()

    @property
    def own_token_page(self) -> TokenPage | None:
        """The `token_page` for a token that is configured: one that is granted renews itself."""
        has_own = self.token_env is not None or self.token_file is not None
        return self.token_page if has_own else None

    @property
    def consecutive_numbers(self) -> bool:
        """Whether the build numbers of one repo have no holes, so that a hole is a gap."""
        return False

    @classmethod
    def faults(cls, account: dict[str, Any]) -> list[Fault]:
        """What is wrong with an account that its field types cannot say.

        `account` holds the validated values. Each fault is the place inside the account
        (`("repos", 2)`) and one line: what is wrong (what to do).
        """
        return [
            (("repos", i), f"must be {cls.entry_form} (got {shown(entry, 100)})")
            for i, entry in enumerate(account.get("repos", ()))
            if not re.fullmatch(cls.entry_pattern, entry)
        ]

    @classmethod
    def api_instead_of(cls, url: str) -> str | None:
        """The root of the API if `url` is surely a site for people; else None."""
        return api_of_site(url, public=cls.default_url, sites=cls.sites)

    @property
    def is_anonymous(self) -> bool:
        """Whether the account names no credential."""
        return all(getattr(self, key) is None for key in self.credentials)

    def excludes(self, entry: str) -> bool:
        """Whether a glob of `exclude` matches."""
        return any(matches(glob, entry) for glob in self.exclude)

    def headers(self, token: str | None) -> dict[str, str]:
        """The headers that every request carries, the credential among them.

        `token` is what `token_env` or `token_file` holds, or what was granted in its place.
        """
        return {} if token is None else {"Authorization": f"Bearer {token}"}

    @property
    def secret_files(self) -> tuple[str, ...]:
        """Files beside `token_file` that the credential is made of."""
        return ()

    def is_wildcard(self, entry: str) -> bool:
        """Whether `entry` is to be discovered rather than polled as it stands."""
        return "*" in entry

    @property
    def reads_below(self) -> bool:
        """Whether polling `a/b` reads all builds of `a/b/c` too."""
        return False

    def identity(self, entry: str) -> str:
        """What `entry` names: the same however it is spelled."""
        return entry

    def connect(self, api: Api) -> Source[Any]:
        """A new source of this account, which sends its requests by `api`."""
        return self.source(self, api)


A_co = TypeVar("A_co", bound=Provider, covariant=True)


class Source(Generic[A_co]):
    """Reads the builds of one account.

    `account` has the configured keys, `api` is the client, `site` makes and checks the addresses
    of pages. Subclasses keep in attributes what
    they remember between polls to save requests (`Bounded`, `Marks`, `Feed`); a source made anew
    reads more and counts the same.

    Methods raise `ProviderError`s and nothing else: those of `api` as they come, and `Malformed`
    for an answer that makes no sense. An error with `account_wide` set fails the account, any
    other one the repo or build that was asked for. Times are epoch seconds by the provider's
    clock (`api.now()`). Several polls call the methods concurrently, but never two of one repo.
    """

    def __init__(self, account: A_co, api: Api) -> None:
        self.account = account
        self.api = api
        self.site = Site(account.web_root)

    def headers(self, token: str | None) -> dict[str, str]:
        """The headers of the next request.

        `token` is the configured one; a source that is granted its tokens sends the granted one
        instead and raises Refused(`unauthorized`) while it has none.
        """
        return self.account.headers(token)

    async def renew(self) -> None:
        """Fetch a new token if the granted one is about to expire. Called before each poll."""

    async def health(self) -> None:
        """Raise Refused if the provider reports that the account needs attention.

        Called every ten minutes, and after a repo was refused.
        """

    async def discover(self, pattern: str) -> list[Repo]:
        """The repos that a wildcard of `repos` matches, without archived and disabled ones.

        Called every hour. Returns `Matches` with the error if only a part of the list can be read.
        """
        raise NotImplementedError

    async def page(self, repo: Repo, query: Query) -> Page:
        """One page of a repo's builds, newest first, of all branches, triggers and states.

        `query.token` is None for the first page, else `Page.next` of the page before. A build
        whose list item lacks something is `partial`, so that `detail` is called for it.
        """
        raise NotImplementedError

    async def detail(self, repo: Repo, build: Build, known: Build | None) -> Build:
        """`build` with what its list item lacks, and with its jobs if `account.jobs` is set.

        `known` is the same attempt as an earlier poll read it. Called for builds that are new,
        changed or unfinished, if they are `partial` or jobs are wanted. What is gone or refused
        (`optional`) stays None. After TryLater the next polls call it again; after ten polls and
        an hour the build counts `without_detail`.
        """
        raise NotImplementedError

    def without_detail(self, build: Build) -> Build:
        """A listed build as it counts if its `detail` keeps failing."""
        return build

    async def refresh(self, repo: Repo, known: Build) -> Build:
        """An unfinished build that no page has shown, read by itself.

        With its jobs if `account.jobs` is set. Raises Gone if it no longer exists.
        """
        raise NotImplementedError


@cache
def catalogue() -> dict[str, type[Provider]]:
    """All providers by the value of the key `provider`, which is the name of their module."""
    found: dict[str, type[Provider]] = {}
    for module in pkgutil.iter_modules(__path__):
        provider = getattr(importlib.import_module(f"{__name__}.{module.name}"), "PROVIDER", None)
        if provider is not None:
            found[module.name] = provider
    return dict(sorted(found.items()))
