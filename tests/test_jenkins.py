"""The jenkins provider: recorded objects, documented words, and truth over HTTP."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from exporter.demo.serve import serving
from exporter.errors import Gone, Malformed, ProviderError, StateUnavailable
from exporter.http import Api, Pace
from exporter.metrics import families as f
from exporter.model import Build, Ref, Status
from exporter.providers import Page, Query, Repo, catalogue
from exporter.providers.jenkins import WORDS, Jenkins, Run, Stage, Where, to_build, to_job
from exporter.providers.jenkins.reading import QueueItem
from exporter.providers.jenkins.words import PRIORITY
from exporter.words import rows
from tests import golden
from tests.emulators import jenkins
from tests.emulators.jenkins import FREESTYLE, MULTIBRANCH, cause
from tests.emulators.rig import Station

SHOP = Where("team/shop", "team/shop")
USER = "hudson.model.Cause$UserIdCause"
TIMER = "hudson.triggers.TimerTrigger$TimerTriggerCause"
EVENT = cause("jenkins.branch.BranchEventCause")


def provider(*repos: str, **keys: Any) -> Jenkins:
    named = {"name": "acme", "provider": "jenkins", "token_env": "T", "username": "me"}
    return Jenkins(**{**named, "repos": list(repos or ("team/shop",)), **keys})


def station(world: jenkins.Jenkins, *repos: str, **keys: Any) -> Station:
    return Station(provider(*repos, **keys), world.app(), "/ci")


def built(where: Where = SHOP, **values: Any) -> Build:
    return to_build(
        msgspec.convert({"number": 7, "timestamp": 1_700_000_000_000, **values}, Run), where
    )


def total(rig: Station, family: f.Family) -> float:
    """The sum over all series of a histogram."""
    return sum(vector[-1] for key, vector in rig.book.stored() if key.family == family.name)


# -- recordings


def test_recorded_builds_and_stages_become_builds_and_jobs(shared: Path) -> None:
    folder = shared / "recordings/jenkins"
    found = {}
    for key, line in golden.lines(folder, "builds.jsonl"):
        found[key] = golden.told(to_build(msgspec.json.decode(line, type=Run), SHOP))
    ended = built(building=False, result="ABORTED")
    for name in ("wfapi.jsonl", "wfapi_stages.jsonl"):
        for key, line in golden.lines(folder, name):
            for raw in json.loads(line).get("stages") or [json.loads(line)]:
                stage = msgspec.convert(raw, Stage)
                found[f"{key} {stage.id}"] = golden.told(to_job(stage, ended))

    golden.check("jenkins", found)


# -- words


def test_every_documented_word_is_in_the_table() -> None:
    results = "SUCCESS UNSTABLE FAILURE NOT_BUILT ABORTED"
    stages = "NOT_EXECUTED ABORTED SUCCESS UNSTABLE FAILED"

    assert set(rows({"": f"{results} {stages}"})) <= WORDS.conclusion.keys()
    assert {"in_progress", "paused_pending_input", "true", "false"} <= WORDS.status.keys()
    assert set(PRIORITY) == set(WORDS.trigger.values())


@pytest.mark.parametrize(
    ("building", "result", "stands", "conclusion"),
    [
        (True, None, Status.IN_PROGRESS, None),
        (True, "SUCCESS", Status.IN_PROGRESS, None),  # its post-build steps still run
        (False, "UNSTABLE", Status.COMPLETED, "partial"),
        (False, "NOT_BUILT", Status.COMPLETED, "skipped"),
        (False, "NOVEL", Status.COMPLETED, "other"),
        (False, None, Status.COMPLETED, None),
        (None, "FAILURE", Status.COMPLETED, "failed"),
    ],
)
def test_a_build_stands_as_building_says(
    building: bool | None, result: str | None, stands: Status, conclusion: str | None
) -> None:
    build = built(building=building, result=result, duration=5)

    assert (stands, conclusion) == (build.status, build.conclusion)


@pytest.mark.parametrize(
    ("causes", "expected"),
    [
        ([USER], "web"),
        (["hudson.model.Cause$UpstreamCause", TIMER], "cron"),
        ([USER, "org.jenkinsci.plugins.workflow.cps.replay.ReplayCause"], "replay"),
        (["com.example.NovelCause", "hudson.model.Cause$RemoteCause"], "api"),
        (["com.example.NovelCause"], "other"),
        ([], "other"),
    ],
)
def test_the_most_telling_cause_is_the_trigger(causes: list[str], expected: str) -> None:
    build = built(building=True, actions=[{}, cause(*causes)])

    assert expected == build.trigger
    assert (causes == ["com.example.NovelCause"]) == bool(build.unmapped)


def test_an_old_controller_tells_causes_in_words_only() -> None:
    said = [{"causes": [{"shortDescription": "Started by timer"}]}]

    assert "cron" == built(building=True, actions=said).trigger


def test_a_build_that_a_timeout_interrupted_is_a_timeout_and_says_nothing_of_its_cause() -> None:
    step = "org.jenkinsci.plugins.workflow.steps.TimeoutStepExecution$ExceededTimeout"
    action = {"_class": "jenkins.model.InterruptedBuildAction", "causes": [{"_class": step}]}

    build = built(building=False, result="ABORTED", duration=5, actions=[action])

    assert ("timeout", "other", ()) == (build.conclusion, build.trigger, build.unmapped)


@pytest.mark.parametrize(
    ("path", "actions", "branch", "ref"),
    [
        ("team/shop/feature%2Fcart", [EVENT], "feature/cart", Ref.BRANCH),
        ("team/shop/PR-12", [EVENT], "PR-12", Ref.PULL_REQUEST),
        ("team/shop", [], None, Ref.BRANCH),
        (
            "team/shop",
            [
                {"lastBuiltRevision": {"branch": [{"name": "refs/remotes/origin/library"}]}},
                {"lastBuiltRevision": {"branch": [{"name": "refs/remotes/origin/fix/cart"}]}},
                {"lastBuiltRevision": {"branch": [{"name": "detached"}]}},
            ],
            "fix/cart",
            Ref.BRANCH,
        ),
        ("team/shop", [cause("org.jenkinsci.plugins.ghprb.GhprbCause")], None, Ref.PULL_REQUEST),
    ],
)
def test_the_branch_is_the_branch_jobs_or_the_last_checkouts(
    path: str, actions: list[Any], branch: str | None, ref: Ref
) -> None:
    build = built(Where("team/shop", path), building=True, actions=actions)

    assert (branch, ref) == (build.branch, build.ref)
    assert ("team/shop", "shop") == (build.repo, build.workflow)
    assert f"{path}#7@1700000000" == build.key


def test_a_push_to_a_pull_requests_job_is_a_merge_request() -> None:
    where = Where("team/shop", "team/shop/PR-1")

    assert "merge_request" == built(where, actions=[EVENT]).trigger
    assert "web" == built(where, actions=[cause(USER)]).trigger


def test_only_the_metrics_plugin_tells_the_time_in_the_queue() -> None:
    told = {"_class": "jenkins.metrics.impl.TimeInQueueAction", "queuingDurationMillis": 2500}
    ended: dict[str, Any] = {"building": False, "result": "SUCCESS", "duration": 61_500}

    assert (2.5, 61.5) == (built(**ended, actions=[told]).queue, built(**ended).duration)
    assert built(**ended).queue is None
    assert built(building=True, duration=0).completed_at is None


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("http://h/ci/job/team/job/shop/", "team/shop"),
        ("http://h/job/team/job/shop/job/feature%252Fx/", "team/shop/feature%2Fx"),
        ("job/job/job/job/", "job/job"),
        ("http://h/job/team/job/shop/12/", None),  # a running build that wants a second executor
        (None, None),
    ],
)
def test_a_queue_item_names_its_job(url: str | None, path: str | None) -> None:
    assert path == QueueItem(1, task={"url": url}).path


# -- truth over HTTP


def test_every_build_is_counted_with_its_span_and_conclusion() -> None:
    world = jenkins.Jenkins()
    world.run("team/shop", age=900, lasts=30)
    world.run("team/shop", age=800, lasts=60, result="FAILURE")
    world.run("team/shop", age=700, lasts=5, result="UNSTABLE")
    world.run("team/shop", age=60, lasts=None)
    rig = station(world)

    rig.polled()

    for conclusion in ("passed", "failed", "partial"):
        assert 1 == rig.value(
            f.BUILDS, conclusion=conclusion, repo="team/shop", workflow="shop", trigger="web"
        )
    assert 95 == pytest.approx(total(rig, f.BUILD_DURATION), abs=0.01)
    assert 0 == rig.value(f.BUILD_QUEUE)
    assert 1 == rig.gauge(f.ACTIVE, status="in_progress")


def test_an_idle_round_is_one_request_for_all_jobs_and_a_new_build_one_more() -> None:
    world = jenkins.Jenkins()
    for i in range(30):
        world.run(f"team/job-{i}", age=7200, kind=FREESTYLE)
    rig = station(world, "team/*")
    rig.polled()

    assert 1 == len(rig.polled())  # discovery and polls share the tree
    begun = world.run("team/job-7", age=30, lasts=None)
    assert 2 == len(rig.polled())
    assert 1 == len(rig.polled())  # it still runs: the tree says so
    world.end(begun, lasts=20)
    assert 2 == len(rig.polled())
    assert 1 == len(rig.polled())
    assert 31 == rig.value(f.BUILDS)


def test_polls_side_by_side_share_one_tree_and_each_sees_it_once() -> None:
    world = jenkins.Jenkins()
    for name in "abc":
        world.run(f"team/{name}")
    app = world.app()
    native = provider()

    async def read() -> list[bool]:
        async with serving(app) as url:
            api = Station(native, app, "/ci").api(url)
            for _ in range(2):
                query = Query(since=0.0, size=30)
                await asyncio.gather(
                    *(native.page(api, Repo(f"team/{name}"), query) for name in "abc")
                )
            await api.aclose()
            return [request.startswith("/ci/api/json") for request in app.state.requests]

    assert 2 == sum(asyncio.run(read()))


def test_a_page_token_of_another_provider_begins_the_walk_anew() -> None:
    api: Any = None

    with pytest.raises(Malformed):
        asyncio.run(provider().page(api, Repo("team/shop"), Query(since=0.0, size=30, token="c/2")))


def test_what_has_rested_for_days_costs_nothing_even_when_all_is_read_again() -> None:
    world = jenkins.Jenkins()
    world.run("team/attic", age=4 * 86400)
    world.run("team/shop", age=7200)
    rig = station(world, "team/attic", "team/shop")
    rig.polled()

    assert 2 == len(rig.polled(deep=True))


def test_a_burst_between_two_polls_is_counted_whole() -> None:
    world = jenkins.Jenkins()
    world.run("team/shop")
    rig = station(world)
    rig.polled()
    for i in range(200):
        world.run("team/shop", age=300 - i, lasts=10, result="FAILURE" if i % 4 else "SUCCESS")

    rig.polled()

    assert (51, 150) == (
        rig.value(f.BUILDS, conclusion="passed"),
        rig.value(f.BUILDS, conclusion="failed"),
    )


def test_a_build_that_ends_beside_a_newer_one_is_counted() -> None:
    world = jenkins.Jenkins()
    older = world.run("team/shop", age=600, lasts=None)
    world.run("team/shop", age=300, lasts=10)
    rig = station(world)
    rig.polled()
    rig.polled()
    world.end(older, lasts=590)
    rig.memories["team/shop"].checked.clear()  # the poller asks again after a while

    rig.polled()

    assert 2 == rig.value(f.BUILDS)
    assert 0 == rig.gauge(f.ACTIVE, status="in_progress")


@pytest.mark.parametrize("deep", [True, False])
def test_what_was_read_but_not_committed_is_read_again(
    monkeypatch: pytest.MonkeyPatch, *, deep: bool
) -> None:
    world = jenkins.Jenkins()
    world.run("team/shop")
    rig = station(world)
    rig.polled()
    rig.polled()
    world.run("team/shop", age=60, lasts=10)

    async def broken(*_: Any, **__: Any) -> Any:
        raise StateUnavailable("disk full")

    requests = []
    with monkeypatch.context() as patch:
        patch.setattr(rig.recorder, "record", broken)
        for number in range(3):
            before = len(rig.app.state.requests)
            with pytest.raises(StateUnavailable):
                rig.polled(deep=deep and number == 0)
            requests.append(len(rig.app.state.requests) - before)

    assert [2, 2, 2] == requests
    assert 2 == len(rig.polled())
    assert 2 == rig.value(f.BUILDS)
    assert 1 == len(rig.polled())


def test_a_walk_that_broke_off_between_pages_is_read_to_its_end() -> None:
    world = jenkins.Jenkins()
    world.run("team/shop", age=9000)
    rig = station(world)
    rig.polled()
    for i in range(100):
        world.run("team/shop", age=300 - i, lasts=10)
    listed = rig.native.page

    async def dies(api: Api, repo: Repo, query: Query) -> Page:
        if query.token is not None:
            raise Gone("killed", reason="not_found")
        return await listed(api, repo, query)

    object.__setattr__(rig.native, "page", dies)
    for _ in range(3):
        with pytest.raises(Gone):
            rig.polled()
    object.__setattr__(rig.native, "page", listed)
    rig.polled()

    assert 101 == rig.value(f.BUILDS)


def test_a_job_that_is_made_anew_counts_its_numbers_again() -> None:
    world = jenkins.Jenkins()
    world.run("team/shop", age=7200)
    running = world.run("team/shop", age=7000, lasts=None)
    rig = station(world)
    rig.polled()
    world.job("team/shop")["runs"].clear()
    world.run("team/shop", age=100, lasts=5)
    world.run("team/shop", age=90, lasts=5)
    for _ in range(4):
        rig.polled()
        rig.memories["team/shop"].checked.clear()

    assert running["number"] == 2
    assert 3 == rig.value(f.BUILDS)
    assert 0 == rig.gauge(f.ACTIVE, status="in_progress")


# -- multibranch jobs and folders


def test_the_branches_of_a_multibranch_job_are_its_builds() -> None:
    world = jenkins.Jenkins()
    world.job("team/shop", MULTIBRANCH)
    world.run("team/shop/main", age=900, lasts=10, actions=[EVENT])
    world.run("team/shop/feature%2Fcart", age=800, lasts=20, actions=[EVENT])
    world.run("team/shop/PR-3", age=700, lasts=30, actions=[EVENT])
    rig = station(world)
    rig.polled()

    assert 1 == len(rig.polled())
    world.run("team/shop/main", age=100, lasts=10, actions=[EVENT])
    assert 2 == len(rig.polled())
    assert 4 == rig.value(f.BUILDS, repo="team/shop", workflow="shop")
    assert 2 == rig.value(f.BUILDS, branch="main", trigger="push")
    assert 1 == rig.value(f.BUILDS, branch="pull_request", trigger="merge_request")
    assert 1 == rig.value(f.BUILDS, branch="other")


def test_bursts_in_several_branches_are_counted_whole() -> None:
    world = jenkins.Jenkins()
    world.job("team/shop", MULTIBRANCH)
    world.run("team/shop/main")
    rig = station(world)
    rig.polled()
    for i in range(80):
        world.run("team/shop/main", age=300 - i, lasts=1)
        world.run("team/shop/PR-1", age=300 - i, lasts=1)
        if i < 5:
            world.run("team/shop/PR-2", age=300 - i, lasts=1)

    requests = rig.polled()

    assert 1 + 3 + 2 + 2 == len(requests)
    assert 166 == rig.value(f.BUILDS)


def test_a_branch_with_old_builds_does_not_end_the_reading_of_another() -> None:
    world = jenkins.Jenkins()
    world.job("team/shop", MULTIBRANCH)
    for branch in ("aa", "mm", "zz"):
        world.job(f"team/shop/{branch}")
    told = [{"_class": "jenkins.metrics.impl.TimeInQueueAction", "queuingDurationMillis": 10}]
    for i in range(40):
        for branch in ("aa", "zz"):
            world.run(f"team/shop/{branch}", age=9000 - i, actions=told)
    rig = station(world)
    rig.polled()
    for i in range(80):
        world.run("team/shop/mm", age=300 - i, lasts=1, actions=told)
    for branch in ("aa", "zz"):
        world.run(f"team/shop/{branch}", age=100, lasts=1, actions=told)

    rig.polled()

    assert 162 == rig.value(f.BUILDS)


def test_a_branch_that_was_deleted_while_it_was_read_spoils_nothing() -> None:
    world = jenkins.Jenkins()
    job = world.job("team/shop", MULTIBRANCH)
    world.run("team/shop/main")
    world.run("team/shop/gone")
    told = world._told

    def hides(place: dict[str, Any]) -> dict[str, Any]:
        answer = told(place)
        if place is world.root:
            job["jobs"] = [branch for branch in job["jobs"] if branch["name"] != "gone"]
        return answer

    world._told = hides  # type: ignore[method-assign]
    rig = station(world)

    rig.polled()

    assert 1 == rig.value(f.BUILDS)


def test_a_branch_job_may_be_polled_alone_under_its_multibranch_jobs_name() -> None:
    world = jenkins.Jenkins()
    world.job("team/shop", MULTIBRANCH)
    world.run("team/shop/main")
    world.run("team/shop/other")
    rig = station(world, "team/shop/main")

    rig.polled()

    assert 1 == rig.value(f.BUILDS) == rig.value(f.BUILDS, repo="team/shop", branch="main")
    assert provider().covers("team/shop", "team/shop/main")
    assert not provider().covers("team/shop", "team/shop-2")


def test_jobs_in_deep_folders_cost_a_request_for_each_folder_there() -> None:
    world = jenkins.Jenkins()
    deep = "a/b/c/d/e/f/g/h/i"
    world.run(deep, kind=FREESTYLE)
    world.job("a/b/c/d/shop", MULTIBRANCH)
    world.run("a/b/c/d/shop/main")
    rig = station(world, deep, "a/b/c/d/shop")
    rig.polled()

    assert 1 + 2 == len(rig.polled())
    assert 2 == rig.value(f.BUILDS)


@pytest.mark.parametrize(
    ("pattern", "exclude", "found"),
    [
        ("*", [], ["top"]),
        ("**", ["team/**"], ["top"]),
        ("team/*", [], ["team/shop", "team/api"]),
        ("team/**", ["**/api"], ["team/shop", "team/x/y/z/w/deep"]),
        ("team/x/**", [], ["team/x/y/z/w/deep"]),
    ],
)
def test_wildcards_discover_jobs_but_for_disabled_and_excluded_ones(
    pattern: str, exclude: list[str], found: list[str]
) -> None:
    world = jenkins.Jenkins()
    world.run("top")
    world.job("team/shop", MULTIBRANCH)
    world.run("team/shop/main")
    world.run("team/api")
    world.run("team/x/y/z/w/deep")
    world.job("team/old", color="disabled")
    world.job("team/frozen", buildable=False)
    rig = station(world, pattern, exclude=exclude)

    rig.polled()

    assert found == rig.entries
    assert len(found) == rig.value(f.BUILDS)


@pytest.mark.parametrize("entry", ["team", "team/none", "none/at/all"])
def test_a_folder_or_nothing_is_no_job(entry: str) -> None:
    world = jenkins.Jenkins()
    world.run("team/shop")
    rig = station(world, entry)

    with pytest.raises(Gone, match=r"there is no job|is a folder"):
        rig.polled()


def test_a_wildcard_below_no_folder_is_told() -> None:
    with pytest.raises(Gone, match="there is no folder nowhere"):
        station(jenkins.Jenkins(), "nowhere/*").polled()


# -- the queue


def test_what_waits_in_the_queue_is_queued_until_it_is_a_build() -> None:
    world = jenkins.Jenkins()
    world.run("team/shop", age=7200)
    world.run("team/api", age=7200)
    rig = station(world, "team/shop", "team/api")
    rig.polled()
    world.wait(41, "team/shop", age=30)

    assert 2 == len(rig.polled())  # the tree, and the queue for all
    assert 1 == rig.gauge(f.ACTIVE, status="queued", repo="team/shop")

    world.queue.clear()
    begun = world.run("team/shop", age=5, lasts=None, queueId=41)
    rig.polled()

    assert 0 == rig.gauge(f.ACTIVE, status="queued")
    assert 1 == rig.gauge(f.ACTIVE, status="in_progress")

    world.end(begun, lasts=4)
    rig.polled()

    assert (3, 0) == (rig.value(f.BUILDS), rig.value(f.ANOMALIES))


def test_a_queued_build_that_no_list_showed_is_asked_after() -> None:
    world = jenkins.Jenkins()
    world.run("team/shop", age=7200)
    world.wait(41, "team/shop")
    world.wait(42, "team/shop")
    rig = station(world)
    rig.polled()
    assert 2 == rig.gauge(f.ACTIVE, status="queued")
    rig.native = provider()  # a restart
    started = world.run("team/shop", age=5, lasts=3, queueId=41)
    done, given_up = world.queue[41], world.queue[42]
    world.job("other")
    for item in (done, given_up):
        item["task"] = {"url": world.job("other")["url"]}
    done["executable"] = {"number": started["number"]}
    given_up["cancelled"] = True

    for _ in range(4):
        rig.polled()
        rig.memories["team/shop"].checked.clear()

    assert 0 == rig.gauge(f.ACTIVE, status="queued")
    assert 2 == rig.value(f.BUILDS)


# -- stages


def stage(name: str, status: str, *, age: float = 100.0, lasts: float = 5.0) -> dict[str, Any]:
    started = int((time.time() - age) * 1000)
    return {
        "id": name,
        "name": name,
        "status": status,
        "startTimeMillis": started,
        "durationMillis": int(lasts * 1000),
    }


def test_a_pipeline_that_asks_for_input_waits() -> None:
    world = jenkins.Jenkins()
    begun = world.run("team/shop", age=400, lasts=None)
    world.stage_view("team/shop", 1, "PAUSED_PENDING_INPUT")
    rig = station(world)
    rig.polled()

    assert 1 == rig.gauge(f.ACTIVE, status="waiting")

    world.stage_view("team/shop", 1, "IN_PROGRESS")
    rig.memories["team/shop"].checked.clear()
    assert 2 == len(rig.polled())
    assert 1 == rig.gauge(f.ACTIVE, status="in_progress")
    assert 0 == rig.gauge(f.ACTIVE, status="waiting")

    world.end(begun, lasts=390)
    rig.polled()
    assert 1 == rig.value(f.BUILDS)


def test_stages_are_jobs_and_none_is_counted_twice() -> None:
    world = jenkins.Jenkins()
    begun = world.run("team/shop", age=100, lasts=None)
    world.run("team/plain", kind=FREESTYLE)
    first = stage("compile", "SUCCESS", lasts=20)
    never = stage("x", "NOT_EXECUTED")
    world.stage_view("team/shop", 1, "IN_PROGRESS", first, stage("test", "IN_PROGRESS"), never)
    rig = station(world, "team/shop", "team/plain", jobs=True)
    rig.polled()

    assert (1, 1) == (rig.value(f.JOBS), rig.gauge(f.JOBS_ACTIVE, status="in_progress"))

    world.end(begun, lasts=90)
    failed = stage("test", "FAILED", lasts=30)
    world.stage_view("team/shop", 1, "FAILED", first, failed, never)
    assert 3 == len(rig.polled())
    rig.polled(deep=True)

    assert 3 == rig.value(f.JOBS)
    assert 1 == rig.value(f.JOBS, job_name="test", conclusion="failed")
    assert 1 == rig.value(f.JOBS, job_name="x", conclusion="skipped")
    assert 50 == pytest.approx(total(rig, f.JOB_DURATION), abs=0.1)
    assert 2 == rig.value(f.BUILDS)


def test_without_the_stage_view_it_is_asked_for_once_an_hour() -> None:
    world = jenkins.Jenkins()
    for i in range(5):
        world.run("team/shop", age=900 - i)
    rig = station(world, jobs=True)
    first = rig.polled()
    world.run("team/shop", age=60, lasts=5)
    second = rig.polled()

    assert 5 >= sum("wfapi" in request for request in first) >= 1
    assert 0 == sum("wfapi" in request for request in second)
    assert (6, 0) == (rig.value(f.BUILDS), rig.value(f.JOBS))


# -- configuration


@pytest.mark.parametrize("entry", ["job", "folder/job", "*", "**", "folder/*", "folder/sub/**"])
def test_a_good_entry_has_no_fault(entry: str) -> None:
    assert [] == Jenkins.faults({"repos": [entry]})


@pytest.mark.parametrize("entry", ["/job", "folder/", "a//b", "fo*/job", "*/job", "folder/***"])
def test_a_bad_entry_is_told(entry: str) -> None:
    assert [("repos", 0)] == [place for place, _ in Jenkins.faults({"repos": [entry]})]


def test_the_token_belongs_to_a_user_and_may_be_missing() -> None:
    assert {"Authorization": "Basic bWU6dG9r"} == provider().headers("tok")
    assert {"Authorization": "Bearer tok"} == provider(username=None).headers("tok")
    assert {} == provider().headers(None)
    assert Jenkins.anonymous


def test_an_answer_for_people_is_refused() -> None:
    world = jenkins.Jenkins()
    world.run("team/shop")

    async def read() -> None:
        async with serving(world.app()) as url:
            api = Api(root=url, headers=dict, timeout=5.0, pace=Pace(attempts=1))
            try:
                await provider().page(api, Repo("team/shop"), Query(since=0.0, size=30))
            finally:
                await api.aclose()

    with pytest.raises(ProviderError, match="401") as caught:
        asyncio.run(read())
    assert caught.value.account_wide


def test_the_catalogue_has_it_and_a_reload_sees_no_change() -> None:
    assert catalogue()["jenkins"] is Jenkins
    assert provider() == provider()
    assert provider() != provider("other")
