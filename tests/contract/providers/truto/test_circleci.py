"""A CircleCI build is what its jobs are."""

from __future__ import annotations

from typing import Any

import pytest

from exporter.errors import Gone
from exporter.model import Status
from tests.contract.providers.truto import (
    CIRCLECI,
    COMPLETED,
    DAY,
    DENIED,
    MISSING,
    RUNS,
    FakeApi,
    at,
    detail,
    job,
    listed,
    one,
    refresh,
    truto,
)

HOLD: dict[str, Any] = {"status": "on_hold", "conclusion": None, "started_at": None}
QUEUED: dict[str, Any] = {"status": "queued", "conclusion": None, "started_at": DAY + "09:00:02Z"}
# fmt: off
CIRCLES = [
    ("no jobs", [], Status.QUEUED, None),
    ("all complete", [job(1), job(2, conclusion="failed")], COMPLETED, "failed"),
    ("one runs", [job(1), job(2) | RUNS], Status.IN_PROGRESS, None),
    ("none has started", [job(1) | QUEUED], Status.QUEUED, None),
    ("one has ended, one is queued", [job(1), job(2) | QUEUED], Status.IN_PROGRESS, None),
    ("only an approval is open", [job(1), job(2) | HOLD], Status.WAITING, None),
    ("an approval is first", [job(1) | HOLD], Status.WAITING, None),
    (
        "an approval blocks the rest",
        [job(1), job(2) | HOLD, job(3) | QUEUED | {"status": "blocked"}], Status.WAITING, None,
    ),
    (
        "an approval that is only told natively",
        [job(1), job(2) | QUEUED | {"remote_data": {"status": "on_hold"}}], Status.WAITING, None,
    ),
    (
        "an approval beside a job that wants a machine", [job(1), job(2) | HOLD, job(3) | QUEUED],
        Status.IN_PROGRESS, None,
    ),
    ("a retried job does not count", [job(1, conclusion="retried"), job(2)], COMPLETED, "passed"),
    ("nothing ran", [job(1, conclusion="skipped")], COMPLETED, "skipped"),
]
# fmt: on


@pytest.mark.parametrize(
    ("jobs", "status", "conclusion"), [pytest.param(*row[1:], id=row[0]) for row in CIRCLES]
)
def test_a_circleci_build_is_what_its_jobs_are(jobs, status, conclusion):
    api = FakeApi(jobs=listed(*jobs))
    full = detail(truto("circleci"), api, one("circleci", CIRCLECI))

    assert ["jobs"] == api.paths
    assert (status, conclusion) == (full.status, full.conclusion)
    if status is COMPLETED:
        assert (at("09:00:15"), at("09:03:20")) == (full.started_at, full.completed_at)
        assert 15.0 == full.queue


@pytest.mark.parametrize("fault", [MISSING, DENIED])
def test_without_its_jobs_nothing_is_known_of_a_circleci_build(fault):
    full = detail(truto("circleci"), FakeApi(jobs=fault), one("circleci", CIRCLECI))

    assert (Status.QUEUED, True) == (full.status, full.partial)


def test_a_circleci_build_is_refreshed_by_its_jobs_alone():
    known = detail(truto("circleci"), FakeApi(jobs=listed(job() | RUNS)), one("circleci", CIRCLECI))
    api = FakeApi(jobs=listed(job()))
    full = refresh(truto("circleci"), api, known)

    assert (["jobs"], COMPLETED, "passed") == (api.paths, full.status, full.conclusion)
    with pytest.raises(Gone):
        refresh(truto("circleci"), FakeApi(jobs=MISSING), known)
