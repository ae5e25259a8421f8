"""The dashboards: sound by Grafana's own types, and every query answers for a live exporter."""

from __future__ import annotations

import itertools
import json
import math
import re
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest
import yaml

from exporter.demo import JobRun, Quota, Run, Simulation, World, demo_accounts
from exporter.model import ACTIVE, CONCLUSIONS
from scripts import dashboards as made
from scripts.boards import common
from tests.conftest import ROOT
from tests.system.test_rules import (
    GROUPING,
    MATCHER,
    NAME,
    RECORDS,
    SELECTOR,
    labels_of,
    promtool_says,
)
from tests.tools.emulators.unified import EmulatorThread, Fault
from tests.tools.monitoring import served
from tests.tools.system import TOKEN_ENV, Exporter, configure, eventually, get

GRAFANA = ROOT / "tests/tools/grafana"
FILES = sorted(made.FOLDER.glob("*.json"))
DASHBOARDS = {file.stem: json.loads(file.read_text()) for file in FILES}
PANELS = [
    pytest.param(panel, id=f"{name}: {panel['title']}")
    for name, dashboard in DASHBOARDS.items()
    for panel in dashboard["panels"]
    if panel["type"] != "row"
]
QUERIES = [
    target["expr"]
    for dashboard in DASHBOARDS.values()
    for panel in dashboard["panels"]
    for target in panel.get("targets", ())
]
VARIABLES = [
    pytest.param(variable, id=f"{name}: {variable['name']}")
    for name, dashboard in DASHBOARDS.items()
    for variable in dashboard["templating"]["list"]
    if variable["type"] == "query"
]
ALIEN = {"process_cpu_seconds_total", "process_resident_memory_bytes", "scrape_duration_seconds"}
"""Series that are not of the exporter's families."""


def filled(query: str, **chosen: str) -> str:
    """The query as Grafana sends it where everything is chosen, but what `chosen` says."""
    of_time = {"__range": "60s", "__rate_interval": "15s", "__interval_ms": "5000"}
    return re.sub(r"\$(\w+)", lambda m: of_time.get(m[1]) or chosen.get(m[1], ".*"), query)


# -- as files


def test_the_files_are_those_of_the_table():
    assert {
        made.FOLDER / f"{name}.json": made.written(d) for name, d in made.DASHBOARDS.items()
    } == {file: file.read_text() for file in FILES}, (
        "make them anew: PYTHONPATH=. python scripts/dashboards.py"
    )


def faulty(dashboard: Any) -> Any:
    """The dashboard with five faults, the last in what only that kind of panel has."""
    stat, graph = (
        next(panel for panel in dashboard["panels"] if panel["type"] == kind)
        for kind in ("stat", "timeseries")
    )
    dashboard["title"] = 7
    stat["gridPos"]["width"] = 3
    stat["options"]["colorMode"] = "rainbow"
    graph["fieldConfig"]["defaults"]["unit"] = 7
    graph["fieldConfig"]["defaults"]["custom"]["drawStyle"] = "crayon"
    return dashboard


