"""`demo`: the exporter beside an emulator of the unified API."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import tempfile
from pathlib import Path

from exporter import daemon, demo
from exporter.commands import Command, listen_address, loaded
from exporter.config import Config

log = logging.getLogger(__name__)


def _run(options: argparse.Namespace) -> int:
    return asyncio.run(_demonstrate(options.listen or ("", 10054), options.level))


async def _demonstrate(address: tuple[str, int], level: str) -> int:
    with tempfile.TemporaryDirectory(prefix="cicd-exporter-demo-") as folder:
        async with demo.running() as stage:
            os.environ[demo.TOKEN_ENV] = demo.TOKEN
            file = str(Path(folder, "demo.yaml"))
            config = _written(file, stage.configuration(folder))
            shown = address[0] or "127.0.0.1"
            log.info("the demo's emulator is up", extra={"url": stage.url})
            log.info("see the metrics", extra={"url": f"http://{shown}:{address[1]}/metrics"})
            return await daemon.serve(config, daemon.Service(file, address, level=level))


def _written(file: str, text: str) -> Config:
    Path(file).write_text(text, encoding="utf-8")
    return loaded(file)


COMMAND = Command(
    name="demo",
    text="serve metrics of a local emulator with lively builds",
    run=_run,
    arguments=(listen_address,),
    example="""\
$ cicd-exporter demo --web.listen-address=127.0.0.1:10054
ts=2026-08-01T12:00:00.000Z level=info msg="see the metrics" url=http://127.0.0.1:10054/metrics""",
)
