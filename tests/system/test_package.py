"""What is committed and what is shipped: nothing of this machine, and a whole wheel."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import exporter
from tests.conftest import ROOT

PACKAGE = ROOT / "exporter"
SCRIPTS = [
    *sorted(p for p in (ROOT / "scripts").iterdir() if p.is_file() and not p.suffix),
    ROOT / ".ci/run",
]

REGISTRIES = [
    b".".join(name)  # in pieces, so that this file does not name them itself
    for name in (
        (b"pypi", b"org"),
        (b"python" + b"hosted", b"org"),
        (b"npmjs", b"org"),
        (b"npmjs", b"com"),
    )
]


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


# --- the source ---


def committed() -> list[Path]:
    """The files that git has or would take; in a tree without git, all but what tools leave."""
    git = ["git", "-c", "safe.directory=*", "ls-files", "-z", "-c", "-o", "--exclude-standard"]
    try:
        listed = subprocess.run(git, cwd=ROOT, check=True, capture_output=True, text=True).stdout
        files = [ROOT / name for name in listed.split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        made = re.compile(r"(^|/)(__pycache__|\.(?!ci/)[^/]+)/")
        files = [p for p in ROOT.rglob("*") if not made.search(relative(p))]
    return [p for p in files if p.is_file()]


def test_nothing_committed_names_a_registry() -> None:
    naming = [p for p in committed() if any(host in p.read_bytes() for host in REGISTRIES)]

    assert [] == naming


def test_nothing_committed_names_this_machine() -> None:
    here = b"|".join(re.escape(os.fsencode(p)) for p in (ROOT, ROOT.parent / "shared"))
    pattern = re.compile(rb"(?<![\w./-])(" + here + rb")\b")

    assert [] == [p for p in committed() if pattern.search(p.read_bytes())]


def test_nothing_committed_holds_a_private_key() -> None:
    head = b"PRIVATE " + b"KEY-----"

    assert [] == [p for p in committed() if head in p.read_bytes()]


# --- the scripts ---


@pytest.mark.parametrize("script", SCRIPTS, ids=relative)
def test_a_script_can_be_run_and_parses(script: Path) -> None:
    shell = script.read_text().splitlines()[0].removeprefix("#!").split()

    assert os.access(script, os.X_OK)
    assert shell in (["/bin/sh"], ["/usr/bin/env", "bash"])
    subprocess.run([*shell, "-n", script], check=True)


# --- the wheel ---


class Wheel(NamedTuple):
    names: list[str]
    metadata: Message
    scripts: str


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Wheel:
    """The distribution, built as an installer would build it."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        info = next(n.split("/")[0] for n in archive.namelist() if ".dist-info/" in n)
        return Wheel(
            names=archive.namelist(),
            metadata=message_from_bytes(archive.read(f"{info}/METADATA")),
            scripts=archive.read(f"{info}/entry_points.txt").decode(),
        )


def test_the_wheel_holds_the_package_its_documentation_and_nothing_else(wheel: Wheel) -> None:
    shipped = {n for n in wheel.names if ".dist-info/" not in n}
    source = {relative(p) for p in committed() if p.is_relative_to(PACKAGE)}
    docs = {f"exporter/{relative(p)}" for p in committed() if p.is_relative_to(ROOT / "docs")}

    assert source | docs == shipped


def test_the_wheel_installs_the_command(wheel: Wheel) -> None:
    assert "cicd-exporter = exporter.__main__:main" in wheel.scripts


def test_the_wheel_says_what_it_is(wheel: Wheel) -> None:
    says: dict[str, Any] = dict(wheel.metadata.items())

    assert ("cicd-exporter", "Apache-2.0") == (says["Name"], says["License-Expression"])
    assert says["Requires-Python"] == ">=3.11"
    assert any(name.endswith("/licenses/LICENSE") for name in wheel.names)


def test_the_version_is_said_once_and_is_in_the_changelog(wheel: Wheel) -> None:
    assert exporter.__version__ == wheel.metadata["Version"]
    assert re.search(
        rf"^## {re.escape(exporter.__version__)}\b",
        (ROOT / "CHANGELOG.md").read_text(),
        re.MULTILINE,
    )
