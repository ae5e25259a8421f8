"""docs/WEB.md: its commands run, its examples are served, its tables are true."""

from __future__ import annotations

import os
import re
import ssl
import subprocess
import sys
from pathlib import Path

import bcrypt
import httpx
import pytest

from exporter.web.config import HEADERS
from exporter.web.tls import CIPHERS, CURVES, TlsServer
from tests.conftest import ROOT
from tests.system.web.test_server import Site, Town, run

DOCS = ROOT / "docs"
TEXT = (DOCS / "WEB.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, openssl: Path) -> Path:
    """Where the commands that make certificates were run."""
    folder = tmp_path_factory.mktemp("docs")
    for block in blocks("sh"):
        if block.startswith(openssl.name):
            subprocess.run(["sh", "-euc", block], cwd=folder, check=True, capture_output=True)
    return folder


def test_the_hash_is_one_of_the_password() -> None:
    (command,) = (block for block in blocks("sh") if block.startswith("python3"))

    done = subprocess.run(
        ["sh", "-euc", command],
        input="open sesame\n",
        start_new_session=True,  # no terminal to ask at
        env={"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )

    hashed = done.stdout.splitlines()[-1].removeprefix("Password: ")
    assert bcrypt.checkpw(b"open sesame", hashed.encode())


def test_the_certificates_let_prometheus_in_and_nobody_else(folder: Path) -> None:
    async def work(site: Site) -> None:
        context = ssl.create_default_context(cafile=str(folder / "cicd-exporter.crt"))
        with pytest.raises(httpx.TransportError):
            await site.get(verify=context)
        context.load_cert_chain(folder / "prometheus.crt", folder / "prometheus.key")
        assert (await site.get(verify=context)).status_code == 200

    sans = "  client_allowed_sans: [prometheus.example]\n"
    text = (DOCS / "web-config-mtls.yml").read_text()
    nobody: Town = Town(folder, *[None] * 4)  # type: ignore[arg-type]
    run(nobody, text.replace("  min_version", f"{sans}  min_version"), work)


def test_prometheus_takes_its_part(folder: Path, promtool: Path) -> None:
    (part,) = blocks("yaml")
    (folder / "prometheus.yml").write_text(part.replace("# cert", "cert").replace("# key", "key"))
    (folder / "password").write_text("open sesame")

    subprocess.run(
        [promtool, "check", "config", "prometheus.yml"],
        cwd=folder,
        check=True,
        capture_output=True,
    )


def test_every_key_suite_curve_and_header_is_named() -> None:
    spread = re.sub(
        r"`(\w+)\{(\w+),(\w+)\}(\w+)(\{128,256\})?(\w*)`",
        lambda m: " ".join(f"{m[1]}{kind}{m[4]}{m[5] or ''}{m[6]}" for kind in (m[2], m[3])),
        TEXT,
    )
    spread = re.sub(
        r"(TLS_\w+)\{128,256\}(\w+)", lambda m: f"{m[1]}128{m[2]} {m[1]}256{m[2]}", spread
    )

    named = set(re.findall(r"[\w-]+", spread))
    assert set() == {*CIPHERS, *CURVES, *HEADERS, *TlsServer.model_fields} - named
