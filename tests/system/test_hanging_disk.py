"""A disk that does not answer stops the counting, and neither the scrapes nor a stop."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from pathlib import Path

import pytest

from exporter.demo import Run, World
from exporter.metrics import families as f
from exporter.recorder import steps
from tests.tools import reloading
from tests.tools.emulators.unified import EmulatorThread
from tests.tools.scripted import Rig, build, done
from tests.tools.system import Exporter, account, configure, eventually

REPO = "acme/shop"
WITH_SUCH_A_DISK = """
import sys, threading
from pathlib import Path

from exporter.recorder import steps
from exporter.ledger.sqlite import state_file

hangs, connect = Path(sys.argv.pop(1)), state_file.connect


def connected(*args, **options):
    opened = connect(*args, **options)
    hang = lambda: threading.Event().wait() if hangs.exists() else 0
    opened.connection.set_progress_handler(hang, 20)
    return opened


state_file.connect, steps._HANGS = connected, 0.2
from exporter.__main__ import main

sys.exit(main())
"""
"""The exporter on a disk that hangs, in the midst of a statement, as soon as a file is there."""


def ended(world: World, number: int) -> None:
    """A build that has just ended."""
    at = float(int(time.time()) - 60)
    run = Run(id=str(number), number=number, created_at=at, started_at=at + 1, completed_at=at + 3)
    world.add("github", REPO, run)


def test_a_stop_does_not_wait_for_a_disk_that_hangs(tmp_path: Path) -> None:
    world, hangs = World(), tmp_path / "hangs"
    world.open("github", "github", REPO)
    ended(world, 1)
    with EmulatorThread(world) as emulator:
        file = configure(
            tmp_path,
            [account("github", "github", emulator.url, [REPO])],
            polling={"interval": 0.2},
            metrics={"zero_hold": 0},
        )
        exporter = Exporter(file)
        _, _, _, *rest = exporter._command
        exporter._command = [sys.executable, "-c", WITH_SUCH_A_DISK, str(hangs), *rest]
        with exporter:

            def assert_told(*expected: float) -> None:
                scrape = exporter.scrape()
                state = scrape.value("cicd_exporter_state_ok")
                assert (state, scrape.total("cicd_builds_total")) == expected

            eventually(lambda: assert_told(1, 1))
            hangs.touch()
            ended(world, 2)
            eventually(lambda: assert_told(0, 1))
            assert exporter.log.count("has not answered") == 1

            assert exporter.stop() == 0  # while the disk still hangs

        hangs.unlink()
        with Exporter(file) as exporter:
            eventually(lambda: assert_counted(exporter, 2))


def assert_counted(exporter: Exporter, builds: int) -> None:
    assert exporter.scrape().total("cicd_builds_total") == builds


def test_what_waited_for_the_disk_is_counted_when_it_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "exporter")
    rig = Rig(tmp_path / "s.db")
    rig.provider._builds = [done(build("1"))]
    rig.poll()
    assert rig.recorder.state_ok
    answers = threading.Event()
    rig.sqlite._db.set_progress_handler(lambda: not answers.wait(20), 1)
    rig.provider._builds.append(done(build("2")))

    def assert_hangs() -> None:
        assert not rig.recorder.state_ok

    async def work() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(steps, "_HANGS", 0.01)
            poll = asyncio.create_task(rig._poll())
            await reloading.eventually(assert_hangs)
        assert rig.value(f.BUILDS) == 1
        answers.set()
        await poll

    rig.run(work)
    assert rig.recorder.state_ok
    assert rig.value(f.BUILDS) == 2
    told = [record.message for record in caplog.records if record.levelname in ("ERROR", "INFO")]
    assert ["has not answered" in told[0], *told[1:]] == [True, "the state can be written again"]
    rig.crash()
