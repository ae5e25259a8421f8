"""The build log: rows of finished builds, each below its pipeline."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from operator import attrgetter
from typing import NamedTuple

import msgspec

from exporter.ledger.build_log import (
    BuildFilter,
    BuildPage,
    LoggedBuild,
    LoggedJob,
    PipelineSummary,
)
from exporter.ledger.rows import AttemptKey, Labels
from exporter.ledger.sql import Driver, Result, bulk
from exporter.ledger.sql.codec import columns, decoder
from exporter.model import FAILING

_SCANNED = 5000
"""Rows that one call looks at: it holds up the writer for so long."""
_FAILING = ", ".join(f"'{word}'" for word in sorted(FAILING))
_NEWEST = "ORDER BY at DESC, coalesce(number, -1) DESC, attempt DESC, id DESC"
"""Rule 7: by completion, else start, else creation, then number and attempt."""

_LABELS = ", ".join(f"json_extract(wanted.value, '$[{n}]')" for n in range(5))


class _Details(msgspec.Struct, frozen=True, array_like=True):
    """What of a logged build stands in its blob; what is asked for has a column."""

    trigger: str
    created_at: float | None = None
    started_at: float | None = None
    completed_at: float | None = None
    duration_seconds: float | None = None
    queue_seconds: float | None = None
    url: str | None = None
    title: str | None = None
    triggered_by: str | None = None
    triggered_by_type: str | None = None
    commit_at: float | None = None
    pull_request: int | None = None
    environment: str | None = None
    jobs: tuple[LoggedJob, ...] = ()


_encode = msgspec.msgpack.Encoder().encode
_decode = decoder(_Details)
_details_of = attrgetter(*_Details.__struct_fields__)
"""A `_Details` of a build, as the array that it is encoded as."""


# -- writing


def write(
    db: Driver,
    account: int,
    builds: Sequence[tuple[AttemptKey, LoggedBuild]],
    *,
    kept: int,
    now: float,
) -> Callable[[], None]:
    """Begin to log finished builds, or what became of those that ended again.

    What is returned does the rest. `kept` of each pipeline are kept. `now` stands for the time of a
    build that has none.
    """
    counted = _counted(db, (build for _, build in builds))

    def rest() -> None:
        pipelines = {row[1:6]: row for row in counted.fetchall()}
        _write(db, account, builds, {labels: row[0] for labels, row in pipelines.items()}, now)
        _prune(db, [row[0] for row in pipelines.values() if row[6] > kept], kept)

    return rest


def _write(
    db: Driver,
    account: int,
    builds: Sequence[tuple[AttemptKey, LoggedBuild]],
    pipelines: Mapping[Labels, int],
    now: float,
) -> None:
    bulk.write(
        db,
        "INSERT INTO build (account, key, started, attempt, pipeline, at, number, conclusion,"
        " hash, ref, details) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (account, key, started, attempt) DO UPDATE SET pipeline = excluded.pipeline,"
        " at = excluded.at, number = excluded.number, conclusion = excluded.conclusion,"
        " hash = excluded.hash, ref = excluded.ref, details = excluded.details",
        [
            (
                account,
                *columns(key),
                attempt,
                pipelines[build.pipeline],
                _time(build, now),
                build.number,
                build.conclusion,
                build.commit,
                None if build.ref == build.branch else build.ref,
                _encode(_details_of(build)),
            )
            for (key, attempt), build in builds
        ],
    )


def _counted(db: Driver, builds: Iterable[LoggedBuild]) -> Result:
    """The pipelines of these builds, with the number of builds since they were last pruned."""
    numbers: dict[Labels, int] = {}
    for build in builds:
        numbers[build.pipeline] = numbers.get(build.pipeline, 0) + 1
    return db.execute(
        "INSERT INTO log_pipeline (provider, account, repo, workflow, branch, unpruned)"  # noqa: S608 - texts of ours
        f" SELECT {_LABELS}, CAST(json_extract(wanted.value, '$[5]') AS bigint)"
        " FROM json_each(?) AS wanted WHERE true"
        " ON CONFLICT (account, repo, workflow, branch, provider)"
        " DO UPDATE SET unpruned = log_pipeline.unpruned + excluded.unpruned"
        " RETURNING id, provider, account, repo, workflow, branch, unpruned",
        (json.dumps([(*labels, number) for labels, number in numbers.items()]),),
    )


def _time(build: LoggedBuild, now: float) -> float:
    times = (build.completed_at, build.started_at, build.created_at, now)
    return next(at for at in times if at is not None)


def _prune(db: Driver, pipelines: Sequence[int], kept: int) -> None:
    """Leave of each pipeline the newest builds, all that failed, and the last that passed."""
    bulk.write(
        db,
        f"DELETE FROM build WHERE pipeline = ? AND conclusion NOT IN ({_FAILING})"  # noqa: S608 - words of ours
        f" AND id NOT IN (SELECT id FROM build WHERE pipeline = ? {_NEWEST} LIMIT ?)"
        " AND id NOT IN (SELECT id FROM build WHERE pipeline = ? AND conclusion = 'passed'"
        f" {_NEWEST} LIMIT 1)",
        [(pipeline, pipeline, kept, pipeline) for pipeline in pipelines],
    )
    bulk.write(
        db,
        "UPDATE log_pipeline SET unpruned = 0 WHERE id = ?",
        [(pipeline,) for pipeline in pipelines],
    )


def forget(db: Driver, before: float) -> None:
    """Forget the builds of each account that retention no longer keeps."""
    db.execute(
        "DELETE FROM build WHERE at < ? AND at <"
        " (SELECT pruned_to FROM account WHERE id = build.account AND pruned_to <= ?)",
        (before, before),
    )
    db.execute("DELETE FROM log_pipeline WHERE id NOT IN (SELECT pipeline FROM build)")


# -- reading


class _Place(NamedTuple):
    """Between two builds of the log, newest first."""

    at: float
    id: int

    @classmethod
    def parsed(cls, cursor: str) -> _Place:
        at, dot, number = cursor.rpartition("_")
        if not (dot and number.isascii() and number.isdigit() and len(number) < 19):
            raise ValueError("is no cursor of this log")
        try:
            return cls(float.fromhex(at), int(number))
        except (ValueError, OverflowError):
            raise ValueError("is no cursor of this log") from None

    def __str__(self) -> str:
        return f"{self.at.hex().replace('+', '')}_{self.id}"  # a query takes + for a blank


_START = _Place(float("inf"), 0)
_BUILD = (
    "b.number, b.attempt, b.conclusion, b.hash, b.ref, b.details,"
    " p.provider, p.account, p.repo, p.workflow, p.branch"
)
_EQUAL = {
    "provider": "p.provider = :provider",
    "account": "p.account = :account",
    "repo": "p.repo = :repo",
    "workflow": "p.workflow = :workflow",
    "branch": "(p.branch = :branch OR b.ref = :branch)",
    "conclusion": "b.conclusion = :conclusion",
    "commit": "b.hash >= :commit AND b.hash < :commit || '~'",
    "since": "b.at >= :since",
    "until": "b.at < :until",
    "accounts": "p.account IN (SELECT wanted.value FROM json_each(:accounts) AS wanted)",
}
_BEFORE = "b.at <= :at AND (b.at < :at OR b.id < :id)"
_AFTER = "b.at >= :last_at AND (b.at > :last_at OR b.id >= :last_id)"


class SqlBuildLog:
    """Reads the log by a connection that nobody else uses meanwhile.

    `reading` is entered for each read: it turns errors of the database into those of the contract.
    """

    def __init__(self, db: Driver, reading: Callable[[], AbstractContextManager[None]]) -> None:
        self._db = db
        self._reading = reading

    def builds(
        self, wanted: BuildFilter, *, limit: int = 100, cursor: str | None = None
    ) -> BuildPage:
        """See `BuildLog.builds`."""
        place = _START if cursor is None else _Place.parsed(cursor)
        asked = {
            name: value
            for name, value in msgspec.structs.asdict(wanted).items()
            if value is not None
        }
        if wanted.accounts is not None:
            asked["accounts"] = json.dumps(wanted.accounts)
        conditions = "".join(f" AND {_EQUAL[name]}" for name in asked)
        with self._reading():
            source, last = self._source(wanted, place)
            rows = self._db.execute(
                f"SELECT b.at, b.id, {_BUILD} FROM {source} WHERE {_BEFORE}"  # noqa: S608 - texts of ours
                f" AND {_AFTER}{conditions}"
                " ORDER BY b.at DESC, b.id DESC LIMIT :limit",
                {
                    **asked,
                    "at": place.at,
                    "id": place.id,
                    "last_at": last.at,
                    "last_id": last.id,
                    "limit": limit + 1,
                },
            ).fetchall()
            builds = [_logged(*row[2:]) for row in rows[:limit]]
        if len(rows) > limit:
            return BuildPage(builds, str(_Place(*rows[limit - 1][:2])))
        return BuildPage(builds, None if last is _END else str(last))

    def _source(self, wanted: BuildFilter, place: _Place) -> tuple[str, _Place]:
        """Where to read from, and the last row to look at."""
        if wanted.repo is not None:  # the rows of its pipelines are few and have an index
            return "log_pipeline AS p CROSS JOIN build AS b ON b.pipeline = p.id", _END
        row = self._db.execute(
            f"SELECT at, id FROM build AS b WHERE {_BEFORE}"  # noqa: S608 - texts of ours
            " ORDER BY at DESC, id DESC LIMIT 1 OFFSET :most",
            {"at": place.at, "id": place.id, "most": _SCANNED - 1},
        ).fetchone()
        last = _END if row is None else _Place(*row)
        return "build AS b CROSS JOIN log_pipeline AS p ON p.id = b.pipeline", last

    def summaries(self, pipelines: Sequence[Labels]) -> dict[Labels, PipelineSummary]:
        """See `BuildLog.summaries`."""
        with self._reading():
            found = ((labels, self._summary(labels)) for labels in pipelines)
            return {labels: summary for labels, summary in found if summary is not None}

    def _summary(self, labels: Labels) -> PipelineSummary | None:
        rows = self._db.execute(
            "SELECT id, conclusion FROM build WHERE pipeline = (SELECT id FROM log_pipeline"  # noqa: S608 - texts of ours
            " WHERE provider = ? AND account = ? AND repo = ? AND workflow = ? AND branch = ?)"
            f" {_NEWEST}",
            labels,
        ).fetchall()
        if not rows:
            return None
        passed = next((i for i, (_, word) in enumerate(rows) if word == "passed"), None)
        since = [ident for ident, word in rows[:passed] if word in FAILING]
        failed = next((ident for ident, word in rows if word in FAILING), None)
        named = {
            "last": rows[0][0],
            "last_passed": None if passed is None else rows[passed][0],
            "last_failed": failed,
            "first_failed": since[-1] if since else None,
        }
        builds = dict(self._by_id({ident for ident in named.values() if ident is not None}))
        chosen = {name: builds.get(ident) for name, ident in named.items()}
        return PipelineSummary(**chosen, failures=len(since))  # type: ignore[arg-type]

    def _by_id(self, ids: Iterable[int]) -> Iterator[tuple[int, LoggedBuild]]:
        rows = self._db.execute(
            f"SELECT b.id, {_BUILD} FROM json_each(?) AS wanted CROSS JOIN build AS b"  # noqa: S608 - texts of ours
            " ON b.id = CAST(wanted.value AS bigint)"
            " CROSS JOIN log_pipeline AS p ON p.id = b.pipeline",
            (json.dumps([*ids]),),
        )
        for ident, *row in rows.fetchall():
            yield ident, _logged(*row)

    def pipelines(self, account: str, repo: str) -> list[Labels]:
        """See `BuildLog.pipelines`."""
        with self._reading():
            return self._db.execute(
                "SELECT provider, account, repo, workflow, branch FROM log_pipeline"
                " WHERE account = ? AND repo = ? ORDER BY workflow, branch, provider",
                (account, repo),
            ).fetchall()


_END = _Place(float("-inf"), 0)


def _logged(  # noqa: PLR0913, PLR0917 - a column each
    number: int | None,
    attempt: int,
    conclusion: str,
    commit: str | None,
    ref: str | None,
    details: bytes,
    *labels: str,
) -> LoggedBuild:
    provider, account, repo, workflow, branch = labels
    return LoggedBuild(
        provider=provider,
        account=account,
        repo=repo,
        workflow=workflow,
        branch=branch,
        number=number,
        attempt=attempt,
        conclusion=conclusion,
        commit=commit,
        ref=branch if ref is None else ref,
        **msgspec.structs.asdict(_decode(details)),
    )
