"""CircleCI, API v2.

A build is one workflow: it has a name, a status and an end, which a pipeline has not. The
number, branch and trigger are those of its pipeline. A workflow that is run again, by a person or
by itself, is a new workflow in the old pipeline, so a build of its own; where it says that it is a
re-run (`tag`, `auto_rerun_number`) it counts as a retry and has no queue time. A pipeline that
could not be configured and so has no workflows is an `error` build of its own.

Token: User settings, Personal API tokens, Create new token. It has no scopes and reads what its
user can read, so make a user for it who can see nothing else. Tokens of projects are not
supported by v2.

Requests: one per project and poll (20 pipelines each). A pipeline younger than the overlap of
two polls costs one more until all its workflows have ended, an older workflow one whenever it is
due; each completed workflow one for its jobs (per page of them). To see what was run again,
every `polling.max_interval` the workflows of all pipelines of `polling.rerun_window` are read,
with one request each. A pipeline whose workflows cannot be read costs one, and two once it has
left the first page, at each of three polls, then every 1 to 15 minutes, for a week.

Limits: not published; 429 is heeded.

Self-hosted: CircleCI Server at https://HOST/api/v2. Its pages are taken to be at https://HOST;
where they are at another host, such as app.HOST, `web_url` names that.

Known: duration (its jobs tell the end where it has none itself) and queue (creation of the
workflow to the start of its first job), trigger, whether it is a re-run, jobs.

Unknown: queue times of jobs; which projects there are; who ran a workflow again, unless that is who
began its pipeline.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from exporter.providers import Provider, Repo, Site
from exporter.providers.circleci.mapping import origin, place_of, ref_of, spelled_short
from exporter.providers.circleci.source import CircleCISource
from exporter.providers.circleci.vocabulary import WORDS

__all__ = ["PROVIDER", "WORDS", "CircleCI", "origin", "place_of", "ref_of", "spelled_short"]


class CircleCI(Provider):
    """CircleCI, in the cloud or a Server of your own (url: https://HOST/api/v2).

    Projects are named by their slug, such as gh/acme/shop; there are no wildcards.
    """

    entry_form = "vcs/org/repo, such as gh/acme/shop; nothing can be discovered here"
    entry_pattern = r"[^/*]+/[^/*]+/[^/*]+"
    default_url = "https://circleci.com/api/v2"
    root_path = "/api/v2"
    web_hosts: ClassVar[dict[str, str]] = {"circleci.com": "app.circleci.com"}
    sites: ClassVar[tuple[str, ...]] = ("circleci.com", "app.circleci.com")
    rights = "a personal API token of somebody who may see the project"
    example_values: ClassVar[dict[str, Any]] = {"repos": ["gh/acme/shop"]}

    described: ClassVar[dict[str, str]] = {
        "": "commit title triggered_by pull_request url job_url",
        "GitHub App or GitLab": "commit commit_at title triggered_by url job_url",
    }

    source = CircleCISource

    provider: Literal["circleci"]

    @property
    def consecutive_numbers(self) -> bool:
        """A pipeline may run no workflow, so the numbers of workflows have holes."""
        return False

    def headers(self, token: str | None) -> dict[str, str]:
        """A header of CircleCI's own."""
        return {} if token is None else {"Circle-Token": token}

    def page_of(self, repo: Repo) -> str | None:
        """The pipelines of the project."""
        return Site(self.web_root).page("pipelines", place_of(repo.entry))

    def identity(self, entry: str) -> str:
        """`github/acme/shop` is `gh/acme/shop` spelled out."""
        return spelled_short(entry)


PROVIDER = CircleCI
