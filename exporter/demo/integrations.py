"""What the unified API wants to know and has to offer, integration by integration.

From its pages: coverage, required parameters of builds (exact), of "get job" (exact) and
of "list jobs" (its names for providers are rebuilt, `build_id` is the likeliest one).
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from exporter.demo.facts import Item, number_of
from exporter.demo.timestamps import iso
from exporter.demo.world import Account, Repo

_BOTH = ("list", "get")
_LIST = ("list",)
_GET = ("get",)

Call = tuple[str, str]
"""Resource and method, e.g. `("builds", "list")`."""


class Integration(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the coverage table, and its query parameters."""

    title: str
    scope: tuple[str, ...]
    """What the parts of a scope entry are called as parameters."""
    resources: Mapping[str, tuple[str, ...]]
    required: Mapping[Call, tuple[str, ...]] = {}
    aliases: Mapping[str, str] = {}
    """Other names of the parts, as some endpoints have them."""
    needed: tuple[str, ...] = ()
    """Not required by the API's page, but the CI system cannot find a build without them."""
    filters: frozenset[str] = frozenset()
    """Filters of "list builds" that do something; every other one is ignored silently."""

    def parts(self, entry: str) -> dict[str, str]:
        """A scope entry as the parameters that select it."""
        return dict(zip(self.scope, entry.split("/", len(self.scope) - 1), strict=True))

    def matches(self, entry: str, query: Mapping[str, str]) -> bool:
        """Whether the parameters of a request allow for this entry."""
        given = {self.aliases.get(name, name): value for name, value in query.items() if value}
        return all(given.get(name, value) == value for name, value in self.parts(entry).items())


INTEGRATIONS: dict[str, Integration] = {
    "github": Integration(
        title="GitHub",
        scope=("owner", "repo_id"),
        resources={"builds": _BOTH, "jobs": _BOTH, "repos": _BOTH, "organizations": _LIST},
        required={
            ("builds", "list"): ("owner", "repo_id"),
            ("jobs", "list"): ("build_id", "owner", "repo_id"),
            ("jobs", "get"): ("owner", "repo_id"),
            ("repos", "get"): ("owner",),
        },
        needed=("owner", "repo_id"),
        filters=frozenset({"status", "conclusion"}),
    ),
    "azuredevops": Integration(
        title="Azure DevOps",
        scope=("workspace_id", "repo"),
        resources={
            "builds": _BOTH,
            "jobs": _LIST,
            "repos": _BOTH,
            "workflow": _BOTH,
            "workspaces": _LIST,
        },
        required={
            ("builds", "list"): ("workspace_id",),
            ("builds", "get"): ("workspace_id",),
            ("jobs", "list"): ("workspace_id", "build_id"),
            ("repos", "list"): ("workspace_id",),
            ("repos", "get"): ("workspace_id",),
        },
        filters=frozenset({"status", "conclusion"}),
    ),
    "bitbucket": Integration(
        title="Bitbucket",
        scope=("workspace_id", "repo"),
        resources={"builds": _BOTH, "jobs": _BOTH, "repos": _BOTH, "workspaces": _BOTH},
        required={
            ("builds", "list"): ("workspace_id", "repo"),
            ("builds", "get"): ("workspace_id", "repo"),
            ("jobs", "list"): ("workspace_id", "repo", "build"),
            ("jobs", "get"): ("workspace_id", "repo", "build"),
            ("repos", "list"): ("workspace_id",),
            ("repos", "get"): ("workspace_id",),
        },
        filters=frozenset({"status"}),
    ),
    "circleci": Integration(
        title="CircleCI",
        scope=("repo_id",),
        resources={"builds": _BOTH, "jobs": _BOTH, "repos": _GET},
        required={
            ("builds", "list"): ("repo_id",),
            ("jobs", "list"): ("build_id",),
            ("jobs", "get"): ("project_slug",),
        },
        aliases={"project_slug": "repo_id"},
        filters=frozenset({"status", "conclusion"}),
    ),
    "jenkins": Integration(
        title="Jenkins",
        scope=("workflow_id",),
        resources={"builds": _BOTH, "workflow": _BOTH},
        required={("builds", "list"): ("workflow_id",)},
        needed=("workflow_id",),
        filters=frozenset({"status", "conclusion"}),
    ),
    "travisci": Integration(
        title="Travis CI",
        scope=("repo_id",),
        resources={"builds": _BOTH, "jobs": _BOTH, "repos": _BOTH},
        required={("builds", "list"): ("repo_id",), ("jobs", "list"): ("build_id",)},
        filters=frozenset({"conclusion"}),
    ),
    "buddy": Integration(
        title="Buddy",
        scope=("workspace", "project", "workflow"),
        resources={"jobs": _BOTH, "repos": _BOTH, "workflow": _BOTH, "workspaces": _BOTH},
        required={
            ("jobs", "list"): ("repo", "workspace", "workflow"),
            ("jobs", "get"): ("workspace", "project", "workflow"),
            ("repos", "get"): ("workspace",),
        },
        aliases={"repo": "project"},
    ),
    "gitlab": Integration(title="GitLab", scope=("owner", "repo"), resources={"repos": _BOTH}),
    "gerrit": Integration(title="Gerrit", scope=("repo",), resources={"repos": _BOTH}),
}


