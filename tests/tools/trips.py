"""Stands between a client and a server on loopback: counts round trips, and breaks them."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from types import TracebackType
from typing import Self


class Trips(threading.Thread):
    """A way to a server. Each time the word goes from that to a client counts as a trip."""

    def __init__(self, port: int) -> None:
        super().__init__(name="trips", daemon=True)
        self.count = 0
        self._server_port = port
        self._is_cut = threading.Event()
        self._goes_on = threading.Event()
        self._goes_on.set()
        self._open: set[socket.socket] = set()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.cut()
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.join()

    def cut(self) -> None:
        """End all connections, and take no more."""
        self._is_cut.set()
        self._goes_on.set()
        for one in list(self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def lead_to(self, port: int) -> None:
        """Lead to another server, from the next connection on."""
        self._server_port = port

    def hold(self) -> None:
        """Take what is said, and pass nothing on until it is mended."""
        self._goes_on.clear()

    def mend(self) -> None:
        """Let all go its way again."""
        self._is_cut.clear()
        self._goes_on.set()

    def run(self) -> None:
        with contextlib.suppress(OSError):  # it is closed
            while True:
                client = self._listening.accept()[0]
                try:
                    if self._is_cut.is_set():
                        raise ConnectionRefusedError
                    server = socket.create_connection(("127.0.0.1", self._server_port))
                except ConnectionRefusedError:
                    client.close()
                    continue
                threading.Thread(target=self._serve, args=(client, server), daemon=True).start()

    def _serve(self, client: socket.socket, server: socket.socket) -> None:
        asked = False
        self._open |= {client, server}
        with client, server, contextlib.suppress(OSError, ValueError):
            while True:
                ready, _, _ = select.select([client, server], [], [])
                for one, other in ((client, server), (server, client)):
                    if one in ready:
                        if not (data := one.recv(65536)):
                            self._open -= {client, server}
                            return
                        self.count += asked and one is server
                        asked = one is client
                        self._goes_on.wait()
                        other.sendall(data)
