"""Who asks for a change: a program, or a page in somebody's browser that may be anybody's.

A browser sends a form of any page to any address that it can reach, this one among them, with
the password that it knows. It says which page, though, and programs say nothing.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from urllib.parse import urlsplit


def foreign(headers: Mapping[str, str]) -> str | None:
    """Why a request that changes something is not obeyed; None if it may be.

    `headers` are found by names in lower case. A page is ours if it comes from where the request
    goes to, and if that is an address or a name of this machine: any other name may have been made
    to lead here (DNS rebinding).
    """
    site = headers.get("sec-fetch-site", "none")
    if site not in ("none", "same-origin"):
        return "it was asked for by a page of another site"
    origin = headers.get("origin")
    if origin is None and site == "none":
        return None
    host = headers.get("host", "")
    if origin is not None and origin.partition("://")[2].lower() != host.lower():
        return "it was asked for by a page of another origin"
    return None if _is_ours(host) else "pages may ask for it by an address or localhost only"


def _is_ours(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return name in ("localhost", socket.gethostname().lower())
    return True
