"""What systemd hears of the exporter, and the unit that it is run by."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.daemon.notifier import SystemdNotifier
from exporter.demo import World
from exporter.systemd import Manager
from tests.conftest import ROOT
from tests.tools.emulators.unified import EmulatorThread, Fault
from tests.tools.reloading import Inside, Stage, running
from tests.tools.system import Exporter, account, configure

UNIT = ROOT / "systemd" / "cicd-exporter.service"
MOST_EXPOSED = 1.5
"""Of 10, by `systemd-analyze security`."""


class Journal:
    """A socket that hears what a service tells its manager."""

    def __init__(self, address: str) -> None:
        self.messages: list[dict[str, str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address.replace("@", "\0", 1))
        self._socket.settimeout(60)

    def heard(self, **wanted: str) -> dict[str, str]:
        """The next message with these values, awaited."""
        while True:
            lines = self._socket.recv(65536).decode().splitlines()
            message = dict(line.split("=", 1) for line in lines)
            self.messages.append(message)
            if wanted.items() <= message.items():
                return message

    def waiting(self) -> int:
        """How many messages came that nobody has read yet; they are read now."""
        count = 0
        self._socket.settimeout(0.0)
        with contextlib.suppress(BlockingIOError):
            while self._socket.recv(65536):
                count += 1
        self._socket.settimeout(60)
        return count

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def address(request, tmp_path) -> str:
    if request.param == "path":
        return str(tmp_path / "notify")
    return f"@cicd-exporter-{os.getpid()}-{time.monotonic_ns()}"


@pytest.fixture
def journal(address) -> Iterator[Journal]:
    journal = Journal(address)
    yield journal
    journal.close()


def test_a_message_is_one_datagram_of_lines(journal, address):
    manager = Manager({"NOTIFY_SOCKET": address})

    manager.tell("READY=1", status="two\nlines of \u00e9\ud800")
    manager.reloading()

    assert manager.listens
    assert journal.heard() == {"READY": "1", "STATUS": "two lines of \u00e9?"}
    message = journal.heard(RELOADING="1")
    now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert now - 10_000_000 < int(message["MONOTONIC_USEC"]) <= now


@pytest.mark.parametrize("address", ["", "relative", "vsock:2:1234", "/nowhere/notify"])
def test_who_does_not_listen_is_told_nothing_and_nobody_minds(address):
    Manager({"NOTIFY_SOCKET": address}).tell("READY=1", status="fine")


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "2500000"}, 2.5),
        ({"WATCHDOG_USEC": "2500000", "WATCHDOG_PID": str(os.getpid())}, 2.5),
        ({"WATCHDOG_USEC": "2500000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_is_heeded_if_it_is_meant_for_us(environ, seconds):
    assert Manager(environ).watchdog == seconds


@pytest.mark.parametrize("address", ["path"], indirect=True)
def test_systemd_hears_of_every_turn_of_the_exporters_life(journal, address, tmp_path):
    world = World()
    world.open("acme", "github", "acme/shop")
    environ = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "2000000"}
    with EmulatorThread(world) as emulator:
        acme = account("acme", "github", emulator.url, ["acme/shop"])
        file = configure(tmp_path, [acme], polling={"interval": 0.2})
        with Exporter(file, env=environ) as exporter:
            ready = journal.heard(READY="1")
            assert exporter.get("/-/ready").status == 200
            assert ready["STATUS"] == "polling, accounts: 1, repos: 1"
            journal.heard(WATCHDOG="1")
            began = time.monotonic()
            for _ in range(3):
                journal.heard(WATCHDOG="1")
            assert time.monotonic() - began < 3 * 2

            exporter.process.send_signal(signal.SIGHUP)
            assert int(journal.heard(RELOADING="1")["MONOTONIC_USEC"]) > 0
            journal.heard(READY="1")
            sound = file.read_text()
            file.write_text("nonsense: true")
            exporter.process.send_signal(signal.SIGHUP)
            journal.heard(RELOADING="1")
            assert "the last reload failed" in journal.heard(READY="1")["STATUS"]
            file.write_text(sound)

            emulator.faults.add(Fault(status=401, account="acme"))
            while "acme is down: " not in journal.heard(WATCHDOG="1")["STATUS"]:
                pass
            exporter.process.send_signal(signal.SIGTERM)
            assert journal.heard(STOPPING="1") == {"STOPPING": "1", "STATUS": "stopping"}
            assert exporter.process.wait(10) == 0
    assert journal.messages[0]["READY"] == "1"


@pytest.mark.parametrize("address", ["path"], indirect=True)
def test_a_loop_that_is_stuck_does_not_feed_the_watchdog(journal, address, tmp_path, monkeypatch):
    monkeypatch.setenv("SYSTEM_TEST_TOKEN", "demo")
    manager = Manager({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "100000"})

    async def work(inside: Inside) -> None:
        SystemdNotifier(manager, inside.assembly).ready()
        await asyncio.to_thread(journal.heard, WATCHDOG="1")
        journal.waiting()
        time.sleep(0.4)  # noqa: ASYNC251 - this is what must not happen
        assert journal.waiting() == 0
        await asyncio.to_thread(journal.heard, WATCHDOG="1")

    async def life() -> None:
        async with running(stage) as inside:
            await work(inside)

    with EmulatorThread() as emulator:
        stage = Stage(emulator, tmp_path)
        stage.write("one")
        asyncio.run(life())


# -- the unit


@pytest.fixture(scope="module")
def analyze() -> str:
    found = shutil.which("systemd-analyze")
    if found is None:
        pytest.skip("systemd-analyze is not installed (Debian: apt-get install systemd)")
    return found


def test_systemd_finds_no_fault_in_the_unit(analyze, tmp_path):
    command = tmp_path / "cicd-exporter"
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    text = UNIT.read_text().replace("/usr/local/bin/cicd-exporter", str(command))
    text = text.replace("#LoadCredential=", "LoadCredential=")
    unit = tmp_path / UNIT.name
    unit.write_text(text)

    done = _analyzed(analyze, "verify", "--recursive-errors=no", str(unit))

    assert (done.returncode, done.stdout) == (0, "")


def test_the_unit_leaves_little_open(analyze):
    threshold = f"--threshold={round(MOST_EXPOSED * 10)}"

    done = _analyzed(analyze, "security", "--offline=true", threshold, str(UNIT))

    assert done.returncode == 0, done.stdout[-2000:]
    level = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert level is not None
    assert float(level[1]) <= MOST_EXPOSED


def _analyzed(analyze: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [analyze, "--no-pager", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=30,
    )


def test_the_unit_says_what_its_page_says():
    unit, page = UNIT.read_text(), Path(ROOT, "docs", "SYSTEMD.md").read_text()

    assert "Type=notify\n" in unit
    assert "ExecReload=/bin/kill -HUP $MAINPID\n" in unit
    credentials = f"/run/credentials/{UNIT.name}/"
    assert credentials in unit
    assert f"token_file: {credentials}" in page
