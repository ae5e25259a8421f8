"""Every error of ours, grouped by what its catcher does about it.

ExporterError
|-- ConfigError         exit 2; lists every fault with its place
|-- StateError          the ledger's file
|   |-- StateRefused    not ours to touch (second process, foreign, newer, corrupt): exit 1
|   `-- StateUnavailable  cannot be written now: nothing counted, tried again
|       `-- Fenced    the account is polled by another worker: its polls end
`-- ProviderError       one request or answer; `reason` becomes a label
    |-- TryLater        may succeed later: back off
    |   `-- Waiting     was not sent, to save the budget: nobody has failed
    |-- Refused         will not succeed until a person acts: back off far
    |-- Gone            the resource is not there
    `-- Malformed       an answer that cannot be understood: not "no builds"
"""

from __future__ import annotations

from typing import Literal

Reason = Literal[
    "unauthorized",
    "forbidden",
    "not_found",
    "rate_limited",
    "server",
    "timeout",
    "connect",
    "tls",
    "dns",
    "redirect",
    "too_large",
    "bad_encoding",
    "bad_json",
    "bad_shape",
]

ACCOUNT_WIDE: frozenset[Reason] = frozenset(
    {"unauthorized", "rate_limited", "connect", "tls", "dns"}
)
"""Reasons that speak of the whole account, whichever repo was asked for."""


class ExporterError(Exception):
    """The root: its text is one line that says what happened, where, and what to do."""


class ConfigError(ExporterError):
    """The configuration cannot be used; `faults` has a line for each reason."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class StateError(ExporterError):
    """The state is in trouble."""


class StateRefused(StateError):
    """The state must not be used or touched by this process."""


class StateInUse(StateRefused):
    """Another process writes the state."""


class StateUnavailable(StateError):
    """The state cannot be used for now (disk full, read-only, I/O error, no connection)."""


class StateLost(StateUnavailable):
    """Another process has taken the state over: this one must not go on."""


class StateBehind(StateUnavailable):
    """What was committed since is not to be had one by one: load the state anew, then go on."""


class Fenced(StateUnavailable):
    """Another process polls the account by now: nothing about it is written here."""


class StateDamaged(StateUnavailable):
    """What is in the state is not what was written there."""


class ProviderError(ExporterError):
    """One request failed, or its answer is unusable."""

    def __init__(
        self,
        message: str,
        *,
        reason: Reason,
        account_wide: bool | None = None,
        advice: str | None = None,
        counted: bool = False,
    ) -> None:
        super().__init__(message)
        self.reason: Reason = reason
        self.account_wide = reason in ACCOUNT_WIDE if account_wide is None else account_wide
        self.advice = advice
        """What a person can do, where that is not what the reason alone suggests; a sentence."""
        self.counted = counted
        """Whether `api_errors_total` has it."""

    @property
    def is_final(self) -> bool:
        """Whether this one thing is gone or refused, and will be so when asked for again.

        A credential that is good elsewhere and was refused here may be taken the next time.
        """
        speaks_of_it = isinstance(self, Gone | Refused) and not self.account_wide
        return speaks_of_it and self.reason != "unauthorized"


class TryLater(ProviderError):
    """The same request may succeed later, at the earliest after `delay` seconds if known."""

    def __init__(self, message: str, *, reason: Reason, delay: float | None = None) -> None:
        super().__init__(message, reason=reason)
        self.delay = delay


class Waiting(TryLater):
    """Nothing was sent: the API's budget is used up until `delay` seconds from now."""


class Refused(ProviderError):
    """The provider understood and said no: credentials, scopes, a blocked account."""


class Gone(ProviderError):
    """The thing asked for does not exist, or not for us."""


class Malformed(ProviderError):
    """The answer is not what the API promises."""
