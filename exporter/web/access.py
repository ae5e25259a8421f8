"""The web configuration in force: what of it can change while the process runs, and how."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from time import monotonic
from typing import NamedTuple

from exporter.errors import ConfigError
from exporter.threads import apart
from exporter.web import tls
from exporter.web.auth import Users
from exporter.web.config import FLAG, RateLimit, Version, WebConfig, load, renewed, seen

log = logging.getLogger(__name__)


class RateLimiter:
    """`rate_limit` as a token bucket: full at first, refilled by one every interval."""

    def __init__(self, limit: RateLimit, clock: Callable[[], float] = monotonic) -> None:
        self._interval, self._burst, self._clock = limit.interval, float(limit.burst), clock
        self._left, self._at = self._burst, clock()

    def take(self) -> bool:
        """Whether one more request may be answered now."""
        if not self._interval:
            return True
        now = self._clock()
        self._left = min(self._left + (now - self._at) / self._interval, self._burst)
        self._at = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


class Applied(NamedTuple):
    """The changes of another web configuration, a line each."""

    changes: list[str]
    postponed: list[str]
    """Those that wait for a restart."""


class Access:
    """Who may see the pages, and how. Belongs to one event loop."""

    def __init__(self, config: WebConfig) -> None:
        self.config = config
        """What is in force."""
        self.users = Users(config.users)
        self.bucket = RateLimiter(config.settings.rate_limit)
        self.hang_up: Callable[[], None] = lambda: None
        """Called when clients shall connect anew, as what they have to show has changed."""
        self.fault: str | None = None
        """Why the certificates that are there now are not used; None if they are."""
        self._refused: tuple[Version, ...] | None = None
        """The versions that `fault` is about."""
        self._latest = config.versions
        """The versions at the last look."""

    @property
    def context(self) -> ssl.SSLContext | None:
        """For a connection that is made now; None is plain HTTP."""
        return self.config.context

    @property
    def names(self) -> frozenset[str]:
        """A client's certificate has one of them; empty allows every one that is signed."""
        server = self.config.settings.tls_server_config
        return tls.allowed(server.client_allowed_sans if server else ())

    def read_again(self) -> WebConfig:
        """The web configuration as its files have it now; nothing is put in force.

        May run in a thread. Raises ConfigError with every fault.
        """
        config = load(self.config.file, again=True)
        if config.is_empty and not self.config.is_empty:  # cut off, to be written anew?
            what = "is empty and was not (write {} to serve everybody without TLS)"
            raise ConfigError([f"{config.file}:1:1: file: {what}"])
        return config

    def apply(self, wanted: WebConfig) -> Applied:
        """Put another configuration in force, but for a change between TLS and plain HTTP."""
        before, postponed = self.config, []
        if (before.context is None) != (wanted.context is None):
            postponed = [f"~{FLAG} tls_server_config {'removed' if before.context else 'added'}"]
            wanted = wanted.with_tls_of(before)
        changes = list(_differences(before, wanted))
        if wanted.users != before.users:
            self.users = Users(wanted.users)
        if wanted.settings.rate_limit != before.settings.rate_limit:
            self.bucket = RateLimiter(wanted.settings.rate_limit)
        self._put(wanted)
        return Applied(changes, postponed)

    def _put(self, config: WebConfig) -> None:
        old = self.config
        self.config, self._latest = config, config.versions
        self.fault = self._refused = None
        if _tls(config) != _tls(old):
            self.hang_up()

    async def look(self) -> None:
        """Take certificates that have changed and are complete; others change nothing."""
        config = self.config
        versions = await apart(lambda: seen(config), name="certificates")
        is_settled, self._latest = versions == self._latest, versions
        if config is not self.config or not is_settled:  # half written, maybe
            return
        if versions == config.versions:
            self.fault = self._refused = None
        elif versions != self._refused:
            await self._renew(config, versions)

    async def _renew(self, config: WebConfig, versions: tuple[Version, ...]) -> None:
        try:
            fresh = await apart(lambda: renewed(config), name="certificates")
        except ConfigError as error:
            if config is self.config:
                log.error("the old certificate stays: %s", error)
                self.fault, self._refused = str(error), versions
            return
        if config is self.config:  # else a reload was quicker
            self._put(fresh)
            log.info("the certificate is read again", extra={"file": fresh.file})


def _tls(config: WebConfig) -> object:
    """What makes a connection of before unlike one of now."""
    return config.settings.tls_server_config, config.versions


def _differences(before: WebConfig, after: WebConfig) -> list[str]:
    old, new = before.users, after.users
    users = [
        *(f"+{FLAG} user {name}" for name in new if name not in old),
        *(f"-{FLAG} user {name}" for name in old if name not in new),
        *(f"~{FLAG} user {name}" for name in new if name in old and old[name] != new[name]),
    ]
    sections = [
        f"~{FLAG} {key}"
        for key in ("tls_server_config", "http_server_config", "rate_limit")
        if getattr(before.settings, key) != getattr(after.settings, key)
    ]
    if not sections and _tls(before) != _tls(after):
        sections = [f"~{FLAG} certificate"]
    return [*users, *sections]
