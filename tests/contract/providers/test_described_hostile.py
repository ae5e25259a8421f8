"""Whatever strangers write as a commit, an author, a title or an address spoils no build and is
no link to elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from exporter.ledger.build_log import logged
from exporter.model import Build
from exporter.providers import Repo, Site
from exporter.providers.azure_devops import mapping as azure_devops
from exporter.providers.azure_devops.names import Names
from exporter.providers.azure_devops.timeline import Record, read_timeline
from exporter.providers.bitbucket import mapping as bitbucket
from exporter.providers.buddy import mapping as buddy
from exporter.providers.circleci import mapping as circleci
from exporter.providers.github import mapping as github
from exporter.providers.github.workflows import Names as Workflows
from exporter.providers.gitlab import mapping as gitlab
from exporter.providers.jenkins import mapping as jenkins
from exporter.providers.travis import mapping as travis
from tests.contract.fuzz import examples
from tests.contract.providers.truto import (
    AZURE,
    BITBUCKET,
    CIRCLECI,
    GITHUB,
    JENKINS,
    TRAVIS,
    FakeApi,
    detail,
    listed,
    one,
    page,
    truto,
)

REPO, SITE = Repo("acme/shop"), Site("https://ci.example")
LONGEST = 2000
"""Characters of anything that is kept of an answer."""
HOSTILE: list[Any] = [
    "javascript:alert(1)",
    "https://evil.example/acme/shop",
    "https://ci.example@evil.example/",
    "https://ci.example.evil.example/",
    "//evil.example/",
    "https://ci.example/\r\nSet-Cookie: a=b",
    'https://ci.example/"><script>alert(1)</script>',
    "<script>alert(1)</script>",
    "\x1b[31mred\x07\x00\u202eder",
    "\n\n \t",
    "",
    "x" * 1_000_000,
    "https://ci.example/" + "x" * 1_000_000,
    7,
    -1,
    1e300,
    2**70,
    True,
    None,
    [],
    [["x"]],
    {},
    {"name": {"login": 7}},
]
NAMES = [repr(value)[:30] for value in HOSTILE]


def of_bitbucket(odd: Any) -> Build:
    commit = {"hash": odd, "message": odd, "date": odd}
    target = {"commit": commit, "pullrequest": {"id": odd, "title": odd}}
    creator = {"display_name": odd, "nickname": odd, "type": odd}
    known = {"uuid": "{u-1}", "build_number": 7, "target": target, "creator": creator}
    build = bitbucket.to_build(msgspec.convert(known, bitbucket.Pipeline), REPO, SITE)
    step = bitbucket.Step(uuid="\"'<>", name=odd)
    return replace(build, jobs=(bitbucket.to_job(step, build, SITE),))


def of_travis(odd: Any) -> Build:
    commit = {"sha": odd, "message": odd, "committed_at": odd, "compare_url": odd}
    item = travis.BuildItem(
        id=7,
        commit=commit,
        created_by={"login": odd},
        pull_request_title=odd,
        pull_request_number=odd,
        jobs=[msgspec.Raw(b'{"id":"<7>","state":"failed"}')],
    )
    return travis.to_build(item, REPO, SITE)


def of_buddy(odd: Any) -> Build:
    item = buddy.Execution(
        id=7,
        status="FAILED",
        to_revision={"revision": odd, "message": odd, "commit_date": odd},
        comment=odd,
        creator={"name": odd},
        pull_request={"number": odd},
        html_url=odd,
    )
    build = buddy.to_build(item, buddy.Pipeline(1, name="deploy"), REPO, SITE)
    job = buddy.to_job(buddy.Action(action={"name": "a"}, html_url=odd), build, SITE)
    return build if job is None else replace(build, jobs=(job,))


def of_jenkins(odd: Any) -> Build:
    revision = {"SHA1": odd, "branch": [{"name": odd}, odd]}
    change = {"commitId": odd, "msg": odd, "timestamp": odd}
    run = jenkins.Run(
        number=7,
        building=True,
        display_name=odd,
        actions=[
            odd,
            {"causes": [{"userName": odd, "userId": odd}], "lastBuiltRevision": revision},
        ],
        change_set={"items": [change]},
        change_sets=[odd, {"items": odd}, {"items": [odd, change]}],
    )
    where = jenkins.Where("acme/shop", "acme/shop", "https://ci.example/job/acme/job/shop/")
    build = jenkins.to_build(run, where)
    stage = jenkins.Stage(id='../"<6>', name=odd)
    return replace(build, jobs=(jenkins.to_job(stage, build),))


def of_github(odd: Any) -> Build:
    item = {"id": 7, "event": "pull_request", "status": "completed"} | raw_github(odd)
    raw = msgspec.json.encode({"workflow_runs": [item]})
    [run] = msgspec.json.decode(raw, type=github.Runs).items
    build = github.to_build(run, REPO, SITE, Workflows())
    later = github.with_page_of_its_own(build)
    tasks = {"jobs": [{"id": 17, "name": odd, "html_url": odd, "labels": odd}]}
    [task] = msgspec.json.decode(msgspec.json.encode(tasks), type=github.Tasks).items
    return replace(later, jobs=(github.to_job(task, build, SITE),))


def of_gitlab(odd: Any) -> Build:
    told = {"sha": odd, "name": odd, "web_url": odd, "user": {"username": odd, "name": odd}}
    listed_ = msgspec.json.encode([{"id": 7, "status": "failed"} | told])
    [item] = gitlab.pipelines(msgspec.json.decode(listed_, type=gitlab.LISTED))[0]
    commit = {"id": odd, "title": odd, "committed_date": odd}
    jobs = [
        gitlab.JobItem(id=17, commit=commit, web_url=odd, tag_list=odd),
        gitlab.JobItem(id=18, commit=odd, tag_list=[odd]),
    ]
    build = gitlab.with_commit(gitlab.to_build(item, REPO, SITE), jobs)
    return replace(build, jobs=gitlab.to_jobs(jobs, REPO, SITE))


def of_circleci(odd: Any) -> Build:
    values = dict.fromkeys(["commit_sha", "commit_title", "commit_timestamp", "user_username"], odd)
    known = {"trigger_parameters": {"git": odd, "github_app": values, "gitlab": odd}}
    item = circleci.Pipeline("p", number=7, **known, **raw_circleci(odd))
    workflows = [
        circleci.Workflow("w", status="failed", started_by=odd),
        circleci.Workflow("\"'<>", tag="rerun-workflow", started_by=odd),
    ]
    [first, second] = circleci.to_builds(item, workflows, REPO, SITE)
    assert first.key != second.key
    return replace(second, jobs=(circleci.to_job(circleci.Listed("j", job_number=odd), first.url),))


def of_azure_devops(odd: Any) -> Build:
    run = msgspec.convert({"id": 7, "status": "completed"} | raw_azure(odd), azure_devops.Run)
    place = azure_devops.ProjectPath("acme", "shop", "")
    build = azure_devops.to_build(run, place, Names(), SITE)
    job = Record("\"'<>", type="Job", name=odd)
    return replace(build, jobs=read_timeline([job], build, now=0.0).jobs)


def behind(integration: str, sample: dict[str, Any], raw: Callable[[Any], dict[str, Any]]) -> Any:
    """A listed item of the unified API, and one job of it."""

    def build(odd: Any) -> Build:
        own = {"commit": odd, "triggered_by": odd, "triggered_by_type": odd}
        item = sample | own | {"remote_data": sample.get("remote_data", {}) | raw(odd)}
        keys = {"jobs": integration != "jenkins", "web_url": "https://ci.example"}
        known = one(integration, item, **keys)
        bare = one(integration, item | dict.fromkeys(own), **keys)
        assert known.key == bare.key
        job = {"id": "<17>", "status": "failed", "remote_data": raw(odd) | {"job_number": odd}}
        return detail(truto(integration, **keys), FakeApi(jobs=listed(job)), known)

    return build


def of_loose_jobs(odd: Any) -> Build:
    job = {"id": "<17>", "name": "deploy", "status": "FAILED", "remote_data": {"html_url": odd}}
    [build] = page(truto("buddy", web_url="https://ci.example"), FakeApi(jobs=listed(job))).builds
    assert isinstance(build, Build)
    return build


def raw_github(odd: Any) -> dict[str, Any]:
    actor = {"login": odd, "type": odd}
    return {
        "head_sha": odd,
        "head_commit": {"message": odd, "timestamp": odd},
        "display_title": odd,
        "triggering_actor": odd,
        "actor": actor,
        "pull_requests": [odd, {"number": odd}],
        "html_url": odd,
    }


def raw_azure(odd: Any) -> dict[str, Any]:
    return {
        "sourceVersion": odd,
        "requestedFor": {"displayName": odd, "descriptor": odd},
        "triggerInfo": {"ci.message": odd, "pr.title": odd, "pr.number": odd},
        "url": odd,
        "_links": {"web": {"href": odd}},
    }


def raw_bitbucket(odd: Any) -> dict[str, Any]:
    commit = {"hash": odd, "message": odd}
    return {"target": {"commit": commit}, "creator": {"display_name": odd, "type": odd}}


def raw_circleci(odd: Any) -> dict[str, Any]:
    vcs = {"revision": odd, "commit": {"subject": odd}, "review_id": odd}
    return {"vcs": vcs, "trigger": {"actor": {"login": odd}}}


def raw_jenkins(odd: Any) -> dict[str, Any]:
    causes = {"causes": [{"userName": odd}], "lastBuiltRevision": {"SHA1": odd}}
    return {"actions": [odd, causes], "changeSets": [odd, {"items": [odd]}], "url": odd}


def raw_travis(odd: Any) -> dict[str, Any]:
    commit = {"sha": odd, "message": odd, "committed_at": odd, "compare_url": odd}
    return {"commit": commit, "created_by": {"login": odd}, "repository": {"slug": odd}}


BUILDS = pytest.mark.parametrize(
    "build_of",
    [
        pytest.param(of_github, id="github"),
        pytest.param(of_gitlab, id="gitlab"),
        pytest.param(of_circleci, id="circleci"),
        pytest.param(of_azure_devops, id="azure_devops"),
        pytest.param(of_bitbucket, id="bitbucket"),
        pytest.param(of_travis, id="travis"),
        pytest.param(of_buddy, id="buddy"),
        pytest.param(of_jenkins, id="jenkins"),
        pytest.param(behind("github", GITHUB, raw_github), id="unified github"),
        pytest.param(behind("azuredevops", AZURE, raw_azure), id="unified azuredevops"),
        pytest.param(behind("bitbucket", BITBUCKET, raw_bitbucket), id="unified bitbucket"),
        pytest.param(behind("circleci", CIRCLECI, raw_circleci), id="unified circleci"),
        pytest.param(behind("jenkins", JENKINS, raw_jenkins), id="unified jenkins"),
        pytest.param(behind("travisci", TRAVIS, raw_travis), id="unified travisci"),
        pytest.param(of_loose_jobs, id="unified buddy"),
    ],
)
JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
ADDRESSES = st.builds(
    "".join, st.tuples(st.sampled_from(("https://ci.example", "", "http:")), st.text(max_size=20))
)


@BUILDS
@pytest.mark.parametrize("odd", HOSTILE, ids=NAMES)
def test_nothing_hostile_spoils_a_build_or_becomes_a_link(
    build_of: Callable[[Any], Build], odd: Any
) -> None:
    check(build_of(odd))


@BUILDS
@examples(30)
@given(odd=JSON | ADDRESSES)
def test_no_json_at_all_does_either(build_of: Callable[[Any], Build], odd: Any) -> None:
    check(build_of(odd))


def check(build: Build) -> None:
    """Assert that all text of `build` is short, and all links lead to its own site."""
    texts = (build.commit, build.title, build.triggered_by, build.environment)
    urls = [build.url, *(job.url for job in build.jobs)]
    assert all(text is None or 0 < len(text) <= LONGEST for text in texts)
    for url in filter(None, urls):
        parts = urlsplit(url)
        assert (parts.scheme, parts.netloc) == ("https", "ci.example")
        assert url.isascii()
        assert url.isprintable()
        assert not set(url) & set('"<>\\ ')
    linked = Site("https://ci.example").with_own_links(build)
    shown = logged(linked, ("p", "a", "r", "w", "b"), conclusion="failed")
    lines = (shown.commit, shown.title, shown.triggered_by)
    assert all(line is None or line.isprintable() for line in lines)
