"""The command line: arguments, wiring, signals, exit codes.

Exit codes: 0 ok, 1 runtime failure, 2 usage or configuration.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import uvicorn

from exporter import __version__, demo, exposition, logs
from exporter.config import Config, host_port, load
from exporter.errors import ConfigError, ExporterError
from exporter.http import Api, Token
from exporter.metrics import book
from exporter.metrics.families import Buckets
from exporter.poller import Poller, walk
from exporter.poller.account import AccountPoller
from exporter.poller.ground import Rules
from exporter.poller.recorder import Recorder
from exporter.providers import Provider
from exporter.state.ledger import Terms, open_ledger
from exporter.web import application

log = logging.getLogger(__name__)

_GRACE = 8.0
"""Seconds that a stop may take before what is left is abandoned; the supervisor gives 10."""
_DRAIN = 2.0
"""Seconds of it that open scrapes get."""


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
                help="taken, but without effect: there is no reload over HTTP yet",
            )
    return parser


def _address(text: str) -> tuple[str, int]:
    try:
        return host_port(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


# -- commands


def _check(options: argparse.Namespace) -> int:
    config = _loaded(options.config)
    print(f"{options.config}: {len(config.accounts)} account(s), no fault")
    return 0


def _run(options: argparse.Namespace) -> int:
    config = _loaded(options.config)
    return asyncio.run(_serve(config, options.listen or host_port(config.web.listen_address)))


def _once(options: argparse.Namespace) -> int:
    return asyncio.run(_poll_once(_loaded(options.config)))


def _demo(options: argparse.Namespace) -> int:
    return asyncio.run(_demonstrate(options.listen or ("", 10054)))


def _loaded(file: str) -> Config:
    config = load(file)
    for warning in config.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return config


# -- wiring


@contextlib.asynccontextmanager
async def _assembled(config: Config, *, hold: bool = True) -> AsyncIterator[Poller]:
    """A poller over the configured state, not yet started; stopped at the end.

    `hold=False` lets every increment in at once.
    """
    rules = book.Rules(
        branches=config.metrics.branches,
        buckets=Buckets(config.metrics.duration_buckets, config.metrics.queue_buckets),
        zero_hold=config.metrics.zero_hold,
        series_limit=config.metrics.series_limit,
        max_open_age=config.polling.max_open_age,
    )
    ledger = open_ledger(
        config.state.url,
        Terms(config.state.retention, config.polling.lookback, quiet=hold),
        on_corrupt=config.state.on_corrupt,
    )
    labels_of = {account.name: account.label for account in config.accounts}
    recorder = Recorder(
        ledger, book.Book(rules, labels_of, hold=hold), retention=config.state.retention
    )
    try:
        recorder.start(labels_of)
    except BaseException:
        ledger.close()
        raise
    reading = Rules(
        lookback=config.polling.lookback,
        retention=config.state.retention,
        rerun_window=config.polling.rerun_window,
        max_interval=max(config.polling.max_interval, config.polling.interval),
    )
    poller = Poller(
        [
            AccountPoller(
                walk.Reader(
                    account,
                    _api(account, timeout=config.polling.timeout),
                    recorder,
                    reading,
                ),
                interval=config.polling.interval,
            )
            for account in config.accounts
        ],
        recorder,
        exposition.Health(reload_time=time.time()),
    )
    try:
        yield poller
    finally:
        try:
            async with asyncio.timeout(_GRACE - _DRAIN):
                await poller.stop()
        except TimeoutError:
            log.warning("some polls did not stop in time and are abandoned")


def _api(account: Provider, *, timeout: float) -> Api:
    token = Token(env=account.token_env, file=account.token_file)
    return Api(
        root=account.root,
        headers=lambda: account.headers(token.read()),
        timeout=timeout,
        ca_file=account.ca_file,
        proxy=account.proxy,
    )


async def _poll_once(config: Config) -> int:
    async with _assembled(config, hold=False) as poller:
        well = await poller.once()
        text = exposition.render(
            poller.snapshot(), poller.recorder.book.rules.buckets, "text"
        ).decode()
    sys.stdout.write(text)
    sys.stdout.flush()
    return 0 if well else 1


async def _serve(config: Config, address: tuple[str, int]) -> int:
    stop = _stopping()
    with _listening(address) as listener:
        async with _assembled(config) as poller:
            poller.start()
            app = application(poller, telemetry_path=config.web.telemetry_path)
            server = _Server(
                uvicorn.Config(
                    app,
                    log_config=None,
                    access_log=False,
                    lifespan="off",
                    timeout_graceful_shutdown=int(_DRAIN),
                )
            )
            host, port = listener.getsockname()[:2]
            log.info("serving", extra={"address": f"{host}:{port}", "version": __version__})
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            await asyncio.wait(
                [serving, asyncio.create_task(stop.wait())], return_when=asyncio.FIRST_COMPLETED
            )
            server.should_exit = True
            await serving
    log.info("stopped")
    return 0


async def _demonstrate(address: tuple[str, int]) -> int:
    with tempfile.TemporaryDirectory(prefix="cicd-exporter-demo-") as folder:
        async with demo.running() as stage:
            os.environ[demo.TOKEN_ENV] = demo.TOKEN
            config = _written(Path(folder, "demo.yaml"), stage.configuration(folder))
            shown = address[0] or "127.0.0.1"
            log.info("the demo's emulator is up", extra={"url": stage.url})
            log.info("see the metrics", extra={"url": f"http://{shown}:{address[1]}/metrics"})
            return await _serve(config, address)


def _written(file: Path, text: str) -> Config:
    file.write_text(text, encoding="utf-8")
    return _loaded(str(file))


class _Server(uvicorn.Server):
    """A server that leaves the signals to us."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _stopping() -> asyncio.Event:
    """Set by SIGTERM and SIGINT; a second one ends the process at once. SIGHUP does not."""
    stop = asyncio.Event()

    def ask() -> None:
        if stop.is_set():
            os._exit(1)
        log.info("stopping")
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ask)
    loop.add_signal_handler(
        signal.SIGHUP, log.warning, "SIGHUP: reloading is not there yet, restart instead"
    )
    return stop


def _listening(address: tuple[str, int]) -> socket.socket:
    """A bound socket. Raises ExporterError if the address is not to be had."""
    host, port = address
    every = "::" if socket.has_dualstack_ipv6() else "0.0.0.0"  # noqa: S104 - what `:PORT` asks for
    try:
        found = socket.getaddrinfo(host or every, port, type=socket.SOCK_STREAM)
        # The protocol is named, as asyncio turns Nagle's delay off only where it is TCP's.
        listener = socket.socket(found[0][0], socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if found[0][0] == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(bool(host)))
        listener.bind(found[0][4])
        listener.listen(1024)
    except OSError as error:
        raise ExporterError(
            f"cannot listen on {host}:{port}: {error.strerror} (choose another"
            " --web.listen-address or stop who has it)"
        ) from None
    return listener
