"""The ledger: what was seen and counted, where each repo's reading stands, what APIs answered.

`Ledger` is all that the floors above know of it; nothing of SQL shows. It judges
builds and commits the verdict together with what follows from it, so that a crash at
any instant neither loses nor doubles.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from exporter.http.stored import AnswerChanges, StoredAnswer, StoredLimits
from exporter.ledger.polling import PollingChanges
from exporter.ledger.rows import (
    AttemptKey,
    Changes,
    Counted,
    Cursor,
    Labels,
    PipelineRow,
    RowChanges,
    Rows,
    SeriesKey,
    SeriesRow,
    Snapshot,
    Target,
    Touched,
    Verdict,
)
from exporter.model import Build


class Transaction(Protocol):
    """One atomic step of the ledger."""

    def target(self, account: str, repo: str, cursor: Cursor) -> Target:
        """The target of a repo, made with `cursor` if it is new."""

    changes: Changes
    """What was written so far, as it stands: what is shown differently once it is committed."""

    def judge(self, target: Target, builds: Iterable[Build], *, now: float) -> Verdict:
        """Record `builds` and return what is news. `now` is epoch seconds, the provider's clock."""

    def settle(self, target: Target, keys: Iterable[AttemptKey]) -> None:
        """Forget unfinished builds that are gone."""

    def load(self, touched: Touched, *, accounts: Collection[str]) -> Rows:
        """Those of the touched rows that there are, and the samples that `accounts` have in use."""

    def save(self, account: str, changes: RowChanges) -> None:
        """Write what becomes of pipelines and series of an account."""

    def move(self, target: Target, cursor: Cursor) -> None:
        """Keep where the reading of a repo stands."""

    def release(self, keys: Iterable[SeriesKey]) -> None:
        """Let what was held into its series, which are live from now on."""

    def snapshot(self) -> Snapshot:
        """All rows that a process needs in memory."""

    def pipelines(self) -> list[PipelineRow]:
        """All pipelines."""

    def series_of(
        self, pipelines: Collection[Labels], families: Collection[str]
    ) -> list[SeriesRow]:
        """The series of pipelines in these families."""

    def forget(self, pipelines: Collection[Labels], families: Collection[str]) -> None:
        """Drop pipelines, and their series in these families."""

    def count_samples(self, samples: Mapping[str, int]) -> None:
        """Keep how many samples accounts have in use."""

    def bounds(self, family: str, bounds: tuple[float, ...]) -> bool:
        """Keep a histogram's bounds; False if they changed and its series were dropped."""

    def limit(self, samples: int) -> None:
        """Keep the series limit that is obeyed from now on."""

    def keep_answers(self, account: str, changes: AnswerChanges) -> None:
        """Keep, or no longer keep, answers of an account's API."""

    def keep_limits(self, changes: Iterable[StoredLimits], *, now: float) -> None:
        """Keep what APIs have forbidden, and drop what is over. `now` is our clock."""

    def write_polling(self, account: str, changes: PollingChanges) -> None:
        """Write what has changed of the schedule of an account."""

    def prune(self, *, now: float, spared: Collection[str] = ()) -> None:
        """Forget finished builds that retention no longer keeps, and answers out of use.

        `now` is what all clocks agree on; nothing of the `spared` accounts is forgotten.
        """


class Ledger(Protocol):
    """A store of the ledger. Its calls may come from one worker thread."""

    def load(self) -> Snapshot:
        """Everything that the process needs in memory. Raises StateDamaged, StateUnavailable."""

    def look(self) -> bool:
        """See whether the store is still where it was; mend it where nothing is lost by that.

        Whether something was wrong and is over. Raises StateUnavailable with what to do if
        something is, and then `transaction` does too.
        """

    def counted(self, target: Target, builds: Sequence[Build]) -> list[Counted | None]:
        """The row of each of these builds' attempts; None for those that were not counted.

        Raises StateUnavailable.
        """

    def answers(self, account: str) -> list[StoredAnswer]:
        """The kept answers of an account, the most recently used last.

        Raises StateUnavailable; to go on without them costs requests and nothing else.
        """

    def transaction(self) -> AbstractContextManager[Transaction]:
        """Commits at its end, or leaves nothing behind. Raises StateUnavailable."""

    def close(self) -> None:
        """Let go of the store."""
