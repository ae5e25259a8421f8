"""All pages in a real Chromium: they fit on a phone, and axe-core finds nothing in the way."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from msgspec.structs import replace
from playwright.sync_api import Page, expect

from exporter.ledger.build_log import LoggedBuild, LoggedJob
from exporter.metrics import facts
from exporter.model import Build, Status
from exporter.providers import Site
from exporter.status.ci import CiReport, PipelineState, RepoBuilds
from tests.system.web import Logged, Stub, provider
from tests.system.web.conftest import DESKTOP, PHONE, Open
from tests.tools.build_logs import record
from tests.tools.scripted import build, done

SITE = "https://ci.example/pages"
NOW = 1_770_000_000.0
LONG = "x" * 90
RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")


def pipeline(repo: str, words: Iterable[str], workflow: str = "CI") -> PipelineState:
    known = facts.Facts(touched=NOW)
    for n, word in enumerate(words):
        known = facts.completed(known, ended(n, word), conclusion=word, now=NOW)
    return PipelineState(("github", "acme", repo, workflow, "main"), known, is_default=True)


def ended(number: int, word: str) -> Build:
    at = NOW - 3600 + 60 * number
    return done(build(str(number), number=number, created_at=at, started_at=at), word, after=30)


def running(repo: str, **values: Any) -> LoggedBuild:
    known: dict[str, Any] = {"status": Status.IN_PROGRESS, "started_at": NOW - 300, "number": 9}
    labels: dict[str, Any] = {"provider": "github", "account": "acme", "workflow": "CI"}
    return LoggedBuild(**labels, repo=repo, branch="main", **{**known, **values})


class Fleet(Logged):
    """Repos of which each third is broken, each third runs, and one has only long names."""

    def __init__(self, count: int) -> None:
        super().__init__(provider(web_url=SITE))
        repos: dict[tuple[str, str, str], RepoBuilds] = {}
        for n in range(count):
            repo = LONG if n == 1 else f"acme/{n}"
            made = RepoBuilds(("github", "acme", repo), f"{SITE}/{n}", None, was_read=True)
            words = ("passed", *(("failed", "cancelled") if n % 3 == 1 else ("passed",)))
            made.pipelines = [pipeline(repo, words), pipeline(repo, ["passed"], "")]
            if n % 3 == 2:
                waits = {"status": Status.WAITING, "created_at": NOW - 9, "title": LONG * 2}
                made.unfinished = [running(repo, url=f"{SITE}/9"), running(repo, **waits)]
            repos[made.name] = made
        accounts = {"acme": "github"} if count else {}
        sites = {"acme": Site(SITE)}
        self.builds = CiReport(now=NOW, accounts=accounts, sites=sites, repos=repos)
        if count:
            record(self.ledger, *(builds_of("acme/4") + builds_of(LONG)))


def builds_of(repo: str) -> tuple[tuple[str, LoggedBuild], ...]:
    jobs = (LoggedJob(LONG, "failed", NOW - 100, NOW - 90, f"{SITE}/j"), LoggedJob("e2e", "error"))
    broke = LoggedBuild(
        provider="github",
        account="acme",
        repo=repo,
        workflow="CI",
        branch="main",
        number=1,
        conclusion="failed",
        commit="c0ffee" * 6,
        title=f"Mend {LONG}",
        triggered_by="octo",
        triggered_by_type="bot",
        completed_at=NOW - 3510,
        url=f"{SITE}/b/1",
        jobs=jobs,
    )
    passed = replace(broke, number=0, conclusion="passed", completed_at=NOW - 3600, jobs=())
    return ((f"{repo}#0", passed), (f"{repo}#1", broke))


MANY = Fleet(2000)
FEW = Fleet(6)
EMPTY = Fleet(0)
REPO = f"/repo?account=acme&repo={LONG}"

PAGES = (
    pytest.param(FEW, "/", id="ci"),
    pytest.param(FEW, "/?q=acme&sort=name", id="ci-filtered"),
    pytest.param(FEW, "/?q=nothing", id="ci-no-match"),
    pytest.param(EMPTY, "/", id="ci-empty"),
    pytest.param(MANY, "/", id="ci-many"),
    pytest.param(FEW, REPO, id="repo"),
    pytest.param(FEW, "/repo?account=acme&repo=acme/2", id="repo-running"),
    pytest.param(FEW, "/repo?account=acme&repo=none", id="repo-missing"),
    pytest.param(FEW, "/builds", id="builds"),
    pytest.param(FEW, "/status", id="status"),
    pytest.param(FEW, "/docs/", id="docs"),
    pytest.param(FEW, "/docs/METRICS", id="docs-tables"),
    pytest.param(FEW, "/docs/runbooks/CicdDefaultBranchBroken", id="runbook"),
)


def violations(page: Page) -> list[str]:
    """What axe-core finds: the rule and the first place."""
    options = {"runOnly": {"type": "tag", "values": list(RULES)}, "resultTypes": ["violations"]}
    found = Axe().run(page, options=options).response["violations"]
    return [f"{each['id']}: {each['nodes'][0]['html'][:200]}" for each in found]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("stub", "path"), PAGES)
def test_a_page_fits_and_nothing_keeps_people_from_reading_it(
    look: Open, stub: Stub, path: str, scheme: Any
) -> None:
    page = look(stub, path, color_scheme=scheme)

    for size in (PHONE, DESKTOP):
        page.set_viewport_size(size)
        assert page.evaluate("document.documentElement.scrollWidth") == size["width"]
        assert violations(page) == []


def test_axe_does_find_what_is_in_the_way(look: Open) -> None:
    page = look(FEW, "/")

    page.evaluate("document.querySelector('main').append(document.createElement('img'))")

    assert [fault for fault in violations(page) if fault.startswith("image-alt:")]


def test_one_click_leads_from_the_broken_pipeline_to_its_failing_job(look: Open) -> None:
    page = look(FEW, "/", java_script_enabled=False)

    row = page.locator("table.broken tbody tr").filter(has_text="acme/4")
    assert row.get_by_role("link", name="#1").get_attribute("href") == f"{SITE}/b/1"
    assert row.get_by_role("link", name=LONG).get_attribute("href") == f"{SITE}/j"
    row.get_by_role("link", name="acme/4").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("acme/4")
    opens = page.get_by_role("link", name="Open at github")
    assert opens.get_attribute("href") == f"{SITE}/4"


def test_repos_are_filtered_and_paged_without_javascript(look: Open) -> None:
    page = look(MANY, "/", java_script_enabled=False)
    names = page.locator("table.repos tbody th bdi")
    assert names.count() == 300  # with provider and account

    page.get_by_label("Pages of repos").get_by_role("link", name="Next").click()
    assert "page=2" in page.url
    page.get_by_text("Filter and order").click()
    page.get_by_label("Search").fill("acme/1999")
    page.get_by_role("button", name="Filter").click()
    expect(page.get_by_role("status")).to_contain_text("1 of 2,000 repos match")
    assert names.first.text_content() == "acme/1999"


def test_javascript_filters_repos_while_somebody_types_and_keeps_them_fresh(look: Open) -> None:
    page = look(MANY, "/")
    page.get_by_text("Filter and order").click()

    page.get_by_label("Search").press_sequentially("acme/1999")

    expect(page.get_by_role("status")).to_contain_text("1 of 2,000 repos match")
    assert page.url.endswith("/?q=acme%2F1999")
    assert page.locator("table.repos tbody tr").count() == 1
