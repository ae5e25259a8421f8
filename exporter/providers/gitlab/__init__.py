"""GitLab CI.

A build is a pipeline, a job a job of it. Trigger jobs (bridges) are no jobs, and child pipelines
are no builds: GitLab lists neither with the others.

Token: Settings, Access tokens of the project or the group, with the role Reporter and the scope
`read_api`; or a personal one of a user with that role. Public projects of public groups need
none. A CI job's own token cannot list pipelines.

Requests: one per project and poll, for what has changed in the last hours. If nothing has since
the last poll GitLab answers 304, which costs nearly no traffic but counts against the limit like
any answer. A new build costs one more once it has completed and, if it was met before that, one
when it was met; with `jobs: true` another one for each 100 jobs (each poll while it runs). A
completed one that has changed costs the same again. An unfinished build that does not change is
asked for every 15 minutes. Discovery costs one request for each 100 projects, whose number has
no limit. When the token ends is asked for once an hour. Where GitLab cannot make a page of 100
items, such pages are of 50 or 25.

Limits: 2000 requests a minute at gitlab.com; self-managed ones say theirs, if any, in
`RateLimit-*` headers.

Self-hosted: any GitLab that is still supported, with `url: https://HOST/api/v4`.

Known: duration (start to end, the gaps before a manual job or a retry included), queue, trigger,
jobs with their attempts, merge trains (branch `merge_queue`). Jobs that are retried are attempts
of the job of that name. A pipeline with a retried job, or a manual one that is played later,
stays the same pipeline: it is active again, and ends anew. It is counted once, as it first
completed; `cicd_build_last_conclusion`, streaks and jobs follow each of its ends, and the anomalies
`reopened`, `conclusion_changed` and `ended_again` tell of them, also when it happened while the
exporter was down.

Blocked pipelines (`manual`) and those that wait for a resource group are `waiting`, until somebody
acts or the group is free; they count when they have ended, however late.

Wildcards leave out projects that are archived, scheduled for deletion or have CI switched off,
and those that another group shares. Upper and lower case make no difference to a path.

The title of a pipeline is the subject of its commit where its jobs are read, else the name that
`workflow:name` gives it.

Unknown: the attempts of a pipeline, which GitLab neither numbers nor keeps; child pipelines and
trigger jobs; the queue time of a job that GitLab tells none of (`queued_duration`).
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from exporter.globs import matches
from exporter.providers import Provider, Repo, Site, TokenPage
from exporter.providers.gitlab.mapping import REASONS, WORDS
from exporter.providers.gitlab.source import GitLabSource

__all__ = ["PROVIDER", "REASONS", "WORDS", "GitLab"]


_SEGMENT = r"(?!\.{1,2}(?:/|\Z))[A-Za-z0-9_.][A-Za-z0-9_.-]{0,254}(?<!\.git)(?<!\.atom)"
"""A part of a project's path, as GitLab allows it."""


class GitLab(Provider):
    """GitLab CI (gitlab.com and self-managed)."""

    entry_form = (
        "group/project, the number of a project, group/*, group/** (subgroups too)"
        " or ~user/* (a user's own projects)"
    )
    entry_pattern = (
        r"\d+|[^/*~\s][^/*\s]*(?:/[^/*\s]+)+|[^/*~\s][^/*\s]*(?:/[^/*\s]+)*/\*{1,2}|~[^/*\s]+/\*"
    )
    name_pattern: ClassVar[str] = rf"{_SEGMENT}(?:/{_SEGMENT})+"
    default_url = "https://gitlab.com/api/v4"
    sites: ClassVar[tuple[str, ...]] = ("gitlab.com",)
    root_path = "/api/v4"
    anonymous = True
    token_page = TokenPage(
        path="/personal_access_tokens/self",  # of group and project tokens as well
        scopes="scopes",
        expires="expires_at",
        enough=("read_api", "api"),
        required=True,
    )
    rights = "the scope `read_api`"
    example_values: ClassVar[dict[str, Any]] = {
        "repos": ["acme/shop", "acme/*", "acme/platform/**", "~alice/*"]
    }

    described: ClassVar[dict[str, str]] = {
        "": "commit title triggered_by pull_request url",
        "`jobs: true`": "commit commit_at title triggered_by pull_request url job_url job_labels",
    }

    source = GitLabSource

    provider: Literal["gitlab"]

    def headers(self, token: str | None) -> dict[str, str]:
        """The header that takes personal, group and project access tokens alike."""
        return {} if token is None else {"PRIVATE-TOKEN": token}

    def page_of(self, repo: Repo) -> str | None:
        """The project; one that is known by its number has an address that leads there."""
        site = Site(self.web_root)
        if repo.entry.isdecimal():
            return site.page("projects", repo.entry)
        return site.page(repo.entry, "-/pipelines")

    def identity(self, entry: str) -> str:
        """What `entry` names: paths are the same in upper and lower case."""
        return entry.lower()

    def excludes(self, entry: str) -> bool:
        """Whether a glob of `exclude` matches, in upper or lower case."""
        return any(matches(glob.lower(), entry.lower()) for glob in self.exclude)


PROVIDER = GitLab
