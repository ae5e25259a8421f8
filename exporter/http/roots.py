"""Where the root of an API most probably is, if a web site answers at `url` instead."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

_API = re.compile(r"/api(?:/.*)?\Z")
_DEEPER = re.compile(r"/(?:_apis|api/json|(?:job|view)/[^/]+)(?:/.*)?\Z")
"""What stands behind the root in addresses that people copy."""


def likely_root(
    root: str, *, public: str | None, below: str, owners: Iterable[str] = ()
) -> str | None:
    """The root that was most probably meant; None if `root` may well be right.

    `public` is the root of the hosted service, `below` what the path of a self-hosted
    installation's root ends with, such as `/api/v4`. An address often ends with one of the
    `owners` whose repos are polled.
    """
    parts = urlsplit(root)
    host, path = parts.hostname or "", parts.path.rstrip("/")
    if public is not None and _site(host) == _site(urlsplit(public).hostname or ""):
        return None if root.rstrip("/") == public else public
    meant = _DEEPER.sub("", path)
    if meant.rpartition("/")[2] in owners:
        meant = meant.rpartition("/")[0]
    if below and not path.endswith(below):
        meant = _API.sub("", meant) + below
    return None if meant == path else f"{parts.scheme}://{parts.netloc}{meant}"


def api_of_site(url: str, *, public: str | None, sites: Iterable[str]) -> str | None:
    """`public`, the root of a hosted service, if `url` is another address of that service.

    `sites` are the hosts of its pages for people; one that begins with a dot is all below it.
    """
    if public is None:
        return None
    api, meant = urlsplit(public), urlsplit(url)
    host = (meant.hostname or "").removesuffix(".")
    is_known = host == api.hostname or any(
        host.endswith(site) if site.startswith(".") else host in (site, f"www.{site}")
        for site in sites
    )
    is_right = (host, meant.path.rstrip("/")) == (api.hostname, api.path)
    return public if is_known and not is_right else None


def _site(host: str) -> tuple[str, ...]:
    """The last two labels of a host name; an address is a site of its own."""
    labels = tuple(host.lower().split("."))
    return labels if labels[-1].isdigit() or ":" in host else labels[-2:]
