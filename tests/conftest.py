"""What every test may count on: the project on the path, real tools, and no silent skip."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any, TypeVar

import hypothesis
import pytest

ROOT = Path(__file__).resolve().parent.parent
NO_SKIP = bool(os.environ.get("CICD_EXPORTER_NO_SKIP"))
"""Set by .ci/run: there a skipped test is a failed one."""
PROMETHEUS_3 = ROOT / ".ci" / "prometheus-3" / "usr" / "bin" / "prometheus"
"""Where .ci/run puts one if that of the system is older."""

_Report = TypeVar("_Report", pytest.TestReport, pytest.CollectReport)

# No deadlines: a slow machine is no fault of ours. In CI the same examples every time.
hypothesis.settings.register_profile("explore", deadline=None)
hypothesis.settings.register_profile("steady", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("steady" if NO_SKIP or "CI" in os.environ else "explore")


def pytest_configure() -> None:
    """Let child processes of tests import the package, wherever they run.

    And let them be as any other with SIGHUP and SIGINT: who starts the tests may have these
    ignored, as nohup and `&` of a shell do, and children inherit that.
    """
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ["PYTHONPATH"] = str(ROOT)
    # Some hundred processes that keep no bytecode would compile the same modules each.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.fixture(autouse=True)
def log_as_it_was() -> Generator[None]:
    """Put the log back: a command that runs in the tests' own process sends it to a stream.

    That stream is one test's, and whatever a later test has to say would go there unseen.
    """
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test that skips where nothing may be skipped."""
    return _unskipped((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Fail a module that skips itself where nothing may be skipped."""
    return _unskipped((yield))


def _unskipped(report: _Report) -> _Report:
    if NO_SKIP and report.skipped and not hasattr(report, "wasxfail"):
        why: Any = report.longrepr
        report.outcome = "failed"
        report.longrepr = f"skipped, where nothing may be skipped: {why[2] if why else ''}"
    return report


@pytest.fixture(scope="session")
def prometheus() -> Path:
    """The real Prometheus."""
    return _tool("prometheus")


@pytest.fixture(scope="session")
def prometheus_3(prometheus: Path) -> Path:
    """A Prometheus of version 3 or newer: the installed one, or the one that .ci/run fetches."""
    for found in (prometheus, PROMETHEUS_3):
        if found.exists() and version_of(found) >= (3, 0):
            return found
    pytest.skip("Prometheus 3 is not installed, and .ci/run has not fetched it")


def version_of(prometheus: Path) -> tuple[int, int]:
    """Which Prometheus that is."""
    done = subprocess.run([prometheus, "--version"], capture_output=True, text=True, check=True)
    major, minor, *_ = (done.stdout + done.stderr).split("version ")[1].split(".")
    return int(major), int(minor)


@pytest.fixture(scope="session")
def promtool() -> Path:
    """Prometheus' own checker of expositions and rules."""
    return _tool("promtool")


@pytest.fixture(scope="session")
def openssl() -> Path:
    """OpenSSL's command, which makes certificates."""
    return _tool("openssl", package="openssl")


@pytest.fixture(scope="session")
def alertmanager() -> Path:
    """The real Alertmanager."""
    return _tool("prometheus-alertmanager", package="prometheus-alertmanager")


@pytest.fixture(scope="session")
def amtool() -> Path:
    """Alertmanager's own checker of configurations."""
    return _tool("amtool", package="prometheus-alertmanager")


def _tool(name: str, *, package: str = "prometheus") -> Path:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (Debian: apt-get install {package})")
    return Path(found)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of contract notes and recorded answers, kept beside the project."""
    folder = Path(os.environ.get("CICD_EXPORTER_SHARED") or ROOT.parent / "shared")
    if not folder.is_dir():
        pytest.skip("no shared/ beside the project, and CICD_EXPORTER_SHARED names none")
    return folder


@pytest.fixture(scope="session")
def helm(shared: Path) -> Generator[Any]:
    """Real Helm, 3 and 4: `charts.Helm`."""
    from tests.tools import charts

    found = charts.start(shared)
    yield found
    charts.stop(found)