def test_grafanas_own_types_find_faults_in_a_wrong_one_and_none_in_ours(tmp_path):
    if not (GRAFANA / "node_modules").exists() or shutil.which("node") is None:
        pytest.skip("Grafana's types are not installed (scripts/test installs them where npm is)")
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps(faulty(json.loads(FILES[0].read_text()))))
    command = ["node", GRAFANA / "validate.mjs", *FILES, wrong]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (1, "")
    for word in ("/title:", '"width"', "/colorMode:", "/unit:", "/drawStyle:"):
        assert word in done.stdout
    assert [] == [line for line in done.stdout.splitlines() if not line.startswith(str(wrong))]


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_says_what_it_shows_and_in_which_unit(panel):
    defaults = panel["fieldConfig"]["defaults"]

    assert re.match("[A-Z]", panel["title"])
    assert re.fullmatch(r"[A-Z0-9].*\.", panel["description"])
    assert defaults["unit"]
    assert defaults["noValue"]
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_is_whole(name):
    dashboard = DASHBOARDS[name]
    first, *others = dashboard["templating"]["list"]
    panels = dashboard["panels"]
    places = [
        (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
        for panel in panels
        for x, y in itertools.product(range(panel["gridPos"]["w"]), range(panel["gridPos"]["h"]))
    ]

    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)
    assert len(set(places)) == len(places), "two panels in one place"
    assert max(x for x, _ in places) == 23
    assert first["type"] == "datasource"
    assert all(v["multi"] and v["includeAll"] and v["allValue"] == ".*" for v in others)
    assert dashboard["tags"] == ["cicd-exporter"]
    assert [link["tags"] for link in dashboard["links"]] == [dashboard["tags"]]
    assert dashboard["refresh"]
    assert dashboard["time"]["to"] == "now"


def test_dashboards_and_their_links_find_each_other():
    uids = {name: dashboard["uid"] for name, dashboard in DASHBOARDS.items()}
    text = "".join(file.read_text() for file in FILES)
    linked = re.findall(r'"/d/([\w-]+)\?[^"]*', text)

    assert uids == {
        "fleet": "cicd-fleet",
        "workflow": "cicd-workflow",
        "queue": "cicd-queue",
        "exporter": "cicd-exporter",
    }
    assert set(linked) == {"cicd-workflow"}
    known = {v["name"] for v in DASHBOARDS["workflow"]["templating"]["list"]}
    assert set(re.findall(r"[?&]var-(\w+)=", text)) <= known


def test_each_word_has_a_colour_of_its_own():
    assert common.CONCLUSIONS.keys() == set(CONCLUSIONS)
    assert common.STATUSES.keys() == set(ACTIVE)
    for colours in (common.CONCLUSIONS, common.STATUSES, common.TRIGGERS, common.QUANTILES):
        assert len(set(colours.values())) == len(colours)


# -- as queries


@pytest.mark.parametrize("panel", PANELS)
def test_what_a_panel_asks_for_exists(panel):
    for target in panel["targets"]:
        query = re.sub(r"\$\w+", "x", target["expr"])
        names = set(NAME.findall(query))
        there = set().union(*(labels_of(name) for name in names))
        assert names
        for name, matchers in SELECTOR.findall(query):
            assert {label for label, _ in MATCHER.findall(matchers)} <= labels_of(name), name
        grouped = {label for g in GROUPING.findall(query) for label in re.findall(r"\w+", g)}
        assert grouped <= there
        legend = re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])
        assert set(legend) <= (grouped or there)


@pytest.mark.parametrize("panel", PANELS)
def test_counters_are_asked_for_their_increase_in_windows_that_follow_the_time_picker(panel):
    for target in panel["targets"]:
        query = target["expr"]
        inside = re.findall(r"(?:(\w+)\()?\b[a-z_]+_(?:total|bucket)\{", query)
        assert all(function in {"rate", "increase"} for function in inside), query
        windows = set(re.findall(r"\[([^\]]+)\]", query))
        instant = target.get("instant", False)
        allowed = {"$__range"} if instant else {"$__rate_interval", "6h"}
        assert windows <= allowed, query


def test_a_word_that_a_panel_asks_for_is_one_of_the_exporter():
    words = {"conclusion": CONCLUSIONS, "status": ACTIVE}
    asked = [
        (label, word)
        for query in QUERIES
        for label, value in MATCHER.findall(query)
        if label in words
        for word in value.split("|")
    ]

    assert asked
    assert [] == [(label, word) for label, word in asked if word not in words[label]]


def test_promtool_understands_every_query(promtool, tmp_path):
    rules = [{"record": f"q:{n}", "expr": filled(query)} for n, query in enumerate(QUERIES)]
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}))

    assert f"{len(QUERIES)} rules found" in promtool_says(promtool, "check", "rules", file)


