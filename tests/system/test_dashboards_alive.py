"""The dashboards ask a real Prometheus that scrapes a live exporter."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest
import yaml

from exporter.demo import JobRun, Quota, Run, Simulation, World, demo_accounts
from exporter.metrics.exemplars import LABEL
from exporter.metrics.families import PIPELINE
from scripts.boards.queries import BROKEN_DEFAULT, COMPLETED, on
from scripts.grafana import expanded
from tests.conftest import ROOT
from tests.system.test_rules import (
    RECORDS,
)
from tests.tools.dashboards import (
    ALERTS,
    OF_A_FLEET,
    PANELS,
    QUERIES,
    TABLES,
    VARIABLES,
    clicked,
    filled,
    links_of,
    panels,
)
from tests.tools.emulators.github import Hub
from tests.tools.emulators.unified import EmulatorThread, Fault
from tests.tools.monitoring import served
from tests.tools.serving import ServerThread
from tests.tools.system import TOKEN_ENV, Exporter, configure, eventually, get

GITHUB, BITBUCKET = (
    next(a["integrated_account_id"] for a in demo_accounts() if a["integration"] == integration)
    for integration in ("github", "bitbucket")
)
REPO = "acme/shop"
HOSTED = "acme/docs"
"""A repo of a GitHub that says which branch is the default one, and when the token ends."""
ADDRESS = "https://ops.example/tools/ci"
EXEMPLARS = "--enable-feature=exemplar-storage"
RATIO = "pipeline:cicd_builds_failed_per_builds:ratio_increase6h"


def job(number: int, begun: float, **values: Any) -> JobRun:
    return JobRun(id=f"{number}0", name="test", created_at=begun, **values)


def unfinished(now: float) -> Iterator[Run]:
    """A build that is queued, one that waits for a person and one that runs, for an hour."""
    later, begun = now + 900, now - 3600
    each: tuple[dict[str, Any], ...] = (
        {"started_at": later},
        {"started_at": later, "held": (begun, later)},
        {"started_at": now - 3500, "completed_at": later},
    )
    for number, times in enumerate(each, 5000):
        jobs = (job(number, begun, **times),)
        yield Run(
            id=str(number), number=number, workflow="CI", created_at=begun, jobs=jobs, **times
        )


def finished(now: float) -> Iterator[Run]:
    """Builds that are over by now: enough for ratios, some in a second attempt, the last failed."""
    words = ("failed", "passed", "passed", "passed", "timeout", "error", "failed")
    for number, word in enumerate(words, 6000):
        times: Any = {"started_at": now - 40, "completed_at": now - number % 10, "conclusion": word}
        yield Run(
            id=str(number),
            number=number,
            attempt=1 + number % 2,
            requested_at=now - 44 if number % 2 else None,
            workflow="Release",
            created_at=now - 45,
            jobs=(job(number, now - 45, **times),),
            **times,
        )


def finite(points: Iterable[tuple[float, str]]) -> list[float]:
    return [float(value) for _, value in points if math.isfinite(float(value))]


class Asked(NamedTuple):
    """A Prometheus, and the exporter that it scrapes."""

    url: str
    pages: Exporter

    def data(self, path: str) -> Any:
        """What its API answers."""
        try:
            answer = get(self.url, f"/api/v1/{path}")
        except ConnectionError as error:
            raise AssertionError(str(error)) from error
        assert answer.status == 200, answer.body
        return json.loads(answer.body)["data"]

    def rows(self, query: str) -> list[dict[str, str]]:
        """The labels of what a query has now."""
        return [row["metric"] for row in self.data(f"query?query={quote(query)}")["result"]]

    def now(self, query: str) -> list[float]:
        """The numbers that a query has now."""
        result = self.data(f"query?query={quote(query)}")["result"]
        return finite(row["value"] for row in result)

    def graph(self, query: str) -> list[float]:
        """Those of the last minute."""
        now = time.time()
        span = f"start={now - 60}&end={now}&step=5"
        result = self.data(f"query_range?query={quote(query)}&{span}")["result"]
        return finite(value for row in result for value in row["values"])


@pytest.fixture(scope="module")
def asked(prometheus, tmp_path_factory) -> Iterator[Asked]:
    """Asks a Prometheus with all rules that has scraped the demo in some trouble.

    Its alerts fire at once.
    """
    folder = tmp_path_factory.mktemp("dashboards")
    world = World()
    simulation = Simulation(world)
    now = int(time.time())
    world.add(GITHUB, REPO, *unfinished(now))
    world.accounts[GITHUB].behaviour.quota = Quota(limit=5000, remaining=4000, reset_at=now + 900)
    (folder / "rules").mkdir()
    for file in (ROOT / "rules").iterdir():
        rules = yaml.safe_load(file.read_text())
        for group in rules["groups"]:
            group["interval"] = "1s"
            for rule in group["rules"]:
                rule.pop("for", None)
        (folder / "rules" / file.name).write_text(yaml.safe_dump(rules))
    hub = Hub()
    hub.tokens = {"demo"}
    hub.told = {"github-authentication-token-expiration": "2031-05-21 08:00:00 UTC"}
    hub.repo(HOSTED, default_branch="stable")
    hub.end(hub.begin(HOSTED, head_branch="stable"), "failure")
    hub.end(hub.begin(HOSTED, head_branch="main"), "failure")
    hub.begin(HOSTED, head_branch="main")
    with EmulatorThread(world) as emulator, ServerThread(hub.app) as github:
        hosted = {"name": "hosted", "provider": "github", "url": f"{github.url}/api/v3"}
        config = configure(
            folder,
            [
                *demo_accounts(emulator.url, TOKEN_ENV),
                {**hosted, "token_env": TOKEN_ENV, "repos": ["acme/*"]},
            ],
            polling={"interval": 0.5, "max_interval": 1},
            metrics={"zero_hold": 2},
            web={"external_url": ADDRESS},
            labels=[{"repos": [REPO], "labels": {"team": "shop"}}],
        )
        with Exporter(config) as exporter:
            eventually(exporter.polled)
            target = exporter.url.removeprefix("http://")
            scrape = {"job_name": "ci", "static_configs": [{"targets": [target]}]}
            content = {
                "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms"},
                "rule_files": [f"{folder}/rules/*.yaml"],
                "scrape_configs": [scrape],
            }
            with served(prometheus, folder, EXEMPLARS, **content) as url:
                there = Asked(url, exporter)

                def assert_scraped() -> None:
                    assert there.now("cicd_exporter_api_errors_total")

                def assert_seen() -> None:
                    simulation.step()
                    assert there.now(f"{RATIO} > 0")
                    assert there.now("sum(increase(cicd_exporter_api_errors_total[1m])) > 0")
                    assert there.now("sum(increase(cicd_jobs_total[1m])) > 6")
                    assert there.now('ALERTS{alertname="CicdDefaultBranchBroken"}')
                    assert there.now(f"{COMPLETED} != {COMPLETED} offset 10s"), "one more build"

                eventually(assert_scraped)
                emulator.faults.add(Fault(status=502, account=BITBUCKET, times=3))
                world.add(GITHUB, REPO, *finished(int(time.time())))
                eventually(assert_seen, within=40, every=0.25)
                yield there


WELL = {"Accounts down", "Stale repos"}
"""What these panels count there is none of."""


@pytest.mark.parametrize(
    "panel", [panel for panel in PANELS if panel.values[0]["title"] not in OF_A_FLEET]
)  # those are asked in test_fleet_prometheus
def test_every_query_of_a_panel_returns_data(panel, asked):
    for target in panel["targets"]:
        ask = asked.now if target.get("instant") else asked.graph
        query = target["expr"]
        if panel["title"] not in WELL:
            query = query.removesuffix(" or vector(0)")
        if f") unless {on(*PIPELINE)} topk" in query:
            query = without_address(query)
        assert ask(filled(query)), query


def without_address(query: str) -> str:
    """The same where no exporter has a `web.external_url`."""
    return query.replace("cicd_exporter_web_info", "no_web_info")


@pytest.mark.parametrize("panel", TABLES)
def test_a_table_has_no_links_to_an_exporter_without_an_address(panel, asked):
    addressed = [t["expr"] for t in panel["targets"] if "cicd_exporter_web_info" in t["expr"]]

    assert addressed
    assert all(asked.rows(filled(query)) for query in addressed)
    assert not any(asked.rows(filled(without_address(query))) for query in addressed)


@pytest.mark.parametrize("panel", TABLES)
def test_the_links_of_a_row_lead_to_pages_and_builds_that_there_are(panel, asked):
    ours = [url for _, url in links_of(panel) if url.startswith("${__value.raw:raw}/")]
    rows = [row for t in panel["targets"] for row in asked.rows(filled(t["expr"]))]
    must = {302} if panel["title"] == "Broken default branches" else {302, 404}

    assert ours
    for row in [row for row in rows if "external_url" in row][:3]:
        for url in ours:
            led = clicked(url, row["external_url"], **row)
            answer = asked.pages.get(led.removeprefix("https://ops.example"))
            assert answer.status in (must if "/go?" in led else {200}), (led, answer)
            assert answer.status != 404 or b"pipeline" in answer.body, (led, answer)


@pytest.mark.parametrize("panel", TABLES)
def test_a_row_leads_to_its_repo_at_the_provider(panel, asked):
    rows = [row for t in panel["targets"] for row in asked.rows(filled(t["expr"]))]
    led = {row["url"] for row in rows if "url" in row}

    assert led or panel["title"] == "Accounts"
    assert all(re.match("https?://", url) for url in led)


def test_a_default_branch_is_the_one_that_the_provider_tells(asked):
    broken = asked.rows(filled(expanded(BROKEN_DEFAULT)))

    assert [row["branch"] for row in broken if row["repo"] == HOSTED] == ["stable"]
    assert {row["branch"] for row in broken if row["account"] != "hosted"} == {"main"}


@pytest.mark.parametrize("panel", PANELS)
def test_a_chosen_team_leaves_its_own_repos(panel, asked):
    queries = [t["expr"] for t in panel["targets"] if "$repo" in t["expr"]]
    for query in queries:
        chosen = asked.rows(filled(query, team="shop"))
        assert {row["repo"] for row in chosen if "repo" in row} <= {REPO}
        assert not asked.rows(filled(query, team="nobody").removesuffix(" or vector(0)"))


@pytest.mark.parametrize(("annotation", "dashboard"), ALERTS)
def test_alerts_are_annotations_of_what_they_are_about(annotation, dashboard, asked):
    query = annotation["expr"]
    shown = {row["alertname"] for row in asked.rows(filled(query, repo=REPO))}
    elsewhere = {row.get("repo", "") for row in asked.rows(filled(query, repo="acme/none"))}

    assert shown
    if dashboard["uid"] != "cicd-exporter":
        assert "CicdDefaultBranchBroken" in shown
        assert elsewhere <= {""}


@pytest.mark.parametrize("panel", panels("heatmap"))
def test_a_point_on_a_heat_map_is_a_build(panel, asked):
    (target,) = panel["targets"]
    now = time.time()
    span = f"start={now - 300}&end={now}"
    found = asked.data(f"query_exemplars?query={quote(filled(target['expr']))}&{span}")

    assert target["exemplar"]
    assert found
    for series in found:
        assert set(PIPELINE[:3]) <= series["seriesLabels"].keys()
        assert all(exemplar["labels"][LABEL] for exemplar in series["exemplars"])


@pytest.mark.parametrize("variable", VARIABLES)
def test_a_variable_offers_what_the_ones_before_leave(variable, asked):
    found = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"])
    assert found is not None
    selector, label = found.groups()

    def offered(**chosen: str) -> set[str]:
        series = quote(filled(selector, **chosen))
        return set(asked.data(f"label/{label}/values?match[]={series}"))

    assert label.removeprefix("label_") == variable["name"]
    assert offered()
    assert offered(provider="github") <= offered()
    if label == "account":
        assert offered(provider="github") == {"demo-github", "hosted"}


def test_a_panel_shows_the_same_without_the_recording_rules(asked):
    recorded = [filled(query) for query in QUERIES if any(name in query for name in RECORDS)]

    assert recorded
    for query in recorded:
        raw = re.sub("|".join(RECORDS), "not_recorded", query)
        assert sorted(asked.now(raw)) == pytest.approx(sorted(asked.now(query)), abs=0.1)
