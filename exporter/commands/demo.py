"""`demo`: the exporter beside an emulator of the unified API."""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
from pathlib import Path

from exporter import daemon, demo
from exporter.commands import Command, listen_address, loaded, loaded_web, web_config
from exporter.config import Config
from exporter.threads import to_the_end
from exporter.web.config import WebConfig

log = logging.getLogger(__name__)


def _run(options: argparse.Namespace) -> int:
    return to_the_end(_demonstrate(options, loaded_web(options.web)))


async def _demonstrate(options: argparse.Namespace, web: WebConfig) -> int:
    address: tuple[str, int] = options.listen or ("", 10054)
    with tempfile.TemporaryDirectory(prefix="cicd-exporter-demo-") as folder:
        async with demo.running() as running:
            os.environ[demo.TOKEN_ENV] = demo.TOKEN
            file = str(Path(folder, "demo.yaml"))
            root = _root(*address, scheme="http" if web.context is None else "https")
            # A port that the system is still to choose is no address for links.
            config = _written(file, running.configuration(folder, root if address[1] else None))
            log.info("the demo's emulator is up", extra={"url": running.url})
            log.info("see the metrics", extra={"url": f"{root}/metrics"})
            service = daemon.Service(file, address, level=options.level, web=web)
            return await daemon.serve(config, service)


def _root(host: str, port: int, *, scheme: str) -> str:
    """Where a browser of this machine finds what listens there."""
    if host in ("", "::", "0.0.0.0"):  # noqa: S104 - compared with, not bound to
        host = "127.0.0.1"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _written(file: str, text: str) -> Config:
    Path(file).write_text(text, encoding="utf-8")
    return loaded(file)


COMMAND = Command(
    name="demo",
    text="serve metrics of a local emulator with lively builds",
    run=_run,
    arguments=(listen_address, web_config),
    example="""\
$ cicd-exporter demo --web.listen-address=127.0.0.1:10054
ts=2026-08-01T12:00:00.000Z level=info msg="see the metrics" url=http://127.0.0.1:10054/metrics""",
)
