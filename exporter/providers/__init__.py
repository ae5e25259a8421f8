"""What a provider is, and the catalogue of those there are.

A provider has three parts. Its account is a frozen class whose fields are the keys of an
account in the YAML file. Its source, which `Provider.connect` makes, reads the builds of one
account. Its cache is what the source remembers between polls to save requests. A provider knows
the API's paths, parameters and words and nothing of retries, status codes, sleeping, logging or
metrics: `http.Api` and the poller do those once for all. A new provider is one more file in this
folder; `catalogue` finds it.
"""

from __future__ import annotations

import base64
import importlib
import pkgutil
import re
from functools import cache
from typing import Annotated, Any, ClassVar, Generic, TypeVar

import msgspec
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from exporter import times
from exporter.globs import matches
from exporter.http import Api, Dialect, PublishedLimit
from exporter.http.roots import api_of_site, likely_root
from exporter.model import Build
from exporter.providers.listing import Matches, Page, Query, Repo, Unread
from exporter.providers.parts import by_part, optional
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
    "Source",
    "TokenPage",
    "Unread",
    "basic",
    "by_part",
    "catalogue",
    "optional",
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


class TokenPage(msgspec.Struct, frozen=True, kw_only=True):
    """Where an API says what the token that asks may do; `doctor` looks there."""

    path: str
    """Costs one request at most."""
    scopes: str
    """The header or member that lists them; absent for tokens of another kind."""
    expires: str
    """The header or member that begins with the token's last day, if it has one."""
    enough: tuple[str, ...]
    """Scopes of which each one is enough to read all builds that the owner may see."""
    required: bool = False
    """Whether nothing can be read without one of them, not even what is public."""


def basic(username: str, token: str) -> str:
    """The value of an `Authorization` header with a user name (RFC 7617)."""
    return "Basic " + base64.b64encode(f"{username}:{token}".encode()).decode()


class Provider(BaseModel):
    """The keys that every account has, and what follows from them."""

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
    """Whether names may hold spaces and quoted slashes; `name_pattern` alone says which may not."""
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
    source: ClassVar[type[Source[Any]]]
    """What reads the builds of an account; `connect` makes one."""
    unchanged_is_free: ClassVar[bool] = False
    """Whether an answer of 304 counts against no told limit."""

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
        """The API root that is meant by `url`, which is certainly another address; else None."""
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
        """What reads this account's builds with `api`."""
        return self.source(self, api)


A_co = TypeVar("A_co", bound=Provider, covariant=True)


class Source(Generic[A_co]):
    """Reads one account with its client, and remembers what saves requests.

    It lasts as long as the keys of its account are the same; losing it costs requests,
    nothing else.
    """

    def __init__(self, account: A_co, api: Api) -> None:
        self.account = account
        self.api = api

    def headers(self, token: str | None) -> dict[str, str]:
        """The headers of the next request, with `token` or one that was granted in its place.

        Raises Refused(`unauthorized`) if there is none yet.
        """
        return self.account.headers(token)

    async def renew(self) -> None:
        """Get a new credential where one runs out; called before each poll, mostly for nothing."""

    async def health(self) -> None:
        """Raise Refused if the provider says that the account needs a person."""

    async def discover(self, pattern: str) -> list[Repo]:
        """The repos that `pattern` matches, without archived and disabled ones.

        Returns `Matches` where a page of the list fails and those before it do not.
        """
        raise NotImplementedError

    async def page(self, repo: Repo, query: Query) -> Page:
        """One page of builds, newest first, whatever their branch, event or status."""
        raise NotImplementedError

    async def detail(self, repo: Repo, build: Build, known: Build | None) -> Build:
        """`build` with what its list item lacks, and with its jobs if `jobs` is set.

        `known` is what an earlier poll knew of the same attempt. Called only for builds
        that are news, have changed or are unfinished, and that are partial or need their
        jobs. What is gone or refused stays None; what fails for now raises TryLater: then
        the build is asked for again at the next polls, and after an hour and ten of them
        it counts as it was listed.
        """
        raise NotImplementedError

    def without_detail(self, build: Build) -> Build:
        """What is to be counted of a listed build whose `detail` has failed long enough."""
        return build

    async def refresh(self, repo: Repo, known: Build) -> Build:
        """An unfinished build read again by itself, with its jobs if `jobs` is set.

        Raises Gone if the provider no longer has it.
        """
        raise NotImplementedError


@cache
def catalogue() -> dict[str, type[Provider]]:
    """Every provider by the word its accounts use, in alphabetical order.

    A provider is the subclass of `Provider` that a module or package of this folder
    defines under the name `PROVIDER`.
    """
    found: dict[str, type[Provider]] = {}
    for module in pkgutil.iter_modules(__path__):
        provider = getattr(importlib.import_module(f"{__name__}.{module.name}"), "PROVIDER", None)
        if provider is not None:
            found[module.name] = provider
    return dict(sorted(found.items()))
