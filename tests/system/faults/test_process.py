"""The process among operators: tokens change, clocks are wrong, others want its file."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.faults.source import ENTRY, LASTS, TOKEN, Customer, Sources
from tests.tools.system import TOKEN_ENV, Exporter, Exposition, configure, eventually

NEXT = "tok-5c02-of-the-next-month"


class Stage:
    """An exporter with two accounts that read the token from a file of their own."""

    def __init__(self, folder: Path, sources: Sources) -> None:
        self.folder = folder
        accounts = []
        self.customers: dict[str, Customer] = {}
        for name in ("one", "two"):
            self.customers[name], url = sources.add(name, apart=False)
            accounts.append(
                {
                    "name": name,
                    "provider": "github",
                    "url": url,
                    "token_file": str(folder / name / "token"),
                    "repos": [ENTRY],
                }
            )
        self.config = configure(
            folder,
            accounts,
            polling={"interval": 0.2, "max_interval": 0.2, "timeout": 2},
            metrics={"zero_hold": 0},
        )

    def write_tokens(self) -> None:
        """A file each: that of `two` as Kubernetes mounts it, behind two links."""
        for name in self.customers:
            (self.folder / name).mkdir()
        (self.folder / "one" / "token").write_text(TOKEN)
        self.mount(TOKEN)
        (self.folder / "two" / "token").symlink_to("..data/token")

    def mount(self, token: str) -> None:
        """What a kubelet does with a changed secret: a new folder, and the link swapped."""
        folder = self.folder / "two"
        version = folder / f"..{token}"
        version.mkdir()
        (version / "token").write_text(f"{token}\n")
        (folder / "..new").symlink_to(version.name)
        (folder / "..new").replace(folder / "..data")

    def run(self) -> Exporter:
        return Exporter(self.config, "--log.level=debug", env={TOKEN_ENV: TOKEN})

    def build(self) -> None:
        """Another run of every customer comes to its end."""
        for customer in self.customers.values():
            customer.end(customer.begin())

    def assert_complete(self, exporter: Exporter) -> Exposition:
        scrape = exporter.scrape()
        for name, customer in self.customers.items():
            labels = {"account": name}
            ended = customer.ended
            assert scrape.value("cicd_exporter_account_up", **labels) == 1, name
            assert scrape.total("cicd_builds_total", **labels) == ended, name
            seconds = scrape.total("cicd_build_duration_seconds_sum", **labels)
            assert seconds == ended * LASTS, name
        return scrape


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with Sources(tmp_path) as sources:
        made = Stage(tmp_path, sources)
        made.write_tokens()
        made.build()
        yield made


def test_a_token_that_is_rotated_while_both_are_good_costs_no_request(stage: Stage) -> None:
    with stage.run() as exporter:
        eventually(lambda: stage.assert_complete(exporter))
        for customer in stage.customers.values():
            customer.tokens.add(NEXT)
        renewed = stage.folder / "one" / "token.new"
        renewed.write_text(NEXT)
        renewed.replace(stage.folder / "one" / "token")
        stage.mount(NEXT)

        def assert_rotated() -> None:
            assert {customer.seen[-1] for customer in stage.customers.values()} == {NEXT}

        eventually(assert_rotated)
        for customer in stage.customers.values():
            customer.tokens.remove(TOKEN)
        stage.build()
        scrape = eventually(lambda: stage.assert_complete(exporter))
        assert scrape.total("cicd_exporter_api_errors_total") == 0
        assert not any(customer.strangers for customer in stage.customers.values())
        assert [] == [token for token in (TOKEN, NEXT) if token in exporter.log]


def test_a_token_that_is_revoked_first_is_replaced_without_a_restart(stage: Stage) -> None:
    with stage.run() as exporter:
        eventually(lambda: stage.assert_complete(exporter))
        for customer in stage.customers.values():
            customer.tokens = {NEXT}
        stage.build()

        def assert_down() -> None:
            scrape = exporter.scrape()
            assert scrape.total("cicd_exporter_account_up") == 0
            told = exporter.status()["accounts"]
            assert ["unauthorized"] * 2 == [account["reason"] for account in told]

        eventually(assert_down)
        renewed = stage.folder / "one" / "token.new"
        renewed.write_text(NEXT)
        renewed.replace(stage.folder / "one" / "token")
        stage.mount(NEXT)
        eventually(lambda: stage.assert_complete(exporter), within=30)
        for token in (TOKEN, NEXT):
            assert token not in exporter.log + exporter.get("/status.json").body.decode()


def test_the_clock_of_a_provider_may_be_an_hour_off(stage: Stage) -> None:
    for name, ahead in (("one", 3600.0), ("two", -3600.0)):
        stage.customers[name].ahead = ahead
        stage.customers[name].runs.clear()
    stage.build()
    running = {name: customer.begin() for name, customer in stage.customers.items()}
    with stage.run() as exporter:
        eventually(lambda: stage.assert_complete(exporter))
        for name, run in running.items():
            stage.customers[name].end(run)
        stage.build()
        scrape = eventually(lambda: stage.assert_complete(exporter))

        for name, customer in stage.customers.items():
            skew = scrape.value("cicd_exporter_clock_skew_seconds", account=name)
            assert skew == pytest.approx(customer.ahead, abs=3)
            latest = "cicd_build_last_completed_timestamp_seconds"
            now = time.time() + customer.ahead
            assert now - 60 < scrape.value(latest, account=name) <= now
        assert scrape.total("cicd_exporter_anomalies_total") == 0


def test_a_second_process_on_the_same_state_leaves_it_alone(stage: Stage) -> None:
    state = stage.folder / "state.db"
    with stage.run() as exporter:
        eventually(lambda: stage.assert_complete(exporter))
        second = stage.run()
        second.begin()
        assert second.process.wait(20) == 1
        second.kill()
        assert "in use by another process" in second.log
        assert "Traceback" not in second.log

        stage.build()
        eventually(lambda: stage.assert_complete(exporter))
        assert exporter.stop() == 0
    assert state.stat().st_size
    with stage.run() as exporter:  # and nothing is broken or lost
        eventually(lambda: stage.assert_complete(exporter))


def test_a_token_file_that_becomes_a_pipe_holds_up_nothing_but_its_account(stage: Stage) -> None:
    with stage.run() as exporter:
        eventually(lambda: stage.assert_complete(exporter))
        token = stage.folder / "one" / "token"
        token.unlink()
        os.mkfifo(token)

        def assert_down() -> None:
            assert exporter.scrape().value("cicd_exporter_account_up", account="one") == 0

        def assert_other_counted() -> None:
            assert exporter.scrape().total("cicd_builds_total", account="two") == 2

        eventually(assert_down)
        stage.build()
        eventually(assert_other_counted)
        told = exporter.status()["accounts"][0]
        assert told["reason"] == "unauthorized"
        assert "is not a regular file" in told["error"]
        assert exporter.get("/-/healthy").status == 200  # nobody writes to the pipe

        token.unlink()
        token.write_text(TOKEN)
        eventually(lambda: stage.assert_complete(exporter))
        token.unlink()
        os.mkfifo(token)
        assert exporter.stop() == 0
