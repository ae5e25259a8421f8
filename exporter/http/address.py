"""Where no CI system is: the addresses at which a cloud gives its machines credentials."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

FORBIDDEN = tuple(
    map(
        ip_network,
        (
            "169.254.0.0/16",  # link-local: AWS, Azure, Google, Oracle, DigitalOcean, OpenStack
            "fe80::/10",
            "fd00:ec2::/32",  # AWS
            "fd20:ce::254/128",  # Google
            "100.100.100.200/32",  # Alibaba
            "168.63.129.16/32",  # Azure
            "192.0.0.192/32",  # Oracle
        ),
    )
)
"""A name in the configuration may come to lead there."""
_NAMES = frozenset({"metadata", "metadata.google.internal", "metadata.goog", "instance-data"})
"""What those services are called; a proxy would look them up for us."""

_LAST_32 = tuple(map(IPv6Network, ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96")))
"""IPv4-compatible, mapped, translated, NAT64: the IPv4 address is at the end."""
_LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")
_6TO4 = IPv6Network("2002::/16")
_TEREDO = IPv6Network("2001::/32")
_ISATAP = (b"\x00\x00\x5e\xfe", b"\x02\x00\x5e\xfe")


class ForbiddenAddressError(OSError):
    """A host name leads where no credential must go."""


def opened(address: tuple[Any, ...]) -> socket.socket:
    """An unconnected socket for an entry of `getaddrinfo`; asked before each connection.

    Raises ForbiddenAddressError.
    """
    family, kind, protocol, _, place = address
    _check(ip_address(place[0].partition("%")[0]))
    return socket.socket(family, kind, protocol)


def assert_allowed(host: str) -> None:
    """Raise ForbiddenAddressError for a host that a proxy must not be asked to connect to.

    What a name leads to only the proxy knows; but an address is one in each of its spellings.
    """
    name = host.lower().rstrip(".").strip("[]").partition("%")[0]
    if name in _NAMES or name.startswith("instance-data."):
        raise ForbiddenAddressError(name)
    ip = _literal(name)
    if ip is not None:
        _check(ip)


def _literal(name: str) -> IPv4Address | IPv6Address | None:
    """The address that `name` is, also as 0xa9fea9fe or 2852039166."""
    try:
        return ip_address(name)
    except ValueError:
        if not name[:1].isdigit():
            return None
    try:
        return IPv4Address(socket.inet_aton(name))
    except OSError:
        return None


def _check(ip: IPv4Address | IPv6Address) -> None:
    for reached in (ip, *_inside(ip)):
        if any(reached in network for network in FORBIDDEN):
            raise ForbiddenAddressError(str(reached))


def _inside(ip: IPv4Address | IPv6Address) -> Iterator[IPv4Address]:
    """The IPv4 addresses that packets to an IPv6 address may come to."""
    if isinstance(ip, IPv4Address):
        return
    packed = ip.packed
    if any(ip in network for network in _LAST_32) or packed[8:12] in _ISATAP:
        yield IPv4Address(packed[12:])
    if ip in _6TO4:
        yield IPv4Address(packed[2:6])
    if ip in _TEREDO:
        yield IPv4Address(packed[4:8])
        yield IPv4Address(bytes(0xFF ^ byte for byte in packed[12:]))
    if ip in _LOCAL_NAT64:  # RFC 6052: the prefix may be of 48, 56, 64 or 96 bits
        yield IPv4Address(packed[6:8] + packed[9:11])
        yield IPv4Address(packed[7:8] + packed[9:12])
        yield IPv4Address(packed[9:13])
        yield IPv4Address(packed[12:])
