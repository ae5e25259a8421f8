"""The process itself: its streams, its signals and its end."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from exporter import cli, daemon, logs
from exporter.demo import World
from tests.conftest import ROOT
from tests.tools.emulators.unified import EmulatorThread
from tests.tools.reloading import Stage
from tests.tools.system import TOKEN_ENV, Exporter, eventually

PRINTING = (["--help"], ["--version"], ["metrics"], ["config", "schema"], ["completion", "bash"])


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with EmulatorThread(World()) as emulator:
        stage = Stage(emulator, tmp_path)
        stage.write("one")
        yield stage


def shell(script: str, *args: str, **keys: Any) -> subprocess.CompletedProcess[str]:
    """Run a line of shell in which `$@` are the words of the command."""
    command = ["sh", "-c", script, "sh", sys.executable, "-m", "exporter", *args]
    return subprocess.run(
        command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=60, **keys
    )


# -- its streams


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize(
    ("script", "why"),
    [('"$@" >&-', "bad file descriptor"), ('"$@" > /dev/full', "no space left on device")],
    ids=["closed", "full"],
)
def test_what_cannot_be_printed_is_told_in_a_line(script: str, why: str, unbuffered: str) -> None:
    env = {**os.environ, "PYTHONUNBUFFERED": unbuffered}

    for words in PRINTING:
        ended = shell(script, *words, env=env)

        assert (ended.returncode, ended.stderr) == (1, f"cicd-exporter: standard output: {why}\n")


def test_who_has_read_enough_is_told_nothing() -> None:
    ended = shell('"$@" | head -n 1', "metrics")

    assert (ended.stderr, len(ended.stdout.splitlines())) == ("", 1)


def test_no_stream_at_all_is_no_reason_for_a_traceback() -> None:
    ended = shell('"$@" <&- >&- 2>&-', "metrics")

    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", "")


def test_a_closed_log_does_not_end_in_a_file_that_is_opened_next(stage: Stage) -> None:
    environment = {**os.environ, TOKEN_ENV: "demo"}
    flag = f"--config.file={stage.file}"

    ended = shell('"$@" 2>&- >&-', "once", flag, "--log.level=debug", env=environment)

    assert (ended.returncode, ended.stdout) == (1, ""), "its output cannot be written"
    assert shell('"$@"', "state", "verify", flag, env=environment).returncode == 0
    assert b"level=" not in (stage.folder / "state.db").read_bytes()


# -- a log that nobody reads


def test_a_log_that_nobody_reads_holds_up_nothing(stage: Stage) -> None:
    """Neither a scrape nor a poll nor the stop; and what was dropped is counted."""
    faulty = "".join(f"key{i}: 1\n" for i in range(200))
    exporter = Exporter(stage.file, "--web.enable-lifecycle")
    with exporter:
        exporter.silence()
        good = stage.file.read_text()
        stage.file.write_text(faulty)
        with httpx.Client(base_url=exporter.url, trust_env=False, timeout=20.0) as client:
            for _ in range(100):  # of 20 KB each
                assert client.post("/-/reload").status_code == 400
            stage.build("one")
            eventually(lambda: assert_total(exporter, 3))
            exporter.listen()
            line = exporter.logged("some lines were dropped")
            assert int(line.rpartition("dropped=")[2]) > 1000

            exporter.silence()
            for _ in range(100):
                client.post("/-/reload")
            stage.file.write_text(good)

        assert exporter.stop() == 0  # while nobody reads


def assert_total(exporter: Exporter, builds: int) -> None:
    assert exporter.scrape().total("cicd_builds_total") == builds


def test_the_last_lines_are_written_before_the_end(stage: Stage) -> None:
    with Exporter(stage.file) as exporter:
        assert exporter.stop() == 0

        exporter.logged("msg=stopped")


def test_what_waits_is_bounded_and_what_is_dropped_is_counted() -> None:
    read, write = os.pipe()
    with os.fdopen(write, "w") as stream, os.fdopen(read) as reader:
        room = fcntl.fcntl(write, fcntl.F_GETPIPE_SZ)
        handler = logs._Background(stream, room=3 * room)
        handler.setFormatter(logs._Formatter("logfmt"))
        handler.put("x" * (2 * room))  # which the thread takes, and cannot get rid of
        eventually(lambda: assert_taken(handler))
        handler._room = 10_000

        for i in range(1000):
            handler.put(f"{i:0100}")

        assert (handler._size, handler._dropped) == (10_000, 900)
        lines = [reader.readline() for _ in range(102)]
        assert [len(line) for line in lines[:-1]] == [2 * room + 1, *[101] * 100]
        assert lines[-1].endswith(" dropped=900\n")


def assert_taken(handler: logs._Background) -> None:
    assert handler._is_writing


# -- its socket


@pytest.mark.parametrize("host", ["", "::", "0:0:0:0:0:0:0:0"])
def test_an_address_for_all_addresses_is_for_those_of_ipv4_too(host: str) -> None:
    with daemon.listening((host, 0)) as listener:
        port = listener.getsockname()[1]
        for address in ("127.0.0.1", "::1"):
            socket.create_connection((address, port), timeout=10).close()


@pytest.mark.parametrize(
    ("host", "other"), [("127.0.0.1", "::1"), ("::1", "127.0.0.1"), ("0.0.0.0", "::1")]
)
def test_an_address_of_one_kind_is_for_that_alone(host: str, other: str) -> None:
    with daemon.listening((host, 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((other, port), timeout=10)


# -- its signals


STARTING = """
    import os, signal, sys, time, types
    def signalled():
        os.kill(os.getpid(), signal.{name})
        time.sleep({seconds})
        return 0
    sys.argv[1:] = {words}
    sys.modules["exporter.cli"] = types.SimpleNamespace(main=signalled)
    from exporter.__main__ import main
    main()
