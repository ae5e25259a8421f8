"""A refreshed build is the same build, with what it said before and how it ended."""

from __future__ import annotations

import pytest

from exporter.errors import Gone
from exporter.model import Build, BuildKey, Status
from tests.contract.providers.truto import (
    AZURE,
    BITBUCKET,
    COMPLETED,
    GITHUB,
    JENKINS,
    JENKINS_PARTIAL,
    START,
    FakeApi,
    at,
    job,
    listed,
    one,
    refresh,
    remote,
    truto,
)


def test_a_refreshed_build_keeps_what_only_its_list_item_said():
    known = one("azuredevops", AZURE | {"status": "inProgress"})
    bare = {key: AZURE[key] for key in ("id", "status", "conclusion", "started_at", "completed_at")}
    full = refresh(truto("azuredevops"), FakeApi(**{"builds/5521": bare}), known)

    assert (COMPLETED, "ws/shop", "shop-ci", "main", 5521, "push") == (
        full.status,
        full.repo,
        full.workflow,
        full.branch,
        full.number,
        full.trigger,
    )


def test_a_refreshed_build_that_completed_is_filled_by_its_jobs():
    known = one("bitbucket", remote(BITBUCKET | {"status": "in_progress"}, completed_on=None))
    api = FakeApi(**{"builds/%7B1f0e2d3c%7D": BITBUCKET}, jobs=listed(job()))
    full = refresh(truto("bitbucket"), api, known)

    assert ["builds/%7B1f0e2d3c%7D", "jobs"] == api.paths
    assert (COMPLETED, at("09:00:15"), ()) == (full.status, full.started_at, full.jobs)


def test_a_pipeline_of_bitbucket_is_the_same_without_the_braces_of_its_id():
    known = one("bitbucket", remote(BITBUCKET | {"status": "in_progress"}, completed_on=None))
    bare = BITBUCKET | {"id": "1f0e2d3c"}
    api = FakeApi(**{"builds/%7B1f0e2d3c%7D": bare}, jobs=listed(job()))
    full = refresh(truto("bitbucket"), api, known)

    assert (known.key, COMPLETED) == (full.key, full.status)


def test_a_refresh_brings_the_jobs_where_they_are_wanted():
    known = one("github", GITHUB | {"status": "in_progress"})
    api = FakeApi(**{"builds/9001234567": GITHUB}, jobs=listed(job()))
    full = refresh(truto("github", jobs=True), api, known)

    assert ["builds/9001234567", "jobs"] == api.paths
    assert (COMPLETED, 1) == (full.status, len(full.jobs))


@pytest.mark.parametrize(
    ("known", "answer", "key"),
    [
        (BuildKey("folder/shop#127"), JENKINS, BuildKey("folder/shop#127", START)),
        (BuildKey("folder/shop#127", 17), JENKINS, Gone),
        (
            BuildKey("folder/shop#127", 17),
            JENKINS_PARTIAL | {"id": 127, "number": 127},
            BuildKey("folder/shop#127", 17),
        ),
        (BuildKey("folder/shop#12"), JENKINS, Gone),
    ],
)
def test_a_jenkins_build_of_another_start_is_another_build(known, answer, key):
    build = Build(key=known, native_id="127", repo="folder/shop", status=Status.IN_PROGRESS)
    api = FakeApi(**{"builds/127": answer})
    if key is Gone:
        with pytest.raises(Gone):
            refresh(truto("jenkins"), api, build)
    else:
        assert key == refresh(truto("jenkins"), api, build).key
