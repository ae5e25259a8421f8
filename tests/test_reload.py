"""A running exporter takes over another configuration, or keeps the one it has."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from exporter.demo import EmulatorThread, World
from tests.reloading import Stage
from tests.system import Exporter, Exposition, eventually

OK, OK_AT = (
    "cicd_exporter_config_last_reload_successful",
    "cicd_exporter_config_last_reload_success_timestamp_seconds",
)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with EmulatorThread(World()) as emulator:
        yield Stage(emulator, tmp_path)


def exporting(stage: Stage, *flags: str) -> Exporter:
    return Exporter(stage.file, *flags)


def post(exporter: Exporter, method: str = "POST") -> httpx.Response:
    with httpx.Client(base_url=exporter.url, trust_env=False, timeout=20.0) as client:
        return client.request(method, "/-/reload")


def hang_up(exporter: Exporter) -> None:
    exporter.process.send_signal(signal.SIGHUP)


def builds(scrape: Exposition) -> dict[str, float]:
    """How many builds are counted of each account that has a series of any kind."""
    accounts = set(re.findall(r'account="(\w+)"', scrape.text))
    return {name: scrape.total("cicd_builds_total", account=name) for name in accounts}


def assert_counted(exporter: Exporter, **expected: float) -> None:
    assert builds(exporter.polled()) == expected


def test_accounts_come_go_and_come_back_with_what_they_counted(stage: Stage) -> None:
    stage.write("one", "two")
    with exporting(stage) as exporter:
        eventually(lambda: assert_counted(exporter, one=2, two=2))

        stage.write("two", "three")
        for _ in range(100):
            hang_up(exporter)
            time.sleep(0.001)
        eventually(lambda: assert_counted(exporter, two=2, three=2))
        for line in ('msg="+account three"', 'msg="-account one"'):
            exporter.logged(line)
        assert 1 <= exporter.log.count("the configuration is reloaded") <= 5
        assert [told["name"] for told in exporter.status()["accounts"]] == ["two", "three"]

        stage.build("one")
        stage.emulator.faults.hang(account="one")
        stage.write("one", "two")
        hang_up(exporter)
        exporter.logged("+account one")  # and what it had is there before any answer
        scrape = exporter.scrape()
        assert builds(scrape) == {"one": 2, "two": 2}
        assert scrape.value("cicd_exporter_account_up", account="one") == 0

        stage.emulator.faults.clear()
        eventually(lambda: assert_counted(exporter, one=3, two=2))
        assert exporter.stop() == 0
        assert "Traceback" not in exporter.log


def faulty(stage: Stage) -> dict[str, str]:
    """Files that cannot be used, each with what is said of it."""
    missing = stage.account("two", token_file=str(stage.folder / "secret"))
    stage.write("one", missing)
    secret = stage.file.read_text()
    stage.write("one", "one")
    twice = stage.file.read_text()
    return {
        "accounts: [": ":1:12: syntax",
        secret: "token_file",
        twice: "names are unique",
        "{}": "",
    }


def test_a_faulty_file_changes_nothing_and_is_told_everywhere(stage: Stage) -> None:
    stage.write("one")
    good = stage.file.read_text()
    bad = faulty(stage)
    file = stage.file
    file.write_text(good)
    with exporting(stage, "--web.enable-lifecycle") as exporter:
        eventually(lambda: assert_counted(exporter, one=2))
        begun = exporter.scrape()
        assert begun.value(OK) == 1
        assert exporter.status()["reload"]["ok"]

        for text, words in bad.items():
            file.write_text(text)
            answer = post(exporter)
            assert answer.status_code == 400
            assert answer.text.startswith(f"failed to reload config: {file}:")
            assert words in answer.text
            told = exporter.status()["reload"]
            assert (told["ok"], f"failed to reload config: {told['error']}\n") == (
                False,
                answer.text,
            )
            for fault in told["error"].splitlines():
                exporter.logged(f'msg="the old configuration stays: {fault}"')

        file.write_text("polling: {interval: soon}\nacounts: []\n")
        assert len(post(exporter).text.splitlines()) == 3, "every fault is told"
        file.unlink()
        assert "not found" in post(exporter).text
        assert "file: not found (check --config.file)" in exporter.get("/").body.decode()
        assert "  - name: one\n" in exporter.get("/config").body.decode()
        scrape = exporter.scrape()
        assert (scrape.value(OK), scrape.value(OK_AT)) == (0, begun.value(OK_AT))
        stage.build("one")
        eventually(lambda: assert_counted(exporter, one=3))

        file.write_text(good)
        assert (post(exporter, "PUT").status_code, exporter.status()["reload"]["error"]) == (
            200,
            None,
        )
        scrape = exporter.scrape()
        assert scrape.value(OK) == 1
        assert scrape.value(OK_AT) > begun.value(OK_AT)


def test_a_stop_does_not_wait_for_a_reload(stage: Stage) -> None:
    stage.write("one")
    file = stage.file
    with exporting(stage, "--web.enable-lifecycle") as exporter:
        eventually(lambda: assert_counted(exporter, one=2))
        file.unlink()
        os.mkfifo(file)  # whoever opens it waits for a writer
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(post, exporter)
            reader = eventually(lambda: writer(file))
            hang_up(exporter)

            assert exporter.stop(within=10) == 0

            os.close(reader)
            assert answer.result().status_code == 500
            assert "stopping" in answer.result().text
        assert "Traceback" not in exporter.log


def writer(fifo: Path) -> int:
    """Open a FIFO for writing as soon as somebody reads it."""
    try:
        return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        raise AssertionError("nobody reads it") from error


def test_a_file_that_changes_is_loaded_by_itself(stage: Stage) -> None:
    stage.write("one")
    auto = ("--config.enable-auto-reload", "--config.auto-reload-interval=0.2s")
    with exporting(stage, *auto) as exporter:
        eventually(lambda: assert_counted(exporter, one=2))
        stage.write("two")
        exporter.logged("+account two")
