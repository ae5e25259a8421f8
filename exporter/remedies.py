"""What a person can do about an error: one table for the client, the status page and doctor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Remedy(NamedTuple):
    """What to do about errors of one reason."""

    advice: str
    """A sentence with `{credential}`, `{rights}` and `{host}` to be filled in."""
    hint: str = ""
    """The same in a few words, where the line of the error itself has room for it."""


REMEDIES: Mapping[str, Remedy] = {
    "unauthorized": Remedy(
        "Put a valid token into {credential}; it takes {rights}.",
        "check the token",
    ),
    "forbidden": Remedy(
        "It takes {rights}; or remove from `repos` what the token may not read.",
        "check what the token may read",
    ),
    "not_found": Remedy(
        "Check its spelling and that the token may see it, or remove it from `repos`."
    ),
    "rate_limited": Remedy(
        "Polls go on when the limit allows. If it lasts, raise `polling.interval`, poll fewer"
        " repos, or see who else uses the token."
    ),
    "server": Remedy("It is tried again. If it lasts, look at the status page of {host}."),
    "timeout": Remedy(
        "It is tried again. If it lasts, check the way to {host} (proxy, firewall), or raise"
        " `polling.timeout`."
    ),
    "connect": Remedy("Check `url` and `proxy`, and that this machine may connect to {host}."),
    "tls": Remedy(
        "Check the certificate of {host}; the bundle of a private CA goes into `ca_file`.",
        "a private CA's bundle goes into ca_file",
    ),
    "dns": Remedy("Check the spelling of `url` and the name servers of this machine."),
    "redirect": Remedy("If the API has moved, set `url` to where {host} redirects."),
    "too_large": Remedy(
        "Check that `url` is the root of the API. If it is right, please report it."
    ),
    "bad_encoding": Remedy(
        "It is tried again. If it lasts, check what is between here and {host}, such as a proxy."
    ),
    "bad_json": Remedy("Check `url` and `proxy`: something other than the API may answer."),
    "bad_shape": Remedy(
        "Check that `url` is the root of this provider's API. If it is right, please report it."
    ),
    "state": Remedy(
        "Free space on the disk of `state.url`, or repair it; nothing is counted until then."
    ),
}
"""By `errors.Reason`, which is the label `reason`; `state` where the state cannot be written."""

CATCHING_UP = "Nothing needs to be done: the next poll goes on where this one ended."
"""Where a poll had more to read than it could."""
