"""Which build an observation is of, for OpenMetrics' exemplars."""

from __future__ import annotations

from exporter.ledger.rows import Exemplar, SeriesKey, Vector
from exporter.metrics import families as f
from exporter.metrics.labels import clean
from exporter.model import Build, Job

LABEL = "build"

_FAMILIES = {f.BUILD_DURATION.name, f.JOB_DURATION.name}
_MOST_CHARACTERS = 128
"""Of the names and values of all labels; OpenMetrics 1.0, Exemplars."""


def of(run: Build | Job, build: Build, key: SeriesKey, vector: Vector) -> tuple[Exemplar, ...]:
    """The exemplar that an increment brings; none if it is no duration of a build or job.

    A build whose number or id is too long has none either, and is counted all the same.
    """
    if key.family not in _FAMILIES or run.completed_at is None:
        return ()
    known = build.native_id or build.key.id if build.number is None else str(build.number)
    name = clean(known)
    if not name or len(LABEL) + len(name) > _MOST_CHARACTERS:
        return ()
    return (Exemplar(vector.index(1.0), name, vector[-1], run.completed_at),)
