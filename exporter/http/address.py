"""Where no CI system is: the addresses at which a cloud gives its machines credentials."""

from __future__ import annotations

import socket
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

_FORBIDDEN = tuple(map(ip_network, ("169.254.0.0/16", "fe80::/10", "fd00:ec2::/32")))
"""Link-local ones, and AWS' own; a name in the configuration may come to lead there."""


class ForbiddenAddressError(OSError):
    """A host name leads where no credential must go."""


def opened(address: tuple[Any, ...]) -> socket.socket:
    """An unconnected socket for an entry of `getaddrinfo`; asked before each connection.

    Raises ForbiddenAddressError.
    """
    family, kind, protocol, _, place = address
    ip = ip_address(place[0].partition("%")[0])
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    if any(ip in network for network in _FORBIDDEN):
        raise ForbiddenAddressError(str(ip))
    return socket.socket(family, kind, protocol)
