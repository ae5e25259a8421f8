"""A real PostgreSQL for tests: one cluster for each process that runs tests, a schema for each use.

Its files are in a temporary folder, and nothing is forced to the disk but where a test says so.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import pwd
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tools.system import eventually

_MADE = "-A trust -E UTF8 --locale=C --no-sync"
_SERVED = "-c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=60"
_IN_A_HURRY = "-c fsync=off -c full_page_writes=off"


def _tool(name: str) -> str | None:
    """A program of the server, which Debian keeps out of the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(found[-1]) if found else shutil.which(name)


def _user() -> str | None:
    """Who runs it where root must not."""
    if os.geteuid():
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    return None


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


class Cluster:
    """A server that listens on loopback."""

    def __init__(
        self, folder: Path, *, durable: bool = False, primary: Cluster | None = None
    ) -> None:
        """A standby of `primary`, if there is one, which a commit waits for from then on."""
        initdb, self._postgres = _tool("initdb"), _tool("postgres")
        if initdb is None or self._postgres is None:
            pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
        self.port = _free_port()
        self._folder = folder
        self._options = (_SERVED if durable else f"{_SERVED} {_IN_A_HURRY}").split()
        made = [initdb, "-D", self.data, "-U", "cicd", *_MADE.split()]
        if primary is not None:
            source = f"-h 127.0.0.1 -p {primary.port} -U cicd -R -X stream -c fast"
            made = [str(_tool("pg_basebackup")), "-D", self.data, *source.split()]
        subprocess.run(made, check=True, stdout=subprocess.DEVNULL, user=_user(), cwd="/")
        self.start()
        if primary is not None:
            primary.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            primary.execute("SELECT pg_reload_conf()")
            eventually(primary.assert_followed, within=30)

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        """What a statement returns, executed as a transaction of its own."""
        import psycopg

        with psycopg.connect(self.url, autocommit=True) as db:
            cursor = db.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def assert_followed(self) -> None:
        """A standby has all that is committed."""
        states = self.execute("SELECT sync_state FROM pg_stat_replication")
        assert states == [("sync",)], states

    @property
    def data(self) -> str:
        return str(self._folder / "data")

    @property
    def url(self) -> str:
        """Where it is, in libpq's form."""
        return f"postgresql://cicd@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start the server, and wait until it answers.

        One that was killed leaves children behind for a moment, and as long no other one starts.
        """
        self._launch()
        eventually(self._answers, within=30, every=0.05)

    def _launch(self) -> None:
        with (self._folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(self._postgres), "-D", self.data, "-p", str(self.port), *self._options],
                stdout=log,
                stderr=log,
                user=_user(),
                cwd="/",
            )

    def _answers(self) -> None:
        if self.process.poll() is not None:
            self._launch()
            raise AssertionError((self._folder / "log").read_text())
        _connects(self.url)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop the server: SIGINT ends all sessions at once, SIGKILL is a crash."""
        self.process.send_signal(how)
        self.process.wait(timeout=30)


@contextlib.contextmanager
def cluster(*, durable: bool = False) -> Iterator[Cluster]:
    """A cluster of its own."""
    with _folder() as folder:
        made = Cluster(folder, durable=durable)
        try:
            yield made
        finally:
            if made.process.poll() is None:
                made.stop()


@contextlib.contextmanager
def standby_of(primary: Cluster) -> Iterator[Cluster]:
    """A standby that every commit of `primary` waits for."""
    with _folder() as folder:
        made = Cluster(folder, durable=True, primary=primary)
        try:
            yield made
        finally:
            if made.process.poll() is None:
                made.stop()


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """A temporary folder of whoever runs a server."""
    with tempfile.TemporaryDirectory(prefix="cicd-exporter-postgres-") as name:
        if (user := _user()) is not None:
            shutil.chown(name, user)
        yield Path(name)


@contextlib.contextmanager
def pooled(server: Cluster) -> Iterator[str]:
    """The address of a pooler in transaction mode: many clients have two sessions of a server."""
    program = shutil.which("pgbouncer") or shutil.which("/usr/sbin/pgbouncer")
    if program is None:
        pytest.skip("PgBouncer is not installed (Debian: apt-get install pgbouncer)")
    port = _free_port()
    with _folder() as folder, (folder / "log").open("ab") as log:
        config = folder / "pgbouncer.ini"
        config.write_text(
            f"[databases]\npostgres = host=127.0.0.1 port={server.port} user=cicd\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            "auth_type = any\npool_mode = transaction\ndefault_pool_size = 2\n"
            "ignore_startup_parameters = extra_float_digits\n"
        )
        process = subprocess.Popen(
            [program, "-q", str(config)], stdout=log, stderr=log, user=_user(), cwd="/"
        )
        url = f"postgresql://cicd@127.0.0.1:{port}/postgres"
        try:
            eventually(lambda: _connects(url), within=30)
            yield url
        finally:
            process.terminate()
            process.wait(timeout=30)


def _connects(url: str) -> None:
    import psycopg

    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.Error as error:
        raise AssertionError(str(error)) from None


class Proxy(threading.Thread):
    """Stands before a server. Once `armed` it keeps the answer to the next commit of a transaction
    that wrote to itself, and ends the connection."""

    def __init__(self, port: int) -> None:
        super().__init__(name="proxy", daemon=True)
        self.armed = threading.Event()
        self.cut = 0
        """How many answers it has kept to itself."""
        self._server_port = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])

    def run(self) -> None:
        with contextlib.suppress(OSError):  # it is closed
            while True:
                client = self._listening.accept()[0]
                server = socket.create_connection(("127.0.0.1", self._server_port))
                threading.Thread(target=self._serve, args=(client, server), daemon=True).start()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _serve(self, client: socket.socket, server: socket.socket) -> None:
        has_written = False
        with client, server, contextlib.suppress(OSError):
            while True:
                ready, _, _ = select.select([client, server], [], [])
                if client in ready:
                    if not (data := client.recv(65536)):
                        return
                    has_written = has_written or b"fleet SET turn" in data
                    server.sendall(data)
                if server in ready:
                    if not (data := server.recv(65536)):
                        return
                    if b"COMMIT\0" in data:  # the tag of a command that is complete
                        if has_written and self.armed.is_set():
                            self.armed.clear()
                            self.cut += 1
                            return
                        has_written = False
                    client.sendall(data)


@functools.cache
def shared() -> Cluster:
    """The cluster of this process, until that ends."""
    keeper = contextlib.ExitStack()
    made = keeper.enter_context(cluster())
    import atexit

    atexit.register(keeper.close)
    return made


def schema_of(path: Path | str) -> str:
    """A schema in place of a state file: the same one for the same path."""
    return f"state_{hashlib.sha256(str(path).encode()).hexdigest()[:16]}"
