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
that ran. One that waits for another run of its concurrency group (`pending`) is `waiting`.

Unknown: whether a person or the API dispatched a run; whether it ran for a tag or a branch; which
pull request, where it is from a fork, closed, or one of several of its branch; without
`jobs: true`, that a run nobody saw was touched (its logs deleted) within half an hour.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal
from urllib.parse import urlsplit

from exporter.http import Api, Dialect, PublishedLimit
from exporter.providers import Fault, Provider, Repo, Site, TokenPage
from exporter.providers.github.app import App
from exporter.providers.github.enterprise import enterprise_api
from exporter.providers.github.mapping import (
    is_vouched,
    ref_of,
)
from exporter.providers.github.run_origin import Origin, origin
from exporter.providers.github.source import GitHubSource
from exporter.providers.github.vocabulary import WORDS
from exporter.providers.github.workflows import file_of

__all__ = [
    "PROVIDER",
    "WORDS",
    "App",
    "GitHub",
    "Origin",
    "file_of",
    "is_vouched",
    "origin",
    "ref_of",
]


_ACCEPT = "application/vnd.github+json, application/json"
"""What GitHub asks for, and what its own description of the API knows."""
_RESIDENT = ".ghe.com"
"""What the hosts of Enterprise Cloud with data residency end with."""


class GitHub(Provider):
    """GitHub Actions, on github.com or GitHub Enterprise Server (url: https://HOST/api/v3)."""

    entry_form = "owner/name or owner/*"
    entry_pattern = r"[^/*\s]+/(?:[^/*\s]+|\*)"
    name_pattern = r"[A-Za-z0-9_-]{1,100}/(?!\.{1,2}$)[A-Za-z0-9._-]{1,100}"
    default_url = "https://api.github.com"
    sites: ClassVar[tuple[str, ...]] = ("github.com",)
    web_hosts: ClassVar[dict[str, str]] = {"api.github.com": "github.com"}
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
        on_all=True,
    )

    described: ClassVar[dict[str, str]] = {
        "": "commit commit_at title triggered_by pull_request url job_url job_labels"
    }

    # Secondary limit of the REST API: 900 points a minute, a GET is one of them, also at 304.
    published_limits = (PublishedLimit(900, 60.0),)
    unchanged_is_free = True

    provider: Literal["github"]
    app: App | None = None
    """In place of a token, a GitHub App: {id: 12345, private_key_file: app.pem,
    installation_id: 67890}."""

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
    def web_root(self) -> str | None:
        """The site; Enterprise Cloud with data residency has it at the host without `api.`."""
        host = urlsplit(self.root).hostname or ""
        if self.web_url is None and host.startswith("api.") and host.endswith(_RESIDENT):
            return f"https://{host.removeprefix('api.')}"
        return super().web_root

    def page_of(self, repo: Repo) -> str | None:
        """The runs of the repo."""
        return Site(self.web_root).page(repo.entry, "actions")

    @property
    def likely_root(self) -> str | None:
        """Enterprise Cloud with data residency has a host for its API, all others a path."""
        host = urlsplit(self.root).hostname or ""
        if not host.endswith(_RESIDENT):
            return super().likely_root
        return None if host.startswith("api.") else f"https://api.{host}"

    def headers(self, token: str | None) -> dict[str, str]:
        """A bearer token, and which version of the API is spoken."""
        version = {"Accept": _ACCEPT, "X-GitHub-Api-Version": "2022-11-28"}
        return version | super().headers(token)

    def connect(self, api: Api) -> GitHubSource:
        """A source that asks for the tokens of the App's installation itself."""
        return GitHubSource(self, api, self.app)

    def identity(self, entry: str) -> str:
        """Upper and lower case are one."""
        return entry.lower()


PROVIDER = GitHub
