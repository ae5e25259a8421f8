"""Travis CI.

Token: Settings, API authentication, Copy token, or `travis token` of the command line client. It
has no scopes and may do what its user may, so make a user for it who can only see these repos.
Public repos need none.

Requests: one per repo and poll, jobs included; a new build costs none besides. A build that is
older than the first page and still runs costs one each poll. Discovery costs one for each 100
repos.

Limits: 2000 requests a minute, 500 without a token.

Self-hosted: Travis CI Enterprise, with `url: https://HOST/api`.

Known: duration, queue (the build itself has no creation time: it is that of its first job),
trigger, jobs. A job is named by its stage and its place in the build; a job of a later stage is
queued from the end of the stage before, as all jobs are created with the build.

Unknown: the names that people gave jobs, which only the configuration has; whether the button or
the API started a build, and who restarted one; how many restarts there were. A build by `cron` is
said to be of the last committer.

A restart uses the same id again, wipes start and end and is numbered nowhere. So a run is known by
its id and its start: each restart has a key of its own, which every later reading finds again, also
in another process. A first run that has not started, or never did, has a key without a start, which
stands for the run that is known of this id, if there is one. A restart that has not started has the
time when it was ordered (`restarted_at` of a job) in place of the start. That a run is a restart
(attempt 2, no queue time) is told by that time or, where an older API has none, by an earlier start
that this process has seen; which restart it is nobody tells. Of a restart that came and went
between two polls only the last run is left to see.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from exporter.http import PublishedLimit
from exporter.providers import Provider, Repo, Site
from exporter.providers.travis.mapping import origin, place_of
from exporter.providers.travis.source import TravisSource
from exporter.providers.travis.stages import queued_by_stage
from exporter.providers.travis.vocabulary import NAME, WORDS

__all__ = ["NAME", "PROVIDER", "WORDS", "Travis", "origin", "place_of", "queued_by_stage"]


class Travis(Provider):
    """Travis CI (travis-ci.com and Enterprise)."""

    entry_form = "owner/repo or owner/*"
    entry_pattern = r"[^/*\s]+/(?:[^/*\s]+|\*)"
    name_pattern: ClassVar[str] = NAME
    default_url = "https://api.travis-ci.com"
    root_path = "/api"
    sites: ClassVar[tuple[str, ...]] = (
        "travis-ci.com",
        ".travis-ci.com",
        "travis-ci.org",
        ".travis-ci.org",
    )
    web_hosts: ClassVar[dict[str, str]] = {"api.travis-ci.com": "app.travis-ci.com"}
    published_limits = (PublishedLimit(2000, 60.0),)
    anonymous = True
    rights = "the API token of a user who may see the repo"
    example_values: ClassVar[dict[str, Any]] = {"repos": ["acme/shop", "acme/*"]}

    described: ClassVar[dict[str, str]] = {
        "": "commit commit_at title triggered_by pull_request url job_url"
    }

    source = TravisSource

    provider: Literal["travis"]

    def headers(self, token: str | None) -> dict[str, str]:
        """The version of the API is a header too."""
        version = {"Travis-API-Version": "3"}
        return version if token is None else {**version, "Authorization": f"token {token}"}

    def page_of(self, repo: Repo) -> str | None:
        """The page of the repo, whose code is taken to be at GitHub."""
        return Site(self.web_root).page(place_of(repo.entry, None))

    def identity(self, entry: str) -> str:
        """Owners and repos are the same in upper and lower case."""
        return entry.casefold()


PROVIDER = Travis
