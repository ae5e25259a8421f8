"""Where the API of a GitHub Enterprise is."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit


def enterprise_api(url: str) -> str | None:
    """The API of the GitHub Enterprise whose site is at `url`; None if that may be an API."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme != "https" or parts.path.strip("/") or host.startswith("api."):
        return None
    if host == "localhost" or host.endswith(".localhost") or _is_address(host):
        return None
    is_hosted = host.endswith(".ghe.com")
    return f"https://api.{parts.netloc}" if is_hosted else f"https://{parts.netloc}/api/v3"


def _is_address(host: str) -> bool:
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
