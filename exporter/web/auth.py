"""Basic authentication against bcrypt hashes.

A check takes a tenth of a second of one core by design. It is made in a thread, one at a
time, and once for all who show the same password at the same moment; who was let in once is
known from then on. Of those who wait the next one is drawn by lot, and so is who has to go
where too many wait: whoever guesses passwords, however quickly, locks nobody out.

Nothing that a stranger sends is kept: only an admitted password is, as a keyed hash, one for
each user (exporter-toolkit's cache could be poisoned: CVE-2022-46146).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import os
import random
from collections.abc import Mapping
from typing import NamedTuple

import bcrypt

from exporter.threads import apart

MOST_CHECKS = 32
"""How many different passwords may wait for their check."""
_LONGEST = 72
"""Bytes of a password that bcrypt looks at; `htpasswd` and Go cut off the rest as well."""


PENALTY = 1.0
"""Seconds that one waits who has drawn a bad lot: who guesses would be back at once, and draw and
draw again."""
_lot = random.SystemRandom()


class BusyError(Exception):
    """Too many passwords wait for their check, and the lot fell on this one."""


class _Check(NamedTuple):
    user: bytes
    password: bytes
    fits: asyncio.Future[bool | None]
    """None if there is no time for it."""


class Users:
    """Who may log in. Belongs to one event loop."""

    def __init__(self, hashes: Mapping[str, str]) -> None:
        """`hashes` are the bcrypt hashes by user."""
        self._hashes = {name.encode(): hashed.encode() for name, hashed in hashes.items()}
        self._key = os.urandom(32)
        self._admitted: dict[bytes, bytes] = {}
        """By user, the seal of the password that let them in."""
        self._checks: dict[bytes, _Check] = {}
        """Those that run or wait, by seal."""
        self._waiting: list[bytes] = []
        """The seals of those that wait."""
        self._work: asyncio.Task[None] | None = None

    def __bool__(self) -> bool:
        """Whether anybody has to log in."""
        return bool(self._hashes)

    async def admits(self, user: bytes, password: bytes) -> bool:
        """Whether `password` is that of `user`; the time taken does not tell if there is one.

        Raises BusyError.
        """
        seal = self._seal(user, password)
        if hmac.compare_digest(self._admitted.get(user, b""), seal):
            return True
        check = self._checks.get(seal) or self._line_up(seal, user, password)
        fits = await asyncio.shield(check.fits)
        if fits is None:
            await asyncio.sleep(PENALTY)
            raise BusyError
        if fits:
            self._admitted[user] = seal
        return fits

    def _line_up(self, seal: bytes, user: bytes, password: bytes) -> _Check:
        check = _Check(user, password, asyncio.get_running_loop().create_future())
        self._checks[seal] = check
        self._waiting.append(seal)
        if len(self._waiting) > MOST_CHECKS:
            self._checks.pop(self._drawn()).fits.set_result(None)
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._check_all())
        return check

    def _drawn(self) -> bytes:
        """One of those that wait, by lot, which waits no more."""
        return self._waiting.pop(_lot.randrange(len(self._waiting)))

    async def _check_all(self) -> None:
        while self._waiting:
            seal = self._drawn()
            check = self._checks[seal]  # still there, for who shows the same meanwhile
            try:
                check.fits.set_result(await self._check(check.user, check.password))
            except Exception as error:  # noqa: BLE001 - who waits for it is told
                check.fits.set_exception(error)
            finally:
                del self._checks[seal]

    async def _check(self, user: bytes, password: bytes) -> bool:
        hashed = self._hashes.get(user) or self._of_nobody(user)
        fits = await apart(
            lambda: bcrypt.checkpw(password[:_LONGEST], hashed), name="password check"
        )
        return fits and user in self._hashes

    def _of_nobody(self, user: bytes) -> bytes:
        """The hash that a user who is not there is compared with.

        Its cost is that of a user who is, always the same one, so that costs that differ
        tell nothing either.
        """
        known = list(self._hashes.values())
        choice = int.from_bytes(self._seal(user, b"")[:8]) % len(known)
        return known[choice][:7] + b"." * 53  # `$2y$10$`, salt and hash of no password

    def _seal(self, user: bytes, password: bytes) -> bytes:
        given = len(user).to_bytes(8) + user + password
        return hashlib.blake2b(given, key=self._key, digest_size=32).digest()


def credentials(header: bytes) -> tuple[bytes, bytes] | None:
    """User and password of an `Authorization` header; None if it is not Basic (RFC 7617)."""
    scheme, _, given = header.strip().partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        user, colon, password = base64.b64decode(given.strip(), validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return None
    return (user, password) if colon else None
