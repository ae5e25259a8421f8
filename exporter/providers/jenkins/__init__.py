"""Jenkins: builds of jobs and of the branches of multibranch jobs, jobs from the stage view.

Token: a user with Overall/Read and Job/Read and nothing else; as this user: the name at the top,
Security, Add new token. `username` is the user's. Without any, what anonymous users may see.

Requests: one `tree` request tells the last build of all jobs of the controller. It serves all
entries that are polled within 15 seconds, so an idle round costs 1 (folders more than 4 levels
deep: 1 more each; 1 more while something is queued). A job is listed (1 more) only if its last
build has changed. A running pipeline costs 1 for its stage view, to see whether it waits for
input; with `jobs: true` each new build 1 for its stages.

Limits: controllers have none; 8 requests are under way at most. One that is slow to list thousands
of jobs needs a longer `polling.timeout`; where it cannot answer in time, or at all, smaller lists
are asked for: each folder by itself (1 each), and fewer builds at a time.

Self-hosted: always; `url` is the controller's root with its prefix.

Known: duration (but not of a build during which the controller died), trigger (from the most
telling cause), queue only with the Metrics plugin, jobs (stages) only with the Pipeline Stage View
plugin. Queue items count as queued builds.

Unknown: attempts: a replay or restart is a build of its own; who began a build, unless a user did;
title and time of a commit that was built before, or is not among the first 25 that are new.

A branch that cannot be read, though the controller lists it with builds, is shown at its
multibranch job and tried again; the others count meanwhile. A proxy that decodes `%2F` in paths
makes all branches with a slash such ones (Apache: `AllowEncodedSlashes NoDecode` and `nocanon`).
"""

from __future__ import annotations

import re
from typing import Any, ClassVar, Literal

from exporter.providers import Provider, Repo, Site, basic
from exporter.providers.jenkins.mapping import (
    Run,
    Stage,
    Where,
    end_of,
    to_build,
    to_job,
)
from exporter.providers.jenkins.origin import checkouts, origin
from exporter.providers.jenkins.refs import of_checkout
from exporter.providers.jenkins.source import JenkinsSource
from exporter.providers.jenkins.tree import NAME, page_of_job
from exporter.providers.jenkins.vocabulary import WORDS

__all__ = [
    "PROVIDER",
    "WORDS",
    "Jenkins",
    "Run",
    "Stage",
    "Where",
    "checkouts",
    "end_of",
    "of_checkout",
    "origin",
    "page_of_job",
    "to_build",
    "to_job",
]


_PAGE = re.compile(r"(https?://.+?)(?:/view/[^/]+)*/job(?:/.*)?")
"""The page of a job, maybe by a view, behind the controller's root."""


class Jenkins(Provider):
    """A Jenkins controller; `url` is its root, with its prefix if it has one.

    `repos` holds job paths such as folder/job; * and folder/* discover the jobs right
    there, ** and folder/** also those in folders below. The branches of a multibranch
    job are polled under its own path.
    """

    rights = "a user with Overall/Read and Job/Read"
    example_values: ClassVar[dict[str, Any]] = {
        "url": "https://jenkins.example.com",
        "username": "exporter",
        "repos": ["platform/shop", "tools/**"],
    }
    anonymous = True

    entry_form = "a job path: folder/job, *, folder/* or folder/**"
    entry_pattern = r"(?:[^/*]+/)*(?:[^/*]+|\*{1,2})"
    has_odd_names = True
    name_pattern: ClassVar[str] = rf"(?:{NAME}/)*{NAME}"

    described: ClassVar[dict[str, str]] = {
        "": "commit commit_at title triggered_by pull_request url job_url"
    }

    source = JenkinsSource

    provider: Literal["jenkins"]
    username: str | None = None
    """The user whose API token it is; without it the token is sent as a bearer token."""

    @classmethod
    def api_instead_of(cls, url: str) -> str | None:
        """Of the page of a job or view the controller's root."""
        found = _PAGE.fullmatch(url)
        return found and found[1]

    def page_of(self, repo: Repo) -> str | None:
        """The page of the job."""
        return page_of_job(Site(self.web_root), repo.entry)

    def headers(self, token: str | None) -> dict[str, str]:
        """Basic with a user's API token; a bearer token before a controller without users."""
        if token is None or self.username is None:
            return super().headers(token)
        return {"Authorization": basic(self.username, token)}

    @property
    def reads_below(self) -> bool:
        """A multibranch job brings its branch jobs."""
        return True


PROVIDER = Jenkins
