"""The image, built once from the sources as they are."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from exporter.demo import World
from tests.conftest import ROOT
from tests.system.image import base
from tests.system.image.containers import HARDENED, REPO, Setup, add, with_file, with_variable
from tests.system.image.workshop import IMAGE, Workshop, fingerprint, sources
from tests.tools.emulators.unified import EmulatorThread


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the first test of this folder the time that a machine takes to make the image."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(600))


@pytest.fixture(scope="session")
def workshop() -> Workshop:
    """Real buildah and podman."""
    workshop = Workshop()
    if why := workshop.missing():
        pytest.skip(f"{why} (.ci/run installs them where apt-get is the package manager)")
    return workshop


@pytest.fixture(scope="session")
def stand_in(workshop: Workshop) -> str:
    """What takes the place of the official Python image."""
    with workshop.alone():
        try:
            return base.made(workshop)
        except AssertionError as error:
            pytest.skip(f"a base for the image cannot be made on this machine: {error}")


@pytest.fixture(scope="session")
def twins(workshop: Workshop, stand_in: str) -> tuple[str, str]:
    """Two images, built by themselves unless that was done with these very sources before."""
    content = [part for p in sources() for part in (bytes(p.relative_to(ROOT)), p.read_bytes())]
    name = f"{IMAGE}:{fingerprint(stand_in.encode(), *content)}"
    both = name, f"{name}-again"
    with workshop.alone(), ThreadPoolExecutor() as threads:
        if not all(map(workshop.has, both)):
            workshop.prune(IMAGE)
            list(threads.map(workshop.build, both, (stand_in, stand_in)))
    return both


@pytest.fixture(scope="session")
def image(twins: tuple[str, str]) -> str:
    """The image's name."""
    return twins[0]


@pytest.fixture(scope="session")
def can_run(workshop: Workshop, image: str) -> None:
    """That hardened containers run on this machine."""
    command = workshop.run(*HARDENED, "--network=none", image, "--version")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"podman runs no hardened container on this machine: {done.stderr}")


@pytest.fixture
def ask(workshop: Workshop, image: str, can_run: None) -> Callable[..., str]:
    """Run Python code in a container of its own, hardened unless told otherwise."""

    def ask(code: str, *options: str) -> str:
        command = workshop.run(
            *(options or HARDENED), "--network=none", "--entrypoint=python", image, "-c", code
        )
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    return ask


@pytest.fixture(scope="module")
def world() -> World:
    """Two accounts with three builds each."""
    world = World()
    for account in ("variable", "file"):
        world.open(account, "github", REPO)
        add(world, account, 1, 2, 3)
    return world


@pytest.fixture(scope="module")
def url(world) -> Iterator[str]:
    with EmulatorThread(world) as emulator:
        yield emulator.url


@pytest.fixture
def setup(workshop, can_run, tmp_path, url) -> Iterator[Setup]:
    setup = Setup(workshop, tmp_path)
    setup.configure([with_variable("variable", url), with_file("file", url)])
    yield setup
    setup.remove()
