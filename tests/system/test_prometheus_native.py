"""What real Prometheus of version 2 and of version 3 make of native histograms."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest
import yaml

from exporter.demo import JobRun, Run, World
from tests.conftest import ROOT, version_of
from tests.system.test_prometheus import REPO, ask, exemplars
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
from tests.tools.system import series as spelled
from tests.unit.exposition.messages import read

PROTOBUF = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
)
FEATURES = "--enable-feature=native-histograms,exemplar-storage"
HISTOGRAMS = "cicd_(?:build|job)_(?:duration|queue)_seconds"
SPANS = (2, 3, 7, 7, 15, 40, 90, 250, 800)
"""Seconds that builds take."""
FACTOR = 2 ** (1 / 8)
"""From one bound of schema 3 to the next."""


def finish(world: World, workflow: str, spans: tuple[int, ...]) -> None:
    """Builds of a workflow are over that took so long, and so did their only jobs."""
    end = int(time.time()) - 5
    for seconds in spans:
        known = len(world.attempts("acme"))
        times: Any = {"started_at": end - seconds, "completed_at": end, "conclusion": "passed"}
        job = JobRun(id=f"{known}0", name="test", **times)
        begun = end - seconds - 4
        run = Run(
            id=str(known), number=known, workflow=workflow, created_at=begun, jobs=(job,), **times
        )
        world.add("acme", REPO, run)


@pytest.fixture(scope="module")
def exporter(tmp_path_factory) -> Iterator[tuple[World, Exporter]]:
    world = World()
    world.open("acme", "github", REPO)
    with EmulatorThread(world) as emulator:
        file = configure(
            tmp_path_factory.mktemp("exporter"),
            [account("acme", "github", emulator.url, [REPO], jobs=True)],
            web={"native_histograms": True},
            polling={"interval": 0.3},
            metrics={"zero_hold": 2},
        )
        finish(world, "Old", SPANS)
        with Exporter(file) as process:
            eventually(process.polled)
            yield world, process


@pytest.fixture(scope="module")
def both(
    exporter, prometheus, prometheus_3, tmp_path_factory
) -> Iterator[tuple[World, Exporter, str, str]]:
    """The exporter and the URLs of the two, after new builds that both saw come."""
    world, process = exporter
    target = {"static_configs": [{"targets": [process.url.removeprefix("http://")]}]}
    native = {"job_name": "native", **target}
    text = {"job_name": "text", "scrape_protocols": ["PrometheusText0.0.4"], **target}
    each: dict[str, Any] = {"scrape_interval": "250ms"}

    def started(program: Path, *jobs: Any) -> Any:
        folder = tmp_path_factory.mktemp("prometheus")
        settings: dict[str, Any] = {"global": dict(each), "scrape_configs": jobs}
        if version_of(program) >= (3, 8):  # from 3.9 on the flag means nothing
            settings["global"]["scrape_native_histograms"] = True
        return served(program, folder, FEATURES, **settings)

    classic_too = native | {"always_scrape_classic_histograms": True}
    with started(prometheus, native) as two, started(prometheus_3, classic_too, text) as three:
        eventually(lambda: assert_up(two, 1))
        eventually(lambda: assert_up(three, 2))
        finish(world, "New", SPANS)
        eventually(lambda: assert_counted(two, 1))
        eventually(lambda: assert_counted(three, 1))
        yield world, process, two, three


def assert_up(url: str, jobs: int) -> None:
    try:
        assert sum(ask(url, "sum(up)").values()) == jobs
    except ConnectionError as error:
        raise AssertionError(str(error)) from error


def assert_counted(url: str, natives: int) -> None:
    query = 'histogram_count(cicd_build_duration_seconds{workflow="New"})'
    assert list(ask(url, query).values()) == [float(len(SPANS))] * natives
    # and in the job that has the text, if there is one
    text = ask(url, 'cicd_build_duration_seconds_count{workflow="New",job="text"}')
    assert set(text.values()) <= {float(len(SPANS))}


def result(url: str, query: str) -> list[Any]:
    """What an instant query finds."""
    answer = get(url, f"/api/v1/query?query={quote(query)}")
    assert answer.status == 200, answer.body
    found: list[Any] = json.loads(answer.body)["data"]["result"]
    return found


class Stored(NamedTuple):
    """The latest samples of a job: those that are numbers, and the names of native histograms."""

    values: dict[str, float]
    natives: set[str]


def stored(url: str, job: str) -> Stored:
    values, natives = {}, set()
    for row in result(url, f'{{job="{job}",__name__=~"(cicd|process|python)_.*"}}'):
        labels = {k: v for k, v in row["metric"].items() if k not in {"job", "instance"}}
        key = spelled(labels.pop("__name__"), labels)
        if "value" in row:
            values[key] = float(row["value"][1])
        else:
            natives.add(key)
    return Stored(values, natives)


def in_text(process: Exporter) -> dict[str, float]:
    """The samples of a text scrape: a label without a value is none."""
    known = Exposition(process.get("/metrics").body.decode())
    return {
        spelled(s.name, {k: v for k, v in s.labels.items() if v}): s.value for s in known.samples
    }


def histograms(text: dict[str, float]) -> set[str]:
    """The histograms of builds and jobs that there are."""
    return {key.replace("_count{", "{") for key in text if re.match(rf"{HISTOGRAMS}_count\{{", key)}


def lasting(values: dict[str, float]) -> dict[str, float]:
    """Those that no longer change: of builds and jobs."""
    return {key: x for key, x in values.items() if key.startswith(("cicd_build", "cicd_job"))}


def test_all_formats_hold_the_same(both):
    _, process, _, _ = both

    def samples(accept: str) -> Any:
        body = process.get("/metrics", Accept=accept).body
        if accept == PROTOBUF:
            found = {
                spelled(name, dict(labels)): float(value)
                for _, _, samples in read(body).values()
                for name, labels, value in samples
            }
        else:
            found = Exposition(body.decode(), openmetrics=accept == OPENMETRICS).values
        return found.keys(), lasting(found)

    first, *others = (samples(accept) for accept in ("text/plain", OPENMETRICS, PROTOBUF))
    assert others == [first, first]


def test_version_3_stores_what_the_text_has_and_the_native_histograms(both):
    _, process, _, url = both

    def assert_equal() -> None:
        text, known = in_text(process), stored(url, "native")
        assert known.natives == histograms(text)
        assert known.values.keys() == text.keys()
        assert lasting(known.values) == lasting(text)
        assert stored(url, "text").natives == set()
        assert lasting(stored(url, "text").values) == lasting(text)

    eventually(assert_equal)


def test_version_2_stores_native_histograms_in_place_of_the_classic_ones(both):
    _, process, url, _ = both

    def assert_equal() -> None:
        text, known = in_text(process), stored(url, "native")
        assert known.natives == histograms(text)
        others = {
            key: value for key, value in text.items() if not re.match(rf"{HISTOGRAMS}_\w+\{{", key)
        }
        assert known.values.keys() == others.keys()
        assert lasting(known.values) == lasting(others)

    eventually(assert_equal)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.75, 0.95])
def test_a_quantile_is_wrong_by_the_width_of_a_bucket_at_most(both, version, quantile):
    url = both[version]
    true = sorted(SPANS)[math.ceil(quantile * len(SPANS)) - 1]
    family = 'cicd_{}_duration_seconds{{workflow="New"}}'

    for name in ("build", "job"):
        for seen in (family.format(name), f"increase({family.format(name)}[1m])"):
            (told,) = ask(url, f"histogram_quantile({quantile}, {seen})").values()
            assert true / FACTOR <= told <= true * FACTOR
    (queued,) = ask(
        url, f'histogram_quantile({quantile}, cicd_build_queue_seconds{{workflow="New"}})'
    ).values()
    assert 4 / FACTOR <= queued <= 4 * FACTOR


@pytest.mark.parametrize("version", [2, 3])
def test_increase_sees_all_new_builds_in_native_histograms(both, version):
    query = "round(histogram_count(increase(cicd_build_duration_seconds[1m])))"

    def assert_seen() -> None:  # of few samples it is a rough estimate
        by_workflow = {labels[-1]: value for labels, value in ask(both[version], query).items()}
        assert by_workflow == {"New": float(len(SPANS)), "Old": 0.0}

    eventually(assert_seen)


@pytest.mark.parametrize("version", [2, 3])
def test_exemplars_come_with_native_histograms(both, version):
    world = both[0]
    known = {run.number: run for run in world.attempts("acme")}

    def assert_stored() -> None:
        query = 'cicd_build_duration_seconds{workflow="New",job="native"}'
        exemplar = exemplars(both[version], query)["passed"]
        run = known[int(exemplar["labels"]["build"])]
        assert float(exemplar["value"]) == run.completed_at - run.started_at
        assert float(exemplar["timestamp"]) == run.completed_at

    eventually(assert_stored)


def test_the_recording_rules_say_the_same_of_either_format(both):
    _, _, _, url = both
    rules = yaml.safe_load((ROOT / "rules" / "recording.yaml").read_text())["groups"]
    # Whose a repo is does not depend on the job that says so.
    queries = [r["expr"] for g in rules for r in g["rules"] if not r["record"].startswith("repo:")]
    raw = [query for query in queries if ":cicd_" not in query]  # else it reads another rule
    spans = [query for query in raw if re.search(rf"{HISTOGRAMS}_(?:bucket|sum|count)", query)]
    assert len(spans) >= 4

    def assert_same() -> None:
        for query in raw:
            by_job = result_by_job(url, query)
            assert by_job["text"] or query not in spans, query
            assert by_job["native"] == pytest.approx(by_job["text"], rel=0.1, nan_ok=True), query

    eventually(assert_same)


def result_by_job(url: str, query: str) -> dict[str, dict[str, float]]:
    """The series of a result, by the job that their samples are of."""
    found: dict[str, dict[str, float]] = {"native": {}, "text": {}}
    for row in result(url, query):
        job = row["metric"].pop("job")
        found[job][spelled("", row["metric"])] = float(row["value"][1])
    return found
