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

from exporter.demo import World
from tests.conftest import ROOT
from tests.tools.emulators.unified import EmulatorThread
from tests.tools.reloading import Stage
from tests.tools.system import Exporter, Exposition, eventually
from tests.unit.test_secrets_not_told import PASTED, holds_secret

HANGING = ROOT / "tests/tools/hanging"
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
        assert "file: not found (check --config.file)" in exporter.get("/status").body.decode()
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


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Host": "evil.example", "Origin": "http://evil.example"},
    ],
    ids=["another origin", "another site", "a name that leads here"],
)
def test_a_page_of_somebody_else_reloads_nothing(stage: Stage, headers: dict[str, str]) -> None:
    stage.write("one")
    with exporting(stage, "--web.enable-lifecycle") as exporter:
        stage.write("one", "two")
        with httpx.Client(base_url=exporter.url, trust_env=False, timeout=20.0) as client:
            refused = client.post("/-/reload", headers=headers)

            assert refused.status_code == 403
            assert "  - name: two\n" not in exporter.get("/config").body.decode()
            assert client.post("/-/reload", headers={"Origin": exporter.url}).status_code == 200
            assert "  - name: two\n" in exporter.get("/config").body.decode()


# -- what cannot be read


@pytest.fixture
def hanging(stage: Stage) -> Path:
    """The file that makes the disk of the configuration hang for as long as it is there."""
    return Path(f"{stage.file}.hangs")


def on_a_bad_disk(stage: Stage, *flags: str) -> Exporter:
    path = os.pathsep.join((str(HANGING), str(ROOT)))
    return Exporter(stage.file, *flags, env={"HANGS": str(stage.file), "PYTHONPATH": path})


def assert_there(file: Path) -> None:
    assert file.exists()


def test_a_stop_does_not_wait_for_a_reload(stage: Stage, hanging: Path) -> None:
    stage.write("one")
    with on_a_bad_disk(stage, "--web.enable-lifecycle") as exporter:
        eventually(lambda: assert_counted(exporter, one=2))
        hanging.touch()
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(post, exporter)
            eventually(lambda: assert_there(Path(f"{stage.file}.asked")))
            hang_up(exporter)

            assert exporter.stop() == 0

            assert answer.result().status_code == 500
            assert "stopping" in answer.result().text
        assert "Traceback" not in exporter.log


def test_a_disk_that_hangs_fails_the_reload_and_the_next_one_is_not_held_up(
    stage: Stage, hanging: Path
) -> None:
    stage.write("one")
    auto = ("--config.enable-auto-reload", "--config.auto-reload-interval=0.2s")
    with on_a_bad_disk(stage, "--web.enable-lifecycle", *auto) as exporter:
        eventually(lambda: assert_counted(exporter, one=2))
        hanging.touch()
        stage.write("one", "two")

        answer = post(exporter)

        assert answer.status_code == 400
        assert "its disk does not answer" in answer.text
        assert exporter.scrape().value(OK) == 0
        hang_up(exporter)
        assert post(exporter).status_code == 400, "it is told each time"
        eventually(lambda: assert_counted(exporter, one=2))

        hanging.unlink()
        eventually(lambda: assert_counted(exporter, one=2, two=2))
        assert exporter.scrape().value(OK) == 1


@pytest.mark.parametrize("kind", ["pipe", "device", "endless", "keys"])
def test_a_reload_reads_nothing_but_a_file_of_bearable_size(stage: Stage, kind: str) -> None:
    stage.write("one")
    file = stage.file
    with exporting(stage, "--web.enable-lifecycle") as exporter:
        eventually(lambda: assert_counted(exporter, one=2))
        good = file.read_text()
        file.unlink()
        if kind == "pipe":
            os.mkfifo(file)
        elif kind == "device":
            file.symlink_to("/dev/zero")
        elif kind == "endless":
            file.touch()
            os.truncate(file, 2**40)
        else:
            file.write_text("".join(f"k{i}: 1\n" for i in range(300_000)))

        answers = [post(exporter) for _ in range(2)]

        assert [400, 400] == [answer.status_code for answer in answers]
        assert len(answers[0].text.splitlines()) == 1
        assert exporter.scrape().value(OK) == 0
        file.unlink()
        file.write_text(good)
        assert post(exporter).status_code == 200
        assert exporter.scrape().value(OK) == 1


def test_nothing_tells_what_somebody_pasted_into_the_configuration(stage: Stage) -> None:
    """Neither the answer to the reload, nor the log, the pages or their data."""
    stage.write("one")
    with exporting(stage, "--web.enable-lifecycle", "--log.level=debug") as exporter:
        for pasted in PASTED.values():
            keys = {"interval": pasted, "jobs": pasted, "ca_file": pasted, pasted: pasted}
            accounts = [
                stage.account(pasted, **keys),
                {**stage.account("two", repos=[pasted]), "provider": pasted, "integration": pasted},
                stage.account("three", repos=[f"acme/{pasted}"], token_file=pasted),
            ]
            stage.write(*accounts, log={"level": pasted}, polling={"interval": pasted})

            told = post(exporter)

            assert told.status_code == 400
            assert len(told.text.splitlines()) > 5
            pages = [exporter.get(path).body.decode() for path in ("/", "/status.json", "/config")]
            hang_up(exporter)
            exporter.logged("SIGHUP")
            assert not any(holds_secret(text) for text in (told.text, *pages, exporter.log))


def test_a_configuration_from_a_pipe_is_in_force_until_the_end(stage: Stage) -> None:
    stage.write("one")
    text = stage.file.read_text()
    stage.file.unlink()
    os.mkfifo(stage.file)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(stage.file.write_text, text)
        with exporting(stage, "--web.enable-lifecycle") as exporter:
            eventually(lambda: assert_counted(exporter, one=2))

            answer = post(exporter)

            assert (answer.status_code, exporter.scrape().value(OK)) == (400, 0)
            assert "is not a regular file" in answer.text
            stage.build("one")
            eventually(lambda: assert_counted(exporter, one=3))


def test_a_file_that_changes_is_loaded_by_itself(stage: Stage) -> None:
    stage.write("one")
    auto = ("--config.enable-auto-reload", "--config.auto-reload-interval=0.2s")
    with exporting(stage, *auto) as exporter:
        eventually(lambda: assert_counted(exporter, one=2))
        stage.write("two")
        exporter.logged("+account two")
