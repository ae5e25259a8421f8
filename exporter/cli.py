"""The command line: arguments, commands, exit codes.

Exit codes: 0 ok, 1 runtime failure, 2 usage or configuration.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from exporter import __version__, daemon, demo, logs, times
from exporter.config import Config, host_port, load
from exporter.errors import ConfigError, ExporterError

log = logging.getLogger(__name__)

_LONGEST_WATCH = 86400.0
"""Seconds between two looks at the configuration file, at most."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    options = _parser().parse_args(argv)
    logs.configure(level=options.level, form=options.form)
    try:
        code: int = options.command(options)
    except ConfigError as error:
        for fault in error.faults:
            print(fault, file=sys.stderr)
        return 2
    except ExporterError as error:
        print(f"cicd-exporter: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Whoever read our output has had enough of it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


# -- arguments


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cicd-exporter",
        description="Prometheus exporter for the builds and jobs of many CI systems.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"cicd-exporter {__version__}")
    logging_flags = argparse.ArgumentParser(add_help=False)
    logging_flags.add_argument(
        "--log.level", dest="level", choices=("debug", "info", "warn", "error"), default="info"
    )
    logging_flags.add_argument(
        "--log.format", dest="form", choices=("logfmt", "json"), default="logfmt"
    )
    config = argparse.ArgumentParser(add_help=False)
    config.add_argument(
        "--config.file", dest="config", required=True, metavar="FILE", help="the YAML file"
    )
    listen = argparse.ArgumentParser(add_help=False)
    listen.add_argument(
        "--web.listen-address",
        dest="listen",
        type=_address,
        metavar="HOST:PORT",
        help="where to serve; wins over web.listen_address",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, command, parents, text in (
        ("run", _run, [config, listen], "poll and serve until SIGTERM"),
        ("check-config", _check, [config], "tell every fault of a configuration file"),
        ("once", _once, [config], "poll every target once and print the metrics"),
        ("demo", _demo, [listen], "serve metrics of a local emulator with lively builds"),
    ):
        sub = commands.add_parser(
            name,
            help=text,
            description=text,
            parents=[*parents, logging_flags],
            allow_abbrev=False,
        )
        sub.set_defaults(command=command)
        if name == "run":
            sub.add_argument(
                "--web.enable-lifecycle",
                dest="lifecycle",
                action="store_true",
                help="reload the configuration on POST /-/reload",
            )
            sub.add_argument(
                "--config.enable-auto-reload",
                dest="auto_reload",
                action="store_true",
                help="reload the configuration when its file has changed",
            )
            sub.add_argument(
                "--config.auto-reload-interval",
                dest="watch",
                type=_interval,
                default=30.0,
                metavar="DURATION",
                help="how often to look whether it has (default 30s)",
            )
    return parser


def _address(text: str) -> tuple[str, int]:
    try:
        return host_port(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _interval(text: str) -> float:
    try:
        seconds = float(text) if text.isdigit() else times.span(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if not 0 < seconds <= _LONGEST_WATCH:
        raise argparse.ArgumentTypeError(f"{text!r} is not more than 0 and at most a day")
    return seconds


# -- commands


def _check(options: argparse.Namespace) -> int:
    config = _loaded(options.config)
    print(f"{options.config}: {len(config.accounts)} account(s), no fault")
    return 0


def _run(options: argparse.Namespace) -> int:
    # Until there is somebody to hear it: a SIGHUP never ends the process.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    config = _loaded(options.config)
    service = daemon.Service(
        file=options.config,
        address=options.listen or host_port(config.web.listen_address),
        lifecycle=options.lifecycle,
        watch=options.watch if options.auto_reload else None,
    )
    return asyncio.run(daemon.serve(config, service))


def _once(options: argparse.Namespace) -> int:
    return asyncio.run(_poll_once(_loaded(options.config)))


def _demo(options: argparse.Namespace) -> int:
    return asyncio.run(_demonstrate(options.listen or ("", 10054)))


def _loaded(file: str) -> Config:
    config = load(file)
    for warning in config.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return config


async def _poll_once(config: Config) -> int:
    async with daemon.assembled(config, hold=False) as assembly:
        poller = assembly.poller
        well = await poller.once()
        text = poller.exposition.text().decode()
    sys.stdout.write(text)
    sys.stdout.flush()
    return 0 if well else 1


async def _demonstrate(address: tuple[str, int]) -> int:
    with tempfile.TemporaryDirectory(prefix="cicd-exporter-demo-") as folder:
        async with demo.running() as stage:
            os.environ[demo.TOKEN_ENV] = demo.TOKEN
            file = str(Path(folder, "demo.yaml"))
            config = _written(file, stage.configuration(folder))
            shown = address[0] or "127.0.0.1"
            log.info("the demo's emulator is up", extra={"url": stage.url})
            log.info("see the metrics", extra={"url": f"http://{shown}:{address[1]}/metrics"})
            return await daemon.serve(config, daemon.Service(file, address))


def _written(file: str, text: str) -> Config:
    Path(file).write_text(text, encoding="utf-8")
    return _loaded(file)
