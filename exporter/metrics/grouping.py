"""What a series belongs to, a pipeline or a job in it, and how many samples it has."""

from __future__ import annotations

from exporter.ledger.rows import Labels, SeriesKey, Vector
from exporter.metrics import families as f

OF_JOB = tuple(x for x in f.FAMILIES if x.labels[:6] == f.JOB and x.kind != "gauge")
OF_PIPELINE = tuple(x for x in f.FAMILIES if x.labels[:5] == f.PIPELINE and x not in OF_JOB)
"""The families whose series are kept together by job, and by pipeline."""

OF_PIPELINES = frozenset(x.name for x in (*OF_PIPELINE, *OF_JOB))
"""The names of both."""

_DEPTH = {x.name: len(f.PIPELINE) for x in OF_PIPELINE} | {x.name: len(f.JOB) for x in OF_JOB}


def depth(family: str) -> int:
    """How many labels of a series say to what it belongs: a pipeline's, a job's, else none."""
    return _DEPTH.get(family, 0)


def is_pipeline_family(name: str) -> bool:
    """Whether this is one of the build and job families."""
    return name in OF_PIPELINES


def pipeline_of(key: SeriesKey) -> Labels:
    """The labels of the pipeline that a series of a build or job family belongs to."""
    return key.labels[: len(f.PIPELINE)]


def account_of(key: SeriesKey) -> str | None:
    """The `account` label of a series; None where its family has none."""
    names = f.BY_NAME[key.family].labels
    return key.labels[names.index("account")] if "account" in names else None


def samples_of(width: int) -> int:
    """How many samples a series with so many numbers exposes: buckets, count and sum, or one."""
    return 1 if width == 1 else width + 1


def sample_count(vector: Vector) -> int:
    """How many samples a series exposes."""
    return samples_of(len(vector))
