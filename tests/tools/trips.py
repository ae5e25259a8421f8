"""Counts round trips: how often a client waits for an answer of a server."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from types import TracebackType
from typing import Self


class Trips(threading.Thread):
    """Stands before a server on loopback. Each time the word goes from it to a client counts."""

    def __init__(self, port: int) -> None:
        super().__init__(name="trips", daemon=True)
        self.count = 0
        self._server_port = port
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
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.join()

    def run(self) -> None:
        with contextlib.suppress(OSError):  # it is closed
            while True:
                client = self._listening.accept()[0]
                server = socket.create_connection(("127.0.0.1", self._server_port))
                threading.Thread(target=self._serve, args=(client, server), daemon=True).start()

    def _serve(self, client: socket.socket, server: socket.socket) -> None:
        asked = False
        with client, server, contextlib.suppress(OSError):
            while True:
                ready, _, _ = select.select([client, server], [], [])
                for one, other in ((client, server), (server, client)):
                    if one in ready:
                        if not (data := one.recv(65536)):
                            return
                        self.count += asked and one is server
                        asked = one is client
                        other.sendall(data)
