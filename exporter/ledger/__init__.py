"""The ledger: what was seen and counted, where each repo's sync stands, what APIs answered.

`Ledger` is the contract of a store; nothing of SQL shows. A transaction finds out which builds
are news, loads the rows of series and pipelines that they touch, and writes what becomes of
them, so that a crash at any instant neither loses nor doubles:

    >>> from exporter.ledger.rows import Cursor, RowChanges, SeriesKey, SeriesRow, Touched
    >>> from exporter.ledger.sqlite.ledger import open_ledger
    >>> from exporter.model import Build, BuildKey, Status
    >>> ended = Build(key=BuildKey("7"), repo="acme/shop", status=Status.COMPLETED,
    ...     conclusion="passed", completed_at=1000.0)
    >>> passed = SeriesKey("cicd_builds_total", ("github", "acme", "acme/shop", "CI", "main"))
    >>> ledger = open_ledger("memory:", LedgerConfig(retention=1e12, lookback=3600.0))
    >>> def poll():
    ...     with ledger.transaction() as tx:
    ...         target = tx.target("acme", "acme/shop", Cursor(floor=0.0))
    ...         findings = tx.reconcile(target, [ended], now=2000.0)
    ...         rows = tx.load(Touched([], [passed]), accounts=["acme"])
    ...         for news in findings.completed:
    ...             before = rows.series.get(passed, SeriesRow(passed, (0.0,)))
    ...             after = before._replace(vector=(before.vector[0] + 1,))
    ...             tx.save("acme", RowChanges(series=(after,)))
    ...     return len(findings.completed), [row.vector for row in tx.changes.series]
    >>> poll()  # the build is news: what is committed may be shown
    (1, [(1.0,)])
    >>> poll()  # it is listed again, and counted no more
    (0, [])
    >>> [row.vector for row in ledger.load().series]
    [(1.0,)]

Every method raises StateUnavailable if the store fails, and its subclass StateDamaged if the
stored data are damaged. Nothing of the transaction is kept then.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import msgspec

from exporter.http.stored import ResponseChanges, StoredLimits, StoredResponse
from exporter.ledger.build_log import BuildLog, LoggedBuild
from exporter.ledger.polling import PollingChanges
from exporter.ledger.rows import (
    AttemptKey,
    Changes,
    Counted,
    Cursor,
    Findings,
    Labels,
    PipelineRow,
    RowChanges,
    Rows,
    SeriesKey,
    SeriesRow,
    Snapshot,
    Target,
    Touched,
)
from exporter.ledger.shared import Shared
from exporter.model import Build

DATABASES = ("postgresql://", "postgres://")
"""What the address of a state in a database begins with."""


class LedgerConfig(msgspec.Struct, frozen=True):
    """How long the ledger remembers, and what it takes for history. Spans in seconds."""

    retention: float
    lookback: float
    gauges_only: bool = True
    """Whether a first sync updates gauges but no counters if the state was lost or is not kept."""
    native: bool = False
    """Whether the native buckets of histograms are wanted."""
    builds: int = 50
    """Finished builds that the build log keeps of each pipeline, beside those that failed."""


class Transaction(Protocol):
    """One atomic step of the ledger."""

    changes: Changes
    """The rows written so far, as they stand; to be shown once the transaction has committed."""

    def target(self, account: str, repo: str, cursor: Cursor) -> Target:
        """The target of a repo, created with `cursor` if it is new."""

    def reconcile(self, target: Target, builds: Iterable[Build], *, now: float) -> Findings:
        """Record builds and return what is news; `now` is the provider's clock, epoch seconds."""

    def close(self, target: Target, keys: Iterable[AttemptKey]) -> None:
        """Delete unfinished builds that no longer exist."""

    def log(
        self, target: Target, builds: Sequence[tuple[AttemptKey, LoggedBuild]], *, now: float
    ) -> None:
        """Write finished builds to the build log; one that is there is replaced.

        `now`, epoch seconds, stands for the time of a build that has none.
        """

    def load(self, touched: Touched, *, accounts: Collection[str]) -> Rows:
        """The touched rows that exist, and the number of samples that `accounts` have in use."""

    def save(self, account: str, changes: RowChanges) -> None:
        """Write changed rows of pipelines and series of an account."""

    def advance_cursor(self, target: Target, cursor: Cursor) -> None:
        """Store how far the sync of a repo has come."""

    def release(self, keys: Iterable[SeriesKey]) -> None:
        """Add held increments to their series and make the series live."""

    def snapshot(self) -> Snapshot:
        """All rows that a process keeps in memory."""

    def pipelines(self) -> list[PipelineRow]:
        """All pipelines."""

    def series_of(
        self, pipelines: Collection[Labels], families: Collection[str]
    ) -> list[SeriesRow]:
        """The series of pipelines in these families."""

    def forget(self, pipelines: Collection[Labels], families: Collection[str]) -> None:
        """Drop pipelines, and their series in these families."""

    def count_samples(self, samples: Mapping[str, int]) -> None:
        """Store how many samples accounts have in use."""

    def check_buckets(self, family: str, bounds: tuple[float, ...]) -> bool:
        """Store a histogram's bounds; False if they have changed and its series were dropped."""

    def set_series_limit(self, samples: int) -> None:
        """Store the series limit in force."""

    def save_responses(self, account: str, changes: ResponseChanges) -> None:
        """Store and delete responses of an account's API."""

    def save_limits(self, changes: Iterable[StoredLimits], *, now: float) -> None:
        """Store limits that APIs have set, and delete expired ones. `now` is our clock."""

    def save_polling(self, account: str, changes: PollingChanges) -> None:
        """Write what has changed of the schedule of an account."""

    def save_report(self, account: str, report: bytes) -> None:
        """Write what the process that polls an account says of it, for the others."""

    def put_rules(self, rules: bytes) -> None:
        """Write what all processes go by from now on; the others load the state anew."""

    def prune(self, *, now: float, spared: Collection[str] = ()) -> None:
        """Delete finished builds older than the retention, and responses that are out of use.

        `now` is the time that all clocks agree on. Builds of `spared` accounts are kept.
        """


class Ledger(Protocol):
    """A store of the ledger. Its calls may come from one worker thread."""

    look_every: float
    """Seconds between two calls of `look`."""
    shared: Shared | None
    """How several processes write it; None if this one is alone."""

    def configure(self, config: LedgerConfig) -> None:
        """Use another configuration from the next transaction on."""

    def load(self) -> Snapshot:
        """All rows that a process keeps in memory. Raises StateDamaged, StateUnavailable."""

    def look(self) -> bool:
        """Check that the store is still in its place, and repair it if that loses nothing.

        Returns whether that shows that all is well. Raises StateUnavailable, with what to do,
        while it is not; `transaction` raises it as well then.
        """

    def counted(self, target: Target, builds: Sequence[Build]) -> list[Counted | None]:
        """The row of each build's attempt; None for attempts that were not counted.

        Raises StateUnavailable.
        """

    def build_log(self) -> BuildLog:
        """Reads the build log, between two transactions."""

    def responses(self, account: str) -> list[StoredResponse]:
        """The stored responses of an account, the most recently used last.

        Raises StateUnavailable; going on without them only costs requests.
        """

    def transaction(self, *accounts: str) -> AbstractContextManager[Transaction]:
        """Commit at the end of the block, or keep nothing of it.

        Raises StateUnavailable, and Fenced where another process polls one of the `accounts`.
        """

    def close(self) -> None:
        """Close the store."""
