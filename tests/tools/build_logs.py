"""Finished builds in the build log of a ledger."""

from __future__ import annotations

from typing import Any

from exporter.ledger import Ledger
from exporter.ledger.build_log import LoggedBuild, LoggedJob
from exporter.ledger.rows import AttemptKey, Cursor, Labels
from exporter.model import BuildKey

MAIN = ("github", "acme", "acme/shop", "CI", "main")

WHOLE = LoggedBuild(
    provider="github",
    account="acme",
    repo="acme/shop",
    workflow="CI",
    branch="other",
    number=7,
    attempt=2,
    conclusion="failed",
    trigger="push",
    ref="feature/ä",
    commit="c0ffee" * 6,
    commit_at=90.5,
    title="Mend the parser",
    triggered_by="octo",
    triggered_by_type="user",
    pull_request=12,
    environment="production",
    created_at=100.0,
    started_at=101.25,
    completed_at=111.5,
    duration_seconds=10.25,
    queue_seconds=1.25,
    url="https://ci.example/7",
    jobs=(LoggedJob("test", "failed", 101.5, 111.0, "https://ci.example/7/1"),),
)


def a_build(
    labels: Labels, at: float | None, conclusion: str = "passed", **more: Any
) -> LoggedBuild:
    provider, account, repo, workflow, branch = labels
    return LoggedBuild(
        provider=provider,
        account=account,
        repo=repo,
        workflow=workflow,
        branch=branch,
        **{"completed_at": at, "conclusion": conclusion, "ref": branch} | more,
    )


def record(ledger: Ledger, *builds: tuple[str, LoggedBuild], now: float = 5000.0) -> None:
    with ledger.transaction() as tx:
        for ident, build in builds:
            target = tx.target(build.account, build.repo, Cursor(floor=0.0))
            tx.log(target, [(AttemptKey(BuildKey(ident), build.attempt), build)], now=now)
