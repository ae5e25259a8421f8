"""The command line as operators meet it: exit codes, one clear line, signals."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from exporter import __version__
from exporter.demo import Run, World
from tests.tools.emulators.unified import EmulatorThread, Fault

TOKEN = "demo"


def cli(
    *args: str, env: dict[str, str] | None = None, **kwargs: Any
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "exporter", *args],
        capture_output=True,
        text=True,
        env={**os.environ, "CICD_TEST_TOKEN": TOKEN, **(env or {})},
        timeout=60,
        check=False,
        **kwargs,
    )


@pytest.fixture(scope="module")
def emulator() -> Iterator[EmulatorThread]:
    world = World()
    now = time.time()
    world.open("acc", "github", "acme/shop")
    for n in range(1, 4):
        world.add(
            "acc",
            "acme/shop",
            Run(
                id=str(n),
                number=n,
                workflow="CI",
                branch="main",
                trigger="push",
                created_at=now - 100 * n,
                started_at=now - 100 * n + 5,
                completed_at=now - 100 * n + 50,
                conclusion="passed",
            ),
        )
    with EmulatorThread(world) as running:
        yield running


def config(folder: Path, url: str, **values: str) -> Path:
    file = folder / "config.yaml"
    file.write_text(
        f"""\
web: {{listen_address: "{values.get("listen", "127.0.0.1:0")}"}}
state: {{url: "{values.get("state", "memory:")}"}}
accounts:
  - name: acme
    provider: truto
    integration: github
    integrated_account_id: {values.get("account", "acc")}
    url: {url}
    token_env: CICD_TEST_TOKEN
    repos: [acme/shop]