"""


def python(script: str, **values: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", textwrap.dedent(script).format(**values)]
    return subprocess.run(
        command, cwd=ROOT, timeout=50, check=False, capture_output=True, text=True
    )


def started(name: str, words: list[str], seconds: float) -> subprocess.CompletedProcess[str]:
    """The end of a process whose command gets a signal and goes on for some seconds."""
    return python(STARTING, name=name, words=words, seconds=seconds)


@pytest.mark.parametrize("words", [["run"], ["demo"]])
def test_a_hang_up_while_it_starts_is_nothing_to_what_serves(words: list[str]) -> None:
    assert started("SIGHUP", words, 0.2).returncode == 0


def from_checkout(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`scripts/run` of a checkout whose Python gets a hang-up before it has read a line."""
    for name, lines in (
        ("scripts/run", (ROOT / "scripts/run").read_text()),
        ("scripts/venv", "#!/bin/sh\n"),
        (".venv/bin/python", "#!/bin/sh\nkill -HUP $$\nsleep 0.2\n"),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(lines)
        (folder / name).chmod(0o755)
    return subprocess.run([folder / "scripts/run", *words], timeout=50, check=False, text=True)


@pytest.mark.parametrize("words", [["run"], ["demo"], []])
def test_a_hang_up_before_python_has_begun_is_nothing_to_what_serves(
    words: list[str], tmp_path: Path
) -> None:
    assert from_checkout(tmp_path, *words).returncode == 0
    assert from_checkout(tmp_path, "once").returncode == -signal.SIGHUP


def test_a_hang_up_ends_what_works_for_a_terminal() -> None:
    assert started("SIGHUP", ["once"], 60).returncode == -signal.SIGHUP


def test_an_interrupt_is_told_without_a_traceback() -> None:
    ended = started("SIGINT", ["once"], 60)

    assert (ended.returncode, ended.stderr) == (128 + signal.SIGINT, "")


@pytest.mark.parametrize("moment", [0.0, 0.05, 0.1, 0.2, 0.3, 0.4])
def test_an_interrupt_in_the_first_second_is_not_either(moment: float) -> None:
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "exporter", "metrics"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "argparse" in line:  # the first of what the command line imports
            break
    time.sleep(moment)
    process.send_signal(signal.SIGINT)

    _, told = process.communicate(timeout=60)

    assert "Traceback" not in told
    assert process.returncode in (0, 128 + signal.SIGINT)


def test_hang_ups_at_any_moment_never_end_it(stage: Stage) -> None:
    """From the first line of its own code to its end, also after the loop is closed."""
    exporter = Exporter(stage.file)
    with exporter:
        for _ in range(20):
            exporter.process.send_signal(signal.SIGHUP)
            time.sleep(0.01)
        exporter.process.send_signal(signal.SIGTERM)
        while exporter.process.poll() is None:
            exporter.process.send_signal(signal.SIGHUP)
            time.sleep(0.001)

        assert exporter.process.returncode == 0


# -- its end


STUCK = """
    import asyncio, sys, threading, time
    from exporter import cli
    from exporter.commands import Command
    from exporter.threads import to_the_end
    async def work():
        loop = asyncio.get_running_loop()
        for _ in range(3):
            loop.run_in_executor(None, time.sleep, 60)
        await asyncio.sleep(0.1)
        print("done")
        return {code}
    stuck = Command(name="stuck", text="x", run=lambda _: to_the_end(work()))
    cli.COMMANDS = (*cli.COMMANDS, stuck)
    sys.argv[1:] = ["stuck"]
    from exporter.__main__ import main
    main()
"""


@pytest.mark.parametrize("code", [0, 1])
def test_threads_that_still_wait_are_left_behind(code: int) -> None:
    ended = python(STUCK, code=code)  # in less time than those threads need

    assert (ended.returncode, ended.stdout, ended.stderr) == (code, "done\n", "")


def test_a_bug_is_told_with_its_traceback_and_ends_it_all_the_same() -> None:
    ended = python(STUCK, code="1 / 0")

    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1] == "ZeroDivisionError: division by zero"


def test_the_commands_that_serve_are_those_that_a_hang_up_does_not_end() -> None:
    from exporter import __main__ as process

    assert {command.name for command in cli.COMMANDS} >= process._SERVING
