"""Whether what a state gives back is what was written there."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator

import msgspec

from exporter.ledger.rows import Snapshot, Vector
from exporter.metrics import eviction
from exporter.metrics import families as f
from exporter.metrics.facts import decode


def damage(snapshot: Snapshot) -> Iterator[str]:
    """A line for each row that no version of ours has written."""
    for family, bounds in snapshot.bounds.items():
        if not all(map(math.isfinite, bounds)) or list(bounds) != sorted(set(bounds)):
            yield f"the bounds of {_shown(family)} are none"
    for _, labels, facts in snapshot.pipelines:
        if len(labels) != len(f.PIPELINE):
            yield f"a pipeline has {len(labels)} labels: {_shown(*labels)}"
        if fault := _fault(facts):
            yield f"what is known of pipeline {_shown(*labels)} cannot be read: {fault}"
    for (family, labels), vector, held, *_ in snapshot.series:
        known = f.BY_NAME.get(family)
        if known is None:
            yield f"a series is of no family of ours: {_shown(family, *labels)}"
        elif len(labels) != len(known.labels):
            yield f"a series has {len(labels)} labels: {_shown(family, *labels)}"
        else:
            sizes = _sizes(known, snapshot)
            if not all(_is_sound(row, sizes) for row in (vector, held) if row is not None):
                yield f"the numbers of a series are none: {_shown(family, *labels)}"


def _fault(facts: bytes) -> str | None:
    """Why the facts of a pipeline cannot be read; None if they can."""
    try:
        jobs = decode(facts).jobs
        is_whole = jobs is None or len(jobs.ends) == jobs.count
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return str(error)
    return None if is_whole else "some jobs are missing"


def miscounted(snapshot: Snapshot) -> Iterator[str]:
    """A line for each account that has other samples in use than its row says.

    That is no damage: they are counted anew at each start.
    """
    accounts = {target.id: target.account for target in snapshot.targets}
    used = Counter[str]()
    for one in eviction.candidates(snapshot.pipelines, snapshot.series):
        if not one.was_evicted:
            used[accounts[one.target]] += one.samples
    for account, samples in snapshot.samples.items():
        if samples != used[account]:
            yield (
                f"account {_shown(account)} has {used[account]} samples in use, and its row says"
                f" {samples}: a restart counts them anew"
            )


def faults(snapshot: Snapshot) -> Iterable[str]:
    """A line for each thing that is not as it should be."""
    return list(damage(snapshot)) or miscounted(snapshot)


def _sizes(family: f.Family, snapshot: Snapshot) -> int | None:
    """How many numbers a series of a family has; None if that is not known."""
    if not family.buckets:
        return 1
    bounds = snapshot.bounds.get(family.name)
    return None if bounds is None else len(bounds) + 2


def _is_sound(vector: Vector, size: int | None) -> bool:
    if size is not None and len(vector) != size:
        return False
    return all(0.0 <= number < math.inf for number in vector)


def _shown(*words: str) -> str:
    """Names for people, whatever is in them."""
    return " ".join(map(repr, words))[:200]