# -- alive


GITHUB, BITBUCKET = (
    next(a["integrated_account_id"] for a in demo_accounts() if a["integration"] == integration)
    for integration in ("github", "bitbucket")
)
REPO = "acme/shop"
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
    """A Prometheus."""

    url: str

    def data(self, path: str) -> Any:
        """What its API answers."""
        try:
            answer = get(self.url, f"/api/v1/{path}")
        except ConnectionError as error:
            raise AssertionError(str(error)) from error
        assert answer.status == 200, answer.body
        return json.loads(answer.body)["data"]

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
    """Asks a Prometheus with the recording rules that has scraped the demo in some trouble."""
    folder = tmp_path_factory.mktemp("dashboards")
    world = World()
    simulation = Simulation(world)
    now = int(time.time())
    world.add(GITHUB, REPO, *unfinished(now))
    world.accounts[GITHUB].behaviour.quota = Quota(limit=5000, remaining=4000, reset_at=now + 900)
    rules = yaml.safe_load((ROOT / "rules" / "recording.yaml").read_text())
    for group in rules["groups"]:
        group["interval"] = "1s"
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
    with EmulatorThread(world) as emulator:
        config = configure(
            folder,
            demo_accounts(emulator.url, TOKEN_ENV),
            polling={"interval": 0.5, "max_interval": 1},
            metrics={"zero_hold": 2},
        )
        with Exporter(config) as exporter:
            eventually(exporter.polled)
            target = exporter.url.removeprefix("http://")
            scrape = {"job_name": "ci", "static_configs": [{"targets": [target]}]}
            content = {
                "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms"},
                "rule_files": [str(folder / "rules.yaml")],
                "scrape_configs": [scrape],
            }
            with served(prometheus, folder, **content) as url:
                there = Asked(url)

                def assert_scraped() -> None:
                    assert there.now("cicd_exporter_api_errors_total")

                def assert_seen() -> None:
                    simulation.step()
                    assert there.now(f"{RATIO} > 0")
                    assert there.now("sum(increase(cicd_exporter_api_errors_total[1m])) > 0")
                    assert there.now("sum(increase(cicd_jobs_total[1m])) > 6")

                eventually(assert_scraped)
                emulator.faults.add(Fault(status=502, account=BITBUCKET, times=3))
                world.add(GITHUB, REPO, *finished(int(time.time())))
                eventually(assert_seen, within=40, every=0.25)
                yield there


WELL = {"Accounts down", "Stale repos"}
"""What these panels count there is none of."""


@pytest.mark.parametrize("panel", PANELS)
def test_every_query_of_a_panel_returns_data(panel, asked):
    for target in panel["targets"]:
        ask = asked.now if target.get("instant") else asked.graph
        query = target["expr"]
        if panel["title"] not in WELL:
            query = query.removesuffix(" or vector(0)")
        assert ask(filled(query)), query


@pytest.mark.parametrize("variable", VARIABLES)
def test_a_variable_offers_what_the_ones_before_leave(variable, asked):
    found = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"])
    assert found is not None
    selector, label = found.groups()

    def offered(**chosen: str) -> set[str]:
        series = quote(filled(selector, **chosen))
        return set(asked.data(f"label/{label}/values?match[]={series}"))

    assert label == variable["name"]
    assert offered()
    assert offered(provider="github") <= offered()
    if label == "account":
        assert offered(provider="github") == {"demo-github"}


def test_a_panel_shows_the_same_without_the_recording_rules(asked):
    recorded = [filled(query) for query in QUERIES if any(name in query for name in RECORDS)]

    assert recorded
    for query in recorded:
        raw = re.sub("|".join(RECORDS), "not_recorded", query)
        assert sorted(asked.now(raw)) == pytest.approx(sorted(asked.now(query)), abs=0.1)
