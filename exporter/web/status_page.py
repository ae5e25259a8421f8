"""What the status page shows of a report: pure functions of the report and the query."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple
from urllib.parse import urlencode

import msgspec

from exporter.status.document import AccountReport, Ended, RepoReport, StatusReport

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
WORDS = {
    "starting": "starting",
    "up": "up",
    "limited": "limited",
    "backing_off": "backing off",
    "unauthorized": "unauthorised",
    "pending": "not polled yet",
    "catching_up": "catching up",
    "failing": "failing",
    "partial": "read in part",
    "stale": "stale",
    "ok": "ok",
    "in_progress": "running",
}
"""States as people read them."""


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

    def link(self, *, page: int) -> str:
        """The query string that asks for another page of the same."""
        asked = {
            "q": self.text,
            "account": self.account,
            "show": "unhealthy" if self.unhealthy else "",
            "page": str(page) if page > 1 else "",
        }
        return f"?{urlencode({key: value for key, value in asked.items() if value})}"


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


# -- words for people


_UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def elapsed(seconds: float) -> str:
    """`45 s`, `3 min`, `2 h 5 min`, `4 d 3 h`."""
    left = max(round(seconds), 0)
    place = next((i for i, (_, size) in enumerate(_UNITS) if left >= size), len(_UNITS) - 1)
    parts: list[str] = []
    for unit, size in _UNITS[place : place + (1 if place >= 2 else 2)]:
        count, left = divmod(left, size)
        parts += [f"{count} {unit}"] if count or not parts else []
    return " ".join(parts)


def seconds_between(start: str, end: str) -> float:
    """Seconds from one time of a report to another."""
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


def clock(at: str) -> str:
    """`2026-02-03 04:05:06 UTC`."""
    return at.replace("T", " ").replace("Z", " UTC")


def number(value: float) -> str:
    """`1,234`."""
    return f"{value:,.0f}"


def history_summary(history: list[Ended]) -> str:
    """One line on the last builds: `Last 4 builds, the newest failed: 3 passed, 1 failed`."""
    counts = Counter(build.conclusion for build in history).most_common()
    ended = ", ".join(f"{n} {word}" for word, n in counts)
    return f"Last {len(history)} builds, the newest {history[-1].conclusion}: {ended}"
