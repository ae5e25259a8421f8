"""Which build a sample is of, for OpenMetrics' exemplars."""

from __future__ import annotations

from exporter.ledger.rows import Exemplar, Labels, SeriesKey, Vector
from exporter.metrics import families as f
from exporter.metrics.labels import clean
from exporter.model import Build, Job

LABEL = "build"
"""Its number, else its id."""
LABELS = (LABEL, "id")
"""All of them: the second one is there if the id, which addresses are made of, is another."""

_FAMILIES = {f.BUILDS.name, f.BUILD_DURATION.name, f.JOBS.name, f.JOB_DURATION.name}
_MOST_CHARACTERS = 128
"""Of the names and values of all labels; OpenMetrics 1.0, Exemplars."""


def of(run: Build | Job, build: Build, key: SeriesKey, vector: Vector) -> tuple[Exemplar, ...]:
    """The exemplar that an increment brings; none if it tells of no single build or job.

    A build whose number or id is too long has none either, and is counted all the same.
    """
    if key.family not in _FAMILIES or run.completed_at is None:
        return ()
    known = clean(build.native_id or build.key.id)
    number = known if build.number is None else str(build.number)
    names = (number,) if number == known or not known else (number, known)
    if _characters(names) > _MOST_CHARACTERS:
        names = names[:1]
    if not number or _characters(names) > _MOST_CHARACTERS:
        return ()
    return (Exemplar(vector.index(1.0), names, vector[-1], run.completed_at),)


def _characters(names: Labels) -> int:
    return sum(map(len, (*names, *LABELS[: len(names)])))
