"""What the page about CI shows of a report: pure functions of the report, the log and the query."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from exporter.ledger.build_log import LoggedBuild, LoggedJob, PipelineSummary
from exporter.ledger.rows import Labels
from exporter.metrics import history
from exporter.metrics.history import Ended
from exporter.model import CONCLUSIONS, FAILING, OTHER
from exporter.providers import Site
from exporter.status.ci import CiReport, PipelineState, RepoBuilds, is_failing, since
from exporter.web.paging import Part, page_number, part
from exporter.web.sites import with_own_links

BROKEN, UNFINISHED, REPOS = 25, 10, 100
"""How many of each stand on one page."""
_LONGEST = 200
"""Characters of a search text."""
SORTS = {"": "broken first", "recent": "latest build", "name": "name", "active": "unfinished"}
"""The orders of repos, as people read them."""
_WORST_FIRST = ("broken", "failed", "passing", "unsettled", "none")


class CiQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What the query string of the page asks for."""

    text: str = ""
    provider: str = ""
    account: str = ""
    branch: str = ""
    conclusion: str = ""
    """Of the latest build of a pipeline."""
    sort: str = ""
    page: int = 1
    broken: int = 1
    """The page of broken pipelines."""
    active: int = 1
    """The page of unfinished builds."""

    @property
    def is_filter(self) -> bool:
        """Whether something may be left out."""
        return any((self.text, self.provider, self.account, self.branch, self.conclusion))

    def params(self, **other: object) -> dict[str, object]:
        """The query that asks for the same but `other`; the first page is not named."""
        asked: dict[str, object] = {
            "q": self.text,
            "provider": self.provider,
            "account": self.account,
            "branch": self.branch,
            "conclusion": self.conclusion,
            "sort": self.sort,
            "page": self.page,
            "broken": self.broken,
            "active": self.active,
        }
        return {name: value for name, value in (asked | other).items() if value not in ("", 1)}


def query(params: Mapping[str, str]) -> CiQuery:
    """What is asked for; what makes no sense is left out."""
    sort = params.get("sort", "")
    return CiQuery(
        text=params.get("q", "").strip()[:_LONGEST],
        provider=params.get("provider", "")[:_LONGEST],
        account=params.get("account", "")[:_LONGEST],
        branch=params.get("branch", "").strip()[:_LONGEST],
        conclusion=params.get("conclusion", "")[:_LONGEST],
        sort=sort if sort in SORTS else "",
        page=page_number(params.get("page")),
        broken=page_number(params.get("broken")),
        active=page_number(params.get("active")),
    )


class RepoRow(NamedTuple):
    """A repo with those of its pipelines that are asked for."""

    repo: RepoBuilds
    pipelines: list[PipelineState]
    broken: int
    """How many of them are broken."""
    latest: PipelineState | None
    """The pipeline of the latest build."""

    @property
    def state(self) -> str:
        """One of `_WORST_FIRST`: a repo is passing only if its latest build did not fail."""
        if self.broken:
            return "broken"
        if self.latest is None:
            return "none"
        if is_failing(self.latest):
            return "failed"
        passed = any(known.facts.passed is not None for known in self.pipelines)
        return "passing" if passed else "unsettled"

    @property
    def history(self) -> list[Ended]:
        """The last builds of these pipelines together, oldest first."""
        return history.merged(known.facts.recent for known in self.pipelines)


class CiPage(NamedTuple):
    """What is to be shown, each part with its own pages."""

    broken: Part[PipelineState]
    """Default branches first, then those that broke last."""
    unfinished: Part[LoggedBuild]
    """The one that has waited or run longest first."""
    repos: Part[RepoRow]
    total: int
    """All repos, asked for or not."""
    providers: list[str]
    conclusions: list[str]
    """What can be filtered by."""


