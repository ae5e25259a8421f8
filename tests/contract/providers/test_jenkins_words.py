"""Jenkins' objects and words become what they mean, and a bad configuration is told."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from exporter.demo.serve import serving
from exporter.errors import ProviderError
from exporter.http import Api, RetryPolicy
from exporter.model import Build, BuildKey, Ref, Status
from exporter.model.vocabulary import by_word
from exporter.providers import Query, Repo, catalogue
from exporter.providers.jenkins import WORDS, Jenkins, Run, Stage, Where, to_build, to_job
from exporter.providers.jenkins.mapping import QueueItem
from exporter.providers.jenkins.vocabulary import PRIORITY
from tests.tools import golden
from tests.tools.emulators import jenkins
from tests.tools.emulators.jenkins import cause
from tests.tools.jenkins_station import EVENT, provider

SHOP = Where("team/shop", "team/shop", "https://ci.example/job/team/job/shop/")
USER = "hudson.model.Cause$UserIdCause"
GERRIT = "com.sonyericsson.hudson.plugins.gerrit.trigger.hudsontrigger"
PPR = "io.jenkins.plugins.bitbucketpushandpullrequest.cause.pullrequest"
RESTART = "org.jenkinsci.plugins.pipeline.modeldefinition.causes"
TIMER = "hudson.triggers.TimerTrigger$TimerTriggerCause"


def built(where: Where = SHOP, **values: Any) -> Build:
    return to_build(
        msgspec.convert({"number": 7, "timestamp": 1_700_000_000_000, **values}, Run), where
    )


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

    assert set(by_word({"": f"{results} {stages}"})) <= WORDS.conclusion.keys()
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
        (["hudson.plugins.git.GitStatus$CommitHookCause"], "push"),
        (["io.jenkins.plugins.gitlabbranchsource.GitLabWebHookCause"], "push"),
        (["hudson.cli.BuildCommand$CLICause"], "api"),
        ([f"{GERRIT}.GerritManualCause"], "merge_request"),
        ([f"{PPR}.server.BitBucketPPRPullRequestServerUpdatedCause"], "merge_request"),
        ([f"{RESTART}.RestartDeclarativePipelineCause", USER], "restart"),
        (["hudson.model.Cause$LegacyCodeCause"], "other"),
        (["hudson.model.Cause$UpstreamCause$DeeplyNestedUpstreamCause"], "upstream"),
    ],
)
def test_the_most_telling_cause_is_the_trigger(causes: list[str], expected: str) -> None:
    build = built(building=True, actions=[{}, cause(*causes)])

    assert expected == build.trigger
    assert (causes == ["com.example.NovelCause"]) == bool(build.unmapped)


@pytest.mark.parametrize(
    ("words", "trigger"),
    [
        ("Started by timer", "cron"),
        ("Started by user Admin", "web"),
        ("Started by an SCM change", "push"),
        ("Started by GitHub push by somebody", "push"),
        ("Started by remote host 10.0.0.7", "api"),
        ('Started by upstream project "shop" build number 7', "upstream"),
        ("Started by command line by Admin", "api"),
        ("Commit notification 1a2b3c", "push"),
        ("Started by GitLab push by somebody", "push"),
        ("Branch indexing", "push"),
        ("Push event to branch main", "push"),
    ],
)
def test_an_old_controller_tells_causes_in_words_only(words: str, trigger: str) -> None:
    said = [{"causes": [{"shortDescription": words}]}]

    assert trigger == built(building=True, actions=said).trigger


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
    assert BuildKey(f"{path}#7", 1700000000) == build.key


@pytest.mark.parametrize(
    ("ref", "branch", "kind"),
    [
        ("refs/remotes/origin/main", "main", Ref.BRANCH),
        ("origin/feature/cart", "feature/cart", Ref.BRANCH),
        ("refs/remotes/fork/main", "main", Ref.BRANCH),
        ("upstream/main", "main", Ref.BRANCH),
        ("refs/heads/release/1.0", "release/1.0", Ref.BRANCH),
        ("release/1.0", "release/1.0", Ref.BRANCH),
        ("refs/tags/v1.0", "v1.0", Ref.TAG),
        ("tags/v1.0", "v1.0", Ref.TAG),
        ("origin/tags/v1.0", "v1.0", Ref.TAG),
        ("refs/pull/12/head", "pull/12/head", Ref.PULL_REQUEST),
        ("origin/pr/12/merge", "pr/12/merge", Ref.PULL_REQUEST),
        ("refs/remotes/origin/merge-requests/7/head", "merge-requests/7/head", Ref.PULL_REQUEST),
        ("refs/changes/34/1234/5", "changes/34/1234/5", Ref.PULL_REQUEST),
        ("PR-12-merge", "PR-12-merge", Ref.PULL_REQUEST),
        ("refs/remotes/origin/HEAD", None, Ref.BRANCH),
        ("detached", None, Ref.BRANCH),
    ],
)
def test_a_checked_out_ref_is_read_in_each_of_its_spellings(
    ref: str, branch: str | None, kind: Ref
) -> None:
    names = [{"name": "detached"}, {"name": ref}, {"name": "refs/remotes/origin/other"}]
    checkout = {"lastBuiltRevision": {"branch": names if branch else names[:2]}}

    build = built(building=True, actions=[checkout])

    assert (branch, kind) == (build.branch, build.ref)


@pytest.mark.parametrize("name", ["PR-12", "PR-12-head", "PR-12-merge", "MR-7", "MR-7-merge"])
def test_the_branch_job_of_a_pull_request_is_known_by_its_name(name: str) -> None:
    build = built(Where("team/shop", f"team/shop/{name}"), actions=[EVENT])

    assert (name, Ref.PULL_REQUEST, "merge_request") == (build.branch, build.ref, build.trigger)


def test_the_branch_job_of_a_tag_is_known_by_its_checkout() -> None:
    where = Where("team/shop", "team/shop/v1.0")
    tag = {"lastBuiltRevision": {"branch": [{"name": "refs/tags/v1.0"}]}}

    assert Ref.TAG is built(where, actions=[EVENT, tag]).ref
    assert Ref.BRANCH is built(where, actions=[EVENT]).ref


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
            api = Api(root=url, headers=dict, timeout=5.0, retries=RetryPolicy(attempts=1))
            try:
                await provider().connect(api).page(Repo("team/shop"), Query(since=0.0, size=30))
            finally:
                await api.aclose()

    with pytest.raises(ProviderError, match="401") as caught:
        asyncio.run(read())
    assert caught.value.account_wide


def test_the_catalogue_has_it_and_a_reload_sees_no_change() -> None:
    assert catalogue()["jenkins"] is Jenkins
    assert provider() == provider()
    assert provider() != provider("other")
