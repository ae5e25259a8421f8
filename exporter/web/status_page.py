"""What the status page shows of a report: pure functions of the report and the query."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from exporter.status.document import AccountReport, RepoReport, StatusReport

ROWS = 100
"""Repos on one page."""
_LONGEST = 200
"""Characters of a search text."""
_WORST_FIRST = {
    "failing": 0,
    "stale": 1,
    "partial": 2,
    "catching_up": 3,
    "pending": 4,
    "ok": 5,
}
UNHEALTHY = frozenset({"failing", "stale", "partial"})


class PageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What the query string of the page asks for."""

    text: str = ""
    account: str = ""
    unhealthy: bool = False
    """Only repos that are in trouble."""
    page: int = 1

    @property
    def is_filter(self) -> bool:
        """Whether some repos may be left out."""
        return bool(self.text or self.account or self.unhealthy)

    def params(self, *, page: int) -> dict[str, object]:
        """The query that asks for another page of the same; what is empty is left out of it."""
        return {
            "q": self.text,
            "account": self.account,
            "show": "unhealthy" if self.unhealthy else "",
            "page": page if page > 1 else None,
        }


def query(params: Mapping[str, str]) -> PageQuery:
    """What is asked for; what makes no sense is left out."""
    page = params.get("page", "")
    return PageQuery(
        text=params.get("q", "").strip()[:_LONGEST],
        account=params.get("account", ""),
        unhealthy=params.get("show") == "unhealthy",
        page=int(page) if page.isascii() and page.isdigit() and len(page) < 9 else 1,
    )


class RepoRow(NamedTuple):
    """A repo with its account."""

    account: AccountReport
    repo: RepoReport


class StatusPage(NamedTuple):
    """The repos to be shown, those in trouble first."""

    rows: list[RepoRow]
    matching: int
    """How many match the query."""
    page: int
    pages: int
    total: int
    unhealthy: Counter[str]
    """Repos in trouble by account."""
    active: int
    """Unfinished builds of all repos."""


def status_page(report: StatusReport, asked: PageQuery) -> StatusPage:
    """The page of repos that is asked for; the last one if there are fewer."""
    rows = [RepoRow(account, repo) for account in report.accounts for repo in account.repos]
    found = [row for row in rows if _matches(row, asked)]
    found.sort(key=lambda row: _WORST_FIRST[row.repo.state])
    pages = max(-(-len(found) // ROWS), 1)
    page = min(max(asked.page, 1), pages)
    return StatusPage(
        rows=found[(page - 1) * ROWS : page * ROWS],
        matching=len(found),
        page=page,
        pages=pages,
        total=len(rows),
        unhealthy=Counter(row.account.name for row in rows if row.repo.state in UNHEALTHY),
        active=sum(row.repo.active for row in rows),
    )


def _matches(row: RepoRow, asked: PageQuery) -> bool:
    account, repo = row
    if asked.account and account.name != asked.account:
        return False
    if asked.unhealthy and repo.state not in UNHEALTHY:
        return False
    if not asked.text:
        return True
    searched = (repo.repo, account.name, account.provider, repo.error or "")
    wanted = asked.text.casefold()
    return any(wanted in text.casefold() for text in searched)