"""
    )
    return file


def test_version_is_told() -> None:
    assert cli("--version").stdout == f"cicd-exporter {__version__}\n"


@pytest.mark.parametrize(
    "args",
    [
        (),
        ("fly",),
        ("run",),
        ("run", "--config.file"),
        ("run", "--config.fil=x"),
        ("run", "--config.file=x", "--web.listen-address=nowhere"),
        ("run", "--config.file=x", "--config.auto-reload-interval=soon"),
        ("run", "--config.file=x", "--config.auto-reload-interval=0s"),
        ("once", "--config.file=x", "--config.enable-auto-reload"),
        ("once", "--config.file=x", "--log.format=xml"),
    ],
)
def test_wrong_usage_is_exit_2(args: tuple[str, ...]) -> None:
    ended = cli(*args)

    assert ended.returncode == 2
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr


def test_check_config_tells_every_fault_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("polling: {interval: soon}\nacounts: []\n")

    ended = cli("check-config", f"--config.file={file}")

    assert ended.returncode == 2
    assert [line.split(": ")[0] for line in ended.stderr.splitlines()] == [
        f"{file}:1:1",
        f"{file}:1:21",
        f"{file}:2:1",
    ]


def test_a_good_configuration_is_exit_0(tmp_path: Path) -> None:
    file = config(tmp_path, "http://127.0.0.1:1")

    ended = cli("check-config", "--config.file", str(file))

    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("command", ["run", "once", "check-config"])
def test_a_missing_file_is_one_line_and_exit_2(tmp_path: Path, command: str) -> None:
    ended = cli(command, f"--config.file={tmp_path}/none.yaml")

    assert ended.returncode == 2
    assert ended.stderr == f"{tmp_path}/none.yaml:1:1: file: not found (check --config.file)\n"


def test_once_prints_the_metrics_of_a_volatile_state_with_their_history(
    tmp_path: Path, emulator: EmulatorThread
) -> None:
    ended = cli("once", f"--config.file={config(tmp_path, emulator.url)}")

    assert ended.returncode == 0
    assert re.search(
        r'^cicd_builds_total{.*conclusion="passed".*} 3(\.0)?$', ended.stdout, re.MULTILINE
    )


def test_once_is_exit_1_if_a_target_failed(tmp_path: Path, emulator: EmulatorThread) -> None:
    file = config(tmp_path, emulator.url, account="stranger")

    ended = cli("once", f"--config.file={file}")

    assert ended.returncode == 1
    assert re.search(r"(?m)^cicd_exporter_account_up{.*} 0(\.0)?$", ended.stdout)
    assert "Traceback" not in ended.stderr


def test_once_keeps_the_state_and_counts_no_build_again(
    tmp_path: Path, emulator: EmulatorThread
) -> None:
    file = config(tmp_path, emulator.url, state=f"sqlite:///{tmp_path}/s.db")

    first, second = (cli("once", f"--config.file={file}").stdout for _ in range(2))

    def builds(text: str) -> list[str]:
        return sorted(line for line in text.splitlines() if line.startswith("cicd_build"))

    assert builds(first) == builds(second) != []


def test_a_state_that_is_not_ours_is_exit_1(tmp_path: Path, emulator: EmulatorThread) -> None:
    (tmp_path / "notes").write_text("dear diary")
    file = config(tmp_path, emulator.url, state=f"sqlite:///{tmp_path}/notes")

    ended = cli("run", f"--config.file={file}")

    assert ended.returncode == 1
    assert ended.stderr.startswith("cicd-exporter: state file")
    assert (tmp_path / "notes").read_text() == "dear diary"


def test_a_port_that_is_taken_is_exit_1(tmp_path: Path, emulator: EmulatorThread) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        file = config(tmp_path, emulator.url, listen=listen)
        ended = cli("run", f"--config.file={file}")

    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith(f"cicd-exporter: cannot listen on {listen}")


def test_sighup_leaves_it_running_and_sigterm_ends_it(
    tmp_path: Path, emulator: EmulatorThread
) -> None:
    file = config(tmp_path, emulator.url)
    with subprocess.Popen(
        [sys.executable, "-m", "exporter", "run", f"--config.file={file}"],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "CICD_TEST_TOKEN": TOKEN},
    ) as process:
        assert process.stderr is not None
        address = _address(process.stderr)
        process.send_signal(signal.SIGHUP)
        _line_with(process.stderr, "the configuration is reloaded")
        with urllib.request.urlopen(f"http://{address}/-/ready", timeout=5) as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_the_demo_shows_builds_of_many_systems() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "exporter", "demo", "--web.listen-address=127.0.0.1:0"],
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        address = _address(process.stderr)
        deadline = time.monotonic() + 30
        wanted = {"github", "circleci", "jenkins", "bitbucket", "travis"}
        shown: set[str] = set()
        while not wanted <= shown and time.monotonic() < deadline:
            with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
                text = answer.read().decode()
            lines = re.findall(
                r'^cicd_builds_total{.*provider="(\w+)".*} [1-9]', text, re.MULTILINE
            )
            shown |= set(lines)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0

    assert wanted <= shown


def _line_with(stream: Any, words: str) -> str:
    for line in stream:
        if words in line:
            return str(line)
    raise AssertionError(f"the log ended without {words!r}")


def _address(stream: Any) -> str:
    line = _line_with(stream, "msg=serving")
    found = re.search(r"address=(\S+)", line)
    assert found is not None
    return found[1]


def test_once_waits_for_a_rate_limit_to_end(tmp_path: Path) -> None:
    world = World()
    now = time.time()
    world.open("acc", "github", "acme/shop")
    world.add(
        "acc",
        "acme/shop",
        Run(id="1", number=1, created_at=now - 60, started_at=now - 50, completed_at=now - 9),
    )
    with EmulatorThread(world) as emulator:
        emulator.faults.add(
            Fault(
                status=429,
                headers={"Retry-After": "1"},
                where="/unified/ci-cd/builds",
                times=1,
            )
        )
        ended = cli("once", f"--config.file={config(tmp_path, emulator.url)}")
        statuses = [r.status for r in emulator.journal.requests("/unified/ci-cd/builds")]

    assert (ended.returncode, statuses) == (0, [429, 200])


@pytest.mark.parametrize(
    ("number", "ended"),
    [
        pytest.param(1, 128 + signal.SIGTERM, id="first-of-a-container"),
        pytest.param(7, -signal.SIGTERM, id="any-other"),
    ],
)
def test_it_can_be_ended_while_it_starts(number: int, ended: int) -> None:
    starting = """
        import os, signal, sys, time, types
        def told_to_stop():
            handler = signal.getsignal(signal.SIGTERM)
            assert handler != signal.SIG_DFL or {number} != 1  # which the kernel would keep from it
            os.kill(real, signal.SIGTERM)
            time.sleep(60)
        real, os.getpid = os.getpid(), lambda: {number}
        sys.modules["exporter.cli"] = types.SimpleNamespace(main=told_to_stop)
        from exporter.__main__ import main
        sys.exit(main())
    """
    code = textwrap.dedent(starting).format(number=number)

    done = subprocess.run([sys.executable, "-c", code], timeout=60, check=False)

    assert ended == done.returncode
