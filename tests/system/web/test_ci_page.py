"""The pages about CI: what they say of builds that were really polled, and that it is harmless."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from exporter.errors import StateUnavailable
from exporter.model import Actor, Build, Job, Status
from exporter.providers import Repo
from tests.system.web.test_live import Running, live
from tests.system.web.test_status_page import Tags
from tests.tools.scripted import Rig, Scripted, build, done

SITE = "https://ci.example"


class Shop(Scripted):
    """Its repos have pages."""

    def page_of(self, repo: Repo) -> str | None:
        return f"{SITE}/{repo.entry}"


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    made = Rig(tmp_path / "s.db")
    keys: Any = {"name": "acme", "provider": "scripted", "token_env": "T", "repos": ["acme/shop"]}
    made.provider = Shop(**keys, web_url=SITE, size=100)
    return made


def ended(number: int, conclusion: str | None, **values: Any) -> Build:
    """Build `number`, which ended `10 - number` minutes ago."""
    at = time.time() - 60 * (10 - number)
    return done(
        build(
            str(number),
            number=number,
            created_at=at - 30,
            started_at=at - 20,
            url=f"{SITE}/b/{number}",
            **values,
        ),
        conclusion,
        after=20,
    )


def job(name: str, conclusion: str, url: str | None = None) -> Job:
    at = time.time() - 306
    return Job(
        id=name,
        name=name,
        status=Status.COMPLETED,
        conclusion=conclusion,
        started_at=at,
        completed_at=at + 5,
        url=url,
    )


def shown(rig: Rig, *paths: str) -> list[httpx.Response]:
    """What the pages answer after one poll."""

    async def look(poller: Running, c: httpx.AsyncClient) -> list[httpx.Response]:
        await poller.once()
        return [await c.get(path) for path in paths]

    return live(rig, look)


def said(rig: Rig, path: str = "/") -> Tags:
    (answer,) = shown(rig, path)
    assert answer.status_code == 200
    return Tags(answer.text)


REPO = "/repo?account=acme&repo=acme%2Fshop"


def culprit() -> dict[str, Any]:
    """What is known of a build that failed."""
    return {
        "commit": "c0ffee1234" * 4,
        "title": "Mend the parser",
        "triggered_by": "octo",
        "triggered_by_type": Actor.USER,
        "jobs": (job("unit", "failed", f"{SITE}/j/unit"), job("lint", "passed", f"{SITE}/j/lint")),
    }


def test_a_broken_pipeline_comes_first_with_its_first_failing_build_and_the_jobs(rig: Rig) -> None:
    rig.provider._builds = [
        ended(1, "passed"),
        ended(2, "failed", **culprit()),
        ended(3, "timeout", jobs=(job("e2e", "failed", f"{SITE}/j/e2e"),)),
    ]

    page = said(rig)

    assert page.words.index("Broken pipelines 1") < page.words.index("Running and waiting")
    assert page.words.index("Running and waiting") < page.words.index("Repos 1")
    assert "acme/shop CI on main scripted, acme 8 min 2 failures in a row" in page.words
    assert "#2 c0ffee12 Mend the parser by octo e2e of #3" in page.words
    assert {f"{SITE}/b/2", f"{SITE}/b/3", f"{SITE}/j/e2e"} <= page.addresses()
    assert "CI (1 broken)" in page.words


@pytest.mark.parametrize("word", ["cancelled", "skipped", "neutral", None])
def test_what_is_no_verdict_neither_heals_nor_hides_a_broken_pipeline(
    rig: Rig, word: str | None
) -> None:
    broken = [ended(1, "passed"), ended(2, "failed", **culprit())]
    waits = build("9", number=9, status=Status.WAITING, url=f"{SITE}/b/9")
    rig.provider._builds = [*broken, ended(3, word), ended(4, word), waits]

    for _ in range(2):
        page, repo = (Tags(answer.text) for answer in shown(rig, "/", REPO))
        assert "8 min 1 failure last build: " in page.words
        assert "#2 c0ffee12 Mend the parser by octo unit" in page.words
        assert "acme/shop scripted, acme broken" in page.words
        assert "CI main broken" in repo.words
        assert "passing" not in page.words + repo.words
        rig.crash()
        rig.restart()  # the same after a restart

    rig.provider._builds += [ended(5, "passed")]
    page = said(rig)
    assert "Broken pipelines No pipeline is broken." in page.words
    assert "acme/shop scripted, acme passing" in page.words


def test_a_failure_that_breaks_no_branch_is_no_green_repo_either(rig: Rig) -> None:
    rig.provider._builds = [ended(1, "passed"), ended(2, "failed", branch="topic")]

    page, repo, status = (Tags(answer.text) for answer in shown(rig, "/", REPO, "/status"))

    assert "No pipeline is broken." in page.words
    assert "acme/shop scripted, acme failed failed 8 min ago CI on other" in page.words
    assert "CI other failed" in repo.words
    assert "acme/shop acme up to date" in status.words
    bad = [attrs.get("class") for _, attrs in status.tags if "bad" in (attrs.get("class") or "")]
    assert "bad" in bad


def test_what_runs_and_what_waits_is_listed_with_its_age_and_link(rig: Rig) -> None:
    begun = time.time() - 3600
    runs = build("7", number=7, started_at=begun, url=f"{SITE}/b/7", title="Tidy up")
    waits = build("8", number=8, status=Status.QUEUED, started_at=None, branch="topic")
    rig.provider._builds = [runs, waits]

    for answer in shown(rig, "/", REPO):
        page = Tags(answer.text)
        assert "CI on main running 1 h" in page.words
        assert "#7 Tidy up" in page.words
        assert "CI on topic queued 1 min #8" in page.words
        assert page.words.index("#7") < page.words.index("#8")
        assert f"{SITE}/b/7" in page.addresses()


def test_the_page_of_a_repo_has_pipelines_builds_jobs_and_ways_out(rig: Rig) -> None:
    rig.provider._builds = [
        ended(1, "passed", workflow="nightly"),
        ended(2, "failed", **culprit()),
        build("9", number=9),
    ]

    page = said(rig, REPO)

    assert "Broken pipelines 1" in page.words
    assert "Failed jobs" in page.words
    assert "unit failed 5 min ago CI on main #2 c0ffee12 Mend the parser" in page.words
    assert "Running and waiting 1" in page.words
    assert "CI main broken #2 c0ffee12 Mend the parser by octo failed 8 min ago" in page.words
    assert "nightly main passing #1 passed 9 min ago" in page.words
    assert "#1 nightly on main passed 9 min ago 20 s" in page.words
    addresses = page.addresses()
    assert {f"{SITE}/acme/shop", f"{SITE}/j/unit"} <= addresses
    assert "/builds?account=acme&repo=acme%2Fshop" in addresses
    assert "/builds?account=acme&repo=acme%2Fshop&workflow=CI&branch=main" in addresses


@pytest.mark.parametrize(
    "query", ["", "?account=acme", "?account=acme&repo=acme/none", "?account=x&repo=acme/shop"]
)
def test_a_repo_that_is_not_polled_has_no_page(rig: Rig, query: str) -> None:
    (answer,) = shown(rig, f"/repo{query}")

    assert answer.status_code == 404
    assert "No such repo" in answer.text


def test_a_log_that_cannot_be_read_takes_no_page_down(rig: Rig) -> None:
    rig.provider._builds = [ended(1, "passed"), ended(2, "failed", **culprit())]

    async def unreadable(_: Any) -> Any:
        raise StateUnavailable("the disk does not answer")

    async def look(poller: Running, c: httpx.AsyncClient) -> list[str]:
        await poller.once()
        stopped: Any = poller
        stopped.read_log = unreadable
        return [(await c.get(path)).text for path in ("/", REPO)]

    for text in live(rig, look):
        page = Tags(text)
        assert "the disk does not answer" in page.words
        assert "8 min 1 failure" in page.words
        assert "#2" in page.words


def test_the_page_links_only_to_the_accounts_own_site(rig: Rig) -> None:
    hostile = "javascript:alert(1)", "https://evil.example/b/2", f"{SITE}.evil.example/", "//evil"
    rig.provider._builds = [
        ended(n, "failed", **{**culprit(), "jobs": (job("unit", "failed", url),)})
        for n, url in enumerate(hostile)
    ]
    for number, url in enumerate(hostile):
        rig.provider._builds[number] = replace(rig.provider._builds[number], url=url)
    rig.provider._builds.append(build("9", number=9, url=hostile[0]))

    for answer in shown(rig, "/", REPO):
        outward = {a for a in Tags(answer.text).addresses() if not a.startswith("/")}
        assert {a for a in outward if not a.startswith(("#", f"{SITE}/"))} == set()


POISON = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{7*7}}\u202e"


def test_what_strangers_wrote_is_text_on_the_pages(rig: Rig) -> None:
    poison = dict.fromkeys(("commit", "title", "triggered_by", "workflow", "repo"), POISON)
    rig.provider._builds = [
        ended(2, "failed", **poison, jobs=(job(POISON, "failed"),)),
        build("9", **poison),
    ]

    async def look(poller: Running, c: httpx.AsyncClient) -> list[Tags]:
        await poller.once()
        page = Tags((await c.get("/")).text)
        repo = next(a for a in page.addresses() if a.startswith("/repo?"))
        return [page, Tags((await c.get(repo)).text)]

    for page in live(rig, look):
        assert "\u202e" not in page.text
        assert "{{7*7}}" in page.text
        assert [tag for tag, _ in page.tags if tag in ("script", "img")] == ["script", "img"]
        assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]


# -- many repos


async def _names(c: httpx.AsyncClient, path: str) -> list[str]:
    text = (await c.get(path)).text
    table = text[text.index('<table class="repos">') :] if '<table class="repos">' in text else ""
    return re.findall(r'<th scope="row" data-label="Repo"><a [^>]*><bdi>([^<]+)</bdi>', table)


@pytest.fixture
def fleet(rig: Rig) -> Callable[[list[str]], dict[str, list[str]]]:
    """Three repos in different states; the names that each of some queries lists."""
    repos = {
        "acme/red": [ended(1, "passed"), ended(2, "failed")],
        "acme/green": [ended(1, "failed"), ended(3, "passed"), build("9")],
        "acme/odd": [ended(4, "cancelled", branch="release"), ended(1, "passed")],
        "acme/new": [],
    }

    class Fleet(Shop):
        async def page(self, api: Any, repo: Repo, query: Any) -> Any:
            self._builds = [
                replace(one, repo=repo.entry, key=renamed(one, repo)) for one in repos[repo.entry]
            ]
            return await super().page(api, repo, query)

    def renamed(one: Build, repo: Repo) -> Any:
        return type(one.key)(f"{repo.entry}#{one.key}")

    keys: Any = {"name": "acme", "provider": "scripted", "token_env": "T", "repos": [*repos]}
    rig.provider = Fleet(**keys, web_url=SITE, size=100)

    def listed(paths: list[str]) -> dict[str, list[str]]:
        async def look(poller: Running, c: httpx.AsyncClient) -> dict[str, list[str]]:
            await poller.once()
            return {path: await _names(c, path) for path in paths}

        return live(rig, look)

    return listed


def test_repos_are_sorted_and_filtered_by_the_query(fleet: Any) -> None:
    red, green, odd, new = "acme/red", "acme/green", "acme/odd", "acme/new"
    wanted = {
        "/": [red, odd, green, new],
        "/?sort=name": [green, new, odd, red],
        "/?sort=recent": [odd, green, red, new],
        "/?sort=active": [green, red, odd, new],
        "/?sort=nonsense": [red, odd, green, new],
        "/?q=ACME%2Fr": [red],
        "/?account=acme&provider=scripted": [red, odd, green, new],
        "/?account=other": [],
        "/?provider=github": [],
        "/?conclusion=failed": [red],
        "/?conclusion=passed": [green, odd],
        "/?branch=main": [red, green, odd],
        "/?branch=main&conclusion=passed&sort=name": [green, odd],
        "/?branch=none": [],
        "/?page=9": [red, odd, green, new],
    }

    assert fleet([*wanted]) == wanted
