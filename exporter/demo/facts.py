"""What is true of a run or job at one instant, in a CI system's own words."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Any

import msgspec

from exporter.demo.vocabulary import TRIGGER, Vocabulary
from exporter.demo.world import Behaviour, JobRun, Repo, Run, Timed, reached
from exporter.model import Status

Item = dict[str, Any]
"""A JSON object of an answer."""


class View(msgspec.Struct, frozen=True, kw_only=True):
    """A run as an API request sees it: its repo, the time, and the account's behaviour."""

    repo: Repo
    run: Run
    now: float
    ways: Behaviour


class JobView(View, frozen=True, kw_only=True):
    """The same of one of its jobs."""

    job: JobRun


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a run or job, in native words; what is still to come is None."""

    phase: Status
    status: str
    conclusion: str | None
    unified: str | None
    """The conclusion as the unified API has it; a raw word stays raw."""
    started_at: float | None
    completed_at: float | None

    @classmethod
    def at(cls, timed: Timed, now: float, statuses: Vocabulary, conclusions: Vocabulary) -> Facts:
        """Look at `timed` at `now` with an integration's words."""
        phase = timed.status(now)
        raw_phase = phase is not Status.COMPLETED and (
            timed.held is None or phase is Status.WAITING
        )
        native = timed.raw_conclusion or conclusions.native(timed.conclusion)
        done = phase is Status.COMPLETED
        return cls(
            phase=phase,
            status=(raw_phase and timed.raw_status) or statuses.native(phase),
            conclusion=native if done else None,
            unified=(timed.raw_conclusion or conclusions.unified(native)) if done else None,
            started_at=reached(timed.started_at, now),
            completed_at=reached(timed.completed_at, now),
        )


def triggers(integration: str, run: Run) -> tuple[str, str]:
    """Native and unified word of what started `run`."""
    words = TRIGGER[integration]
    native = run.raw_trigger or words.native(run.trigger)
    return native, run.raw_trigger or words.unified(native)


def committed(run: Run) -> float:
    """When what was built was committed, epoch seconds."""
    return run.created_at if run.committed_at is None else run.committed_at


def updated_at(run: Run, now: float) -> float:
    """When the CI system last touched `run`."""
    held = run.held or ()
    marks = (run.requested_at, run.started_at, run.completed_at, run.touched_at, *held)
    past: list[float] = [mark for mark in marks if mark is not None and mark <= now]
    return max([run.created_at, *past])


def work(jobs: Iterable[Timed], now: float) -> int:
    """Whole seconds that all `jobs` worked so far, added up: not a span on the wall's clock."""
    spent = 0.0
    for job in jobs:
        started = reached(job.started_at, now)
        if started is not None:
            spent += (reached(job.completed_at, now) or now) - started
    return int(spent)


def number_of(text: str) -> int:
    """A stable number for a name, where a CI system has numeric ids."""
    return zlib.crc32(text.encode()) % 90_000_000 + 10_000_000


def numeric(text: str) -> int | str:
    """An id the way the CI system has it, which is a number where it can be."""
    return int(text) if text.isdecimal() else text


def finish(item: Item, timed: Timed) -> Item:
    """Lay the overrides over an item."""
    item |= timed.overrides
    return {key: value for key, value in item.items() if value is not msgspec.UNSET}
