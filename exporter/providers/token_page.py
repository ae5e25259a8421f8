"""Where an API tells about the token that asks."""

from __future__ import annotations

import msgspec


class TokenPage(msgspec.Struct, frozen=True, kw_only=True):
    """Where an API says what the token that asks may do; `doctor` looks there."""

    path: str
    """Costs one request at most."""
    scopes: str
    """The header or member that lists them; absent for tokens of another kind."""
    expires: str
    """The header or member that begins with the token's last day, if it has one."""
    enough: tuple[str, ...]
    """Scopes of which each one is enough to read all builds that the owner may see."""
    required: bool = False
    """Whether nothing can be read without one of them, not even what is public."""
    on_all: bool = False
    """Whether all answers of the API have these headers, so that the page is not needed."""
