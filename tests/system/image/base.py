"""A stand-in for the official Python image: Debian's own Python of the same minor version.

Unpacked rather than installed, as nothing in it needs to be set up; so it has no bytecode
either, like the official one. What this machine needs to reach the package index, a CA bundle
perhaps or a mirror, goes into the stand-in and never into the Dockerfile.
"""

from __future__ import annotations

import ast
import io
import os
import ssl
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import certifi

from tests.system.image.workshop import BASE, Workshop, fingerprint, privileged, told

SUITE = "trixie"
"""Debian's release that has Python 3.13."""
PACKAGES = (
    *("base-files", "coreutils", "dash"),
    *("python-is-python3", "python3-pip", "python3-venv"),
)
USELESS = ("./usr/share/doc/", "./usr/share/locale/", "./usr/share/man/")
"""What the official image leaves out too."""
KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
CAS = "/etc/ssl/certs/ca-certificates.crt"
"""Where Debian keeps the CA bundle."""
_OF_INDEX = ("index-url", "extra-index-url", "proxy", "retries", "timeout", "trusted-host")
"""Settings of pip that say where packages come from."""


def made(workshop: Workshop) -> str:
    """The stand-in's name; made if this machine has not made it yet, in half a minute."""
    settings, bundle = _pip_settings().encode(), _bundle().read_bytes()
    recipe = fingerprint(" ".join((SUITE, *PACKAGES)).encode(), settings, bundle)
    name = f"{BASE}:{recipe}"
    if not workshop.has(name):
        with tempfile.TemporaryDirectory(dir=workshop.folder) as folder:
            whole, slim = Path(folder) / "whole.tar", Path(folder) / "slim.tar"
            _unpack(whole)
            with tarfile.open(whole) as given, tarfile.open(slim, "w") as tar:
                for member in given:
                    if not member.name.startswith(USELESS):
                        content = given.extractfile(member) if member.isreg() else None
                        tar.addfile(member, content)
                _add(tar, "./etc/pip.conf", settings)
                _add(tar, f".{CAS}", bundle)
            path = "ENV PATH=/usr/local/bin:/usr/bin:/bin"
            told(workshop.podman("import", "--quiet", "--change", path, str(slim), name))
    return name


def _unpack(tar: Path) -> None:
    mirror = _mirror()
    source = (f"deb [signed-by={KEYS}] {mirror} {SUITE} main",) if mirror else ()
    told(
        [
            *(*privileged(), "mmdebstrap", "--quiet", "--variant=extract"),
            *(f"--include={','.join(PACKAGES)}", SUITE, str(tar), *source),
        ]
    )
    told([*privileged(), "chown", str(os.geteuid()), str(tar)])


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    member.mode = 0o644
    tar.addfile(member, io.BytesIO(content))


def _mirror() -> str:
    """This machine's mirror of Debian; empty if it has none, where mmdebstrap knows one."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Origin: Debian"]
    done = subprocess.run([*command, "Label: Debian"], capture_output=True, text=True, check=False)
    return next(iter(done.stdout.split()), "")


def _bundle() -> Path:
    """The CA bundle that this machine trusts."""
    told_of = (os.environ.get("PIP_CERT"), os.environ.get("SSL_CERT_FILE"))
    places = (*told_of, CAS, ssl.get_default_verify_paths().cafile, certifi.where())
    return next(path for path in map(Path, filter(None, places)) if path.is_file())


def _pip_settings() -> str:
    """A pip.conf with this machine's settings for the package index."""
    listed = told([sys.executable, "-m", "pip", "config", "list"]).splitlines()
    listed.sort(key=lambda line: line.startswith(":env:"))  # the last one counts
    kept = dict(_reachable(line) for line in listed)
    lines = [f"{key} = {kept[key]}" for key in _OF_INDEX if kept.get(key)]
    return "\n".join(["[global]", f"cert = {CAS}", *lines, ""])


def _reachable(line: str) -> tuple[str, str]:
    """A setting as `pip config list` shows it, without folders of this machine."""
    name, _, value = line.partition("=")
    words = str(ast.literal_eval(value)).split()
    return name.rpartition(".")[2], " ".join(w for w in words if not w.startswith("file:"))
