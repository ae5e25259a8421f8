"""`run`: the exporter itself."""

from __future__ import annotations

import argparse

from exporter import daemon
from exporter.commands import (
    Command,
    config_file,
    listen_address,
    loaded,
    loaded_web,
    seconds,
    web_config,
)
from exporter.config import host_port
from exporter.redaction import shown
from exporter.threads import to_the_end

_LONGEST_WATCH = 86400.0
"""Seconds between two looks at the configuration file, at most."""


def _run(options: argparse.Namespace) -> int:
    config = loaded(options.config)
    service = daemon.Service(
        file=options.config,
        address=options.listen or host_port(config.web.listen_address),
        lifecycle=options.lifecycle,
        watch=options.watch if options.auto_reload else None,
        level=options.level,
        web=loaded_web(options.web),
    )
    return to_the_end(daemon.serve(config, service))


def _reloading(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--web.enable-lifecycle",
        dest="lifecycle",
        action="store_true",
        help="reload the configuration on POST /-/reload",
    )
    parser.add_argument(
        "--config.enable-auto-reload",
        dest="auto_reload",
        action="store_true",
        help="reload the configuration when its file has changed",
    )
    parser.add_argument(
        "--config.auto-reload-interval",
        dest="watch",
        type=_interval,
        default=30.0,
        metavar="DURATION",
        help="how often to look whether it has (default 30s)",
    )


def _interval(text: str) -> float:
    span = seconds(text)
    if not 0 < span <= _LONGEST_WATCH:
        raise argparse.ArgumentTypeError(f"{shown(text)} is not more than 0 and at most a day")
    return span


COMMAND = Command(
    name="run",
    text="poll and serve until SIGTERM",
    run=_run,
    arguments=(config_file, listen_address, web_config, _reloading),
    example="""\
$ cicd-exporter run --config.file=/etc/cicd-exporter.yaml --config.enable-auto-reload
ts=2026-08-01T12:00:00.000Z level=info msg=serving address=[::]:10054 version=0.1.0""",
)
