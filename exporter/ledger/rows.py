"""What passes between the ledger, the metrics and the sync: plain rows.

The ledger says what is news (`Findings`), the metrics what becomes of the rows of pipelines and
series (`RowChanges`), and the ledger commits both in one transaction. What is shown is made
of rows as they stand after a commit (`Changes`), wherever they come from.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from operator import add
from typing import NamedTuple

import msgspec

from exporter.http.stored import StoredLimits
from exporter.ledger.polling import PollingChanges, StoredPolling
from exporter.model import Build, BuildKey, Job, Unmapped

Labels = tuple[str, ...]
Vector = tuple[float, ...]
"""A series' numbers: one for a counter; bucket counts (not cumulated, the last of them
+Inf) and the sum for a histogram. Adding an event is adding a vector."""


def plus(one: Vector, other: Vector) -> Vector:
    """The sum of two vectors of one series; the same sum in memory and in the ledger."""
    return tuple(map(add, one, other))


class SeriesKey(NamedTuple):
    """Which series: its family's name and its label values, in the family's order."""

    family: str
    labels: Labels


class AttemptKey(NamedTuple):
    """Which build attempt of an account."""

    key: BuildKey
    attempt: int


class Exemplar(NamedTuple):
    """An observation that stands for all in its bucket of a histogram, or for all of a counter."""

    bucket: int
    """Which of the bounds it fell under; the last one is +Inf. 0 of a counter."""
    build: Labels
    """The number of the build that it is of, else its id; then its id if that is another."""
    value: float
    """Seconds; 1 of a counter."""
    at: float
    """When it was made, epoch seconds."""


Cells = dict[int, int]
"""How many observations of a histogram fell into each cell: a part of a classic bucket, by the
number that `exporter.metrics.native` gives it."""


class SparseBuckets(msgspec.Struct, array_like=True, frozen=True):
    """How the observations of a histogram series spread over cells, in memory as in the ledger."""

    shown: Cells = {}
    held: Cells = {}
    """Those of what is held back."""

    def with_cells(self, cells: Iterable[int], *, held: bool) -> SparseBuckets:
        """The same with more observations."""
        if held:
            return SparseBuckets(self.shown, _counted(self.held, cells))
        return SparseBuckets(_counted(self.shown, cells), self.held)

    def released(self) -> SparseBuckets:
        """The same with nothing held back."""
        shown = dict(self.shown)
        for cell, count in self.held.items():
            shown[cell] = shown.get(cell, 0) + count
        return SparseBuckets(shown)


def _counted(known: Cells, cells: Iterable[int]) -> Cells:
    after = dict(known)
    for cell in cells:
        after[cell] = after.get(cell, 0) + 1
    return after


class PipelineRow(NamedTuple):
    """A pipeline: the target that it belongs to, its labels and its facts.

    The facts are encoded as `exporter.metrics.facts` does.
    """

    target: int
    labels: Labels
    facts: bytes


class SeriesRow(NamedTuple):
    """A counter or histogram."""

    series: SeriesKey
    vector: Vector
    """What it shows."""
    held: Vector | None = None
    """What is held back until it has been seen at 0."""
    is_live: bool = False
    """Whether increments show at once."""
    spread: SparseBuckets | None = None
    """Of a histogram, where native buckets are counted."""
    created_at: float | None = None
    """Epoch seconds, our clock; None if it began with history, or before this was recorded."""

    def released(self) -> SeriesRow:
        """The same with nothing held back, and live."""
        return self._replace(
            vector=plus(self.vector, self.held) if self.held else self.vector,
            held=None,
            is_live=True,
            spread=None if self.spread is None else self.spread.released(),
        )


class Touched(NamedTuple):
    """The rows that a decision needs, by their names.

    A series whose labels begin with those of one of the pipelines is one of it, and is only
    there if the pipeline is.
    """

    pipelines: Collection[Labels]
    series: Collection[SeriesKey]


class Rows(msgspec.Struct):
    """Those of the `Touched` rows that there are."""

    pipelines: dict[Labels, PipelineRow] = {}
    series: dict[SeriesKey, SeriesRow] = {}
    samples: int = 0
    """How many samples are in use of all that `series_limit` lets in."""


class RowChanges(msgspec.Struct, frozen=True):
    """The rows of pipelines and series that change, as they are from now on."""

    pipelines: tuple[PipelineRow, ...] = ()
    series: tuple[SeriesRow, ...] = ()
    samples: int = 0
    """How many samples more are in use."""
    exemplars: tuple[tuple[SeriesKey, Exemplar], ...] = ()
    """They are kept in memory only."""
    dropped: tuple[str, ...] = ()
    """The family of each increment that the series limit folded or refused."""


class Changes(msgspec.Struct, omit_defaults=True):
    """Rows as they stand after a commit: to apply them twice shows the same as once."""

    turn: int = 0
    """Which commit of the state it was, counted from 1; 0 where nobody else writes."""
    is_anew: bool = False
    """Whether rows went that are not named: whoever has them in memory must load all anew."""
    targets: list[Target] = []
    forgotten: list[Labels] = []
    """Pipelines that are no more, nor are their series."""
    pipelines: list[PipelineRow] = []
    series: list[SeriesRow] = []
    exemplars: list[tuple[SeriesKey, Exemplar]] = []
    closed: list[tuple[int, AttemptKey]] = []
    """Builds that are no longer unfinished, each with its target's id."""
    open_builds: list[tuple[int, Build]] = []
    """Unfinished builds with their target's id."""
    dropped: dict[str, int] = {}
    """How many increments of a family the series limit has folded or refused, by its name."""
    polled: list[tuple[str, PollingChanges]] = []
    """What has changed of the schedule of accounts, by name."""
    limits: list[StoredLimits] = []
    """Limits that APIs have set."""
    reports: list[tuple[str, bytes]] = []
    """What the process that polls an account says of it, by the account's name."""


