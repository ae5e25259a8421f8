"""The state in a real PostgreSQL: processes that are killed, a server that comes and goes."""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.daemon import application
from exporter.demo import World
from tests.system.client import free_port
from tests.system.test_kill import (
    BUCKETS,
    CIRCLECI,
    GITHUB,
    Factory,
    Watch,
    accounts_at,
    assert_complete,
    live_and_die,
)
from tests.tools import postgres
from tests.tools.commands import command
from tests.tools.emulators.unified import EmulatorThread
from tests.tools.postgres import Cluster
from tests.tools.system import TOKEN_ENV, Exporter, Exposition, configure, eventually

KILLS = 12
BUILDS = "cicd_builds_total"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A server of its own, which may be killed: what it has answered is on the disk."""
    with postgres.cluster(durable=True) as made:
        yield made


def configured(folder: Path, cluster: Cluster, emulator: EmulatorThread, schema: str) -> Path:
    """The configuration of an exporter that counts the builds of both accounts."""
    return configure(
        folder,
        accounts_at(emulator.url),
        state={"url": cluster.url, "schema": schema},
        polling={"interval": 0.3},
        metrics={"zero_hold": 0.5, "duration_buckets": BUCKETS},
    )


def opened(world: World) -> World:
    world.open("github", "github", GITHUB)
    world.open("circleci", "circleci", CIRCLECI)
    return world


def test_killed_processes_lose_nothing_and_double_nothing(tmp_path: Path, cluster: Cluster) -> None:
    """Each one goes on at once: the server knows that the one before has gone."""
    world, chance, watch = opened(World(page_size=20)), random.Random(15), Watch()
    with EmulatorThread(world) as emulator, Factory(world) as factory:
        file = configured(tmp_path, cluster, emulator, "killed")
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
    world, chance, watch = opened(World(page_size=20)), random.Random(4), Watch()
    with EmulatorThread(world) as emulator, Factory(world) as factory:
        file = configured(tmp_path, cluster, emulator, "restarts")
        with Exporter(file) as exporter:
            for turn in range(8):
                time.sleep(chance.uniform(0.3, 1.2))
                watch.look(exporter)
                cluster.stop(signal.SIGKILL if turn % 2 else signal.SIGINT)
                watch.look(exporter)
                if turn == 5:
                    factory.stop()
                cluster.start()
            eventually(lambda: assert_complete(watch.look(exporter), world))
            eventually(lambda: assert_state(exporter, 1))
            assert exporter.stop() == 0
            assert "Traceback" not in exporter.log
        with Exporter(file) as exporter:  # and the rows say the same
            eventually(lambda: assert_complete(watch.look(exporter), world))


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


def assert_state(exporter: Exporter, ok: int) -> None:
    assert exporter.scrape().value("cicd_exporter_state_ok") == ok


def test_while_the_server_is_away_that_is_shown_and_said_once(
    tmp_path: Path, cluster: Cluster
) -> None:
    world = opened(World(page_size=20))
    with EmulatorThread(world) as emulator, Factory(world):
        file = configured(tmp_path, cluster, emulator, "away")
        with Exporter(file) as exporter:
            eventually(lambda: assert_state(exporter, 1))
            cluster.stop()
            eventually(lambda: assert_state(exporter, 0))
            cluster.start()
            eventually(lambda: assert_state(exporter, 1))
            lines = [line for line in exporter.log.splitlines() if "nothing is counted" in line]
            lines = [line for line in lines if "asked for anew" not in line]
            assert len(lines) == 1
            assert f"the state in PostgreSQL at 127.0.0.1:{cluster.port}/postgres" in lines[0]
            assert exporter.stop() == 0


def test_a_second_process_stands_by_and_goes_on_when_the_first_is_killed(
    tmp_path: Path, cluster: Cluster
) -> None:
    """Whoever asks the one that stands by is told that another one polls."""
    world, watch = opened(World(page_size=20)), Watch()
    with EmulatorThread(world) as emulator, Factory(world) as factory:
        file = configured(tmp_path, cluster, emulator, "second")
        with Exporter(file) as first:
            eventually(lambda: counts(watch.look(first)))
            port = free_port()
            second = Exporter(file, f"--web.listen-address=127.0.0.1:{port}")
            second.begin()
            second.url = f"http://127.0.0.1:{port}"
            try:
                second.logged("standing by")
                eventually(lambda: assert_stands_by(second))
                watch.look(first)
                first.kill()
                killed_at = time.monotonic()
                second.logged("serving")
                assert time.monotonic() - killed_at < 10
                factory.stop()
                eventually(lambda: assert_complete(watch.look(second), world))
                assert second.get("/-/ready").status == 200
                assert second.stop() == 0
            finally:
                second.kill()


def test_one_that_stands_by_says_once_that_the_database_is_away_and_waits(
    tmp_path: Path, cluster: Cluster
) -> None:
    with EmulatorThread(opened(World(page_size=20))) as emulator:
        file = configured(tmp_path, cluster, emulator, "away_too")
        with Exporter(file) as first:
            second = Exporter(file)
            second.begin()
            second.logged("standing by")
            first.process.send_signal(signal.SIGSTOP)  # or it might be there first
            cluster.stop()
            second.logged("cannot be opened")
            first.kill()
            cluster.start()
            second.logged("serving")
            lines = [line for line in second.log.splitlines() if "Connection refused" in line]
            assert len(lines) == 1
            assert second.stop() == 0


def test_one_that_stands_by_can_be_stopped(tmp_path: Path, cluster: Cluster) -> None:
    with EmulatorThread(opened(World(page_size=20))) as emulator:
        file = configured(tmp_path, cluster, emulator, "stopped")
        with Exporter(file) as first:
            second = Exporter(file)
            second.begin()
            second.logged("standing by")
            assert second.stop() == 0
            assert_state(first, 1)


def test_a_command_waits_and_is_refused_in_one_line(
    tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN_ENV, "demo")
    monkeypatch.setattr(application, "PATIENCE", 0.5)
    with EmulatorThread(opened(World(page_size=20))) as emulator:
        file = configured(tmp_path, cluster, emulator, "command")
        with Exporter(file) as running:
            ended = command("once", f"--config.file={file}")
            assert ended.code == 1
            assert "is in use by the exporter on" in ended.err
            assert_state(running, 1)


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


def test_a_process_that_slept_while_another_took_over_writes_nothing(
    tmp_path: Path, cluster: Cluster
) -> None:
    world = opened(World(page_size=20))
    watch = Watch()
    with EmulatorThread(world) as emulator, Factory(world) as factory:
        file = configured(tmp_path, cluster, emulator, "slept")
        with Exporter(file) as sleeper:
            eventually(lambda: assert_state(sleeper, 1))
            sleeper.process.send_signal(signal.SIGSTOP)
            with Exporter(file) as other:
                sleeper.process.send_signal(signal.SIGCONT)
                assert sleeper.process.wait(timeout=30) == 1
                assert "another exporter has taken the state over: this one ends" in sleeper.log
                assert "Traceback" not in sleeper.log
                factory.stop()
                eventually(lambda: assert_complete(watch.look(other), world))


def test_a_schema_that_is_not_ours_is_left_alone(tmp_path: Path, cluster: Cluster) -> None:
    import psycopg

    with psycopg.connect(cluster.url, autocommit=True) as db:
        db.execute("CREATE SCHEMA theirs")
        db.execute("CREATE TABLE theirs.things (id int)")
    world = opened(World(page_size=20))
    with EmulatorThread(world) as emulator:
        said = refused(configured(tmp_path, cluster, emulator, "theirs"))
    assert "schema theirs holds tables that are not of cicd-exporter, such as things" in said


def test_the_commands_look_at_a_database_as_at_a_file(
    tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN_ENV, "demo")
    world = opened(World(page_size=20))
    with EmulatorThread(world) as emulator, Factory(world) as factory:
        file = configured(tmp_path, cluster, emulator, "looked_at")
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
            assert beside["owner"]
            factory.stop()
            eventually(lambda: assert_complete(watch.look(exporter), world))
            assert command("state", "verify", of_it).out.endswith(": sound\n")
            builds = json.loads(command("builds", of_it, "--limit=5", "--format=json").out)
            assert len(builds["builds"]) == 5
            counted = exporter.scrape().total(BUILDS)
            assert exporter.stop() == 0
        found = json.loads(command("state", "info", of_it, "--format=json").out)
        assert (found["owner"], found["schema"]) == (None, "looked_at")
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
