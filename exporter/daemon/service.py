"""Serving: the socket, the signals and the web server, from the start to a clean stop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from ipaddress import ip_address

import msgspec
from starlette.applications import Starlette

from exporter import __version__, logs
from exporter.config import Config
from exporter.daemon import standby
from exporter.daemon.application import DRAIN, assembled
from exporter.daemon.notifier import SystemdNotifier
from exporter.daemon.reload import Reloads
from exporter.errors import ExporterError, StateLost
from exporter.redaction import guarded
from exporter.systemd import Manager
from exporter.web import application
from exporter.web.access import Access
from exporter.web.config import WebConfig
from exporter.web.external import path_of
from exporter.web.guard import Guard
from exporter.web.server import Server

log = logging.getLogger(__name__)

_GLANCE = 0.5
"""Seconds between two looks at the files of the certificates."""


class Service(msgspec.Struct, frozen=True):
    """What the command line says of a running process."""

    file: str
    """The configuration file, which a reload reads again."""
    address: tuple[str, int]
    """Host, empty for all addresses, and port; 0 takes a free one."""
    lifecycle: bool = False
    """Whether anybody may reload over HTTP."""
    watch: float | None = None
    """Seconds between two looks at the file; None leaves reloading to those who ask for it."""
    level: str = "info"
    """What is logged where the configuration does not say it."""
    web: WebConfig = WebConfig()
    """TLS, users and headers."""


async def serve(config: Config, service: Service) -> int:
    """Poll and serve until SIGTERM or SIGINT; the exit code.

    Raises ExporterError if the address or the state is not to be had.
    """
    stop = _stopping()
    with listening(service.address) as listener, contextlib.ExitStack() as hang_ups:
        _configure_logs(config, service)
        ledger = None
        if config.state.is_database:
            ledger = await standby.opened(config, partial(_served, service, listener), stop)
            if ledger is None:
                return 0
        gc.disable()  # loading the state makes many objects and no garbage
        async with assembled(config, ledger=ledger) as app:
            gc.freeze()  # they stay: to look through them now and then would hold everybody up
            gc.enable()
            notifier = SystemdNotifier(Manager(), app)

            @contextlib.contextmanager
            def reloading() -> Iterator[None]:
                with notifier.reloading():
                    yield
                    _configure_logs(app.config, service)

            access = Access(service.web)
            reloads = Reloads(app, service.file, access, around=reloading)
            hang_ups.enter_context(_each_hang_up(reloads.signalled))
            app.start()
            if service.watch is not None:
                app.timers.every(service.watch, reloads.look, "look at the configuration")
            if access.context is not None:
                app.timers.every(_GLANCE, reloads.look_at_certificates, "look at the certificates")
            routes = application(
                app,
                telemetry_path=config.web.telemetry_path,
                config=lambda: app.config,
                reload=reloads.reload if service.lifecycle else None,
                base=lambda: path_of(app.config.web.external_url),
            )
            server = Server(Guard(routes, access), access, drain=DRAIN, ready=notifier.ready)
            host, port = listener.getsockname()[:2]
            shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            facts = {"tls": access.context is not None, "auth": bool(access.users)}
            log.info("serving", extra={"address": shown, "version": __version__, **facts})
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            ends = [asyncio.create_task(end.wait()) for end in (stop, app.recorder.lost)]
            await asyncio.wait([serving, *ends], return_when=asyncio.FIRST_COMPLETED)
            notifier.stopping()
            await reloads.close()
            server.should_exit = True
            await serving
            if app.recorder.lost.is_set():
                raise StateLost("another exporter has taken the state over: this one ends")
    log.info("stopped")
    return 0


@contextlib.asynccontextmanager
async def _served(
    service: Service, listener: socket.socket, routes: Starlette
) -> AsyncIterator[None]:
    """Answer by other routes for a while, at the same address."""
    access = Access(service.web)
    server = Server(Guard(routes, access), access, drain=DRAIN)
    Manager().tell("READY=1", status="standing by: another exporter polls")
    serving = asyncio.create_task(server.serve(sockets=[listener.dup()]))
    try:
        yield
    finally:
        server.should_exit = True
        await serving


def _configure_logs(config: Config, service: Service) -> None:
    logs.obey(config.log.level or service.level)


def _stopping() -> asyncio.Event:
    """Set by SIGTERM and SIGINT; a second one ends the process at once."""
    stop = asyncio.Event()

    def ask() -> None:
        if stop.is_set():
            os._exit(1)
        log.info("stopping")
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ask)
    return stop


@contextlib.contextmanager
def _each_hang_up(call: Callable[[], None]) -> Iterator[None]:
    """Call at each SIGHUP, which does nothing before and afterwards.

    Not the loop's own handler: what that leaves behind when the loop is closed is the system's,
    which ends the process.
    """
    loop = asyncio.get_running_loop()
    signal.signal(signal.SIGHUP, lambda *_: loop.call_soon_threadsafe(call))
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


def listening(address: tuple[str, int]) -> socket.socket:
    """A bound socket. Raises ExporterError if the address is not to be had."""
    host, port = address
    every = "::" if socket.has_dualstack_ipv6() else "0.0.0.0"  # noqa: S104 - what `:PORT` asks for
    try:
        found = socket.getaddrinfo(host or every, port, type=socket.SOCK_STREAM)
        # The protocol is named, as asyncio turns Nagle's delay off only where it is TCP's.
        listener = socket.socket(found[0][0], socket.SOCK_STREAM, socket.IPPROTO_TCP)
        with contextlib.ExitStack() as unless_it_listens:
            unless_it_listens.enter_context(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if found[0][0] == socket.AF_INET6:
                is_every = ip_address(found[0][4][0]).is_unspecified
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(not is_every))
            listener.bind(found[0][4])
            listener.listen(1024)
            unless_it_listens.pop_all()
    except OSError as error:
        raise ExporterError(
            f"cannot listen on {guarded(host)}:{port}: {error.strerror} (choose another"
            " --web.listen-address or stop who has it)"
        ) from None
    return listener
