"""One account's trouble is its own, and secrets stay secret."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from exporter.demo import Run, World
from tests.tools.emulators.unified import EmulatorThread
from tests.tools.system import TOKEN_ENV, Exporter, Exposition, account, configure, eventually

RIGHT, WRONG = "tok-right-7d1c9e55aa", "tok-wrong-0b8f4c21ee"
REPO = "acme/shop"
ACCOUNTS = ("healthy", "wrong", "hanging", "reauth", "blocked")


class Stage(NamedTuple):
    """An emulator with five accounts, four of which are in trouble."""

    emulator: EmulatorThread
    folder: Path

    @property
    def token_file(self) -> Path:
        return self.folder / "token"

    def run(self, **polling: object) -> Exporter:
        """An exporter of all five that tells everything in its log."""
        url = self.emulator.url
        accounts = [account(name, "github", url, [REPO]) for name in ACCOUNTS if name != "wrong"]
        accounts.append(account("wrong", "github", url, [REPO], token_file=str(self.token_file)))
        file = configure(
            self.folder, accounts, polling={"interval": 0.3, **polling}, metrics={"zero_hold": 0}
        )
        return Exporter(file, "--log.level=debug", env={TOKEN_ENV: RIGHT})

    def build(self, name: str) -> None:
        """Another build of an account is over."""
        serial, now = len(self.emulator.world.attempts(name)), int(time.time())
        run = Run(
            id=str(serial),
            number=serial,
            workflow="CI",
            created_at=now - 40,
            started_at=now - 30,
            completed_at=now - 5,
        )
        self.emulator.world.add(name, REPO, run)

    def assert_complete(self, scrape: Exposition, name: str) -> None:
        finished = len(self.emulator.world.finished(name))
        assert scrape.total("cicd_builds_total", account=name) == finished
        assert scrape.total("cicd_build_duration_seconds_sum", account=name) == 25 * finished


@pytest.fixture
def stage(tmp_path) -> Iterator[Stage]:
    world = World()
    with EmulatorThread(world, token=RIGHT) as emulator:
        stage = Stage(emulator, tmp_path)
        stage.token_file.write_text(WRONG)
        for name in ACCOUNTS:
            world.open(name, "github", REPO)
            for _ in range(3):
                stage.build(name)
        world.accounts["reauth"].status = "needs_reauth"
        world.accounts["blocked"].is_blocked = True
        yield stage


def up(scrape: Exposition) -> dict[str, float]:
    return {name: scrape.value("cicd_exporter_account_up", account=name) for name in ACCOUNTS}


def assert_secret(exporter: Exporter) -> None:
    """No token is anywhere that people look."""
    said = {path: exporter.get(path).body.decode() for path in ("/metrics", "/", "/status.json")}
    for where, text in {**said, "log": exporter.log}.items():
        for secret in (RIGHT, WRONG, "Bearer"):
            assert secret not in text, where
    assert "Traceback" not in exporter.log


def test_trouble_of_four_accounts_is_nothing_to_the_fifth(stage):
    stage.emulator.faults.hang(account="hanging")
    with stage.run(timeout=60) as exporter:
        eventually(lambda: stage.assert_complete(exporter.scrape_at_once(), "healthy"))
        stage.build("healthy")  # and it stays fresh
        eventually(lambda: stage.assert_complete(exporter.scrape_at_once(), "healthy"))
        scrape = exporter.scrape_at_once()
        assert up(scrape) == {**dict.fromkeys(ACCOUNTS, 0.0), "healthy": 1.0}
        assert scrape.total("cicd_builds_total") == 4
        assert scrape.total("cicd_exporter_api_errors_total", account="healthy") == 0

        exporter.process.send_signal(signal.SIGHUP)
        exporter.logged("SIGHUP")
        assert exporter.get("/-/healthy").status == 200

        hangs = [r for r in stage.emulator.journal.requests() if r.account == "hanging"]
        assert hangs
        assert hangs[-1].status is None
        assert_secret(exporter)
        assert exporter.stop(within=30) == 0  # half as long as the request hangs
        assert "Traceback" not in exporter.log


def test_accounts_recover_by_themselves_and_nothing_is_lost(stage):
    fault = stage.emulator.faults.hang(account="hanging", where="/unified/")
    with stage.run(timeout=0.5) as exporter:

        def assert_told() -> None:
            errors = {told["name"]: told["error"] or "" for told in exporter.status()["accounts"]}
            assert "needs_reauth" in errors["reauth"]
            assert "blocked" in errors["blocked"]
            assert "401" in errors["wrong"]
            assert errors["hanging"]
            assert not errors["healthy"]

        eventually(assert_told)
        scrape = exporter.scrape_at_once()
        assert up(scrape) == {**dict.fromkeys(ACCOUNTS, 0.0), "healthy": 1.0}
        failed = "cicd_exporter_api_errors_total"
        assert scrape.value(failed, account="wrong", reason="unauthorized") > 0
        assert scrape.value(failed, account="hanging", reason="timeout") > 0
        assert scrape.total(failed, account="healthy") == 0
        assert_secret(exporter)

        stage.token_file.write_text(RIGHT)
        stage.emulator.world.accounts["reauth"].status = "active"
        stage.emulator.world.accounts["blocked"].is_blocked = False
        stage.emulator.faults.remove(fault)
        for name in ACCOUNTS:
            stage.build(name)

        def assert_recovered() -> None:
            scrape = exporter.scrape_at_once()
            assert up(scrape) == dict.fromkeys(ACCOUNTS, 1.0)
            for name in ACCOUNTS:
                stage.assert_complete(scrape, name)

        def assert_said() -> None:
            assert not any(told["error"] for told in exporter.status()["accounts"])

        eventually(assert_recovered, within=40, every=0.2)
        eventually(assert_said)  # what the page says may be a second old
        assert_secret(exporter)
