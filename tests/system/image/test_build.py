"""What is in the image, and what is not."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from exporter import __version__
from tests.conftest import ROOT
from tests.system.image.containers import ANYBODY, STATE, STRICT
from tests.system.image.workshop import told

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
WRITABLE = """
import json, os
found = []
for folder, inner, files in os.walk("/"):
    inner[:] = [name for name in inner if f"{folder}{name}" not in ("/proc", "/sys", "/dev")]
    places = [folder, *(os.path.join(folder, name) for name in files)]
    found += [p for p in places if not os.path.islink(p) and os.access(p, os.W_OK)]
for folder in found:
    if os.path.isdir(folder):
        with open(os.path.join(folder, "probe"), "w"):
            pass
print(json.dumps(found))
"""
"""Every folder and file that can be written, tried where it is a folder."""
SCRATCH = {"/run/lock", "/tmp", "/var/lock", "/var/tmp"}
"""Anybody's, in any base that can be written."""
BOUNDS = """
import json, pathlib
lines = pathlib.Path("/proc/self/status").read_text().splitlines()
status = dict(line.split(":\\t", 1) for line in lines)
for limit in map(pathlib.Path, ("/sys/fs/cgroup/memory.max",
                                "/sys/fs/cgroup/memory/memory.limit_in_bytes")):
    if limit.exists():
        break
print(json.dumps([status, limit.read_text()]))
"""
"""What the kernel says of the process, and how much memory it may have."""
UNCOMPILED = """
import json, os, sys
import exporter.cli
caches = {name: getattr(module, "__cached__", None) for name, module in sys.modules.items()}
print(json.dumps([name for name, cache in caches.items() if cache and not os.path.exists(cache)]))
"""
INSTALLED = """
import importlib.metadata, json
found = importlib.metadata.distributions()
print(json.dumps([(dist.metadata["Name"], dist.version) for dist in found]))
"""


def test_hadolint_finds_nothing() -> None:
    done = subprocess.run(
        [BIN / "hadolint", "--failure-threshold=style", ROOT / "Dockerfile"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (0, "") == (done.returncode, done.stdout + done.stderr)


def test_the_image_is_what_its_structure_test_says(workshop, image, tmp_path) -> None:
    tar = tmp_path / "image.tar"
    told(workshop.podman("save", "--quiet", "--output", str(tar), image))

    said = told(
        [
            *(str(BIN / "container-structure-test"), "test", "--driver=tar", f"--image={tar}"),
            *("--output=json", f"--config={HERE / 'structure.yaml'}"),
        ]
    )

    results = json.loads(said)
    assert (0, 1) == (results["Fail"], results["Pass"]), said


def test_the_same_sources_make_the_same_image(workshop, twins) -> None:
    first, second = map(workshop.identity, twins)

    assert first == second


@pytest.mark.parametrize(
    ("options", "scratch"),
    [
        pytest.param(STRICT, set(), id="read-only"),
        pytest.param(("--cap-drop=ALL",), SCRATCH, id="own-user"),
        pytest.param(("--cap-drop=ALL", "--user", ANYBODY), SCRATCH, id="any-user"),
    ],
)
def test_nothing_but_the_state_can_be_written(ask, options, scratch) -> None:
    assert {STATE} == set(json.loads(ask(WRITABLE, *options))) - scratch


def test_the_hardening_is_in_force(ask) -> None:
    status, limit = json.loads(ask(BOUNDS))

    assert {0} == {int(status[name], 16) for name in status if name.startswith("Cap")}
    assert "1" == status["NoNewPrivs"]
    assert ["65532"] * 4 == status["Uid"].split()
    assert 256 * 1024**2 == int(limit)


def test_no_start_compiles_what_cannot_be_kept(ask) -> None:
    assert [] == json.loads(ask(UNCOMPILED))


def test_it_holds_the_locked_libraries_and_no_other(ask) -> None:
    lock = (ROOT / "requirements.txt").read_text()
    pins = map(Requirement, re.findall(r"^(\w.*?) \\$", lock, re.MULTILINE))
    python = {"python_version": "3.13", "python_full_version": "3.13.0"}
    locked = {
        canonicalize_name(pin.name): str(pin.specifier).removeprefix("==")
        for pin in pins
        if pin.marker is None or pin.marker.evaluate(python)
    }

    found = {canonicalize_name(name): version for name, version in json.loads(ask(INSTALLED))}

    assert locked | {"cicd-exporter": __version__} == found
