"""Azure DevOps Pipelines: builds of projects, jobs from their timelines.

Token: User settings, Personal access tokens, New token; the organization; of the scopes Build:
Read (`vso.build`) and, for a wildcard, Project and Team: Read (`vso.project`). The scope Full
access is never needed. `username` is for a Server that wants one. Or a service principal or
managed identity of Microsoft Entra that is a user of the organization: `entra` in place of the
token, with a secret or a federated token (workload identity); its bearer tokens are renewed
before they end. A token of Entra in `token_file` is sent as a bearer token too, and read again
when whoever renews it has written it.

Requests: an idle poll of a project costs 2: one for all unfinished builds, one for those that
have finished lately. They serve all its repositories that are polled within 15 seconds. A new
build costs 1 more when it has finished, for its timeline, which alone knows the attempt, a
timeout, an approval and the jobs. The timeline of an unfinished build is read again after a 20th
of its age, at least every 5 minutes. A repeated run costs its timeline and one for each attempt
before, once. After a restart the timelines of `rerun_window` are read once, and for each project
the list of its pipelines.

Limits: 200 TSTU in 5 minutes, a measure of load; delays come before refusals.

Self-hosted: Azure DevOps Server 2019 or newer by `url` `https://HOST/tfs`; the organization is
the collection. Version 7.1 of the API is asked for first, and an older one where the server
refuses that.

Known: duration, queue, trigger, jobs, attempts. An attempt is told by the highest `attempt` of
stages, phases and jobs. It is found by a build's `finishTime` having changed; attempts that fell
between two polls come from the timelines of `previousAttempts`. `startTime` is of the first
attempt, so a later one starts with the first record of it. Stages count their attempts apart, so
a build whose stages are run again one by one may end more than once in one attempt: the later
end is no further attempt but `ended_again` of `cicd_exporter_anomalies_total`, and moves the last
conclusion and the streak; its jobs count. So it is with stages that are started by hand. A build
that ends because nobody approved it, or because another check or lock in front of a stage ran
out, is `cancelled`, though Azure calls it failed; one that is rejected is `failed`. Its duration
holds the wait, up to 30 days; those of its jobs do not.

Unknown: queue times of jobs; whether a person or a script asked for a run (`manual`); who ran a
stage again: a build says whom its first attempt was for. Classic
releases are no builds and are not read. Builds of a pipeline that is paused or disabled stay
`queued` until `polling.max_open_age`.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar, Literal
from urllib.parse import unquote

from exporter.http import Api
from exporter.providers import Fault, Provider, Repo, Site, basic
from exporter.providers.azure_devops.entra import Entra
from exporter.providers.azure_devops.mapping import (
    PROJECT,
    ProjectPath,
    Run,
    origin,
    to_build,
)
from exporter.providers.azure_devops.source import AzureDevOpsSource
from exporter.providers.azure_devops.timeline import job_page, read_timeline
from exporter.providers.azure_devops.vocabulary import WORDS

__all__ = [
    "PROVIDER",
    "WORDS",
    "AzureDevOps",
    "Entra",
    "ProjectPath",
    "Run",
    "job_page",
    "origin",
    "read_timeline",
    "to_build",
]


_JWT = re.compile(r"eyJ[\w-]*\.[\w-]+\.[\w-]*")
"""How tokens of Entra look; personal access tokens have no dots."""


class AzureDevOps(Provider):
    """Azure DevOps Services; for Azure DevOps Server `url` is https://HOST/tfs.

    `repos` holds organization/project, organization/project/repository and organization/*;
    at a Server the collection takes the place of the organization.
    """

    rights = "Build (read), for a wildcard Project and Team (read) too"
    example_values: ClassVar[dict[str, Any]] = {"repos": ["acme/shop", "acme/tools/deploy"]}
    entry_form = "organization/project, organization/project/repository or organization/*"
    entry_pattern = r"[^/*]+/(\*|[^/*]+(/[^*]*[^/*])?)"
    name_pattern: ClassVar[str] = rf"[^/]+/{PROJECT}"
    has_odd_names = True
    default_url = "https://dev.azure.com"
    sites: ClassVar[tuple[str, ...]] = (".visualstudio.com", "azure.com", "azure.microsoft.com")
    credentials: ClassVar[tuple[str, ...]] = ("token_env", "token_file", "entra")

    described: ClassVar[dict[str, str]] = {"": "commit title triggered_by pull_request url job_url"}

    provider: Literal["azure_devops"]
    username: str | None = None
    """User name for HTTP Basic; a personal access token needs none."""
    entra: Entra | None = None
    """In place of a token, a service principal of Microsoft Entra: {tenant_id: ..., client_id:
    ..., and one of client_secret_file, federated_token_file}."""

    @classmethod
    def faults(cls, account: dict[str, Any]) -> list[Fault]:
        """Entries of another shape, and a service principal that cannot be used."""
        found = super().faults(account)
        entra = account.get("entra")
        if isinstance(entra, Entra) and (fault := entra.fault()) is not None:
            key, what = fault
            found.append((("entra", key), what))
        return found

    @property
    def secret_files(self) -> tuple[str, ...]:
        """The secret or the token by which Entra knows the service principal."""
        if self.entra is None:
            return ()
        named = (self.entra.client_secret_file, self.entra.federated_token_file)
        return tuple(filter(None, named))

    def headers(self, token: str | None) -> dict[str, str]:
        """Basic, with any user name, or a bearer token of Entra.

        And no redirect to a page for people to sign in.
        """
        quiet = {"X-TFS-FedAuthRedirect": "Suppress"}
        if token is None or self.entra is not None or _JWT.fullmatch(token):
            return quiet | super().headers(token)
        return quiet | {"Authorization": basic(self.username or "", token)}

    def page_of(self, repo: Repo) -> str | None:
        """The pipelines of its project."""
        place = ProjectPath.of(repo.entry)
        return Site(self.web_root).page(place.organization, place.project, "_build")

    def connect(self, api: Api) -> AzureDevOpsSource:
        """A source that asks Entra for tokens itself."""
        return AzureDevOpsSource(self, api, self.entra)

    @property
    def reads_below(self) -> bool:
        """A project brings its repositories."""
        return True

    def identity(self, entry: str) -> str:
        """Upper and lower case are one, and `my%20tools` is `my tools`."""
        return unquote(entry).casefold()


PROVIDER = AzureDevOps