def ci_page(report: CiReport, asked: CiQuery) -> Generator[None, None, CiPage]:
    """The page that is asked for, made in short steps."""
    rows: list[RepoRow] = []
    broken: list[PipelineState] = []
    unfinished: list[LoggedBuild] = []
    words: set[str] = set()
    for repo in report.repos.values():
        yield
        words.update(known.facts.conclusion or "" for known in repo.pipelines)
        if not _is_asked_for(repo, asked):
            continue
        row = _row(repo, asked)
        active = [b for b in repo.unfinished if asked.branch in ("", b.branch)]
        if not asked.conclusion:
            unfinished += active
        if row.pipelines or not (asked.branch or asked.conclusion):
            rows.append(row)
            broken += [known for known in row.pipelines if known.is_broken]
    yield
    broken.sort(key=_urgency)
    yield
    unfinished.sort(key=lambda build: since(build) or report.now)
    yield
    rows.sort(key=_ORDERS[asked.sort])
    yield
    return CiPage(
        broken=part(broken, asked.broken, BROKEN),
        unfinished=part(unfinished, asked.active, UNFINISHED),
        repos=part(rows, asked.page, REPOS),
        total=len(report.repos),
        providers=sorted(set(report.accounts.values())),
        conclusions=[*CONCLUSIONS, *sorted(words - {"", OTHER, *CONCLUSIONS}), OTHER],
    )


def _is_asked_for(repo: RepoBuilds, asked: CiQuery) -> bool:
    provider, account, name = repo.name
    if asked.provider not in ("", provider) or asked.account not in ("", account):
        return False
    wanted = asked.text.casefold()
    return wanted in name.casefold() or wanted in account.casefold()


def _row(repo: RepoBuilds, asked: CiQuery) -> RepoRow:
    pipelines = [
        known
        for known in repo.pipelines
        if asked.branch in ("", known.branch) and asked.conclusion in ("", known.facts.conclusion)
    ]
    ended = (known for known in pipelines if known.facts.latest is not None)
    latest = max(ended, key=lambda known: known.facts.latest or (), default=None)
    return RepoRow(repo, pipelines, sum(known.is_broken for known in pipelines), latest)


def _urgency(known: PipelineState) -> tuple[bool, float]:
    return (not known.is_default, -(known.broken_since or 0.0))


def _severity(row: RepoRow) -> tuple[int, float]:
    return (_WORST_FIRST.index(row.state), -_latest(row))


def _latest(row: RepoRow) -> float:
    return row.latest.facts.latest[0] if row.latest and row.latest.facts.latest else 0.0


_ORDERS: Mapping[str, Callable[[RepoRow], Any]] = {
    "": _severity,
    "recent": lambda row: -_latest(row),
    "name": lambda row: (row.repo.name[2].casefold(), row.repo.name),
    "active": lambda row: (-len(row.repo.unfinished), *_severity(row)),
}


# -- with the builds of the log


class BrokenRow(NamedTuple):
    """A broken pipeline with the builds that people ask for first."""

    known: PipelineState
    first: LoggedBuild | None
    """The first failing build after the last pass, as far as the log goes back."""
    is_first: bool
    """Whether it is the very first one; else the log does not go back that far."""
    latest: LoggedBuild | None
    """The last failing build."""
    jobs: tuple[LoggedJob, ...]
    """The jobs of it that failed."""

    @property
    def since(self) -> float | None:
        """When the first build failed, epoch seconds."""
        if self.known.broken_since is None and self.is_first and self.first is not None:
            return self.first.completed_at
        return self.known.broken_since


def broken_rows(
    broken: Iterable[PipelineState],
    summaries: Mapping[Labels, PipelineSummary],
    sites: Mapping[str, Site],
) -> list[BrokenRow]:
    """Broken pipelines with their builds; links lead only to the `sites` of the accounts."""
    return [_broken(known, summaries.get(known.labels), sites) for known in broken]


def _broken(
    known: PipelineState, summary: PipelineSummary | None, sites: Mapping[str, Site]
) -> BrokenRow:
    if summary is None:
        return BrokenRow(known, None, is_first=False, latest=None, jobs=())
    own = [
        None if build is None else with_own_links(build, sites)
        for build in (summary.first_failed, summary.last_failed)
    ]
    first, latest = own
    return BrokenRow(
        known,
        first,
        is_first=summary.failures >= known.facts.streak,
        latest=latest,
        jobs=failed_jobs(latest),
    )


def failed_jobs(build: LoggedBuild | None) -> tuple[LoggedJob, ...]:
    """The jobs of a build that failed."""
    return () if build is None else tuple(job for job in build.jobs if job.conclusion in FAILING)


def all_with_own_links(
    builds: Sequence[LoggedBuild], sites: Mapping[str, Site]
) -> list[LoggedBuild]:
    """The same of many."""
    return [with_own_links(build, sites) for build in builds]
