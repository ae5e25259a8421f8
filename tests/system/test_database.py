"""The state in a real PostgreSQL: processes that are killed, a server that comes and goes."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.daemon import parts
from exporter.demo import World
from exporter.ledger import LedgerConfig
from exporter.ledger.opening import open_ledger
from tests.system.fleets import Chaos, assert_exact, configured, opened, replica
from tests.system.test_kill import Factory, Watch, assert_complete, live_and_die
from tests.tools.commands import command
from tests.tools.emulators.unified import EmulatorThread
from tests.tools.postgres import Cluster
from tests.tools.system import TOKEN_ENV, Exporter, Exposition, eventually

KILLS = 12
BUILDS = "cicd_builds_total"


def test_killed_processes_lose_nothing_and_double_nothing(tmp_path: Path, cluster: Cluster) -> None:
    """Each one goes on at once: the server knows that the one before has gone."""
    world, chance, watch = opened(World(page_size=20)), random.Random(15), Watch()
    with EmulatorThread(world) as emulator, Factory(world) as factory:
        file = configured(tmp_path, cluster.url, emulator, "killed")
        for turn in range(KILLS):
            if turn == KILLS - 3:
                factory.stop()
            live_and_die(Exporter(file), turn, chance, watch)
        with Exporter(file) as exporter:
            eventually(lambda: assert_complete(watch.look(exporter), world))
            assert exporter.stop() == 0
    assert watch.scrapes > KILLS
    assert len(world.finished("github")) > KILLS


def test_a_server_that_is_killed_again_and_again_loses_and_doubles_nothing(
    tmp_path: Path, cluster: Cluster
) -> None:
    """As long as it is away nothing is shown, rather than what may be old."""
    world, chance = opened(World(page_size=20)), random.Random(4)
    with EmulatorThread(world) as emulator, Factory(world) as factory:
        file = configured(tmp_path, cluster.url, emulator, "restarts")
        chaos = Chaos(file, chance)
        with Exporter(file) as exporter:
            for _ in range(8):
                chaos.live([exporter], chance.uniform(0.3, 1.2))
                chaos.restart(cluster, [exporter])
            factory.stop()
            assert_exact(exporter, chaos.watch, world)
            assert exporter.get("/-/ready").status == 200
            assert exporter.stop() == 0
            assert "Traceback" not in exporter.log
        with Exporter(file) as exporter:  # and the rows say the same
            assert_exact(exporter, chaos.watch, world)


def refused(file: Path) -> str:
    """What a process says that does not start."""
    exporter = Exporter(file)
    exporter.begin()
    try:
        assert exporter.process.wait(timeout=60) == 1
    finally:
        exporter.kill()
    assert "Traceback" not in exporter.log
    return exporter.log


def assert_status(exporter: Exporter, path: str, status: int) -> None:
    assert exporter.get(path).status == status


def test_while_the_server_is_away_nothing_is_shown_and_that_is_said_once(
    tmp_path: Path, cluster: Cluster
) -> None:
    world = opened(World(page_size=20))
    with EmulatorThread(world) as emulator, Factory(world):
        file = configured(tmp_path, cluster.url, emulator, "away")
        with Exporter(file) as exporter:
            eventually(lambda: assert_status(exporter, "/metrics", 200))
            cluster.stop()
            eventually(lambda: assert_status(exporter, "/-/ready", 503))
            answer = exporter.get("/metrics")
            assert answer.status == 503
            assert b"the state in PostgreSQL at 127.0.0.1:" in answer.body
            assert exporter.get("/-/healthy").status == 200
            cluster.start()
            eventually(lambda: assert_status(exporter, "/-/ready", 200))
            assert exporter.scrape().value("cicd_exporter_state_ok") == 1
            for text in ("and nothing is shown", "and polls pause that have no lease"):
                assert exporter.log.count(text) == 1, exporter.log
            assert exporter.stop() == 0


@contextlib.contextmanager
def alone(cluster: Cluster, schema: str) -> Iterator[None]:
    """A process that bears no other one, such as a command that copies the state."""
    ledger = open_ledger(cluster.url, LedgerConfig(1e12, 0.0), schema=schema, patience=20.0)
    try:
        yield
    finally:
        ledger.close()


def test_an_exporter_stands_by_while_a_command_bears_no_other(
    tmp_path: Path, cluster: Cluster
) -> None:
    """Whoever asks one that stands by is told so."""
    world = opened(World(page_size=20))
    with EmulatorThread(world) as emulator, contextlib.ExitStack() as ends:
        file = configured(tmp_path, cluster.url, emulator, "stands_by")
        with alone(cluster, "stands_by"):
            exporter = replica(file)
            ends.callback(exporter.kill)
            exporter.begin()
            exporter.logged("standing by")
            eventually(lambda: assert_stands_by(exporter))
        exporter.logged("serving")
        eventually(lambda: assert_status(exporter, "/-/ready", 200))
        assert exporter.stop() == 0


def test_one_that_stands_by_can_be_stopped(tmp_path: Path, cluster: Cluster) -> None:
    with EmulatorThread(opened(World(page_size=20))) as emulator:
        file = configured(tmp_path, cluster.url, emulator, "stopped")
        with alone(cluster, "stopped"):
            exporter = replica(file)
            exporter.begin()
            exporter.logged("standing by")
            assert exporter.stop() == 0


def test_a_command_waits_and_is_refused_in_one_line(
    tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN_ENV, "demo")
    monkeypatch.setattr(parts, "PATIENCE", 0.5)
    with EmulatorThread(opened(World(page_size=20))) as emulator:
        file = configured(tmp_path, cluster.url, emulator, "command")
        with Exporter(file) as running:
            ended = command("once", f"--config.file={file}")
            assert ended.code == 1
            assert "is in use by the exporter on" in ended.err
            assert running.scrape().value("cicd_exporter_state_ok") == 1


def assert_stands_by(exporter: Exporter) -> None:
    try:
        answers = {path: exporter.get(path) for path in ("/-/healthy", "/-/ready", "/metrics", "/")}
    except OSError as error:
        raise AssertionError from error
    assert {path: one.status for path, one in answers.items()} == {
        "/-/healthy": 200,
        "/-/ready": 503,
        "/metrics": 503,
        "/": 503,
    }
    assert b"another exporter polls" in answers["/metrics"].body


def test_a_schema_that_is_not_ours_is_left_alone(tmp_path: Path, cluster: Cluster) -> None:
    import psycopg

    with psycopg.connect(cluster.url, autocommit=True) as db:
        db.execute("CREATE SCHEMA theirs")
        db.execute("CREATE TABLE theirs.things (id int)")
    world = opened(World(page_size=20))
    with EmulatorThread(world) as emulator:
        said = refused(configured(tmp_path, cluster.url, emulator, "theirs"))
    assert "schema theirs holds tables that are not of cicd-exporter, such as things" in said


def test_the_commands_look_at_a_database_as_at_a_file(
    tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN_ENV, "demo")
    world = opened(World(page_size=20))
    with EmulatorThread(world) as emulator, Factory(world) as factory:
        file = configured(tmp_path, cluster.url, emulator, "looked_at")
        of_it = f"--config.file={file}"
        missing = command("state", "info", of_it)
        assert missing.code == 1
        assert "there is no state in PostgreSQL" in missing.err
        assert "were made, in format" in command("state", "migrate", of_it).out
        assert "are of format" in command("state", "migrate", of_it).out
        with Exporter(file) as exporter:
            watch = Watch()
            eventually(lambda: counts(watch.look(exporter)))
            told = command("state", "info", of_it, "--format=json")
            assert told.code == 0, told.err
            beside = json.loads(told.out)
            assert beside["workers"]
            factory.stop()
            eventually(lambda: assert_complete(watch.look(exporter), world))
            assert command("state", "verify", of_it).out.endswith(": sound\n")
            builds = json.loads(command("builds", of_it, "--limit=5", "--format=json").out)
            assert len(builds["builds"]) == 5
            counted = exporter.scrape().total(BUILDS)
            assert exporter.stop() == 0
        found = json.loads(command("state", "info", of_it, "--format=json").out)
        assert (found["workers"], found["schema"]) == ([], "looked_at")
        assert found["builds"] == found["logged"] == counted
        assert found["bytes"] > 0
        assert "in use     no" in command("state", "info", of_it).out
        told = command("doctor", of_it, "--format=json")
        assert told.out, told.err
        checked = json.loads(told.out)
        (state,) = [check for check in checked["checks"] if check["check"] == "state"]
        assert state["status"] == "ok"
        assert state["text"].startswith("PostgreSQL ")

    there = command(
        "state", "copy", f"--from={cluster.url}", f"--to=sqlite:///{tmp_path}/back.db",
        "--schema=looked_at",
    )  # fmt: skip
    assert there.code == 0
    rows = dict(line.split()[:2] for line in there.out.splitlines()[1:])
    assert int(rows["attempt"]) == int(rows["build"]) == found["builds"]
    nowhere = command("state", "copy", f"--from=sqlite:///{tmp_path}/no.db", f"--to={cluster.url}")
    assert (1, "") == (nowhere.code, nowhere.out)
    assert "not found: check --from" in nowhere.err


def counts(scrape: Exposition) -> None:
    assert scrape.total("cicd_builds_total") > 0
