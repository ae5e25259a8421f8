"""The pages about CI: what is broken, what runs, and how each repo does."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from exporter.errors import StateUnavailable
from exporter.ledger.build_log import BuildFilter, BuildLog, LoggedBuild, PipelineSummary
from exporter.ledger.rows import Labels
from exporter.model import FAILING
from exporter.status.ci import CiReport, RepoBuilds, RepoName, since
from exporter.status.report import iso
from exporter.web import ci_page as ci
from exporter.web import repo_page as one
from exporter.web.log_reader import LogReader
from exporter.web.paging import page_number
from exporter.web.rendering import Renderer
from exporter.web.report_cache import ReportCache
from exporter.web.slices import in_slices

_AT_ONCE = 10
"""Pipelines whose builds are read in one turn, so that polls have theirs in between."""
_MOST_CHARACTERS = 1000
"""Of a name in a query string."""

Summaries = dict[Labels, PipelineSummary]


class FromLog(NamedTuple):
    """What a page shows of the log."""

    summaries: Summaries
    last: list[LoggedBuild]
    fault: str | None
    """Why something may be missing."""


def ci_routes(renderer: Renderer, latest: ReportCache[CiReport], builds: LogReader) -> list[Route]:
    """The routes over the `latest` report and the log of finished builds."""
    shared = _Shared(builds)

    async def overview(request: Request) -> Response:
        asked = ci.query(request.query_params)
        report = (await latest.get()).value
        page = await in_slices(ci.ci_page(report, asked))
        logged = await shared.read(report, [known.labels for known in page.broken.items])
        return await renderer.page(
            "ci.html",
            here="/",
            now=iso(report.now),
            page=page,
            asked=asked,
            to=lambda **other: renderer.link("/", **asked.params(**other)),
            broken=ci.broken_rows(page.broken.items, logged.summaries, report.sites),
            unfinished=ci.all_with_own_links(page.unfinished.items, report.sites),
            accounts=report.accounts,
            sorts=ci.SORTS,
            fault=logged.fault,
            since=since,
            failing=FAILING,
        )

    async def repo(request: Request) -> Response:
        given = request.query_params
        account, name = (given.get(key, "")[:_MOST_CHARACTERS] for key in ("account", "repo"))
        report = (await latest.get()).value
        known = one.named(report, account, name)
        if known is None:
            return await renderer.page(
                "no_repo.html", here="/", status=404, account=account, name=name
            )
        return await _of_repo(report, known, page_number(given.get("page")))

    async def _of_repo(report: CiReport, known: RepoBuilds, number: int) -> Response:
        shown = one.pipelines(known, number)
        _, account, name = known.name
        labels = [pipeline.labels for pipeline in shown.items]
        logged = await shared.read(report, labels, known.name)
        return await renderer.page(
            "repo.html",
            here="/",
            now=iso(report.now),
            page=one.repo_page(
                report, known, shown.items, summaries=logged.summaries, last=logged.last
            ),
            part=shown,
            to=lambda page: renderer.link("/repo", account=account, repo=name, page=page),
            fault=logged.fault,
            since=since,
            failing=FAILING,
        )

    return [Route("/", overview), Route("/repo", repo)]


class _Shared:
    """What the pages of one report read of the log: once, whoever asks for it meanwhile.

    Without the log the pages have what is in memory.
    """

    def __init__(self, builds: LogReader) -> None:
        self._builds = builds
        self._turn = asyncio.Lock()
        self._now = -1.0
        self._summaries: dict[Labels, PipelineSummary | None] = {}
        self._last: dict[RepoName, list[LoggedBuild]] = {}
        self._fault: str | None = None

    async def read(
        self, report: CiReport, pipelines: Sequence[Labels], repo: RepoName | None = None
    ) -> FromLog:
        """The named builds of these pipelines, and the last builds of a repo."""
        async with self._turn:
            if self._now != report.now:
                self._now, self._fault = report.now, None
                self._summaries, self._last = {}, {}
            try:
                if self._fault is None:
                    await self._fill(pipelines, repo)
            except StateUnavailable as error:
                self._fault = str(error)
            found = {labels: self._summaries.get(labels) for labels in pipelines}
            return FromLog(
                {labels: summary for labels, summary in found.items() if summary is not None},
                [] if repo is None else self._last.get(repo, []),
                self._fault,
            )

    async def _fill(self, pipelines: Sequence[Labels], repo: RepoName | None) -> None:
        missing = [labels for labels in pipelines if labels not in self._summaries]
        for at in range(0, len(missing), _AT_ONCE):
            some = missing[at : at + _AT_ONCE]
            found = await self._builds.read(partial(_summaries, some))
            self._summaries.update((labels, found.get(labels)) for labels in some)
        if repo is not None and repo not in self._last:
            self._last[repo] = await self._builds.read(partial(_newest, repo))


def _summaries(pipelines: Sequence[Labels], log: BuildLog) -> Summaries:
    return log.summaries(pipelines)


def _newest(repo: RepoName, log: BuildLog) -> list[LoggedBuild]:
    provider, account, name = repo
    wanted = BuildFilter(provider=provider, account=account, repo=name)
    return log.builds(wanted, limit=one.LAST).builds
