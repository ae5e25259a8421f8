"""What a person can do about an error: one sentence for each reason, for the status page."""

from __future__ import annotations

from collections.abc import Mapping

ADVICE: Mapping[str, str] = {
    "unauthorized": "Check that the token is valid and has not expired, put a new one where"
    " token_env or token_file says, and reload.",
    "forbidden": "Give the token the right to read builds of what is polled, or take it out of"
    " repos.",
    "not_found": "Check the spelling in repos and that the token may see it, or take it out.",
    "rate_limited": "Nothing needs to be done: polls go on when the limit allows. If it lasts,"
    " raise polling.interval or poll fewer repos.",
    "server": "The provider has trouble; it is tried again. Look at its status page if it lasts.",
    "timeout": "It is tried again. If it lasts, look at the network or raise polling.timeout.",
    "connect": "Check url and proxy, and that this machine may connect there.",
    "tls": "Check url, and ca_file if the certificate is of a private CA.",
    "dns": "Check the spelling of url and the name servers of this machine.",
    "redirect": "If the API has moved, change url to where it is now.",
    "too_large": "Something other than the API may answer: check url. Else please report it.",
    "bad_encoding": "It is tried again. If it lasts, look at what is between here and the API.",
    "bad_json": "Something other than the API may answer: check url and proxy.",
    "bad_shape": "Check url and integration. If they are right, please report it.",
    "state": "Free space on the disk of state.url or repair it; nothing is counted until then.",
}
"""By the reason of an error; `state` where the state could not be written."""

CATCHING_UP = "Nothing needs to be done: the next poll goes on where this one ended."
"""Where a poll had more to read than it could."""
