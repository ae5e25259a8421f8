"""What the page of one repo shows: pure functions of the report and the log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from exporter.ledger.build_log import LoggedBuild, LoggedJob, PipelineSummary
from exporter.ledger.rows import Labels
from exporter.metrics import history
from exporter.metrics.history import Ended
from exporter.status.ci import CiReport, PipelineState, RepoBuilds, is_failing, since
from exporter.web.ci_page import BrokenRow, all_with_own_links, broken_rows
from exporter.web.paging import Part, part
from exporter.web.sites import with_own_links

PIPELINES, LAST = 100, 20
"""Pipelines on one page, and builds of the whole repo."""


class FailedJob(NamedTuple):
    """A job that failed in the last failing build of a broken pipeline."""

    job: LoggedJob
    build: LoggedBuild


class PipelineRow(NamedTuple):
    """A pipeline of the repo with its last build."""

    known: PipelineState
    last: LoggedBuild | None
    """None if the log has none."""

    @property
    def state(self) -> str:
        """`broken`, `failed`, `passing`, `unsettled` or `none`."""
        if self.known.is_broken:
            return "broken"
        if self.known.facts.latest is None:
            return "none"
        if is_failing(self.known):
            return "failed"
        return "unsettled" if self.known.facts.passed is None else "passing"

    @property
    def history(self) -> list[Ended]:
        """Its last builds, oldest first."""
        return history.merged([self.known.facts.recent])


class RepoPage(NamedTuple):
    """What is to be shown of a repo."""

    repo: RepoBuilds
    rows: list[PipelineRow]
    """By workflow, default branch first."""
    broken: list[BrokenRow]
    unfinished: list[LoggedBuild]
    """The one that has waited or run longest first."""
    last: list[LoggedBuild]
    """The last finished builds, newest first."""
    jobs: list[FailedJob]


def named(report: CiReport, account: str, repo: str) -> RepoBuilds | None:
    """The repo with these labels."""
    provider = report.accounts.get(account)
    return None if provider is None else report.repos.get((provider, account, repo))


def pipelines(repo: RepoBuilds, page: int) -> Part[PipelineState]:
    """The page of its pipelines that is asked for."""
    ordered = sorted(repo.pipelines, key=lambda p: (p.labels[3], not p.is_default, p.branch))
    return part(ordered, page, PIPELINES)


def repo_page(
    report: CiReport,
    repo: RepoBuilds,
    shown: Sequence[PipelineState],
    *,
    summaries: Mapping[Labels, PipelineSummary],
    last: Sequence[LoggedBuild],
) -> RepoPage:
    """The page; `shown` are the pipelines with a row, `summaries` and `last` from the log."""
    sites = report.sites
    rows = []
    for known in shown:
        summary = summaries.get(known.labels)
        build = None if summary is None else with_own_links(summary.last, sites)
        rows.append(PipelineRow(known, build))
    broken = broken_rows((known for known in shown if known.is_broken), summaries, sites)
    return RepoPage(
        repo=repo,
        rows=rows,
        broken=broken,
        unfinished=all_with_own_links(
            sorted(repo.unfinished, key=lambda build: since(build) or report.now), sites
        ),
        last=all_with_own_links(last, sites),
        jobs=[FailedJob(job, row.latest) for row in broken if row.latest for job in row.jobs],
    )
