"""Bitbucket Pipelines.

A build is one run of a pipeline, a job one step of it.

Token: for one repository: Repository settings, Access tokens, with Repositories: Read and
Pipelines: Read (`repository`, `pipeline`); there are such tokens of projects and workspaces in
paid plans. Else an API token of the Atlassian account (Security, Create API token with scopes)
with `read:repository:bitbucket` and `read:pipeline:bitbucket`, and the account's e-mail as
`username`.

Requests: one per repo and poll; a new build costs one more for its steps, once it has completed
(one for each 100 steps; with `jobs: true` one each poll while it runs). Discovery costs one for
each 100 repos and, when a repo is first met, one that tells whether its pipelines are switched
on.

Limits: 1000 requests an hour for one user, so N repos cannot be polled more often than every 3.6
N seconds: 16 repos at the interval of one minute. Access tokens of workspaces with more than 100
paid seats get up to 10 000.

Self-hosted: none; Bitbucket Data Center has no Pipelines.

Known: duration (start of the first step to the end of the pipeline), queue, trigger (a run by
the API looks like one by hand), attempts (`run_number`), jobs. What a completed pipeline does not
say of its end and result is that of its steps. Where pipelines have no `run_number`, one whose
steps run again ends anew, with the anomaly `ended_again` or `conclusion_changed`.

Paused pipelines (a manual step, another deployment) and halted ones (stopped until somebody runs
the rest) are `waiting` until then, and count when they have ended, however late.

Unknown: queue times of jobs; an attempt that was run again before anybody saw it complete; the
title of a commit whose message the API leaves out, unless a pull request has one.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from exporter.globs import matches
from exporter.http import Dialect, PublishedLimit
from exporter.providers import Provider, Repo, Site, basic
from exporter.providers.bitbucket.mapping import (
    UUID,
    WORDS,
    braced,
    is_pull_request,
    origin,
    results,
    selected,
)
from exporter.providers.bitbucket.source import BitbucketSource

__all__ = [
    "PROVIDER",
    "WORDS",
    "Bitbucket",
    "braced",
    "is_pull_request",
    "origin",
    "results",
    "selected",
]


class Bitbucket(Provider):
    """Bitbucket Pipelines (Bitbucket Cloud).

    1000 requests an hour are allowed, and each repo costs one a poll.
    """

    entry_form = "workspace/repo or workspace/*"
    entry_pattern = r"[^/*]+/(?:[^/*]+|\*)"
    name_pattern: ClassVar[str] = (
        rf"(?:\{{?{UUID}\}}?|[A-Za-z0-9_-]+)/(?!\.{{1,2}}\Z)[A-Za-z0-9_.-]{{1,100}}"
    )
    default_url = "https://api.bitbucket.org/2.0"
    root_path = "/2.0"
    sites: ClassVar[tuple[str, ...]] = ("bitbucket.org",)
    web_hosts: ClassVar[dict[str, str]] = {"api.bitbucket.org": "bitbucket.org"}
    published_limits = (PublishedLimit(1000, 3600.0),)
    dialect = Dialect(scope_headers=("x-accepted-oauth-scopes",))
    rights = "the scopes `repository` and `pipeline` (read)"
    example_values: ClassVar[dict[str, Any]] = {
        "username": "ci-reader@acme.example",
        "interval": "5m",
        "repos": ["acme/shop", "acme/*"],
    }

    described: ClassVar[dict[str, str]] = {"": "commit title triggered_by pull_request url job_url"}

    source = BitbucketSource

    provider: Literal["bitbucket"]
    username: str | None = None
    """E-mail of the account that an API token belongs to; leave it out for access tokens."""

    @property
    def consecutive_numbers(self) -> bool:
        """Build numbers count the pipelines of one repo."""
        return True

    def page_of(self, repo: Repo) -> str | None:
        """The list of its pipelines."""
        return Site(self.web_root).page(braced(repo.entry), "pipelines")

    def headers(self, token: str | None) -> dict[str, str]:
        """Basic for the API token of a user, else a bearer token."""
        if token is None or self.username is None:
            return super().headers(token)
        return {"Authorization": basic(self.username, token)}

    def identity(self, entry: str) -> str:
        """What `entry` names: in upper or lower case, an id with or without its braces."""
        return "/".join(part.strip("{}") for part in entry.lower().split("/"))

    def excludes(self, entry: str) -> bool:
        """Whether a glob of `exclude` matches, in upper or lower case."""
        return any(matches(glob.lower(), entry.lower()) for glob in self.exclude)


PROVIDER = Bitbucket
