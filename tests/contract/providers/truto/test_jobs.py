"""Every job of a build is read once, with as few requests as its list allows."""

from __future__ import annotations

from typing import Any

import pytest

from exporter.errors import Malformed
from exporter.model import Job, Status
from tests.contract.providers.truto import (
    AZURE,
    CIRCLECI,
    COMPLETED,
    DAY,
    DENIED,
    GITHUB,
    RUNS,
    FakeApi,
    at,
    detail,
    job,
    listed,
    one,
    page,
    refresh,
    truto,
)


def test_a_job_has_the_builds_attempt_and_no_times_to_come():
    api = FakeApi(
        jobs=listed(
            job(1, attempts=None, status="queued", completed_at=None),
            job(2, status="in_progress", completed_at=DAY + "09:09:09Z"),
            {"id": 3, "name": None},
        )
    )
    running = GITHUB | {"attempts": 2, "status": "in_progress"}
    full = detail(truto("github", jobs=True), api, one("github", running))
    page = "https://github.com/acme/shop/actions/runs/9001234567/job"
    created, started = at("09:00:02"), at("09:00:15")
    queued: dict[str, Any] = {"status": Status.QUEUED, "attempt": 2}
    runs = queued | {"status": Status.IN_PROGRESS}

    assert (
        Job(id="1", name="job 1", created_at=created, url=f"{page}/1", **queued),
        Job(
            id="2",
            name="job 2",
            created_at=created,
            started_at=started,
            url=f"{page}/2",
            **runs,
        ),
        Job(id="3", name="", url=f"{page}/3", **queued),
    ) == full.jobs


def test_a_job_listed_twice_is_one():
    api = FakeApi(jobs=[listed(job(1), job(2), next_cursor="2"), listed(job(2), job(3))])
    full = detail(truto("github", jobs=True), api, one("github", GITHUB))

    assert ["1", "2", "3"] == [j.id for j in full.jobs]


@pytest.mark.parametrize("cursors", [["a", "b", "a"], ["a", "a"], [str(i) for i in range(200)]])
def test_pages_of_jobs_that_do_not_end_are_malformed(cursors):
    api = FakeApi(jobs=[listed(job(i), next_cursor=c) for i, c in enumerate(cursors)])
    with pytest.raises(Malformed) as caught:
        detail(truto("github", jobs=True), api, one("github", GITHUB))

    assert ("bad_shape", True) == (caught.value.reason, len(api.calls) <= 1000)


def three_pages(*third: Any) -> list[Any]:
    return [listed(job(1), next_cursor="2"), listed(job(2) | RUNS, next_cursor="3"), listed(*third)]


def test_few_unfinished_jobs_of_a_long_list_are_read_one_by_one():
    provider = truto("github", jobs=True)
    build = one("github", GITHUB | {"status": "in_progress"})
    api = FakeApi(jobs=three_pages(job(3) | RUNS), jobs__2=job(2), jobs__3=job(3) | RUNS)
    known = detail(provider, api, build)
    again = detail(provider, api, build, known)

    assert ["jobs"] * 3 + ["jobs/2", "jobs/3"] == api.paths
    assert [COMPLETED, COMPLETED, Status.IN_PROGRESS] == [j.status for j in again.jobs]


def test_as_many_unfinished_jobs_as_pages_are_listed():
    provider = truto("github", jobs=True)
    build = one("github", GITHUB | {"status": "in_progress"})
    api = FakeApi(jobs=three_pages(job(3) | RUNS, job(4) | RUNS))
    known = detail(provider, api, build)
    api.answers["jobs"] = listed(job(1))
    detail(provider, api, build, known)

    assert ["jobs"] * 4 == api.paths


def test_the_jobs_of_a_completed_build_are_listed_whatever_is_known():
    provider = truto("github", jobs=True)
    api = FakeApi(jobs=three_pages())
    known = detail(provider, api, one("github", GITHUB | {"status": "in_progress"}))
    api.answers["jobs"] = listed(job(1), job(2))
    detail(provider, api, one("github", GITHUB), known)

    assert ["jobs"] * 4 == api.paths


def test_a_job_that_is_gone_sends_us_back_to_the_list():
    provider = truto("github", jobs=True)
    build = one("github", GITHUB | {"status": "in_progress"})
    api = FakeApi(jobs=three_pages())
    known = detail(provider, api, build)
    api.answers["jobs"] = listed(job(1))
    again = detail(provider, api, build, known)

    assert ["jobs"] * 3 + ["jobs/2", "jobs"] == api.paths
    assert ["1"] == [j.id for j in again.jobs]


def test_a_circleci_build_ends_only_with_its_list():
    provider = truto("circleci", jobs=True)
    build = one("circleci", CIRCLECI)
    api = FakeApi(jobs=three_pages(), jobs__2=job(2))
    known = detail(provider, api, build)
    api.answers["jobs"] = listed(job(1), job(2), job(3) | RUNS)
    again = refresh(provider, api, known)

    assert ["jobs"] * 3 + ["jobs/2", "jobs"] == api.paths
    assert Status.IN_PROGRESS == again.status


def test_azures_jobs_have_no_single_endpoint():
    provider = truto("azuredevops", jobs=True)
    build = one("azuredevops", AZURE | {"status": "inProgress"})
    api = FakeApi(jobs=three_pages())
    known = detail(provider, api, build)
    api.answers["jobs"] = listed(
        {
            "id": "r1",
            "name": "Build",
            "remote_data": {"state": "completed", "result": "succeededWithIssues"}
            | {"startTime": DAY + "09:00:00Z", "finishTime": DAY + "09:01:00Z"},
        }
    )
    again = detail(provider, api, build, known)

    assert ["jobs"] * 4 == api.paths
    assert [("Build", "partial", 60.0)] == [(j.name, j.conclusion, j.duration) for j in again.jobs]


def test_refused_jobs_leave_the_build():
    full = detail(truto("github", jobs=True), FakeApi(jobs=DENIED), one("github", GITHUB))

    assert ("passed", ()) == (full.conclusion, full.jobs)


def test_buddy_has_jobs_and_no_builds():
    api = FakeApi(
        jobs=listed(
            {"id": 3, "name": "deploy", "status": "INPROGRESS", "started_at": DAY + "09:00:00Z"},
            {
                "id": "2",
                "name": "deploy",
                "status": "SUCCESSFUL",
                "started_at": DAY + "08:00:00Z",
                "remote_data": {"finish_date": DAY + "08:01:00.5Z"},
            },
            {
                "id": "1",
                "name": "deploy",
                "status": "completed",
                "remote_data": {"status": "TERMINATED"},
            },
            {"name": "no id"},
            next_cursor="2",
        )
    )
    provider = truto("buddy")
    found = page(provider, api)
    (container,) = found.builds

    assert ("2", 1, True) == (found.next, found.rejected, container.only_jobs)
    assert ("acme/shop/deploy", "acme/shop/deploy", "deploy", Status.IN_PROGRESS) == (
        container.key.id,
        container.repo,
        container.workflow,
        container.status,
    )
    assert [
        ("3", Status.IN_PROGRESS, None, None),
        ("2", COMPLETED, "passed", 60.5),
        ("1", COMPLETED, "cancelled", None),
    ] == [(j.id, j.status, j.conclusion, j.duration) for j in container.jobs]
    assert container == detail(provider, api, container)
    assert ["jobs"] == api.paths
