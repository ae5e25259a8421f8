"""What a list leaves out is found where it is, and asked for no oftener than it pays."""

from __future__ import annotations

import pytest

from exporter.errors import Refused
from exporter.model import OTHER, BuildKey, Unmapped
from tests.contract.providers.truto import (
    ACCOUNT,
    BITBUCKET,
    CIRCLECI,
    COMPLETED,
    DAY,
    DENIED,
    GITHUB,
    JENKINS,
    JENKINS_PARTIAL,
    LATER,
    MISSING,
    START,
    TRAVIS,
    UNAUTHORIZED,
    FakeApi,
    at,
    detail,
    job,
    listed,
    one,
    page,
    remote,
    truto,
)


def test_bitbuckets_start_comes_from_the_single_build_or_else_from_the_jobs():
    api = FakeApi(
        builds=listed(BITBUCKET),
        **{"builds/%7B1f0e2d3c%7D": BITBUCKET},
        jobs=listed(
            job(1, started_at=DAY + "09:01:00Z"), job(2, build="77"), job(3, build="{other}")
        ),
    )
    provider = truto("bitbucket")
    (build,) = page(provider, api).builds
    full = detail(provider, api, build)

    assert ["builds", "builds/%7B1f0e2d3c%7D", "jobs"] == api.paths
    assert (at("09:00:15"), at("09:03:20.5"), "failed") == (
        full.started_at,
        full.completed_at,
        full.conclusion,
    )
    assert ((), False) == (full.jobs, full.partial)


def test_what_the_single_build_fills_needs_no_jobs():
    api = FakeApi(**{"builds/1": GITHUB | {"id": "1"}})
    build = one("github", GITHUB | {"id": "1", "completed_at": None, "conclusion": None})
    full = detail(truto("github"), api, build)

    assert ["builds/1"] == api.paths
    assert ("passed", at("09:05:42"), False) == (full.conclusion, full.completed_at, full.partial)


def test_the_list_items_own_values_win():
    api = FakeApi(**{"builds/1": GITHUB | {"id": "1", "conclusion": "failed"}})
    build = one("github", GITHUB | {"id": "1", "completed_at": None})
    full = detail(truto("github"), api, build)

    assert ("passed", at("09:05:42")) == (full.conclusion, full.completed_at)


def test_the_single_build_of_a_later_attempt_fills_nothing():
    api = FakeApi(**{"builds/1": GITHUB | {"id": "1", "attempts": 2}})
    build = one("github", GITHUB | {"id": "1", "completed_at": None})

    assert detail(truto("github"), api, build).completed_at is None


def test_a_conclusion_from_the_single_build_brings_its_unknown_word():
    api = FakeApi(**{"builds/1": GITHUB | {"id": "1", "conclusion": "odd"}})
    full = detail(truto("github"), api, one("github", GITHUB | {"id": "1", "conclusion": ""}))

    assert (OTHER, (Unmapped("conclusion", "odd"),)) == (full.conclusion, full.unmapped)


def test_after_three_fruitless_single_builds_only_every_fiftieth_is_asked_for():
    provider = truto("bitbucket")
    build = one("bitbucket", BITBUCKET)
    api = FakeApi(**{"builds/%7B1f0e2d3c%7D": BITBUCKET}, jobs=listed(job()))
    for _ in range(3 + 100):
        detail(provider, api, build)

    assert 3 + 2 == api.paths.count("builds/%7B1f0e2d3c%7D")
    assert 103 == api.paths.count("jobs")


def test_a_fruitful_single_build_is_always_asked_for():
    provider = truto("bitbucket")
    build = one("bitbucket", BITBUCKET)
    whole = BITBUCKET | {"started_at": DAY + "09:00:10Z"}
    api = FakeApi(**{"builds/%7B1f0e2d3c%7D": whole})
    for _ in range(10):
        detail(provider, api, build)

    assert ["builds/%7B1f0e2d3c%7D"] * 10 == api.paths


@pytest.mark.parametrize("fault", [MISSING, DENIED, Refused("400", reason="bad_shape")])
def test_what_is_gone_or_refused_stays_unknown(fault):
    api = FakeApi(**{"builds/%7B1f0e2d3c%7D": fault}, jobs=fault)
    full = detail(truto("bitbucket"), api, one("bitbucket", BITBUCKET))

    assert (None, "failed", False) == (full.started_at, full.conclusion, full.partial)


@pytest.mark.parametrize("fault", [LATER, UNAUTHORIZED])
@pytest.mark.parametrize("where", ["builds/%7B1f0e2d3c%7D", "jobs"])
def test_what_fails_for_now_fills_nothing_yet(fault, where):
    api = FakeApi(**{where: fault})
    with pytest.raises(type(fault)):
        detail(truto("bitbucket"), api, one("bitbucket", BITBUCKET))


