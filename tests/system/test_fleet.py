"""Several exporters on one PostgreSQL: each build counted once, the same numbers everywhere."""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from exporter.demo import World
from tests.system.fleets import LEASE, Chaos, assert_exact, configured, fleet, opened, replica
from tests.system.test_kill import BUCKETS, Factory, Watch, accounts_at
from tests.tools.emulators.unified import EmulatorThread
from tests.tools.postgres import Cluster
from tests.tools.system import Exporter, Exposition, configure, eventually


def test_replicas_that_are_killed_and_sleep_on_a_server_that_is_killed_stay_exact(
    tmp_path: Path, cluster: Cluster
) -> None:
    world, chance = opened(World(page_size=20)), random.Random(15)
    with EmulatorThread(world) as emulator, Factory(world) as factory:
        file = configured(tmp_path, cluster.url, emulator, "under_fire")
        chaos = Chaos(file, chance)
        with fleet(file) as replicas:
            for turn in range(12):
                chaos.live(replicas, chance.uniform(0.2, 1.0))
                if turn % 6 == 3:
                    chaos.sleep(replicas)
                elif turn % 4 == 1:
                    chaos.restart(cluster, replicas)
                else:
                    chaos.kill(replicas)
            factory.stop()
            for one in replicas:
                one.logged("serving")
                assert_exact(one, chaos.watch, world)
    assert chaos.watch.scrapes > 20
    assert len(world.finished("github")) > 10


def polled_by(exporter: Exporter) -> int:
    """How many accounts it polls."""
    answer = exporter.get("/metrics/worker")
    assert answer.status == 200
    return int(Exposition(answer.body.decode()).value("cicd_exporter_worker_accounts"))


def assert_polls(exporter: Exporter, accounts: int) -> None:
    assert polled_by(exporter) == accounts


def assert_all_polled(replicas: Sequence[Exporter]) -> None:
    """By whichever: what one has taken it keeps."""
    assert sum(map(polled_by, replicas)) == 2


def test_what_a_killed_one_polled_another_polls_soon_and_at_once_after_a_clean_end(
    tmp_path: Path, cluster: Cluster
) -> None:
    world, watch = opened(World(page_size=20)), Watch()
    with EmulatorThread(world) as emulator, Factory(world):
        file = configured(tmp_path, cluster.url, emulator, "takeover")
        with fleet(file, 2) as replicas:
            eventually(lambda: assert_all_polled(replicas), within=30)
            second, first = sorted(replicas, key=polled_by)
            eventually(lambda: assert_complete_so_far(watch.look(second)))
            first.kill()
            killed_at = time.monotonic()
            eventually(lambda: assert_polls(second, 2), within=30)
            assert time.monotonic() - killed_at < LEASE + 3
            with replica(file) as third:
                eventually(lambda: third.get("/-/ready").status == 200 or None)
                assert second.stop() == 0
                stopped_at = time.monotonic()
                eventually(lambda: assert_polls(third, 2), within=30)
                assert time.monotonic() - stopped_at < 3
                watch.look(third)


def assert_complete_so_far(scrape: Exposition) -> None:
    assert scrape.total("cicd_builds_total") > 0


def test_one_that_slept_past_its_lease_doubles_nothing_and_goes_on(
    tmp_path: Path, cluster: Cluster
) -> None:
    world = opened(World(page_size=20))
    with EmulatorThread(world) as emulator, Factory(world) as factory:
        file = configured(tmp_path, cluster.url, emulator, "slept")
        chaos = Chaos(file, random.Random(1))
        with fleet(file, 2) as replicas:
            eventually(lambda: assert_all_polled(replicas), within=30)
            other, sleeper = sorted(replicas, key=polled_by)
            sleeper.process.send_signal(signal.SIGSTOP)
            eventually(lambda: assert_polls(other, 2), within=60)  # it may have stopped in a commit
            chaos.live([other], 1.0)
            sleeper.process.send_signal(signal.SIGCONT)
            chaos.live(replicas, 2.0)
            factory.stop()
            for one in replicas:
                assert_exact(one, chaos.watch, world)
            assert "Traceback" not in sleeper.log, sleeper.log


def test_leases_that_somebody_has_edited_are_mended(tmp_path: Path, cluster: Cluster) -> None:
    import psycopg

    world, watch = opened(World(page_size=20)), Watch()
    edits = (
        "UPDATE edited.lease SET worker = 'nonsense'",
        "UPDATE edited.lease SET epoch = epoch + 7",
        "DELETE FROM edited.lease",
        "DELETE FROM edited.worker",
    )
    with EmulatorThread(world) as emulator, Factory(world) as factory:
        file = configured(tmp_path, cluster.url, emulator, "edited")
        with fleet(file, 2) as replicas:
            for edit in edits:
                eventually(lambda: assert_all_polled(replicas), within=30)
                with psycopg.connect(cluster.url, autocommit=True) as db:
                    db.execute(edit)
            factory.stop()
            for one in replicas:
                assert_exact(one, watch, world)
                assert "Traceback" not in one.log
            eventually(lambda: assert_all_polled(replicas), within=30)


