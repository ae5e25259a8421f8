"""What a check finds, and what to do about it."""

from __future__ import annotations

from typing import Literal

import msgspec

from exporter.messages import plain

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
