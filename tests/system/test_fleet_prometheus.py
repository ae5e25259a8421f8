"""A real Prometheus that knows one address of a fleet, which sends it to the next one each time."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path
from typing import Any
from urllib.parse import quote

from exporter.demo import World
from tests.system.fleets import Chaos, assert_exact, configured, fleet, opened
from tests.system.test_kill import Factory
from tests.tools import postgres
from tests.tools.commands import command
from tests.tools.dashboards import OF_A_FLEET, PANELS
from tests.tools.emulators.unified import EmulatorThread
from tests.tools.monitoring import served
from tests.tools.round_robin import RoundRobin
from tests.tools.system import Exporter, eventually, get

KILLS = 5
BUILDS = "cicd_builds_total"
SETTINGS: dict[str, Any] = {"global": {"scrape_interval": "1s"}}


def samples(prometheus: str, family: str) -> list[list[float]]:
    """All samples of each series of a family, the oldest first."""
    answer = get(prometheus, f"/api/v1/query?query={quote(family + '[1h]')}")
    result = json.loads(answer.body)["data"]["result"]
    return [[float(value) for _, value in series["values"]] for series in result]


def increase(series: list[float]) -> float:
    """By how much a counter has grown, as Prometheus understands it."""
    pairs = itertools.pairwise(series)
    return sum(later - earlier if later >= earlier else later for earlier, later in pairs)


def test_the_sum_of_increases_is_the_truth_whoever_answers(
    tmp_path: Path, prometheus: Path
) -> None:
    world, chance = opened(World(page_size=20)), random.Random(7)
    with (
        postgres.cluster(durable=True) as cluster,
        EmulatorThread(world) as emulator,
    ):
        file = configured(tmp_path, cluster.url, emulator, "scraped", zero_hold=3)
        chaos = Chaos(file, chance)
        with fleet(file) as replicas:
            address = RoundRobin(lambda: [int(one.url.rpartition(":")[2]) for one in replicas])
            with address:
                target = f"127.0.0.1:{address.port}"
                each = [one.url.removeprefix("http://") for one in replicas]
                jobs = [
                    {"job_name": "ci", "static_configs": [{"targets": [target]}]},
                    {
                        "job_name": "each",
                        "metrics_path": "/metrics/worker",
                        "static_configs": [{"targets": each}],
                    },
                ]
                folder = tmp_path / "prometheus"
                folder.mkdir()
                with served(prometheus, folder, scrape_configs=jobs, **SETTINGS) as url:
                    eventually(lambda: assert_scraped(url, "cicd_exporter_account_up", 2))
                    with Factory(world) as factory:
                        eventually(lambda: assert_panels_show(url), within=60)
                        for _ in range(KILLS):
                            chaos.live(replicas, chance.uniform(2.0, 3.0))
                            chaos.kill(replicas)
                        chaos.restart(cluster, replicas)
                        chaos.supervise(replicas)
                        factory.stop()
                    for one in replicas:
                        one.logged("serving")
                        assert_exact(one, chaos.watch, world)
                    eventually(lambda: assert_increased(url, world), within=30)
                    known = samples(url, BUILDS)
                    assert [series for series in known if series[0]] == []
                    assert not any(
                        later < earlier
                        for series in known
                        for earlier, later in itertools.pairwise(series)
                    )


def test_from_one_exporter_to_several_and_back_no_counter_jumps(
    tmp_path: Path, prometheus: Path
) -> None:
    """Its state is copied into a database and back, and Prometheus goes on all the while."""
    world, running = opened(World(page_size=20)), list[Exporter]()
    with (
        postgres.cluster(durable=True) as cluster,
        EmulatorThread(world) as emulator,
        RoundRobin(lambda: [int(one.url.rpartition(":")[2]) for one in running]) as address,
    ):
        fleet_file = configured(tmp_path / "fleet", cluster.url, emulator, "moved", zero_hold=3)
        path = tmp_path / "state.db"
        file = configured(tmp_path / "one", f"sqlite:///{path}", emulator, "unused", zero_hold=3)
        back = tmp_path / "back.db"
        last_file = configured(tmp_path / "last", f"sqlite:///{back}", emulator, "no", zero_hold=3)
        target = f"127.0.0.1:{address.port}"
        jobs = [{"job_name": "ci", "static_configs": [{"targets": [target]}]}]
        folder = tmp_path / "prometheus"
        folder.mkdir()

        def run(config: Path, size: int, seconds: float, url: str) -> None:
            with fleet(config, size) as replicas:
                running.extend(replicas)
                eventually(lambda: assert_scraped(url, "cicd_exporter_account_up", 2))
                Chaos(config, random.Random(size)).live(replicas, seconds)
                for one in replicas:
                    assert one.stop() == 0
                running.clear()

        with served(prometheus, folder, scrape_configs=jobs, **SETTINGS) as url:
            with Factory(world) as factory:
                run(file, 1, 8.0, url)
                assert copied(f"sqlite:///{path}", cluster.url) == copied_again(path, cluster.url)
                run(fleet_file, 2, 8.0, url)
                copied(cluster.url, f"sqlite:///{back}")
                factory.stop()
            with fleet(last_file, 1) as replicas:
                running.extend(replicas)
                eventually(lambda: assert_increased(url, world), within=60)
            known = samples(url, BUILDS)
            assert [series for series in known if series[0]] == []
            assert not any(
                later < earlier for series in known for earlier, later in itertools.pairwise(series)
            )


def copied(source: str, target: str) -> str:
    """What `state copy` says: rows and the digest of each table."""
    ended = command("state", "copy", f"--from={source}", f"--to={target}", "--schema=moved")
    assert ended.code == 0, ended.err
    return ended.out.partition("\n")[2]


def copied_again(path: Path, url: str) -> str:
    """The same of the way back, into a file that is then thrown away."""
    return copied(url, f"sqlite:///{path.with_suffix('.again')}")


def assert_scraped(prometheus: str, family: str, series: int) -> None:
    try:
        assert len(samples(prometheus, family)) == series
    except ConnectionError as error:
        raise AssertionError from error


def assert_panels_show(prometheus: str) -> None:
    """Every panel about several exporters has data."""
    panels = [panel.values[0] for panel in PANELS]
    queries = [
        target["expr"].replace("$__rate_interval", "15s")
        for panel in panels
        if panel["title"] in OF_A_FLEET
        for target in panel["targets"]
    ]
    assert len(queries) == 4
    for query in queries:
        answer = get(prometheus, f"/api/v1/query?query={quote(query)}")
        result = json.loads(answer.body)["data"]["result"]
        assert [row for row in result if row["value"][1] != "NaN"], query


def assert_increased(prometheus: str, world: World) -> None:
    """All builds have ended, and Prometheus has seen each."""
    assert not world.active("github")
    assert not world.active("circleci")
    builds = len(world.finished("github")) + len(world.finished("circleci"))
    missing = 0  # an attempt that nobody saw is told apart
    for series in samples(prometheus, "cicd_exporter_missing_values_total"):
        missing += int(series[-1])
    assert sum(map(increase, samples(prometheus, BUILDS))) == builds - missing
