"""A raw HTTP server on loopback that sends exactly the bytes it is told, or worse."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

T = TypeVar("T")

_DAY = timedelta(days=1)
_TLS_RECORD = b"\x16"
"""What a TLS handshake begins with."""


@cache
def good_certificate() -> str:
    """For localhost, self-signed, made for this run; PEM."""
    return _certificate(datetime.now(UTC) + _DAY)


@cache
def expired_certificate() -> str:
    """The same with the same key, but good until yesterday."""
    return _certificate(datetime.now(UTC) - _DAY)


@cache
def foreign_certificate() -> str:
    """A good one, of the same key, for another host."""
    return _certificate(datetime.now(UTC) + _DAY, host="elsewhere.invalid")


@cache
def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _certificate(until: datetime, host: str = "localhost") -> str:
    key, name = _key(), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    builder = x509.CertificateBuilder(
        issuer_name=name,
        subject_name=name,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=until - 7 * _DAY,
        not_valid_after=until,
    )
    for extension in (
        x509.SubjectAlternativeName([x509.DNSName(host)]),
        x509.BasicConstraints(ca=True, path_length=None),
        x509.SubjectKeyIdentifier.from_public_key(key.public_key()),
    ):
        is_critical = isinstance(extension, x509.BasicConstraints)
        builder = builder.add_extension(extension, critical=is_critical)
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM).decode()


def tls(folder: Path, certificate: str) -> ssl.SSLContext:
    """The server's side of one of the certificates; its files are left in `folder`."""
    key, cert = folder / "key.pem", folder / "cert.pem"
    key.write_bytes(_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    cert.write_text(certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context


class Request(NamedTuple):
    """A request as it came: `target` is not decoded, names of headers are in lower case."""

    method: str
    target: str
    headers: dict[str, str]


Misdeed = Callable[[asyncio.StreamWriter], Awaitable[None]]
Reply = bytes | Misdeed


def http(body: bytes | str = b"{}", status: int = 200, **headers: str) -> bytes:
    """A whole, sound answer; `content_type="x"` is the header `content-type: x`."""
    data = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", f"content-length: {len(data)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "\r\n"]).encode() + data


def hang_up(data: bytes = b"") -> Misdeed:
    """Sends `data` and closes the connection in good order."""

    async def misdeed(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()

    return misdeed


def reset(data: bytes = b"") -> Misdeed:
    """Sends `data` and then a TCP reset."""

    async def misdeed(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()

    return misdeed


def stall(data: bytes = b"") -> Misdeed:
    """Sends `data` and then nothing more, for ever."""

    async def misdeed(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await asyncio.Event().wait()

    return misdeed


def drip(data: bytes = b"", *, every: float) -> Misdeed:
    """Sends `data` and then a blank every so many seconds, for ever."""

    async def misdeed(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        while True:
            await asyncio.sleep(every)
            writer.write(b" ")
            await writer.drain()

    return misdeed


def flood(data: bytes, chunk: bytes) -> Misdeed:
    """Sends `data` and then `chunk` again and again, for ever."""

    async def misdeed(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        while True:
            writer.write(chunk)
            await writer.drain()

    return misdeed


async def _until_left(reader: asyncio.StreamReader, misdeed: Awaitable[None]) -> None:
    """Go on with a misdeed until its victim closes the connection."""
    tasks = [asyncio.ensure_future(misdeed), asyncio.ensure_future(reader.read())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Server:
    """Answers the first request with the first reply, and so on; the last one repeats."""

    def __init__(self, *replies: Reply, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Request] = []
        self.connections: set[asyncio.Task[None]] = set()
        self.visits = 0
        """Connections that anybody has made, whether or not he said anything."""
        self.port = 0
        self._replies = replies
        self._tls = tls

    def reply_to(self, request: Request) -> Reply:
        """What this request, the last of `requests`, is answered with."""
        return self._replies[min(len(self.requests), len(self._replies)) - 1]

    async def open(self, tls: ssl.SSLContext | None) -> None:
        """Listen, again on the same port if it did before."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Listen no longer, and end all connections."""
        self._server.close()
        for task in self.connections:
            task.cancel()
        await asyncio.gather(*self.connections, return_exceptions=True)

    async def __aenter__(self) -> Self:
        await self.open(self._tls)
        self.root = f"{'https://localhost' if self._tls else 'http://127.0.0.1'}:{self.port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.visits += 1
        task = asyncio.ensure_future(self._serve(reader, writer))
        self.connections.add(task)
        task.add_done_callback(self.connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while True:
                    begins = await reader.readexactly(1)
                    if begins == _TLS_RECORD:  # spoken to a server without TLS
                        return writer.write(http(status=400))
                    head = (begins + await reader.readuntil(b"\r\n\r\n")).decode()
                    first, *lines = head.rstrip().split("\r\n")
                    method, target, _ = first.split(" ")
                    pairs = (line.split(": ", 1) for line in lines)
                    headers = {name.lower(): value for name, value in pairs}
                    self.requests.append(Request(method, target, headers))
                    reply = self.reply_to(self.requests[-1])
                    if callable(reply):
                        return await _until_left(reader, reply(writer))
                    writer.write(reply)
                    await writer.drain()
        finally:
            writer.close()


class Loop:
    """An event loop in a thread of its own, for servers that other processes visit."""

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` there and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)
