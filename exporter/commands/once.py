"""`once`: one poll of everything, printed."""

from __future__ import annotations

import argparse
import sys

from exporter import daemon
from exporter.commands import Command, config_file, loaded
from exporter.config import Config
from exporter.threads import to_the_end


def _run(options: argparse.Namespace) -> int:
    return to_the_end(_poll_once(loaded(options.config)))


async def _poll_once(config: Config) -> int:
    async with daemon.assembled(config, hold=False) as app:
        well = await app.once()
        text = app.exposition.text().decode()
    sys.stdout.write(text)
    sys.stdout.flush()
    return 0 if well else 1


COMMAND = Command(
    name="once",
    text="poll every target once and print the metrics",
    run=_run,
    arguments=(config_file,),
    example="""\
$ cicd-exporter once --config.file=config.yaml | grep ^cicd_exporter_account_up
cicd_exporter_account_up{provider="github",account="acme"} 1""",
)
