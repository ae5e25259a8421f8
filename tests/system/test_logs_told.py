"""What a running exporter writes to its log, and what it never does."""

from __future__ import annotations

import json
import secrets
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from exporter.demo import Run, World
from tests.tools.emulators.unified import EmulatorThread, Fault
from tests.tools.system import TOKEN_ENV, Exporter, account, configure, eventually

REPOS = tuple(f"acme/{name}" for name in ("shop", "api", "web", "app"))
LIST = "/unified/ci-cd/builds"
SECRET = f"t0ken-{secrets.token_hex(8)}"
ECHOES: list[dict[str, Any]] = [
    {"status": 500, "body": f"cannot serve Authorization: Bearer {SECRET}"},
    {"status": 401, "body": {"message": f"token {SECRET} is wrong"}, "remote": True},
    {"status": 403, "body": {"error": SECRET}},
    {"status": 302, "headers": {"Location": f"http://user:{SECRET}@127.0.0.1/{SECRET}"}},
    {"body": {"result": SECRET, "next_cursor": SECRET}},
    {"body": {"result": [{"id": SECRET, "status": SECRET}]}},
]


@pytest.fixture
def emulator() -> Iterator[EmulatorThread]:
    world = World()
    world.open("acme", "github", *REPOS)
    now = int(time.time())
    for n, repo in enumerate(REPOS):
        run = Run(id=str(n), number=n, created_at=now - 90, started_at=now - 60, completed_at=now)
        world.add("acme", repo, run)
    with EmulatorThread(world, token=SECRET) as running:
        yield running


def settings(emulator: EmulatorThread, folder: Path, *repos: str, **sections: Any) -> Path:
    acme = account("acme", "github", emulator.url, repos)
    often = {"interval": 0.1, "max_interval": 0.1}
    return configure(folder, [acme], polling=often, **sections)


def polled(emulator: EmulatorThread, times: int) -> None:
    """Wait until the list was asked for so often from now on."""
    before = emulator.journal.count(LIST)

    def check() -> None:
        assert emulator.journal.count(LIST) >= before + times

    eventually(check)


def test_the_log_is_short_obeys_the_reloaded_level_and_holds_no_secret(emulator, tmp_path):
    file = settings(emulator, tmp_path, *REPOS, "acme/nowhere", "acme/neither")
    quiet = file.read_text()
    flags = ("--log.level=info", "--log.format=json")
    with Exporter(file, *flags, env={TOKEN_ENV: SECRET}) as exporter:
        exporter.logged("a poll failed")
        exporter.logged("caught up")
        polled(emulator, 9)
        told = Counter(json.loads(line)["msg"][:13] for line in exporter.log.splitlines())
        # What goes well says nothing, and what fails says so once, however often.
        assert told == {"serving": 1, "polling": 1, "a poll failed": 1, "caught up": 1}

        _reload(exporter, lambda: settings(emulator, tmp_path, *REPOS, log={"level": "debug"}))
        exporter.logged('"msg": "polled"')
        echoes = [emulator.faults.add(Fault(where=LIST, times=1, **echo)) for echo in ECHOES]
        eventually(lambda: _assert_hit(echoes))
        bad = quiet.replace('"accounts"', f'"token": "{SECRET}", "accounts"')
        _reload(exporter, lambda: file.write_text(bad), ends="the old configuration stays")
        bad = quiet.replace("http://", f"http://user:{SECRET}@")
        _reload(exporter, lambda: file.write_text(bad), ends="the old configuration stays")

        _reload(exporter, lambda: file.write_text(quiet))
        settled = len(exporter.log)
        polled(emulator, 4)
        assert '"polled"' not in exporter.log[settled:]
        assert exporter.stop() == 0

    lines = [json.loads(line) for line in exporter.log.splitlines()]
    assert all([*line][:3] == ["ts", "level", "msg"] for line in lines)
    assert {"debug", "info", "warn", "error"} == {line["level"] for line in lines}
    assert SECRET not in exporter.log


def _assert_hit(faults: list[Fault]) -> None:
    assert all(fault.hits for fault in faults)


def _reload(
    exporter: Exporter, change: Callable[[], Any], *, ends: str = "the configuration is reloaded"
) -> None:
    """Change the file, send SIGHUP and wait until the log says how it ended."""
    before = exporter.log.count(ends)
    change()
    exporter.process.send_signal(signal.SIGHUP)

    def check() -> None:
        assert exporter.log.count(ends) > before

    eventually(check)