def test_travis_asks_its_jobs_last():
    api = FakeApi(
        jobs=listed(
            {"id": 1, "name": "3.12", "build": 86601346, "status": "passed"}
            | {"started_at": DAY + "09:00:48Z", "completed_at": DAY + "09:06:00Z"},
            {"id": 2, "name": "3.13", "status": "completed", "remote_data": {"state": "errored"}}
            | {"started_at": DAY + "09:00:30Z", "completed_at": DAY + "09:05:00Z"},
        )
    )
    item = TRAVIS | {"remote_data": {}, "conclusion": None}
    full = detail(truto("travisci", jobs=True), api, one("travisci", item))

    assert ["builds/86601346", "jobs"] == api.paths
    assert (at("09:00:30"), at("09:06:00"), "error") == (
        full.started_at,
        full.completed_at,
        full.conclusion,
    )
    assert [("3.12", "passed"), ("3.13", "error")] == [(j.name, j.conclusion) for j in full.jobs]


def test_jenkins_partial_builds_are_read_one_by_one():
    whole = JENKINS | {"id": "128", "number": 128}
    api = FakeApi(**{"builds/128": whole})
    build = one("jenkins", JENKINS_PARTIAL)
    full = detail(truto("jenkins", jobs=True), api, build)

    assert [("builds/128", {"integrated_account_id": ACCOUNT, "workflow_id": "folder/shop"})] == (
        api.calls
    )
    assert BuildKey("folder/shop#128", START) == full.key
    assert ("failed", 667.0, False, ()) == (full.conclusion, full.duration, full.partial, full.jobs)


@pytest.mark.parametrize("fault", [MISSING, DENIED])
def test_a_jenkins_build_that_cannot_be_read_stays_partial(fault):
    full = detail(
        truto("jenkins"), FakeApi(**{"builds/128": fault}), one("jenkins", JENKINS_PARTIAL)
    )

    assert (True, BuildKey("folder/shop#128")) == (full.partial, full.key)


def test_a_completed_jenkins_build_gets_its_key_with_its_start():
    api = FakeApi(**{"builds/127": JENKINS})
    build = one("jenkins", JENKINS | {"started_at": None, "remote_data": None})
    full = detail(truto("jenkins"), api, build)

    assert BuildKey("folder/shop#127") == build.key
    assert BuildKey("folder/shop#127", START) == full.key


def test_a_skipped_build_needs_no_start():
    build = one("github", GITHUB | {"conclusion": "skipped", "started_at": None})

    assert (False, None) == (build.partial, build.duration)


WORST = [
    ("passed failed timeout error cancelled partial", "failed"),
    ("passed timeout error cancelled partial", "timeout"),
    ("passed error cancelled partial", "error"),
    ("passed cancelled partial", "cancelled"),
    ("passed partial skipped", "partial"),
    ("passed skipped neutral", "passed"),
    ("retried passed", "passed"),
    ("skipped skipped", "skipped"),
    ("retried skipped", "skipped"),
    ("skipped neutral", None),
    ("neutral", None),
    ("gibberish", None),
]


@pytest.mark.parametrize(("conclusions", "worst"), WORST)
def test_the_worst_conclusion_of_the_jobs_is_the_builds(conclusions, worst):
    jobs = [job(i, conclusion=c) for i, c in enumerate(conclusions.split())]
    full = detail(truto("circleci"), FakeApi(jobs=listed(*jobs)), one("circleci", CIRCLECI))

    assert (COMPLETED, worst) == (full.status, full.conclusion)


def test_unknown_words_of_jobs_are_counted_though_the_jobs_are_not_kept():
    api = FakeApi(jobs=listed(job(conclusion="odd")))
    full = detail(truto("circleci"), api, one("circleci", CIRCLECI))

    assert (Unmapped("conclusion", "odd"),) == full.unmapped


def test_jobs_of_an_earlier_attempt_do_not_stretch_a_later_one():
    carried = job(1, started_at=DAY + "08:00:00Z", remote_data={"run_number": 1})
    again = job(2, remote_data={"run_number": 2})
    api = FakeApi(jobs=listed(carried, again))
    provider = truto("bitbucket", jobs=True)
    full = detail(provider, api, one("bitbucket", remote(BITBUCKET, run_number=2)))

    assert at("09:00:15") == full.started_at
    assert [1, 2] == [j.attempt for j in full.jobs]


def test_jobs_of_a_later_attempt_are_not_this_builds():
    api = FakeApi(jobs=listed(job(1, attempts=1), job(2, attempts=2), job(3)))
    full = detail(truto("github", jobs=True), api, one("github", GITHUB))

    assert ["1", "3"] == [j.id for j in full.jobs]
