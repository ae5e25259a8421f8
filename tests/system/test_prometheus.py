"""What a real Prometheus makes of /metrics."""

from __future__ import annotations

import gzip
import json
import subprocess
import time
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest

from exporter.demo import JobRun, Run, World
from exporter.model import CONCLUSIONS
from tests.tools.emulators.unified import EmulatorThread
from tests.tools.monitoring import served
from tests.tools.system import (
    OPENMETRICS,
    Exporter,
    Exposition,
    account,
    configure,
    eventually,
    get,
)

REPO = "acme/shop"
STRANGE = 'Say "hi"\\ to\nthe \u00e9\U0001f680 {x="y"}'


class Stage(NamedTuple):
    """A world and its exporter."""

    world: World
    exporter: Exporter

    def finish(self, workflow: str, *conclusions: str) -> None:
        """Builds of a workflow that are over at once, a minute of work each."""
        now = int(time.time())
        for n, conclusion in enumerate(conclusions):
            known = len(self.world.attempts("acme"))
            job = JobRun(
                id=f"{known}0",
                name="test",
                started_at=now - 70,
                completed_at=now - 10 + n,
                conclusion=conclusion,
            )
            run = Run(
                id=str(known),
                number=known,
                workflow=workflow,
                created_at=now - 75,
                started_at=job.started_at,
                completed_at=job.completed_at,
                conclusion=conclusion,
                jobs=(job,),
            )
            self.world.add("acme", REPO, run)


@pytest.fixture(scope="module")
def stage(tmp_path_factory) -> Iterator[Stage]:
    world = World()
    world.open("acme", "github", REPO)
    with EmulatorThread(world) as emulator:
        file = configure(
            tmp_path_factory.mktemp("exporter"),
            [account("acme", "github", emulator.url, [REPO], jobs=True)],
            polling={"interval": 0.3},
            metrics={"zero_hold": 3},
        )
        exporter = Exporter(file)
        stage = Stage(world, exporter)
        stage.finish("CI", "passed", "failed", "passed")
        stage.finish(STRANGE, "passed")
        with exporter:
            yield stage


@pytest.fixture(scope="module")
def api(stage, prometheus, tmp_path_factory) -> Iterator[str]:
    """The URL of a Prometheus that scrapes the exporter every second."""
    folder = tmp_path_factory.mktemp("prometheus")
    target = stage.exporter.url.removeprefix("http://")
    scrape = {"job_name": "ci", "static_configs": [{"targets": [target]}]}
    settings = {"global": {"scrape_interval": "1s"}, "scrape_configs": [scrape]}
    with served(prometheus, folder, "--enable-feature=exemplar-storage", **settings) as url:
        eventually(stage.exporter.polled)
        eventually(lambda: _assert_scraping(url))
        yield url


def _assert_scraping(url: str) -> None:
    try:
        assert ask(url, "up") == {(): 1.0}
    except ConnectionError as error:
        raise AssertionError(str(error)) from error


def ask(url: str, query: str) -> dict[tuple[str, ...], float]:
    """An instant query's values, by the values of their labels but job and instance."""
    answer = get(url, f"/api/v1/query?query={quote(query)}")
    assert answer.status == 200, answer.body
    result: list[Any] = json.loads(answer.body)["data"]["result"]
    ours = {"job", "instance", "__name__"}
    return {
        tuple(value for name, value in sorted(row["metric"].items()) if name not in ours): float(
            row["value"][1]
        )
        for row in result
    }


def test_increase_sees_every_build_of_a_brand_new_workflow(stage, api):
    stage.finish("Deploy", *["passed"] * 5, *["failed"] * 2)

    def assert_seen() -> None:
        new = '{workflow="Deploy"}[1m]'
        seen = {"passed": 5.0, "failed": 2.0}
        by = "by (conclusion)"
        builds = ask(api, f"round(sum {by} (increase(cicd_builds_total{new})))")
        assert builds == {(word,): seen.get(word, 0.0) for word in CONCLUSIONS}
        jobs = ask(api, f"round(sum {by} (increase(cicd_jobs_total{new})))")
        assert jobs == builds
        spans = ask(api, f"round(sum {by} (increase(cicd_build_duration_seconds_count{new})))")
        assert spans == {(word,): count for word, count in seen.items()}
        assert ask(api, f"round(sum(increase(cicd_build_queue_seconds_count{new})))") == {(): 7.0}
        old = '{workflow="CI"}[1m]'  # was there before the first scrape
        assert ask(api, f"sum(increase(cicd_builds_total{old}))") == {(): 0.0}

    eventually(assert_seen, within=45, every=0.5)
    assert ask(api, 'sum(cicd_builds_total{workflow="CI"})') == {(): 3.0}


def test_exemplars_lead_to_the_builds(stage, api):
    stage.finish("Nightly", "passed", "failed")
    known = {run.number: run for run in stage.world.attempts("acme") if run.workflow == "Nightly"}

    def assert_stored() -> None:
        stored = exemplars(api, 'cicd_build_duration_seconds_bucket{workflow="Nightly"}')
        assert stored.keys() == {"passed", "failed"}
        for conclusion, exemplar in stored.items():
            run = known[int(exemplar["labels"]["build"])]
            assert run.conclusion == conclusion
            assert float(exemplar["value"]) == run.completed_at - run.started_at
            assert float(exemplar["timestamp"]) == run.completed_at

    eventually(assert_stored, within=30, every=0.5)


def exemplars(url: str, query: str) -> dict[str, Any]:
    """The latest exemplar of each conclusion."""
    now = time.time()
    times = f"start={now - 3600}&end={now + 3600}"
    answer = get(url, f"/api/v1/query_exemplars?query={quote(query)}&{times}")
    assert answer.status == 200, answer.body
    series = json.loads(answer.body)["data"]
    return {row["seriesLabels"]["conclusion"]: row["exemplars"][-1] for row in series}


def test_promtool_has_nothing_to_say(stage, promtool):
    eventually(stage.exporter.polled)
    text = stage.exporter.get("/metrics").body

    done = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, check=False
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_both_formats_say_the_same_and_each_series_once(stage):
    def scrape(*, openmetrics: bool, packed: bool) -> Exposition:
        accept = OPENMETRICS if openmetrics else "text/plain"
        encoding = "gzip" if packed else "identity"
        answer = stage.exporter.get("/metrics", Accept=accept, Accept_Encoding=encoding)
        assert answer.headers.get("content-encoding") == ("gzip" if packed else None)
        assert answer.headers["content-type"].startswith(
            "application/openmetrics-text" if openmetrics else "text/plain; version=0.0.4"
        )
        text = (gzip.decompress(answer.body) if packed else answer.body).decode()
        assert text.endswith("# EOF\n") is openmetrics
        return Exposition(text, openmetrics=openmetrics)

    def assert_same() -> None:  # between two polls
        first, *others = (
            scrape(openmetrics=openmetrics, packed=packed)
            for openmetrics in (False, True)
            for packed in (False, True)
        )
        for other in others:
            assert other.select("cicd_.*") == first.select("cicd_.*")
            assert other.types == first.types

    eventually(stage.exporter.polled)
    eventually(assert_same)


def test_names_of_any_spelling_are_label_values(stage):
    shown = STRANGE.replace("\n", "\ufffd")

    scrape = eventually(stage.exporter.polled)

    assert scrape.total("cicd_builds_total", workflow=shown) == 1
