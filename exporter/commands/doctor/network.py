"""Whether an account's API can be reached: its name, its address, its certificate."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import time
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import certifi

from exporter.commands.doctor.checks import About, Check
from exporter.http import address
from exporter.http.resolver import Resolver
from exporter.messages import duration
from exporter.providers import Provider

_TIMEOUT = 10.0
"""Seconds for a name, and for a connection."""
_SHOWN = 3
"""Addresses of a host that are told."""
_SOON = 14 * 86400.0
"""Seconds before the end of a certificate that are worth a warning."""
_PORTS = {"http": 80, "https": 443}

_Address = tuple[Any, ...]


class FirstHop(NamedTuple):
    """The host to connect to: the API's, or the proxy's."""

    host: str
    port: int
    is_tls: bool
    is_proxy: bool


def first_hop(account: Provider) -> FirstHop:
    """The host that connections to an account's API begin with."""
    parts = urlsplit(account.proxy or account.root)
    host = (parts.hostname or "").encode("idna").decode()
    port = parts.port or _PORTS[parts.scheme]
    return FirstHop(host, port, parts.scheme == "https", account.proxy is not None)


async def reached(account: Provider, about: About) -> list[Check]:
    """The checks `dns` and `tls`; the second is missing if the first failed."""
    to = first_hop(account)
    whose = f"the proxy {to.host}" if to.is_proxy else to.host
    try:
        async with asyncio.timeout(_TIMEOUT):
            found = await Resolver().entries(to.host, to.port)
    except OSError as error:
        why = _why(error)
        key = "proxy" if to.is_proxy else "url"
        remedy = f"check the host in `{key}`, and the name server of this machine"
        return [about.failed("dns", f"{whose} cannot be resolved ({why})", remedy)]
    shown = ", ".join(list(dict.fromkeys(str(entry[4][0]) for entry in found))[:_SHOWN])
    return [about.ok("dns", f"{whose} is {shown}"), await _connected(account, to, found, about)]


async def _connected(account: Provider, to: FirstHop, found: list[_Address], about: About) -> Check:
    where = f"{to.host}:{to.port}"
    tls = to.is_tls
    try:
        context = ssl.create_default_context(cafile=account.ca_file or certifi.where())
        async with asyncio.timeout(_TIMEOUT):
            link = await _socket(found)
            _, writer = await asyncio.open_connection(
                sock=link, ssl=context if tls else None, server_hostname=to.host if tls else None
            )
    except ssl.SSLCertVerificationError as error:
        said = error.verify_message
        return about.failed("tls", f"{where}: certificate not trusted ({said})", _mend(said, to))
    except ssl.SSLError as error:
        text = f"{where} speaks no TLS that we do ({error.reason or error})"
        return about.failed("tls", text, "check scheme and port of `url`")
    except address.ForbiddenAddressError as error:
        text = f"{to.host} has the address {error}, where no API can be"
        return about.failed("tls", text, "check the host in `url`, and its name server")
    except OSError as error:
        why = _why(error)
        key = "proxy" if to.is_proxy else "url"
        remedy = f"check host and port of `{key}`, and the firewall"
        return about.failed("tls", f"{where} cannot be connected to ({why})", remedy)
    try:
        return _certificate_check(writer, where, to, about)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            async with asyncio.timeout(1):
                await writer.wait_closed()


async def _socket(found: list[_Address]) -> socket.socket:
    """A connected socket to the first address that takes one."""
    loop = asyncio.get_running_loop()
    failure: OSError | None = None
    for entry in found:
        link = address.opened(entry)
        link.setblocking(False)  # noqa: FBT003 - the standard library's
        try:
            await loop.sock_connect(link, entry[4])
        except OSError as error:
            link.close()
            failure = error
        except BaseException:
            link.close()
            raise
        else:
            return link
    raise failure or OSError("no address")


def _why(error: OSError) -> str:
    if isinstance(error, TimeoutError) or error.errno is None:
        return "no answer in time"
    is_name = isinstance(error, socket.gaierror)  # its numbers are not those of the system
    return ((error.strerror or "") if is_name else os.strerror(error.errno)).lower()


def _certificate_check(
    writer: asyncio.StreamWriter, where: str, to: FirstHop, about: About
) -> Check:
    secured = writer.get_extra_info("ssl_object")
    if secured is None:
        hint = "the proxy leads on" if to.is_proxy else "`url` is http"
        return about.ok("tls", f"{where} connected, without TLS: {hint}")
    left = ssl.cert_time_to_seconds(secured.getpeercert()["notAfter"]) - time.time()
    text = f"{where} {secured.version()}, certificate good for {_days(left)}"
    if left < _SOON:
        return about.warning("tls", text, f"have the certificate of {to.host} renewed")
    return about.ok("tls", text)


def _days(seconds: float) -> str:
    return f"{seconds / 86400:.0f} days" if seconds >= 2 * 86400 else duration(int(seconds))


def _mend(said: str, to: FirstHop) -> str:
    if "expired" in said or "not yet valid" in said:
        return f"have the certificate of {to.host} renewed, and check this machine's clock"
    if "mismatch" in said or "doesn't match" in said or "not valid for" in said:
        return "set the host in `url` to a name that the certificate has"
    return "put the bundle of the CA that signed it (PEM) into `ca_file`"