def capabilities(account: Account) -> Item:
    """What `/integrated-account/{id}/capabilities` says."""
    return {
        "account": {
            "id": account.id,
            "status": account.status,
            "is_blocked": account.is_blocked,
        },
        "unified": [
            {
                "model": "ci-cd",
                "resource": resource,
                "methods": list(methods),
                "env_overridden": False,
            }
            for resource, methods in INTEGRATIONS[account.integration].resources.items()
        ],
    }


def account_item(account: Account) -> Item:
    """An account as the platform's own endpoints tell it."""
    integration = INTEGRATIONS[account.integration]
    return {
        "id": account.id,
        "tenant_id": "acme",
        "environment_id": "0d6f2b1e-58a4-4c3b-9a76-2f1f0f6a9b11",
        "environment_integration_id": "7b0b7f0e-0f4e-4f6e-8d55-6a1c9d1f7a22",
        "status": account.status,
        "last_error": account.last_error,
        "authentication_method": "oauth2",
        "is_sandbox": False,
        "context": {},
        "integration": {
            "id": str(number_of(account.integration)),
            "name": account.integration,
            "label": integration.title,
            "category": "ci-cd",
        },
        "created_at": "2024-09-01 10:00:00",
        "updated_at": "2024-09-01 10:00:00",
    }


def discovered(account: Account, resource: str, query: Mapping[str, str]) -> list[Item]:
    """The items of a discovery list, each once, in the order of the scope entries."""
    integration = INTEGRATIONS[account.integration]
    found: dict[str, Item] = {}
    for repo in list(account.repos.values()):
        if integration.matches(repo.entry, query):
            for item in _DISCOVERY[resource](account, repo):
                found.setdefault(item["id"], item)
    return list(found.values())


def _repos(account: Account, repo: Repo) -> Iterator[Item]:
    owner, _, name = repo.entry.rpartition("/")
    if account.integration == "travisci" and not owner:
        owner, name = "acme", f"repo-{repo.entry}"
    if account.integration == "buddy":
        owner, name, _ = repo.entry.split("/", 2)
    unique = str(uuid.uuid5(uuid.NAMESPACE_URL, repo.entry))
    ids = {  # of no use as a scope parameter but at CircleCI and Travis
        "github": str(number_of(repo.entry)),
        "azuredevops": unique,
        "bitbucket": f"{{{unique}}}",
        "buddy": name,
    }
    yield {
        "id": ids.get(account.integration, repo.entry),
        "name": name,
        "description": None,
        "owner": owner,
        "owner_type": "org",
        "visibility": "private",
        "vcs_url": f"https://git.example/{owner}/{name}.git",
        "status": repo.status,
        "default_branch": repo.default_branch,
        "created_at": iso(1_600_000_000.0),
        "updated_at": iso(1_700_000_000.0),
        "remote_data": {"full_name": f"{owner}/{name}", "archived": repo.status == "inactive"},
    }


def _workflows(account: Account, repo: Repo) -> Iterator[Item]:
    if account.integration == "azuredevops":
        names = {run.workflow for runs in list(repo.runs.values()) for run in runs.values()}
        for name in sorted(names):
            yield {"id": str(number_of(name)), "name": name, "remote_data": {"name": name}}
        return
    remote: dict[str, Any] = {"fullName": repo.entry, "buildable": repo.status == "active"}
    entry = repo.entry
    yield {
        "id": entry if account.integration == "jenkins" else entry.rpartition("/")[2],
        "name": entry.rpartition("/")[2],
        "remote_data": remote,
    }


def _workspaces(_: Account, repo: Repo) -> Iterator[Item]:
    name = repo.entry.partition("/")[0]
    yield {
        "id": name,
        "name": name,
        "created_at": iso(1_600_000_000.0),
        "updated_at": iso(1_700_000_000.0),
        "remote_data": {"name": name},
    }


_DISCOVERY = {
    "repos": _repos,
    "workflow": _workflows,
    "workspaces": _workspaces,
    "organizations": _workspaces,
}
