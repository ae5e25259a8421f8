"""The gitlab provider: recorded pipelines, documented words, and truth against an emulator."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from starlette.responses import HTMLResponse, Response

from exporter.errors import Malformed, Refused, TryLater
from exporter.http import Api
from exporter.metrics import families as f
from exporter.model import Build, Ref, Status, Unmapped
from exporter.payload import each
from exporter.providers import Query, Repo, catalogue
from exporter.providers.gitlab import REASONS, WORDS, GitLab
from exporter.providers.gitlab.mapping import (
    LISTED,
    JobItem,
    Pipeline,
    pipelines,
    to_build,
    to_job,
    to_jobs,
)
from exporter.schedule.discovery import Discovery
from exporter.schedule.health import AccountHealth
from tests.tools import golden
from tests.tools.emulators.gitlab import World
from tests.tools.emulators.rig import Station, emulator, entries
from tests.tools.gitlab_station import DAY, LIST, SHOP, SITE, asked, gitlab, paths, station
from tests.tools.sources import source_of


def seconds(rig: Station, family: f.Family) -> float:
    """The sum of all that a histogram has observed."""
    return sum(vector[-1] for key, vector in rig.view.stored() if key.family == family.name)


# --- what recorded objects become ---


def recorded(shared: Any) -> Iterator[tuple[str, Any]]:
    folder, repo = shared / "recordings" / "gitlab", Repo("acme/shop")
    for name in ("pipelines.jsonl", "pipeline_details.jsonl"):
        for key, line in golden.lines(folder, name):
            items, rejected = pipelines(msgspec.json.decode(b"[" + line + b"]", type=LISTED))
            assert rejected == 0, line
            yield key, to_build(items[0], repo, SITE)
    for key, line in golden.lines(folder, "jobs.jsonl"):
        jobs, rejected = each([msgspec.Raw(line)], JobItem)
        assert rejected == 0, line
        yield key, to_jobs(jobs, Repo(SHOP), SITE)[0]


def test_recorded_pipelines_and_jobs_become_what_a_reader_expects(shared):
    golden.check("gitlab", {key: golden.told(run) for key, run in recorded(shared)})


def test_no_recorded_word_is_unknown(shared):
    assert {word for _, run in recorded(shared) for word in run.unmapped} == set()


# --- words ---


def documented(shared: Any, path: str, parameter: str) -> set[str]:
    description = json.loads((shared / "openapi/gitlab/gitlab-v4.ci.json").read_text())
    parameters = description["paths"][f"/api/v4/projects/{{id}}/pipelines{path}"]["get"][
        "parameters"
    ]
    found = next(p for p in parameters if p["name"] == parameter)
    return set(found["enum"] if "enum" in found else found["items"]["enum"])


@pytest.mark.parametrize(("path", "parameter"), [("", "status"), ("/{pipeline_id}/jobs", "scope")])
def test_every_documented_status_has_a_meaning(shared, path, parameter):
    assert documented(shared, path, parameter) <= {*WORDS.status, *WORDS.conclusion}


def test_every_documented_source_has_a_meaning(shared):
    assert documented(shared, "", "source") <= WORDS.trigger.keys()


def test_a_failure_of_the_system_is_an_error_and_a_failure_of_time_a_timeout():
    reasons = {
        "runner_system_failure": "error",
        "runner_interrupted": "error",
        "job_execution_timeout": "timeout",
        "stuck_or_timeout_failure": "timeout",
        "server_timeout_running": "timeout",
        "script_failure": "failed",
        "": "failed",
        None: "failed",
    }
    for reason, conclusion in reasons.items():
        item = JobItem(id=1, status="failed", failure_reason=reason)
        assert to_job(item, "test", 1).conclusion == conclusion, reason
    assert set(REASONS.values()) == {"error", "timeout", "failed"}


def test_an_unknown_reason_leaves_the_job_failed_and_is_told():
    job = to_job(JobItem(id=1, status="failed", failure_reason="moon_phase"), "test", 1)

    assert job.conclusion == "failed"
    assert job.unmapped == (Unmapped("failure_reason", "moon_phase"),)


def test_the_reason_of_a_job_that_did_not_fail_means_nothing():
    job = to_job(JobItem(id=1, status="success", failure_reason="unknown_failure"), "test", 1)

    assert (job.conclusion, job.unmapped) == ("passed", ())


def test_a_pipeline_that_needs_a_person_waits():
    build = to_build(Pipeline(id=1, status="manual"), Repo(SHOP), SITE)

    assert (build.status, build.conclusion) == (Status.WAITING, None)


@pytest.mark.parametrize(
    ("fields", "ref"),
    [
        ({"ref": "main", "source": "push"}, Ref.BRANCH),
        ({"ref": "v1", "source": "push", "tag": True}, Ref.TAG),
        ({"ref": "fix", "source": "merge_request_event"}, Ref.PULL_REQUEST),
        ({"ref": "fix", "source": "external_pull_request_event"}, Ref.PULL_REQUEST),
        ({"ref": "refs/merge-requests/7/head", "source": "web"}, Ref.PULL_REQUEST),
        ({"ref": "refs/merge-requests/7/merge", "source": "api"}, Ref.PULL_REQUEST),
        ({"ref": "refs/merge-requests/7/train", "source": "merge_request_event"}, Ref.MERGE_QUEUE),
        ({"ref": "refs/pull/7/head", "source": "external_pull_request_event"}, Ref.PULL_REQUEST),
        ({"ref": "refs/tags/v1", "source": "schedule"}, Ref.TAG),
        ({"ref": "refs/heads/main", "source": "schedule"}, Ref.BRANCH),
        ({"ref": "refs/workloads/3f2a", "source": "duo_workflow"}, Ref.BRANCH),
        ({"ref": None}, Ref.BRANCH),
    ],
)
def test_what_a_pipeline_ran_for(fields, ref):
    assert to_build(Pipeline(id=1, status="success", **fields), Repo(SHOP), SITE).ref is ref


def test_a_ref_that_is_spelled_out_names_the_same_branch():
    builds = [
        to_build(Pipeline(id=1, status="success", ref=ref), Repo(SHOP), SITE)
        for ref in ("main", "refs/heads/main")
    ]

    assert [build.branch for build in builds] == ["main", "main"]


def test_a_job_queues_from_when_its_stage_has_come():
    item = JobItem(
        id=1,
        status="success",
        created_at="2026-11-20T09:00:00Z",
        started_at="2026-11-20T09:03:20.5Z",
        queued_duration=0.5,
    )

    assert to_job(item, "test", 1).queue == 0.5
    assert to_job(msgspec.structs.replace(item, queued_duration=None), "test", 1).queue is None


# --- configuration ---


@pytest.mark.parametrize(
    "entry", ["acme/shop", "a/b/c/d", "4711", "acme/*", "a/b/**", "~alice/*", "~42/*"]
)
def test_an_entry(entry):
    assert GitLab.faults({"repos": [entry]}) == []


@pytest.mark.parametrize(
    "entry",
    [
        "acme",
        "*",
        "**",
        "acme/sh*",
        "acme//shop",
        "/acme/shop",
        "a/",
        "~alice/shop",
        "~alice/**",
        "~/*",
        "~*/*",
        "~alice",
    ],
)
def test_no_entry(entry):
    [(place, fault)] = GitLab.faults({"repos": [entry]})

    assert place == ("repos", 0)
    assert "group/project" in fault


def test_a_path_is_the_same_project_in_upper_and_lower_case():
    provider = gitlab(repos=["Acme/Shop", "acme/shop"], exclude=["acme/legacy-*"])

    assert len(entries(provider, "Acme/Shop", "acme/shop", "4711")) == 2
    assert provider.excludes("Acme/Legacy-API")


def resolved(rig: Station, discovery: Discovery) -> dict[str, Repo]:
    async def find(api: Api) -> dict[str, Repo]:
        rig.source(api)
        return await discovery.find({})

    found: dict[str, Repo] = asked(rig, find)
    return found


def test_a_project_is_called_as_the_configuration_spells_it():
    world = World(projects={"Acme/Shop": {}, "Acme/API": {}})
    rig = station(world, repos=["Acme/*", "acme/shop"])
    discovery = Discovery(source_of(rig.native, None), AccountHealth("acme", interval=60.0))
    found = resolved(rig, discovery)

    assert found == {"acme/shop": Repo("acme/shop", "trunk"), "Acme/API": Repo("Acme/API", "trunk")}


@pytest.mark.parametrize(
    "name", ["acme/shop", "Acme/a.b/_c-d", "a/b/c", "acme/.github", "acme/git", "acme/1", "a/b..c"]
)
def test_a_project_may_have_this_path(name):
    assert re.fullmatch(GitLab.name_pattern, name)


@pytest.mark.parametrize(
    "name",
    [
        "acme",
        "acme/",
        "/shop",
        "acme/..",
        "../user",
        "acme/./shop",
        "acme/%2e%2e/user",
        "a/b c",
        "acme/<script>",
        "acme/-shop",
        "acme/shop.git",
        "acme/feed.atom",
        "acme/shop\n",
        "a/é",
    ],
)
def test_no_project_has_this_path(name):
    assert not re.fullmatch(GitLab.name_pattern, name)


def test_the_token_has_a_header_of_its_own_and_may_be_missing():
    assert gitlab().headers("glpat") == {"PRIVATE-TOKEN": "glpat"}
    assert gitlab().headers(None) == {}
    assert catalogue()["gitlab"].anonymous


def test_memories_make_no_difference():
    assert gitlab() == gitlab()
    assert gitlab() != gitlab(jobs=True)


# --- truth ---


def test_what_is_counted_is_what_ran():
    world, now = World(shift=2), time.time()
    world.ran(SHOP, now - 900, 60.0, "success")
    world.ran(SHOP, now - 800, 30.5, "failed", source="schedule", ref="release/1")
    world.ran(SHOP, now - 700, 20.0, "success", warned=True, source="trigger")
    world.ran(SHOP, now - 600, 10.0, "canceled", source="merge_request_event", ref="fix")
    world.pipeline(SHOP, now - 500, status="skipped", ref="v1", tag=True, source="web")
    rig = station(world)
    rig.polled()

    def count(branch: str, trigger: str, conclusion: str) -> float:
        labels = {"branch": branch, "trigger": trigger, "conclusion": conclusion}
        return rig.value(f.BUILDS, repo=SHOP, workflow="", **labels)

    assert rig.value(f.BUILDS) == 5
    assert count("main", "push", "passed") == 1
    assert count("other", "cron", "failed") == 1
    assert count("main", "api", "partial") == 1
    assert count("pull_request", "merge_request", "cancelled") == 1
    assert count("tag", "web", "skipped") == 1
    assert (rig.value(f.BUILD_DURATION), rig.value(f.BUILD_QUEUE)) == (4, 4)
    assert seconds(rig, f.BUILD_DURATION) == pytest.approx(120.5, abs=0.01)
    assert seconds(rig, f.BUILD_QUEUE) == pytest.approx(8.0, abs=0.02)
    assert rig.value(f.MISSING) == rig.value(f.ANOMALIES) == rig.value(f.UNMAPPED) == 0


def test_a_burst_between_two_polls_is_counted_whole():
    world = World()
    rig = station(world)
    rig.polled()
    now = time.time()
    for number in range(200):
        world.ran(SHOP, now - 300 + number, 5.0, "success")
    rig.polled()

    assert rig.value(f.BUILDS) == 200


def test_an_idle_project_costs_one_request():
    world = World()
    world.ran(SHOP, time.time() - 900, 60.0, "success")
    rig = station(world)
    rig.polled()

    assert [*paths(rig.polled()), *paths(rig.polled())] == [LIST, LIST]


def test_a_new_build_costs_one_more_request():
    world = World()
    rig = station(world)
    rig.polled()
    made = world.ran(SHOP, time.time() - 60, 30.0, "success")

    assert paths(rig.polled()) == [LIST, f"{LIST}/{made.id}"]
    assert paths(rig.polled()) == [LIST]


def test_a_running_pipeline_is_read_once_and_when_it_has_completed():
    world = World()
    rig = station(world)
    rig.polled()
    made = world.pipeline(SHOP, time.time(), ref="v1", tag=True)
    made.turns("pending")
    taken = [paths(rig.polled())]
    made.turns("running")
    taken += [paths(rig.polled()), paths(rig.polled())]

    assert rig.gauge(f.ACTIVE, branch="tag", status="in_progress") == 1
    made.turns("success")
    taken.append(paths(rig.polled()))

    single = f"{LIST}/{made.id}"
    assert taken == [[LIST, single], [LIST], [LIST], [LIST, single]]
    assert rig.value(f.BUILDS, branch="tag", conclusion="passed") == 1
    assert rig.gauge(f.ACTIVE, branch="tag", status="in_progress") == 0


def test_an_unfinished_pipeline_that_no_list_shows_costs_nothing():
    world, now = World(), time.time()
    made = world.pipeline(SHOP, now - 3600, status="manual")
    rig = station(world)
    rig.polled()
    made.updated = now - 3600  # long before known ground

    assert [paths(rig.polled()), paths(rig.polled())] == [[LIST], [LIST]]
    assert rig.gauge(f.ACTIVE, status="waiting") == 1


def test_an_old_pipeline_that_completes_now_is_news():
    world, now = World(), time.time()
    held = [world.pipeline(SHOP, now - 3 * DAY, status="manual") for _ in range(250)]
    rig = station(world)
    rig.polled()
    assert rig.value(f.BUILDS) == 0
    for number, pipeline in enumerate(held):
        pipeline.turns("running", now + number / 1000)
        if number < 100:
            pipeline.turns("success", now + number / 1000)
    rig.polled()

    assert rig.value(f.BUILDS, conclusion="passed") == 100
    assert rig.gauge(f.ACTIVE, status="in_progress") == 150


def test_a_pipeline_with_a_retried_job_is_counted_once_and_its_conclusion_followed():
    world, now = World(), time.time()
    made = world.ran(SHOP, now - 200, 60.0, "failed")
    world.job(made, "test", "failed", now - 190, queued=1.0, reason="script_failure")
    rig = station(world, jobs=True)
    rig.polled()
    assert rig.gauge(f.LAST_CONCLUSION, conclusion="failed") == 1
    again = world.retry(made, "test", now - 50)
    again.begun, again.queued = now - 40, 2.0
    rig.polled()
    again.status, again.ended = "success", now - 30
    made.turns("success", now - 30)
    rig.polled()
    rig.polled()

    assert (rig.value(f.BUILDS), rig.value(f.BUILDS, conclusion="failed")) == (1, 1)
    assert rig.gauge(f.LAST_CONCLUSION, conclusion="passed") == 1
    assert rig.value(f.ANOMALIES, kind="reopened") == 1
    assert rig.value(f.JOBS, job_name="test", conclusion="failed") == 1
    assert rig.value(f.JOBS, job_name="test", conclusion="passed") == 1
    assert rig.value(f.JOB_QUEUE) == 2
    assert seconds(rig, f.JOB_QUEUE) == pytest.approx(3.0)


def test_jobs_are_counted_with_all_their_attempts_from_all_pages():
    world, now = World(), time.time()
    made = world.ran(SHOP, now - 900, 600.0, "success", warned=True)
    for number in range(120):
        world.job(made, f"unit {number}", "success", now - 890, queued=3.0)
    world.job(made, "flaky", "failed", now - 880, reason="runner_system_failure")
    world.job(made, "flaky", "failed", now - 860, reason="job_execution_timeout")
    world.job(made, "flaky", "success", now - 840)
    rig = station(world, jobs=True)
    requests = paths(rig.polled())

    assert requests == [LIST, f"{LIST}/{made.id}", *[f"{LIST}/{made.id}/jobs"] * 2]
    assert rig.value(f.JOBS) == 123
    flaky = {c: rig.value(f.JOBS, job_name="flaky", conclusion=c) for c in ("error", "timeout")}
    assert flaky == {"error": 1, "timeout": 1}
    assert rig.value(f.JOBS, job_name="flaky", conclusion="passed") == 1
    assert seconds(rig, f.JOB_DURATION) == pytest.approx(1230.0, abs=0.3)


def test_attempts_are_numbered_by_id_whatever_the_order():
    items = [JobItem(id=9, name="a"), JobItem(id=5, name="a"), JobItem(id=7, name="b")]
    jobs = to_jobs(items, Repo(SHOP), SITE)

    assert [(job.id, job.attempt) for job in jobs] == [("5", 1), ("7", 1), ("9", 2)]


def test_the_jobs_of_a_running_pipeline_are_seen():
    world, now = World(), time.time()
    made = world.pipeline(SHOP, now - 60)
    made.turns("running", now - 55)
    world.job(made, "build", "running", now - 50)
    world.job(made, "deploy", "manual", now - 50)
    rig = station(world, jobs=True)
    rig.polled()

    assert rig.gauge(f.JOBS_ACTIVE, job_name="build", status="in_progress") == 1
    assert rig.gauge(f.JOBS_ACTIVE, job_name="deploy", status="waiting") == 1


def test_a_missing_start_is_looked_for_in_the_jobs():
    world, now = World(), time.time()
    made = world.ran(SHOP, now - 100, 50.0, "success")
    world.job(made, "test", "success", now - 90)
    made.begun = None
    rig = station(world)
    rig.polled()

    assert seconds(rig, f.BUILD_DURATION) == pytest.approx(40.0, abs=0.01)


def test_a_pipeline_that_is_deleted_while_it_is_read_is_counted_without_times():
    world, now = World(), time.time()
    made = world.ran(SHOP, now - 100, 50.0, "failed")
    listed = world._basic(made)
    world.pipelines.clear()

    def only_listed(_: Any) -> list[dict[str, Any]]:
        return [listed]

    app = emulator({"/api/v4/projects/{id:path}/pipelines": only_listed}, ("PRIVATE-TOKEN", "demo"))
    rig = Station(gitlab(), app, "/api/v4")
    rig.polled()

    assert rig.value(f.BUILDS, conclusion="failed") == 1
    assert (rig.value(f.BUILD_DURATION), rig.value(f.MISSING, field="duration")) == (0, 1)


# --- discovery ---


@pytest.mark.parametrize(
    ("pattern", "found"),
    [("acme/*", ["acme/shop"]), ("acme/**", ["acme/shop", "acme/platform/api"])],
)
def test_a_group_is_discovered_without_what_is_archived_disabled_or_excluded(pattern, found):
    world = World()
    world.projects = {
        "acme/shop": {},
        "acme/old": {"archived": True},
        "acme/docs": {"builds_access_level": "disabled"},
        "acme/wiki": {"jobs_enabled": False},
        "acme/legacy-api": {},
        "acme/Legacy-Web": {},
        "acme/leaving": {"marked_for_deletion_on": "2026-12-05"},
        "acme/left": {"marked_for_deletion_at": "2026-12-05"},
        "acme/gone-deletion_scheduled-31/shop": {},
        "acme/platform/api": {},
        "other/shop": {},
    }
    rig = station(world, repos=[pattern], exclude=["acme/legacy-*"])
    world.ran("acme/shop", time.time() - 60, 5.0, "success", ref="trunk")
    rig.polled()

    assert rig.entries == found
    assert rig.value(f.BUILDS, repo="acme/shop", branch="trunk") == 1


def discovered(world: World, pattern: str) -> tuple[list[str], list[str]]:
    """What a pattern finds, and the requests that it took."""
    rig = station(world, repos=[pattern])
    repos = asked(rig, lambda api: rig.source(api).discover(pattern))
    return [repo.entry for repo in repos], rig.app.state.requests


@pytest.mark.parametrize("keyset", [True, False])
def test_a_large_group_is_discovered_whole(keyset):
    world = World(keyset=keyset)
    world.projects = {f"acme/p{number}": {} for number in range(10_050)}
    found, requests = discovered(world, "acme/*")

    assert found == list(world.projects)
    assert len(requests) == 101 if keyset else 102


def test_the_projects_of_a_user_are_discovered():
    world = World(projects={"alice/notes": {}, "alice/old": {"archived": True}, "bob/notes": {}})
    found, [request] = discovered(world, "~alice/*")

    assert found == ["alice/notes"]
    assert request.startswith("/api/v4/users/alice/projects?")


@pytest.mark.parametrize("largest", [50, 25])
def test_a_list_of_projects_is_read_in_pages_that_the_api_can_make(largest):
    world = World(projects={f"acme/p{number}": {} for number in range(120)})
    world.fails = lambda request: 500 if int(request.query_params["per_page"]) > largest else None
    found, _ = discovered(world, "acme/*")

    assert found == list(world.projects)


def test_what_can_be_read_of_a_group_is_found_though_the_rest_of_it_fails():
    world = World(projects={f"acme/p{number}": {} for number in range(230)})
    world.fails = lambda request: 500 if "id_after=200" in str(request.url) else None
    rig = station(world, repos=["acme/*"])
    discovery = Discovery(source_of(rig.native, None), AccountHealth("acme", interval=60.0))
    found = resolved(rig, discovery)

    assert list(found) == list(world.projects)[:200]
    assert "500" in discovery.unresolved["acme/*"]
    assert discovery.unmatched == {}


def test_a_list_of_projects_ends_where_no_header_speaks_of_another_page():
    world = World(keyset=False, tells=False)
    world.projects = {f"acme/p{number}": {} for number in range(230)}
    found, _ = discovered(world, "acme/*")

    assert found == list(world.projects)


# --- trouble ---


def first_page(rig: Station) -> Any:
    return asked(rig, lambda api: rig.source(api).page(Repo(SHOP), Query(since=0.0, size=30)))


def test_a_limit_is_told_in_plain_text_and_obeyed():
    rig = station(World(limited=True))

    with pytest.raises(TryLater, match="Retry later") as caught:
        first_page(rig)
    assert (caught.value.reason, caught.value.delay) == ("rate_limited", 30.0)


def test_a_sign_in_page_is_told_as_what_it_is():
    page = {"/{rest:path}": lambda _: HTMLResponse("<html>Sign in</html>")}
    rig = Station(gitlab(), emulator(page, ("PRIVATE-TOKEN", "demo")), "/api/v4")

    with pytest.raises(Refused, match="login page") as caught:
        first_page(rig)
    assert caught.value.reason == "unauthorized"


def test_a_message_in_place_of_the_list_is_no_empty_list():
    page = {"/{rest:path}": lambda _: {"message": "404 Project Not Found"}}
    rig = Station(gitlab(), emulator(page, ("PRIVATE-TOKEN", "demo")), "/api/v4")

    with pytest.raises(Malformed, match="404 Project Not Found"):
        first_page(rig)


def test_one_odd_pipeline_spoils_no_page():
    odd = b'{"id":null},null,7,"x",[[]],{"id":6,"ref":"\xff"},{"id":7,"ref":"\\ud83d"}'
    body = b'[{"id":5,"status":"success","ref":7,"iid":"x"},' + odd + b"]"
    page = {"/{rest:path}": lambda _: Response(body, headers={"etag": 'W/"1"'})}
    rig = Station(gitlab(), emulator(page, ("PRIVATE-TOKEN", "demo")), "/api/v4")
    found = first_page(rig)

    assert (found.rejected, [build.key.id for build in found.builds]) == (5, ["5", "6", "7"])
    assert [build.branch for build in found.builds] == ["7", "\ufffd", "\ufffd"]
    assert isinstance(found.builds[0], Build)
