"""What goes wrong around a fleet: the network, poolers, limits of APIs, transactions of others."""

from __future__ import annotations

import contextlib
import random
import select
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from exporter.demo import World
from tests.system.fleets import LEASE, Chaos, assert_exact, configured, fleet, opened, replica
from tests.system.test_fleet import assert_all_polled, assert_polls, polled_by
from tests.system.test_kill import Factory, accounts_at
from tests.tools import postgres
from tests.tools.emulators.unified import EmulatorThread, Fault
from tests.tools.postgres import Cluster
from tests.tools.system import Exporter, configure, eventually
from tests.tools.trips import Trips


def assert_status(exporter: Exporter, path: str, status: int) -> None:
    assert exporter.get(path).status == status


def test_one_that_the_network_keeps_from_the_database_shows_nothing_and_others_take_over(
    tmp_path: Path, cluster: Cluster
) -> None:
    world = opened(World(page_size=20))
    with EmulatorThread(world) as emulator, Factory(world) as factory, Trips(cluster.port) as way:
        direct = configured(tmp_path / "direct", cluster.url, emulator, "cut")
        url = cluster.url.replace(f":{cluster.port}", f":{way.port}")
        behind = configured(tmp_path / "behind", url, emulator, "cut")
        chaos = Chaos(direct, random.Random(3))
        with fleet(behind, 1) as (lost,):
            eventually(lambda: assert_polls(lost, 2), within=30)
            with fleet(direct, 1) as (there,):
                way.cut()
                eventually(lambda: assert_status(lost, "/metrics", 503), within=30)
                assert_status(lost, "/-/ready", 503)
                assert_status(lost, "/-/healthy", 200)
                eventually(lambda: assert_polls(there, 2), within=30)
                chaos.live([there], 2.0)
                way.mend()
                eventually(lambda: assert_status(lost, "/-/ready", 200), within=30)
                factory.stop()
                for one in (there, lost):
                    assert_exact(one, chaos.watch, world)
                    assert "Traceback" not in one.log


def test_a_server_that_takes_what_is_asked_and_does_not_answer_is_not_waited_for(
    tmp_path: Path, cluster: Cluster
) -> None:
    world = opened(World(page_size=20))
    with EmulatorThread(world) as emulator, Factory(world) as factory, Trips(cluster.port) as way:
        url = cluster.url.replace(f":{cluster.port}", f":{way.port}")
        file = configured(tmp_path, url, emulator, "silent")
        chaos = Chaos(file, random.Random(3))
        with fleet(file, 1) as (one,):
            eventually(lambda: assert_polls(one, 2), within=30)
            way.hold()
            began = time.monotonic()
            assert one.get("/metrics").status == 503
            assert time.monotonic() - began < 15
            way.mend()
            eventually(lambda: assert_status(one, "/-/ready", 200), within=60)
            factory.stop()
            assert_exact(one, chaos.watch, world)


def test_a_standby_that_takes_over_has_everything(tmp_path: Path) -> None:
    """All of a fleet go on there, though their address is the same."""
    world = opened(World(page_size=20))
    with (
        postgres.cluster(durable=True) as primary,
        EmulatorThread(world) as emulator,
        Factory(world) as factory,
        Trips(primary.port) as way,
        postgres.standby_of(primary) as standby,
    ):
        url = primary.url.replace(f":{primary.port}", f":{way.port}")
        file = configured(tmp_path, url, emulator, "failover")
        chaos = Chaos(file, random.Random(8))
        with fleet(file, 2) as replicas:
            chaos.live(replicas, 4.0)
            assert chaos.watch.scrapes
            primary.stop(signal.SIGKILL)
            way.cut()
            chaos.live(replicas, 1.0)
            standby.execute("SELECT pg_promote()")
            way.lead_to(standby.port)
            way.mend()
            for one in replicas:
                eventually(partial(assert_status, one, "/-/ready", 200), within=60)
            chaos.live(replicas, 2.0)
            factory.stop()
            for one in replicas:
                assert_exact(one, chaos.watch, world)
                assert "lacks commits" not in one.log


def test_a_pooler_in_transaction_mode_is_enough_for_a_fleet_that_dies(
    tmp_path: Path, cluster: Cluster
) -> None:
    """Nine connections have two sessions of the server."""
    world = opened(World(page_size=20))
    with (
        EmulatorThread(world) as emulator,
        Factory(world) as factory,
        postgres.pooled(cluster) as url,
    ):
        file = configured(tmp_path, url, emulator, "pooled")
        chaos = Chaos(file, random.Random(4))
        with fleet(file) as replicas:
            for _ in range(4):
                chaos.live(replicas, 1.0)
                chaos.kill(replicas)
            factory.stop()
            for one in replicas:
                one.logged("serving")
                assert_exact(one, chaos.watch, world)


