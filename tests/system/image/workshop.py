"""Builds images and runs containers with buildah, podman and runc, on a storage of their own.

The storage is kept in the machine's cache folder: what was built from the same sources is not
built again. As any other user than root everything goes through sudo, which .ci/run needs too.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import ROOT

TOOLS = ("buildah", "podman", "runc", "mmdebstrap")
"""Debian packages, and the commands in them."""
IMAGE = "localhost/cicd-exporter"
BASE = "localhost/python-stand-in"
VERSION, REVISION = "9.8.7", "0123456789abcdef0123456789abcdef01234567"
"""What the builder says; any words would do."""
MOMENT = "1700000000"
"""SOURCE_DATE_EPOCH, the time of every file in the image."""
_KEPT = 6
"""Names of older images that are kept, as another checkout may be at work with them."""
_LIMITS = ("--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024")
"""What podman asks for by itself needs a privilege that a container of CI has not."""


class Workshop:
    """A storage of images, and the tools on it."""

    def __init__(self) -> None:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        self.folder = cache / "cicd-exporter-image"
        self.folder.mkdir(parents=True, exist_ok=True)
        self._place = (
            f"--root={self.folder / 'storage'}",
            f"--runroot={self.folder / 'run'}",
        )

    def missing(self) -> str:
        """Why nothing can be built here; empty if it can."""
        wanted = [*TOOLS, *(() if os.geteuid() == 0 else ("sudo",))]
        path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"  # where Debian has runc
        lacking = [tool for tool in wanted if shutil.which(tool, path=path) is None]
        return f"not installed: {' '.join(lacking)}" if lacking else ""

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Whoever else builds on this storage waits."""
        with (self.folder / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def podman(self, *arguments: str) -> list[str]:
        """The command line of podman."""
        runtime = ("--runtime=runc", "--cgroup-manager=cgroupfs")
        return [*privileged(), "podman", *self._place, *runtime, *arguments]

    def run(self, *arguments: str) -> list[str]:
        """The command line of `podman run`."""
        return self.podman("run", "--rm", "--pull=never", *_LIMITS, *arguments)

    def has(self, image: str) -> bool:
        """Whether the storage has this image."""
        return subprocess.run(self.podman("image", "exists", image), check=False).returncode == 0

    def identity(self, image: str) -> str:
        """The hash of all that the image is."""
        return told(self.podman("image", "inspect", "--format={{.Id}}", image))

    def build(self, image: str, base: str) -> None:
        """Build the unmodified Dockerfile upon `base`, as if for the first time."""
        told(
            [
                *privileged(),
                *("buildah", *self._place, "bud", "--isolation=chroot", "--network=host"),
                *("--no-cache", f"--timestamp={MOMENT}", f"--build-arg=SOURCE_DATE_EPOCH={MOMENT}"),
                *(f"--build-arg=VERSION={VERSION}", f"--build-arg=REVISION={REVISION}"),
                f"--build-context={base_name()}=container-image://{base}",
                *("--tag", image, str(ROOT)),
            ]
        )

    def prune(self, name: str) -> None:
        """Forget the images of this name but a few."""
        known = told(
            self.podman("images", f"--filter=reference={name}", "--format={{.Repository}}:{{.Tag}}")
        )
        for image in known.splitlines()[_KEPT:]:
            subprocess.run(self.podman("rmi", image), check=False, capture_output=True)


def base_name() -> str:
    """The image that the Dockerfile starts from, in all its stages."""
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    (name,) = {line.split()[1] for line in lines if line.startswith("FROM ")}
    return name


def sources() -> list[Path]:
    """The files that the Dockerfile is given, and itself."""
    names = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = [ROOT / name[1:] for name in names if name.startswith("!")]
    inside = [path for folder in allowed if folder.is_dir() for path in folder.rglob("*")]
    files = [*allowed, *inside, ROOT / "Dockerfile", ROOT / ".dockerignore"]
    return sorted(p for p in files if p.is_file() and "__pycache__" not in p.parts)


def fingerprint(*parts: bytes) -> str:
    """A tag that is another one whenever a part is."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()[:16]


def privileged() -> tuple[str, ...]:
    """What comes before a command that only root may run."""
    return () if os.geteuid() == 0 else ("sudo", "-n")


def told(command: list[str]) -> str:
    """What a command writes; its complaint is the failure."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout.strip()
