"""A raw HTTP server on loopback that sends exactly the bytes it is told, or worse."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple, Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

_DAY = timedelta(days=1)


@cache
def good_certificate() -> str:
    """For localhost, self-signed, made for this run; PEM."""
    return _certificate(datetime.now(UTC) + _DAY)


@cache
def expired_certificate() -> str:
    """The same with the same key, but good until yesterday."""
    return _certificate(datetime.now(UTC) - _DAY)


@cache
def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _certificate(until: datetime) -> str:
    key, name = _key(), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    builder = x509.CertificateBuilder(
        issuer_name=name,
        subject_name=name,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=until - 7 * _DAY,
        not_valid_after=until,
    )
    for extension in (
        x509.SubjectAlternativeName([x509.DNSName("localhost")]),
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
        self._replies = replies
        self._tls = tls

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls)
        self.port: int = self._server.sockets[0].getsockname()[1]
        self.root = f"{'https://localhost' if self._tls else 'http://127.0.0.1'}:{self.port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self.connections:
            task.cancel()
        await asyncio.gather(*self.connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self.connections.add(task)
        task.add_done_callback(self.connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while True:
                    head = (await reader.readuntil(b"\r\n\r\n")).decode()
                    first, *lines = head.rstrip().split("\r\n")
                    method, target, _ = first.split(" ")
                    pairs = (line.split(": ", 1) for line in lines)
                    headers = {name.lower(): value for name, value in pairs}
                    self.requests.append(Request(method, target, headers))
                    reply = self._replies[min(len(self.requests), len(self._replies)) - 1]
                    if callable(reply):
                        return await _until_left(reader, reply(writer))
                    writer.write(reply)
                    await writer.drain()
        finally:
            writer.close()