class Completed(msgspec.Struct, frozen=True):
    """A build attempt seen completed for the first time: news, to be counted once."""

    build: Build
    missed: int = 0
    """Earlier attempts of it that nobody saw complete."""


class Counted(msgspec.Struct, frozen=True):
    """The row of a build attempt that was counted, or is taken for lost."""

    conclusion: str | None
    listed: float
    """When it was last marked as still listed, epoch seconds, our clock."""
    flags: int = 0
    ended: float | None = None
    """When it ended as last seen; None in rows of older formats."""
    changed: float | None = None
    """Its `Build.changed_at` as last seen."""


class Corrected(msgspec.Struct, frozen=True):
    """A counted attempt that ended once more, or otherwise than was known."""

    build: Build
    ended: float | None
    """The end that was known before."""


class JobCompleted(msgspec.Struct, frozen=True):
    """A job attempt seen completed for the first time."""

    build: Build
    job: Job


class Findings(msgspec.Struct):
    """What the ledger found in a batch of builds."""

    completed: list[Completed] = []
    jobs: list[JobCompleted] = []
    active: list[Build] = []
    """Unfinished, in the state last seen."""
    corrected: list[Corrected] = []
    """Counted before; they have ended again or otherwise since."""
    anomalies: list[str] = []
    unmapped: list[Unmapped] = []
    """Unknown words of unfinished builds, when first met."""


class Stuck(msgspec.Struct, frozen=True):
    """How long the rest of a list could not be read."""

    since: float
    """Epoch seconds."""
    reach: float
    """The time of the oldest build that could be read, epoch seconds."""
    polls: int = 1


class Cursor(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where the reading of a repo stands."""

    floor: float
    """What completed before this is history: first poll minus lookback."""
    since: float | None = None
    """When the last whole clean walk began, by the provider's clock; None before it."""
    high: int | None = None
    """The highest build number met, where numbers have no holes."""
    resume: str | None = None
    """The page where an unfinished walk goes on."""
    walk: float | None = None
    """When that unfinished walk began."""
    top: int | None = None
    """The highest build number that it has met."""
    behind: dict[str, float] = {}
    """Parts of the list that could not be read, and since when."""
    stuck: Stuck | None = None
    """Where a page after the first cannot be read for now."""


class Target(msgspec.Struct, frozen=True):
    """One polled repo as the ledger remembers it."""

    id: int
    account: str
    repo: str
    cursor: Cursor
    gauges_only: bool = False
    """Its first walk feeds the gauges only: an earlier state was lost or is not kept."""

    @property
    def exposed(self) -> bool:
        """Whether its first walk has ended, so that its series may be shown."""
        return self.cursor.since is not None


class Snapshot(Changes):
    """Everything that a process needs in memory at its start."""

    rules: bytes | None = None
    """What all processes that write the state go by; None if there are none."""
    series_limit: int = 0
    """The limit that they were last shown at; 0 if it is not known."""
    swept_at: float | None = None
    """When what was old was last forgotten, epoch seconds."""
    polling: dict[str, StoredPolling] = {}
    """What the schedule knew, by account."""
    bounds: dict[str, Vector] = {}
    """Of each histogram family, what its series were begun with."""
    samples: dict[str, int] = {}
    """How many samples each account has in use."""
