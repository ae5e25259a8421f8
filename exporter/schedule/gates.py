"""What keeps a poll from being sent, and until when.

    gate           closes when                                             opens
    stopped        the account is paused, or left the configuration        never
    rate_limited   a 429 or the like asked for a pause                     when that is over
    reserve        what remains of a rate limit is kept for people         at its reset
    backing_off    the account as a whole fails                            15 s to 300 s later, or
                                                                           as its API asked
    repo_backoff   the repo fails                                          after its interval, or
                                                                           as its API asked
    not_due        the repo was polled lately                              an interval later

The last one to open decides. All instants are monotonic seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal, NamedTuple

Why = Literal["stopped", "rate_limited", "reserve", "backing_off", "repo_backoff", "not_due"]


class Gate(NamedTuple):
    """One reason not to poll now."""

    until: float
    """When it opens; it is open if that has passed."""
    why: Why


STOPPED = Gate(math.inf, "stopped")


def not_now(gates: Iterable[Gate], now: float) -> Gate | None:
    """The gate that opens last of those that are closed at `now`; None if all are open.

    Of gates that open at once the first one is returned.
    """
    closed = [gate for gate in gates if gate.until > now]
    return max(closed, key=lambda gate: gate.until, default=None)
