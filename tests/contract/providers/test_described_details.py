"""Where the commit, the author, the title and the page of a build come from, quirk by quirk."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import msgspec
import pytest

from exporter.demo import Simulation, World, demo_accounts, running
from exporter.http import Api
from exporter.model import Actor, Build, Status
from exporter.providers import Query, Repo, Site, catalogue
from exporter.providers.bitbucket import mapping as bitbucket
from exporter.providers.buddy import mapping as buddy
from exporter.providers.jenkins import mapping as jenkins
from exporter.providers.jenkins.refs import change_number
from exporter.providers.travis import mapping as travis
from tests.contract.providers.truto import (
    BITBUCKET,
    JENKINS,
    JENKINS_PARTIAL,
    FakeApi,
    detail,
    listed,
    one,
    refresh,
    truto,
)
from tests.tools.emulated import Clock
from tests.tools.emulators.jenkins import changes, checkout, person
from tests.tools.emulators.rig import COMMIT
from tests.tools.emulators.unified import EmulatorThread
from tests.tools.sources import source_of

REPO = Repo("acme/shop")
UUID = "1f0e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"

# -- Bitbucket


def of_bitbucket(entry: str = "acme/shop", **values: Any) -> Build:
    item = msgspec.convert({"uuid": "{u-1}", "build_number": 7, **values}, bitbucket.Pipeline)
    return bitbucket.to_build(item, Repo(entry), Site("https://bitbucket.org"))


def test_the_subject_of_the_commit_is_the_title_where_it_is_told() -> None:
    commit = {"hash": COMMIT, "message": "Add the cart\n\nAt last.", "date": "2026-11-20T09:00:00Z"}
    told = of_bitbucket(target={"commit": commit, "pullrequest": {"id": "3", "title": "Buy"}})

    assert (told.commit, told.title, told.pull_request) == (COMMIT, "Add the cart", 3)
    assert told.commit_at is not None


@pytest.mark.parametrize(
    ("creator", "by", "kind"),
    [
        ({"type": "user", "display_name": "Dev One"}, "Dev One", Actor.USER),
        ({"type": "user", "nickname": "dev-1"}, "dev-1", Actor.USER),
        ({"type": "app_user", "display_name": "Updates"}, "Updates", Actor.BOT),
        ({"type": "martian", "display_name": "Zog"}, "Zog", None),
        ({"type": "user"}, None, None),
        (None, None, None),
    ],
)
def test_the_creator_of_a_pipeline_may_be_an_app(creator: Any, by: str, kind: Actor) -> None:
    build = of_bitbucket(creator=creator)

    assert (build.triggered_by, build.triggered_by_type) == (by, kind)


def test_an_entry_of_ids_has_braces_in_addresses() -> None:
    page = f"https://bitbucket.org/%7B{UUID}%7D/%7B{UUID}%7D/pipelines/results/7"

    assert of_bitbucket(f"{UUID}/{UUID}").url == page


def test_a_pipeline_without_a_number_has_no_page() -> None:
    assert of_bitbucket(build_number=None).url is None


# -- Travis CI


@pytest.mark.parametrize(
    ("compared", "place"),
    [
        ("https://github.com/acme/shop/compare/a...b", "github/acme/shop"),
        ("https://github.acme.example/acme/shop/compare/a...b", "github/acme/shop"),
        ("https://bitbucket.org/acme/shop/branches/compare/b..a", "bitbucket/acme/shop"),
        ("https://gitlab.com/acme/shop/compare/a...b", "gitlab/acme/shop"),
        (None, "github/acme/shop"),
    ],
)
def test_the_page_of_a_build_says_where_the_code_is(compared: Any, place: str) -> None:
    item = travis.BuildItem(id=7, state="passed", commit={"sha": COMMIT, "compare_url": compared})
    build = travis.to_build(item, REPO, Site("https://app.travis-ci.com"))

    assert build.url == f"https://app.travis-ci.com/{place}/builds/7"


def test_a_commit_without_a_message_has_the_title_of_its_pull_request() -> None:
    item = travis.BuildItem(id=7, pull_request_title="Let people buy", pull_request_number="12")
    build = travis.to_build(item, REPO, Site(None))

    assert (build.title, build.pull_request, build.url) == ("Let people buy", 12, None)


# -- Buddy


def test_the_page_of_an_execution_is_the_one_that_is_told_or_none() -> None:
    def url(told: Any) -> str | None:
        item = buddy.Execution(id=7, html_url=told)
        site = Site("https://buddy.acme.example")
        return buddy.to_build(item, buddy.Pipeline(1), REPO, site).url

    page = "https://buddy.acme.example/acme/shop/pipelines/pipeline/1/execution/63"
    assert url(page) == page
    assert url("https://app.buddy.works/acme/shop/pipelines/pipeline/1/execution/63") is None
    assert url(None) is None


def test_a_commit_without_a_message_has_the_comment_of_its_execution() -> None:
    item = buddy.Execution(id=7, to_revision={"revision": COMMIT}, comment="hotfix")

    assert buddy.to_build(item, buddy.Pipeline(1), REPO, Site(None)).title == "hotfix"


# -- Jenkins

SHOP = jenkins.Where("team/shop", "team/shop", "https://ci.example/job/team/job/shop/")
MAIN = jenkins.Where("team/shop", "team/shop/main", SHOP.page)


def of_jenkins(where: jenkins.Where = SHOP, **values: Any) -> Build:
    known = {"number": 7, "timestamp": 1_700_000_000_000, "building": True}
    return jenkins.to_build(msgspec.convert({**known, **values}, jenkins.Run), where)


def test_the_commit_is_that_of_the_branch_and_not_of_a_library() -> None:
    library, own = checkout("refs/remotes/origin/v2", "0" * 40), checkout("origin/main", COMMIT)

    assert of_jenkins(MAIN, actions=[library, own]).commit == COMMIT
    assert of_jenkins(MAIN, actions=[own, library]).commit == COMMIT
    assert of_jenkins(actions=[library, own]).commit == COMMIT


def test_the_title_is_that_of_the_commit_among_the_changes() -> None:
    told: dict[str, Any] = {"actions": [checkout("origin/main", COMMIT)]}
    sets = changes("Begin", "Go on", "Add the cart", last=COMMIT, at=1_700_000_000)
    mine, others = of_jenkins(**told, changeSets=sets), changes("Begin", last="1" * 40, at=1.7e9)

    assert (mine.title, mine.commit_at) == ("Add the cart", 1_700_000_000)
    assert of_jenkins(**told, changeSet=sets[0]).title == "Add the cart"
    assert of_jenkins(**told, changeSets=others).title is None
    assert of_jenkins(changeSets=others).commit == "1" * 40
    assert of_jenkins(changeSets=sets).commit is None


def test_a_name_that_people_gave_a_build_is_its_title_and_its_number_is_none() -> None:
    assert of_jenkins(displayName="Release 1.4").title == "Release 1.4"
    assert of_jenkins(displayName="#7").title is None


def test_who_pressed_the_button_began_a_build_and_else_nobody_is_known() -> None:
    pressed = of_jenkins(actions=[person("dev-1", "Dev One")])
    timed = {"causes": [{"_class": "hudson.triggers.TimerTrigger$TimerTriggerCause"}]}

    assert (pressed.triggered_by, pressed.triggered_by_type) == ("Dev One", Actor.USER)
    assert of_jenkins(actions=[person("dev-1", "")]).triggered_by == "dev-1"
    assert of_jenkins(actions=[timed]).triggered_by_type is None


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("PR-12", 12),
        ("PR-12-merge", 12),
        ("MR-7-head", 7),
        ("pull/9/head", 9),
        ("merge-requests/4/merge", 4),
        ("changes/34/1234/2", 1234),
        ("PR-x", None),
        ("main", None),
        (None, None),
    ],
)
def test_a_branch_job_of_a_pull_request_is_named_by_its_number(
    name: str | None, number: int | None
) -> None:
    assert change_number(name) == number


def test_a_branch_with_a_slash_is_quoted_twice_in_addresses() -> None:
    account = catalogue()["jenkins"](
        name="a", provider="jenkins", token_env="T", url="https://ci.example/x", repos=["a"]
    )

    assert account.page_of(Repo("team/shop/feature%2Fcart")) == (
        "https://ci.example/x/job/team/job/shop/job/feature%252Fcart/"
    )


# -- the unified API


def test_a_partial_list_item_is_filled_by_the_single_build() -> None:
    told = {"actions": [person("dev-1", "Dev One"), checkout("origin/main", COMMIT)]}
    raw: Any = JENKINS["remote_data"]
    whole = JENKINS | {"remote_data": raw | told}
    partial = one("jenkins", JENKINS_PARTIAL)
    api = FakeApi(**{f"builds__{JENKINS_PARTIAL['id']}": whole | {"id": JENKINS_PARTIAL["id"]}})
    build = detail(truto("jenkins"), api, partial)

    assert partial.commit is None
    assert (build.commit, build.triggered_by) == (COMMIT, "Dev One")


def test_a_single_build_that_tells_less_keeps_what_the_list_told() -> None:
    running = {**BITBUCKET, "status": "in_progress", "remote_data": {}, "commit": COMMIT}
    known = one("bitbucket", running | {"triggered_by": "Dev One", "triggered_by_type": "user"})
    single = {"id": BITBUCKET["id"], "number": 77, "status": "in_progress"}
    api = FakeApi(**{f"builds__%7B{known.native_id.strip('{}')}%7D": single})
    build = refresh(truto("bitbucket"), api, known)

    assert build.status is Status.IN_PROGRESS
    assert (build.commit, build.triggered_by) == (COMMIT, "Dev One")
    assert build.triggered_by_type is Actor.USER


def test_what_only_people_read_is_worth_no_request() -> None:
    provider = truto("bitbucket")
    single = BITBUCKET | {"triggered_by": "Dev One"}
    build = one("bitbucket", BITBUCKET)
    path = f"builds__%7B{build.native_id.strip('{}')}%7D"
    api = FakeApi(**{path: single}, jobs=listed())
    source = source_of(provider, api)
    details = [asyncio.run(source.detail(Repo("acme/shop"), build, None)) for _ in range(6)]

    asked = [path for path in api.paths if path.startswith("builds/")]
    assert len(asked) == 3
    assert [build.triggered_by for build in details] == ["Dev One"] * 3 + [None] * 3


@pytest.mark.parametrize(
    ("word", "name", "kind"),
    [
        ("user", "dev-1", Actor.USER),
        ("bot", "updates", Actor.BOT),
        ("Organization", "acme", Actor.USER),
        ("app_user", "Updates", Actor.BOT),
        (None, "updates[bot]", Actor.BOT),
        ("martian", "zog", None),
    ],
)
def test_who_began_a_build_is_a_user_or_a_bot(word: str | None, name: str, kind: Actor) -> None:
    build = one("bitbucket", BITBUCKET | {"triggered_by": name, "triggered_by_type": word})

    assert (build.triggered_by, build.triggered_by_type) == (name, kind)


# -- the demo


def demo_builds(emulator: EmulatorThread, account: dict[str, Any]) -> list[Build]:
    """Each build of the first page of each repo, with its details."""
    provider = catalogue()["truto"](**{**account, "url": emulator.url, "jobs": True})

    async def read() -> list[Build]:
        api = Api(root=emulator.url, headers=lambda: provider.headers("demo"), timeout=5.0)
        source = provider.connect(api)
        try:
            found = []
            for repo in map(Repo, account["repos"]):
                page = await source.page(repo, Query(since=0.0, size=50))
                found += [await source.detail(repo, build, None) for build in page.builds]
            return found
        finally:
            await api.aclose()

    return asyncio.run(read())


@pytest.mark.parametrize("account", demo_accounts(), ids=lambda account: account["name"])
def test_each_build_of_the_demo_has_a_commit_and_a_page_of_the_demo(account: Any) -> None:
    world = World(Clock())
    Simulation(world)
    with EmulatorThread(world) as emulator:
        place = next(one for one in demo_accounts(emulator.url) if one["name"] == account["name"])
        builds = demo_builds(emulator, place)
        pages = [build.url for build in builds]

        assert len(builds) > 8
        assert all(build.commit for build in builds)
        assert all(page and page.startswith(place["web_url"] + "/") for page in pages)
        assert {build.title for build in builds} != {None}
        assert {build.triggered_by for build in builds} != {None}
        shown = httpx.get(str(pages[0]), verify=False, trust_env=False)
        assert shown.status_code == 200
        assert shown.headers["content-type"].startswith("text/html")


def test_the_pages_of_the_demo_show_their_path_and_obey_nothing() -> None:
    async def read() -> httpx.Response:
        async with running() as demo, httpx.AsyncClient(verify=False, trust_env=False) as http:
            return await http.get(f"{demo.url}/pages/github/acme/%3Cscript%3Ealert(1)%3C/script%3E")

    page = asyncio.run(read()).text

    assert "acme/&lt;script&gt;" in page
    assert "<script" not in page
