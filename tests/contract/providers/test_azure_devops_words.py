"""Azure DevOps' recorded objects and documented words say what they are known to say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from exporter.model import Build, Ref, Status
from exporter.providers.azure_devops import WORDS, ProjectPath, Run, read_timeline, to_build
from exporter.providers.azure_devops.names import Names
from exporter.providers.azure_devops.timeline import Timeline
from tests.tools import golden
from tests.tools.azure_devops_station import PLACE, SITE


def built(**values: Any) -> Build:
    return to_build(msgspec.convert({"id": 7, **values}, Run), PLACE, Names(), SITE)


RUNNING = built(status="inProgress")


# -- recordings


def test_recorded_builds_and_timelines_become_builds_and_jobs(shared: Path) -> None:
    folder = shared / "recordings/azure"
    found = {}
    for key, line in golden.lines(folder, "builds.jsonl"):
        found[key] = golden.told(
            to_build(msgspec.json.decode(line, type=Run), PLACE, Names(), SITE)
        )
    for key, line in golden.lines(folder, "timelines.jsonl"):
        records = msgspec.json.decode(line, type=Timeline).read()
        assert len(records) == len(json.loads(line)["records"] or ())
        for job in read_timeline(records, RUNNING, now=0.0).jobs:
            found[f"{key} {job.name}"] = golden.told(job)
    for key, line in golden.lines(folder, "timeline_records.jsonl"):
        records = Timeline([msgspec.Raw(line)]).read()
        assert len(records) == 1
        for job in read_timeline(records, RUNNING, now=0.0).jobs:
            found[key] = golden.told(job)

    golden.check("azure_devops", found)


# -- words


def test_every_documented_word_is_in_the_table(shared: Path) -> None:
    api = json.loads((shared / "openapi/azure/build-7.2.json").read_text())
    types = api.get("definitions") or api["components"]["schemas"]

    def words(kind: str, field: str) -> set[str]:
        return {word.lower() for word in types[kind]["properties"][field]["enum"]}

    assert words("Build", "status") - {"all"} <= WORDS.status.keys() | {"abandoned"}
    assert words("Build", "result") <= WORDS.conclusion.keys()
    assert words("Build", "reason") - {"all"} <= WORDS.trigger.keys()
    assert words("TimelineRecord", "state") <= WORDS.status.keys()
    assert words("TimelineRecord", "result") <= WORDS.conclusion.keys()


@pytest.mark.parametrize(
    ("status", "result", "stands", "conclusion"),
    [
        ("notStarted", None, Status.QUEUED, None),
        ("postponed", "none", Status.QUEUED, None),
        ("cancelling", None, Status.IN_PROGRESS, None),
        ("inProgress", "succeeded", Status.IN_PROGRESS, None),
        ("completed", "partiallySucceeded", Status.COMPLETED, "partial"),
        ("completed", "canceled", Status.COMPLETED, "cancelled"),
        ("completed", "novel", Status.COMPLETED, "other"),
        ("completed", None, Status.COMPLETED, None),
        (7, None, Status.QUEUED, None),
    ],
)
def test_status_and_result_say_together_how_a_build_stands(
    status: Any, result: str | None, stands: Status, conclusion: str | None
) -> None:
    build = built(status=status, result=result)

    assert (stands, conclusion) == (build.status, build.conclusion)


@pytest.mark.parametrize(
    ("source", "reason", "branch", "ref"),
    [
        ("refs/heads/release/1.0", "manual", "release/1.0", Ref.BRANCH),
        ("refs/tags/v1", "individualCI", "v1", Ref.TAG),
        ("refs/pull/12/merge", "pullRequest", "12/merge", Ref.PULL_REQUEST),
        ("refs/heads/fix", "pullRequest", "fix", Ref.PULL_REQUEST),
        ("$/shop/main", "manual", "$/shop/main", Ref.BRANCH),
        (None, "schedule", None, Ref.BRANCH),
    ],
)
def test_the_source_branch_tells_branches_tags_and_pull_requests(
    source: str | None, reason: str, branch: str | None, ref: Ref
) -> None:
    build = built(sourceBranch=source, reason=reason)

    assert (branch, ref) == (build.branch, build.ref)


def test_the_labels_are_the_entrys_and_the_builds_own_repository() -> None:
    def repo(entry: str, **repository: str) -> str:
        run = msgspec.convert({"id": 1, "repository": repository}, Run)
        return to_build(run, ProjectPath.of(entry), Names(), SITE).repo

    assert "acme/shop/api" == repo("acme/shop", name="api", id="6255c947")
    assert "acme/shop/octo/api" == repo("acme/shop", id="octo/api", type="GitHub")
    assert "acme/shop/octo/API" == repo("acme/shop/octo/API", id="octo/api", type="GitHub")
    assert "acme/shop" == repo("acme/shop")


def test_times_with_seven_digits_are_read_and_the_key_ignores_the_spelling_of_the_organization():
    build = built(queueTime="2020-09-07T02:00:40.1049268Z", startTime="2020-09-07T02:00:41.335128Z")

    assert 1.23 == pytest.approx(build.queue, abs=0.001)
    assert ("acme/7", 7, "7") == (build.key.id, build.number, build.native_id)
