"""An account for each fault in one process: it lives, says what is wrong and loses nothing."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.faults.source import ENTRY, LASTS, TOKEN, Customer, Sources
from tests.system.faults.table import FAULTS, Fault
from tests.tools import hostile
from tests.tools.system import TOKEN_ENV, Exporter, Exposition, configure, eventually

HEALTHY = [f"healthy {n}" for n in range(4)]
REACHABLE = [name for name in (*FAULTS, *HEALTHY) if name != "unknown host"]
_MOST_MEMORY = 250
"""MiB of resident memory at its highest, with 60 accounts and bombs at some of them."""
_CERTIFICATES = {
    "good": hostile.good_certificate,
    "expired": hostile.expired_certificate,
    "foreign": hostile.foreign_certificate,
}


class Stage:
    """The exporter, its accounts, and the customers of the sources that they stand for."""

    def __init__(self, folder: Path, sources: Sources, promtool: Path) -> None:
        self.sources = sources
        self.promtool = promtool
        self.customers: dict[str, Customer] = {}
        trusted = folder / "ca.pem"
        trusted.write_text("".join(made() for made in _CERTIFICATES.values()))
        accounts = [
            self._account(name, FAULTS[name].at if name in FAULTS else "", trusted)
            for name in (*FAULTS, *HEALTHY)
        ]
        file = configure(
            folder,
            accounts,
            polling={"interval": 1, "max_interval": 1, "timeout": 1.5},
            metrics={"zero_hold": 0, "branches": ["**"]},
        )
        self.exporter = Exporter(file, "--log.level=debug", env={TOKEN_ENV: TOKEN})

    def _account(self, name: str, at: str, trusted: Path) -> dict[str, Any]:
        tls = self.sources.certified(hostile.good_certificate()) if at in _TLS else None
        self.customers[name], url = self.sources.add(name, apart=bool(at), tls=tls)
        return {
            "name": name,
            "provider": "github",
            "url": "http://ci.invalid" if at == "name" else url,
            "token_env": TOKEN_ENV,
            "repos": [ENTRY],
        } | ({"ca_file": str(trusted)} if tls else {})

    def begin_faults(self) -> None:
        """From now on each account but the healthy ones has its own."""
        for name, fault in FAULTS.items():
            self.customers[name].misdeed = fault.misdeed
            if fault.at == "port":
                self.sources.close(name)
            elif fault.at in _TLS:
                made = _CERTIFICATES.get(fault.at)
                self.sources.reopen(name, made and self.sources.certified(made()))

    def end_faults(self) -> None:
        """All is well again."""
        for name, fault in FAULTS.items():
            self.customers[name].misdeed = None
            if fault.at in ("port", *_TLS):
                good = self.sources.certified(hostile.good_certificate())
                self.sources.reopen(name, good if fault.at in _TLS else None)

    def build(self) -> None:
        """Another run of every customer comes to its end."""
        for customer in self.customers.values():
            customer.end(customer.begin())

    # -- what is seen

    def scrape(self) -> Exposition:
        """A scrape that had nobody to wait for."""
        return self.exporter.scrape_at_once()

    def assert_sound(self) -> None:
        """Prometheus' own checker is content, nobody sees the credential, nothing broke down."""
        exporter = self.exporter
        text = exporter.get("/metrics").body
        done = subprocess.run(
            [self.promtool, "check", "metrics"], input=text, capture_output=True, check=False
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        pages = [exporter.get(path).body.decode() for path in ("/", "/status.json")]
        assert [] == [said for said in (text.decode(), *pages, exporter.log) if TOKEN in said]
        assert "Traceback" not in exporter.log
        assert exporter.process.poll() is None

    def memory(self) -> int:
        """The most that the process has taken, MiB."""
        told = Path(f"/proc/{self.exporter.process.pid}/status").read_text()
        return int(next(line.split()[1] for line in told.splitlines() if "VmHWM" in line)) >> 10

    def open_files(self) -> int:
        return len(list(Path(f"/proc/{self.exporter.process.pid}/fd").iterdir()))


_TLS = ("expired", "foreign", "plain")


@pytest.fixture
def stage(tmp_path: Path, promtool: Path) -> Iterator[Stage]:
    with Sources(tmp_path) as sources:
        yield Stage(tmp_path, sources, promtool)


def assert_complete(scrape: Exposition, name: str, customer: Customer, *, spans: int) -> None:
    """All that has ended is counted once, and `spans` of it have a duration."""
    labels = {"account": name}
    running = len(customer.runs) - customer.ended
    assert scrape.total("cicd_builds_total", **labels) == customer.ended, name
    assert scrape.total("cicd_build_duration_seconds_count", **labels) == spans, name
    assert scrape.total("cicd_build_duration_seconds_sum", **labels) == spans * LASTS, name
    assert scrape.total("cicd_builds_active", **labels) == running, name


def unshown(name: str, fault: Fault, told: Any, scrape: Exposition) -> str:
    """What is missing of what a fault must show; nothing if nothing is."""
    account = {"account": name}
    if scrape.value("cicd_exporter_account_up", **account) != (not fault.reason):
        return f"up is wrong: {told['error']}"
    if told["reason"] != (fault.reason or None) or fault.says not in (told["error"] or ""):
        return f"it says {told['reason']}: {told['error']}"
    failed = "cicd_exporter_api_errors_total"
    if fault.reason and not scrape.value(failed, **account, reason=fault.reason):
        return "no failure is counted"
    family, labels = fault.effect
    if family and not scrape.total(f"cicd_exporter_{family}", **(labels or account)):
        return f"{family} has not risen"
    return ""


def test_no_fault_ends_the_process_hides_itself_or_loses_a_build(stage: Stage) -> None:
    customers = stage.customers
    stage.build()
    stage.build()
    running = {name: customer.begin() for name, customer in customers.items()}
    with stage.exporter as exporter:

        def assert_counted() -> None:
            scrape = stage.scrape()
            for name in REACHABLE:
                assert_complete(scrape, name, customers[name], spans=2)

        eventually(assert_counted)
        files = stage.open_files()

        stage.begin_faults()
        for name, run in running.items():
            customers[name].end(run)
        stage.build()

        def assert_told() -> None:
            scrape = stage.scrape()
            accounts = {told["name"]: told for told in exporter.status()["accounts"]}
            for name in HEALTHY:
                assert_complete(scrape, name, customers[name], spans=4)
                assert accounts[name]["error"] is None
            wrong = {
                name: what
                for name, fault in FAULTS.items()
                if (what := unshown(name, fault, accounts[name], scrape))
            }
            assert wrong == {}

        eventually(assert_told, within=30, every=0.25)
        stage.assert_sound()

        stage.end_faults()
        stage.build()
        lost = Counter({name: 2 * fault.spans_lost for name, fault in FAULTS.items()})

        def assert_whole() -> None:
            scrape = stage.scrape()
            for name in REACHABLE:
                assert_complete(scrape, name, customers[name], spans=5 - lost[name])
                assert scrape.value("cicd_exporter_account_up", account=name), name

        eventually(assert_whole, within=30, every=0.25)
        stage.assert_sound()
        missing = stage.scrape().total("cicd_exporter_missing_values_total", field="duration")
        assert missing == lost.total() - lost["ends before it starts"]
        assert stage.memory() < _MOST_MEMORY
        assert stage.open_files() <= files + 5
        assert not any(customer.strangers for customer in customers.values())
        assert exporter.stop() == 0
