"""What a person can do about an error of an account, with the names of its own keys."""

from __future__ import annotations

from urllib.parse import urlsplit

from exporter.providers import Provider
from exporter.remedies import REMEDIES


def advice(account: Provider, reason: str | None, better: str | None = None) -> str:
    """A sentence about an error of this reason; empty for one that no person can mend.

    `better` is the advice of the error itself, if it has any.
    """
    if better is not None:
        return better
    if reason is None or reason not in REMEDIES:
        return ""
    return REMEDIES[reason].advice.format(
        credential=credential(account) or " or ".join(account.credentials),
        rights=account.rights or "the right to read builds",
        host=urlsplit(account.root).hostname,
    )


def credential(account: Provider) -> str:
    """Which key of the account names the credential, and its value; empty if there is none."""
    for key in account.credentials:
        value = getattr(account, key, None)
        if value is not None:
            return f"{key} {value}" if isinstance(value, str) else key
    return ""
