"""What a check finds, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from exporter.errors import ProviderError, Reason
from exporter.http.wire import plain
from exporter.providers import Provider

Status = Literal["ok", "warning", "failed", "skipped"]


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at."""

    account: str | None
    """None for what belongs to no account."""
    check: str
    status: Status
    text: str
    """What was found, one line."""
    remedy: str = ""
    """What to do about it, unless all is well."""


class About:
    """Makes the checks of one account, or of none."""

    def __init__(self, account: str | None) -> None:
        self._account = account

    def ok(self, check: str, text: str) -> Check:
        """All is well."""
        return self._made(check, "ok", text)

    def warning(self, check: str, text: str, remedy: str) -> Check:
        """The exporter can run, but it may not be what is wanted."""
        return self._made(check, "warning", text, remedy)

    def failed(self, check: str, text: str, remedy: str) -> Check:
        """Something must be done."""
        return self._made(check, "failed", text, remedy)

    def skipped(self, check: str, text: str) -> Check:
        """It could not be looked at."""
        return self._made(check, "skipped", text)

    def _made(self, check: str, status: Status, text: str, remedy: str = "") -> Check:
        found = plain(text), plain(remedy)
        return Check(
            account=self._account, check=check, status=status, text=found[0], remedy=found[1]
        )


_REMEDIES: Mapping[Reason, str] = {
    "unauthorized": "put a valid token into {credential}; it takes {rights}",
    "forbidden": "the token must have {rights}",
    "not_found": "check its spelling and that the token may see it, or remove it from `repos`",
    "rate_limited": "wait, raise polling.interval, or see who else uses the token",
    "server": "try again later; the fault is on the side of {host}",
    "timeout": "check the way to {host} (proxy, firewall), or raise polling.timeout",
    "connect": "check host and port of `url`, `proxy`, and the firewall",
    "tls": "check the certificate of {host}; a private CA's bundle goes into `ca_file`",
    "dns": "check the host in `url`, and the name server of this machine",
    "redirect": "set `url` to where {host} redirects",
    "too_large": "check that `url` is the root of the API",
    "bad_encoding": "check what is between here and {host}, such as a proxy",
    "bad_json": "check that `url` is the root of the API",
    "bad_shape": "check that `url` is the root of the API of this provider",
}


def remedy(error: ProviderError, account: Provider, host: str) -> str:
    """What to do about a request that failed."""
    if error.advice:
        return error.advice
    return _REMEDIES[error.reason].format(
        credential=credential(account) or " or ".join(account.credentials),
        rights=account.rights or "the right to read builds",
        host=host,
    )


def credential(account: Provider) -> str:
    """Which key of the account names the credential, and what; empty if it has none."""
    for key in account.credentials:
        value = getattr(account, key, None)
        if value is not None:
            return f"{key} {value}" if isinstance(value, str) else key
    return ""
