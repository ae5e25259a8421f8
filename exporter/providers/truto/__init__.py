"""The unified CI/CD API (Truto): one API before seven CI systems.

A build is what the CI system behind calls one; what is special about each is in its own file.

Token: an API token of the Truto environment that the integrated account belongs to. It can read
everything in that environment; narrower ones do not exist.

Requests: one per repo and poll, each of which Truto passes on to the CI system, so they count
against its limits as well. What a list item lacks is looked for in its raw object, in the single
build and in the build's jobs, in this order. So a new build costs nothing more behind GitHub,
Azure DevOps and (as a rule) Travis CI, one more behind Jenkins (the single build), two behind
Bitbucket (the single build, while it has anything to add, and the jobs), and behind CircleCI one
for its jobs each poll until they have ended. With `jobs: true` each build costs one for its jobs
per poll while it runs, and one then. The account's health costs two every 10 minutes.

Limits: 50 requests in 10 seconds for an account, 500 for a token.

Self-hosted: none; `url` serves tests and regions.

Known: duration of all but Buddy; queue of all but Jenkins and Buddy; trigger; attempts of
GitHub, Travis CI and Bitbucket; jobs of all but Jenkins. Behind this API a build of CircleCI is
a pipeline, and Buddy has only jobs.

Unknown: attempts that fell between two polls, which cannot be asked for; a smaller right than
all of an environment; the pages of a Jenkins controller, and of any system that is not the hosted
one, unless `web_url` names their root (of Azure DevOps with the organization).
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from exporter.http import Api, Dialect, PublishedLimit
from exporter.providers import Fault, Provider, Repo, Site
from exporter.providers.truto import (
    azuredevops,
    bitbucket,
    buddy,
    circleci,
    github,
    jenkins,
    refusals,
    travisci,
)
from exporter.providers.truto.integration import Integration
from exporter.providers.truto.source import TrutoSource

INTEGRATIONS: dict[str, Integration] = {
    "github": github.INTEGRATION,
    "azuredevops": azuredevops.INTEGRATION,
    "bitbucket": bitbucket.INTEGRATION,
    "circleci": circleci.INTEGRATION,
    "jenkins": jenkins.INTEGRATION,
    "travisci": travisci.INTEGRATION,
    "buddy": buddy.INTEGRATION,
}

_OF_INTEGRATIONS: dict[str, tuple[PublishedLimit, ...]] = {
    "bitbucket": (PublishedLimit(1000, 3600.0),)
}
"""The unified API adds nothing to the limits of the CI systems: their quota is spent."""


class Truto(Provider):
    """An integrated account of the unified API (Truto).

    What `repos` holds, by integration:
      - github: owner/name, owner/*
      - azuredevops: workspace_id, workspace_id/repo, *
      - bitbucket: workspace_id/repo, workspace_id/*
      - circleci: vcs/org/repo, such as gh/acme/shop
      - jenkins: workflow_id, *
      - travisci: repo_id, *
      - buddy: workspace/project/workflow; jobs only
    """

    dialect = Dialect(limit_mark=b'"rate_limit_error"', explained=refusals.explained)
    rights = "the environment at Truto that the integrated account is in"
    example_values: ClassVar[dict[str, Any]] = {
        "name": "acme-unified",
        "integrated_account_id": "62f44730-dd91-461e-bd6a-aedd9e0ad79d",
        "repos": ["acme/shop", "acme/api"],
    }
    default_url = "https://api.truto.one"
    sites: ClassVar[tuple[str, ...]] = ("truto.one", "app.truto.one")
    published_limits = (PublishedLimit(50, 10.0), PublishedLimit(500, 10.0, by_token=True))
    has_odd_names = True  # they are never a part of a path here, but values of parameters

    described: ClassVar[dict[str, str]] = {
        name: how.described for name, how in sorted(INTEGRATIONS.items())
    }

    provider: Literal["truto"]
    integration: Literal[
        "github", "azuredevops", "bitbucket", "circleci", "jenkins", "travisci", "buddy"
    ]
    """The CI system behind the account."""
    integrated_account_id: Annotated[str, Field(min_length=1)]
    """Id of the integrated account at Truto."""

    @model_validator(mode="before")
    @classmethod
    def _buddy_has_only_jobs(cls, keys: Any) -> Any:
        if isinstance(keys, dict) and keys.get("integration") == "buddy" and "jobs" not in keys:
            return {**keys, "jobs": True}
        return keys

    @property
    def label(self) -> str:
        """The native provider's word, so that dashboards need not care which way it came."""
        return self._how.label

    @property
    def web_root(self) -> str | None:
        """The pages of the CI system, not those of Truto; None at Jenkins without `web_url`."""
        host = self._how.pages.host
        return super().web_root if self.web_url is not None else host and f"https://{host}"

    def page_of(self, repo: Repo) -> str | None:
        """The page of the repo at the CI system."""
        return self._how.pages.repo(Site(self.web_root), repo.entry)

    @property
    def quota(self) -> str:
        """Truto's own limit and the CI system's are those of one integrated account."""
        return self.integrated_account_id

    @property
    def published(self) -> tuple[PublishedLimit, ...]:
        """Truto's limits, and the CI system's where its headers do not tell them."""
        published = super().published
        return published and published + _OF_INTEGRATIONS.get(self.integration, ())

    @property
    def consecutive_numbers(self) -> bool:
        """Jenkins numbers its builds without holes, and its lists may hold nothing else."""
        return self.integration == "jenkins"

    @classmethod
    def faults(cls, account: dict[str, Any]) -> list[Fault]:
        """Entries of the wrong shape for the integration, and Buddy without jobs."""
        how = INTEGRATIONS.get(account.get("integration", ""))
        if how is None:
            return []
        found: list[Fault] = [
            (("repos", i), fault)
            for i, entry in enumerate(account.get("repos", ()))
            if (fault := how.entry.fault(entry)) is not None
        ]
        if how.builds is None and account.get("jobs") is False:
            what = f"there is nothing but jobs of {how.label} here (write true, or leave it out)"
            found.append((("jobs",), what))
        return found

    def headers(self, token: str | None) -> dict[str, str]:
        """Authentication is a bearer token of one Truto environment."""
        return super().headers(token) | {"Accept": "application/json"}

    @property
    def reads_below(self) -> bool:
        """Whether a project brings its repos."""
        return self._how.entry.nested

    def connect(self, api: Api) -> TrutoSource:
        """A source of one integrated account."""
        return TrutoSource(self, api, self._how, self.integrated_account_id)

    @property
    def name_pattern(self) -> str:  # type: ignore[override]  # each integration has its own
        """The names that the CI system behind allows."""
        return self._how.entry.names

    def identity(self, entry: str) -> str:
        """What an entry names at the CI system, however it is spelled."""
        return self._how.entry.identity(entry)

    @property
    def _how(self) -> Integration:
        return INTEGRATIONS[self.integration]


PROVIDER = Truto