def test_a_transaction_that_stays_open_elsewhere_holds_up_nobody(
    tmp_path: Path, cluster: Cluster
) -> None:
    import psycopg

    world = opened(World(page_size=20))
    with (
        EmulatorThread(world) as emulator,
        Factory(world) as factory,
        psycopg.connect(cluster.url) as elsewhere,
    ):
        elsewhere.execute("CREATE TABLE theirs (id int)")
        file = configured(tmp_path, cluster.url, emulator, "elsewhere")
        chaos = Chaos(file, random.Random(5))
        with fleet(file, 2) as replicas:
            chaos.live(replicas, 2.0)
            factory.stop()
            for one in replicas:
                assert_exact(one, chaos.watch, world)
        elsewhere.rollback()


def test_who_takes_over_from_one_that_was_told_to_wait_waits_as_well(
    tmp_path: Path, cluster: Cluster
) -> None:
    world, wait = World(), 15
    world.open("github", "github", "acme/shop")
    with EmulatorThread(world) as emulator, contextlib.ExitStack() as ends:
        file = configure(
            tmp_path,
            accounts_at(emulator.url)[:1],
            state={"url": cluster.url, "schema": "limited"},
            polling={"interval": 0.3},
            fleet={"lease": LEASE},
        )
        fault = Fault(status=429, headers={"Retry-After": str(wait)}, where="/unified/", times=1)
        with replica(file) as first:
            eventually(lambda: assert_polls(first, 1))
            second = ends.enter_context(replica(file))
            emulator.faults.add(fault)
            eventually(lambda: assert_hit(fault))
            told_at = time.time()
            eventually(lambda: assert_exhausted(second))
            first.kill()
            before = emulator.journal.total
            eventually(lambda: assert_polls(second, 1), within=30)
            assert time.time() < told_at + wait  # else the machine is too slow to tell anything
            assert_exhausted(second)
        eventually(lambda: assert_asked(emulator, before), within=60)
        (asked, *_) = emulator.journal.requests()[before:]
        assert asked.at >= told_at + wait - 2


def assert_hit(fault: Fault) -> None:
    assert fault.hits


def assert_exhausted(one: Exporter) -> None:
    assert one.scrape().value("cicd_exporter_budget_exhausted") == 1


def assert_asked(emulator: EmulatorThread, before: int) -> None:
    assert emulator.journal.total > before


def test_two_tokens_of_one_account_are_not_used_at_once(tmp_path: Path, cluster: Cluster) -> None:
    """As in a rotation: one of them polls."""
    world = opened(World(page_size=20))
    with EmulatorThread(world) as emulator, Factory(world) as factory:
        files = []
        for token in ("demo", "other"):
            (tmp_path / token).mkdir()
            secret = tmp_path / token / "token"
            secret.write_text(token)
            accounts = [
                {k: v for k, v in one.items() if k != "token_env"} | {"token_file": str(secret)}
                for one in accounts_at(emulator.url)
            ]
            files.append(
                configure(
                    tmp_path / token,
                    accounts,
                    state={"url": cluster.url, "schema": "tokens"},
                    polling={"interval": 0.3},
                    metrics={"zero_hold": 0.5, "duration_buckets": [1.0, 2.0, 3.0]},
                    fleet={"lease": LEASE},
                )
            )
        chaos = Chaos(files[0], random.Random(6))
        with fleet(files[0], 1) as (known,):
            eventually(lambda: assert_polls(known, 2), within=30)
            with fleet(files[1], 1) as (other,):
                chaos.live([known, other], 2.0)
                assert (polled_by(known), polled_by(other)) == (2, 0)
                assert known.stop() == 0
                eventually(lambda: assert_polls(other, 2), within=30)
                factory.stop()
                assert other.process.poll() is None
                assert "Traceback" not in other.log


def test_a_process_that_sleeps_in_the_middle_of_a_commit_holds_up_the_others_for_seconds(
    tmp_path: Path, cluster: Cluster
) -> None:
    """Scrapes go on meanwhile: they need no turn."""
    import psycopg

    world = opened(World(page_size=20))
    with EmulatorThread(world) as emulator, Factory(world) as factory:
        file = configured(tmp_path, cluster.url, emulator, "sleeps")
        chaos = Chaos(file, random.Random(7))
        with fleet(file, 2) as replicas:
            eventually(lambda: assert_all_polled(replicas), within=30)
            with psycopg.connect(cluster.url) as sleeper:
                sleeper.execute("SET LOCAL application_name = 'cicd-exporter/asleep'")
                sleeper.execute("UPDATE sleeps.fleet SET turn = turn + 1")
                with pytest.raises(psycopg.Error):
                    sleep_on(sleeper, lambda: chaos.live(replicas, 0.5))
            factory.stop()
            for one in replicas:
                assert_exact(one, chaos.watch, world)
            assert chaos.answered == chaos.asked


def sleep_on(sleeper: Any, meanwhile: Callable[[], None]) -> None:
    """Ask nothing of the server for a while, and then whether it still knows us."""
    began = time.monotonic()
    while time.monotonic() - began < 60 and is_there(sleeper):
        meanwhile()
    sleeper.execute("SELECT 1")


def is_there(sleeper: Any) -> bool:
    """Whether the server has said nothing yet: its last word would be there to be read."""
    return not select.select([sleeper.fileno()], [], [], 0)[0]