def test_each_shows_workers_and_accounts_and_what_is_its_own_apart(
    tmp_path: Path, cluster: Cluster
) -> None:
    world = opened(World(page_size=20))
    with EmulatorThread(world) as emulator, Factory(world):
        file = configured(tmp_path, cluster.url, emulator, "shown")
        with fleet(file, 2) as replicas:
            eventually(lambda: assert_all_polled(replicas), within=30)
            taken = 0.0
            for one in replicas:
                eventually(partial(assert_fleet_is_shown, one))
                own = Exposition(one.get("/metrics/worker").body.decode())
                assert own.value("cicd_exporter_state_ok") == 1
                taken += own.total("cicd_exporter_worker_lease_changes_total", change="taken")
                assert own.total("cicd_exporter_ledger_seconds_count", step="beat") > 0
                assert own.total("process_open_fds") > 0
                status = json.loads(one.get("/status.json").body)
                assert len(status["workers"]) == 2
                assert all(account["state"] == "up" for account in status["accounts"]), status
                assert all(r["builds"] for a in status["accounts"] for r in a["repos"])
            assert taken == 2


def test_every_sample_is_the_same_whoever_answers(tmp_path: Path, cluster: Cluster) -> None:
    world = opened(World(page_size=20))
    with EmulatorThread(world) as emulator, Factory(world) as factory:
        file = configured(tmp_path, cluster.url, emulator, "same")
        with fleet(file, 3) as replicas:
            eventually(lambda: assert_all_polled(replicas), within=30)
            time.sleep(2.0)  # builds come and go
            factory.stop()
            eventually(lambda: assert_same(replicas), within=30)


def assert_same(replicas: Sequence[Exporter]) -> None:
    """One scrape after the other; what is committed in between is seen the next time."""
    first, *others = (one.scrape().values for one in replicas)
    assert len(first) > 200
    for other in others:
        assert other == first


def assert_fleet_is_shown(one: Exporter) -> None:
    shown = one.scrape()
    assert shown.value("cicd_exporter_workers") == 2
    assert shown.value("cicd_exporter_accounts_unheld") == 0
    assert shown.value("cicd_exporter_config_agreed") == 1
    assert shown.total("cicd_exporter_account_up") == 2
    assert shown.total("cicd_exporter_api_requests_total") > 0
    assert shown.total("cicd_exporter_poll_last_success_timestamp_seconds") > 0
    assert not shown.select("process_.*|python_.*")


def test_two_files_show_the_accounts_of_both_and_go_by_the_rules_of_the_first(
    tmp_path: Path, cluster: Cluster
) -> None:
    world, watch = opened(World(page_size=20)), Watch()
    with EmulatorThread(world) as emulator, Factory(world) as factory:
        whole = accounts_at(emulator.url)

        def file(name: str, accounts: list[Any], buckets: Sequence[float]) -> Path:
            return configure(
                tmp_path / name,
                accounts,
                state={"url": cluster.url, "schema": "two_files"},
                polling={"interval": 0.3},
                metrics={"zero_hold": 0.5, "duration_buckets": [*buckets]},
                fleet={"lease": LEASE, "name": name},
            )

        with replica(file("old", whole[:1], [7, 8])) as old:
            old.logged("serving")
            eventually(lambda: assert_bounds(old, "7.0", "8.0"))
            with replica(file("new", whole, BUCKETS)) as new:
                eventually(lambda: assert_disagreement(old))
                eventually(lambda: assert_disagreement(new))
                assert_bounds(new, "7.0", "8.0")
                factory.stop()
                assert old.stop() == 0
                eventually(lambda: assert_bounds(new, *map(str, BUCKETS)), within=30)
                eventually(lambda: assert_agreed(new))
                counted = new.scrape().total("cicd_builds_total")
                ended = len(world.finished("github")) + len(world.finished("circleci"))
                assert 0 < counted <= ended
            with replica(file("new", whole, BUCKETS)) as again:
                assert_bounds(again, *map(str, BUCKETS))
                watch.look(again)


def assert_bounds(one: Exporter, *bounds: str) -> None:
    shown = one.scrape().select("cicd_build_duration_seconds_bucket")
    found = {key.partition('le="')[2].partition('"')[0] for key in shown}
    assert found == {*bounds, "+Inf"}


def assert_disagreement(one: Exporter) -> None:
    shown = one.scrape()
    assert shown.value("cicd_exporter_config_agreed") == 0
    assert shown.value("cicd_exporter_workers") == 2
    for account in ("github", "circleci"):
        assert shown.total("cicd_builds_total", account=account) > 0
        assert shown.total("cicd_exporter_account_up", account=account) == 1


def assert_agreed(one: Exporter) -> None:
    assert one.scrape().value("cicd_exporter_config_agreed") == 1
