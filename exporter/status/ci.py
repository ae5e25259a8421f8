"""How the builds stand: the pipelines of each repo, and its unfinished builds.

It is made in short steps of what is in memory, so that thousands of repos do not block the event
loop, and whatever a provider or a store does meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Mapping
from typing import NamedTuple

import msgspec

from exporter.ledger.build_log import LoggedBuild, logged
from exporter.ledger.rows import Labels
from exporter.metrics import cardinality
from exporter.metrics.facts import Facts
from exporter.metrics.labels import clean
from exporter.model import FAILING, OTHER, Build, Ref, Status
from exporter.providers import Site
from exporter.schedule import Schedule
from exporter.schedule.account import AccountPoller
from exporter.schedule.repo import RepoState
from exporter.view.series import Pipeline
from exporter.view.series_view import SeriesView

SHARED = frozenset({OTHER, *(ref.value for ref in Ref if ref is not Ref.BRANCH)})
"""Values of the label `branch` that stand for many branches: one of them says nothing of another,
so that such a pipeline is never called broken."""
_USUAL_DEFAULTS = frozenset({"main", "master", "trunk"})
"""What is taken for the default branch where the provider does not name it."""

RepoName = tuple[str, str, str]
"""The labels `provider`, `account` and `repo`."""


class PipelineState(NamedTuple):
    """A pipeline with what is known of its builds."""

    labels: Labels
    facts: Facts
    is_default: bool
    """Whether its branch is the default one of the repo."""

    @property
    def branch(self) -> str:
        """The label."""
        return self.labels[4]

    @property
    def is_broken(self) -> bool:
        """Whether a build has failed and none has passed since.

        A build that was cancelled or skipped, or ended without a verdict, changes nothing.
        """
        return self.facts.streak > 0 and self.branch not in SHARED

    @property
    def broken_since(self) -> float | None:
        """When the first build after the last pass failed, epoch seconds; None if not known."""
        facts = self.facts
        known = facts.failures and not facts.older_failures
        return (facts.failures[0][0] or None) if known else None


class RepoBuilds(msgspec.Struct):
    """What is known of the builds of one repo, by its label."""

    name: RepoName
    url: str | None
    """Its page at the provider."""
    error: str | None
    """Why it was not read when it was last polled."""
    was_read: bool
    """Whether any poll of it succeeded."""
    pipelines: list[PipelineState] = []
    unfinished: list[LoggedBuild] = []


class CiReport(msgspec.Struct, frozen=True):
    """All repos that are polled, by their names."""

    now: float
    """When it was begun, epoch seconds."""
    accounts: Mapping[str, str]
    """The `provider` label of each account."""
    sites: Mapping[str, Site]
    """The web site of each account: where links of its builds may lead."""
    repos: Mapping[RepoName, RepoBuilds]


def of_process(schedule: Schedule, view: SeriesView) -> Generator[None, None, CiReport]:
    """The whole report; each step takes well under a millisecond."""
    now = time.time()
    accounts = list(schedule.accounts)
    by_target: dict[int, list[Pipeline]] = {}
    for pipeline in list(view.pipelines.values()):
        if pipeline.facts.own and not cardinality.is_catch_all(pipeline.labels):
            by_target.setdefault(pipeline.target, []).append(pipeline)
        yield
    repos: dict[RepoName, RepoBuilds] = {}
    for account in accounts:
        for state in list(account.repos.values()):
            known = [] if state.target is None else by_target.get(state.target, [])
            _add(repos, account, state, known, list(_unfinished(view, account, state, now)))
            yield
    return CiReport(
        now=now,
        accounts={clean(a.provider.name): a.provider.label for a in accounts},
        sites={clean(a.provider.name): Site(a.provider.web_root) for a in accounts},
        repos=repos,
    )


def _add(
    repos: dict[RepoName, RepoBuilds],
    account: AccountPoller,
    state: RepoState,
    pipelines: Iterable[Pipeline],
    unfinished: Iterable[LoggedBuild],
) -> None:
    """What one entry of `repos` stands for: one repo, or all that are below a folder."""
    provider = account.provider
    defaults = {clean(state.repo.default_branch)} if state.repo.default_branch else _USUAL_DEFAULTS

    def repo(labels: Labels) -> RepoBuilds:
        name = (labels[0], labels[1], labels[2])
        if name not in repos:
            error = None if state.is_unfinished else state.error
            url = provider.page_of(state.repo)
            repos[name] = RepoBuilds(name, url, error, was_read=bool(state.last_success))
        return repos[name]

    own = (provider.label, clean(provider.name), clean(state.repo.entry))
    found = 0
    for pipeline in pipelines:
        is_default = pipeline.labels[4] in defaults
        known = PipelineState(pipeline.labels, pipeline.facts, is_default)
        repo(pipeline.labels).pipelines.append(known)
        found += 1
    for build in unfinished:
        repo(build.pipeline).unfinished.append(build)
        found += 1
    if not found:
        repo(own)


def _unfinished(
    view: SeriesView, account: AccountPoller, state: RepoState, now: float
) -> Iterable[LoggedBuild]:
    """The unfinished builds of a repo that are not too old to be shown."""
    target = None if state.target is None else view.targets.get(state.target)
    if target is None:
        return
    for build in list(account.active(state)):
        if not build.only_jobs and now - (_begun(build) or now) <= view.rules.max_open_age:
            yield logged(build, view.labels(target, build))


def _begun(build: Build) -> float | None:
    return build.started_at if build.created_at is None else build.created_at


def since(build: LoggedBuild) -> float | None:
    """Since when an unfinished build runs, else waits. Epoch seconds; None if not known."""
    if build.status == Status.IN_PROGRESS and build.started_at is not None:
        return build.started_at
    return build.started_at if build.created_at is None else build.created_at


def is_failing(known: PipelineState) -> bool:
    """Whether the latest build of a pipeline failed, whatever its branch."""
    return known.facts.conclusion in FAILING
