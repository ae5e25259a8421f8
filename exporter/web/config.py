"""The file of --web.config.file: TLS, users and headers, in the format of all exporters.

https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md describes
it. Relative paths start at the folder of the file.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
from pydantic import Field

from exporter import files
from exporter.config.document import FileKind, read
from exporter.config.report import Report
from exporter.config.schema import Section
from exporter.errors import ConfigError
from exporter.messages import guess, unknown_key
from exporter.redaction import guarded, shown
from exporter.web import tls
from exporter.web.go_yaml import Flag, GoDuration, Scalar

FLAG = "--web.config.file"
_KIND = FileKind(
    FLAG,
    "basic_auth_users",
    lack=None,
    texts=frozenset({("tls_server_config", key) for key in ("cert", "key", "client_ca")}),
)

Version = tuple[int, ...]
"""Of a file; differs when another is put in its place or behind its symbolic link, too."""

HEADERS: Mapping[str, tuple[str, ...]] = {
    "Content-Security-Policy": (),
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
}
"""The headers that can be set, each with its values; any where there are none."""

_HASH = re.compile(r"\$2[abxy]\$(\d\d)\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}")
"""22 characters of salt, of whose last one only two bits count, and 31 of the hash."""
_COSTS = range(4, 32)
_SLOW = 14
"""A cost above it takes seconds; each step doubles the time."""


class HttpServer(Section):
    """`http_server_config`."""

    http2: Flag = True
    headers: dict[str, Scalar] = Field(default_factory=dict)


class RateLimit(Section):
    """`rate_limit`: a bucket that `burst` requests empty and an `interval` fills by one."""

    interval: Annotated[GoDuration, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Seconds; 0 is no limit."""
    burst: Annotated[int, Field(ge=0)] = 0


class WebSettings(msgspec.Struct, frozen=True):
    """The keys of a file; an absent section has its defaults."""

    tls_server_config: tls.TlsServer | None = None
    """None is plain HTTP."""
    http_server_config: HttpServer = HttpServer()
    basic_auth_users: Mapping[str, str] = {}
    """The bcrypt hashes by user; empty lets everybody in."""
    rate_limit: RateLimit = RateLimit()


class WebConfig(msgspec.Struct, frozen=True):
    """A web configuration without faults; the default is plain HTTP for everybody."""

    file: str | None = None
    """Where it is from; None if no file is named."""
    settings: WebSettings = WebSettings()
    context: ssl.SSLContext | None = None
    """For new connections; None is plain HTTP."""
    versions: tuple[Version, ...] = ()
    """Of the files that `context` was made of."""
    places: Mapping[str, str] = {}
    """`FILE:LINE:COL: key` of the keys of `tls_server_config` that name files."""
    is_empty: bool = True
    """Whether the file says nothing at all."""
    warnings: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """Where relative paths start."""
        return str(Path(self.file or "").parent)

    @property
    def users(self) -> Mapping[str, str]:
        """The bcrypt hashes by user; empty lets everybody in."""
        return self.settings.basic_auth_users

    @property
    def headers(self) -> dict[str, str]:
        """The headers to set; a blank one is not set."""
        settings = self.settings.http_server_config.headers
        return {name: value for name, value in settings.items() if value}

    def with_tls_of(self, other: WebConfig) -> WebConfig:
        """The same, but for TLS."""
        part = {"tls_server_config": other.settings.tls_server_config}
        return msgspec.structs.replace(
            self,
            settings=msgspec.structs.replace(self.settings, **part),
            context=other.context,
            versions=other.versions,
            places=other.places,
        )


def load(file: str | None, *, again: bool = False) -> WebConfig:
    """The web configuration in `file`; without one, what all exporters do without it.

    What is read `again` is no pipe, which holds nothing the second time.

    Raises ConfigError with every fault as `FILE:LINE:COL: key.path: what is wrong (hint)`.
    """
    if not file:
        return WebConfig()
    document = read(file, _KIND._replace(piped=not again))
    report = Report(file, document)
    settings = _given(report, document.value)
    _headers(report, settings)
    _users(report, settings)
    limit = settings.rate_limit
    if limit.interval and not limit.burst and report.sound(("rate_limit",)):
        report.fault(("rate_limit", "burst"), "must be at least 1, or nobody is ever answered")
    if (
        "http2" in settings.http_server_config.model_fields_set
        and settings.http_server_config.http2
    ):
        report.warn(("http_server_config", "http2"), "HTTP/2 is not served (HTTP/1.1 is)")
    context, versions = _tls(report, settings.tls_server_config, file)
    report.close()
    return WebConfig(
        file=file,
        settings=settings,
        context=context,
        versions=versions,
        places={key: _placed(report, file, key) for key in tls.TlsServer.model_fields},
        is_empty=not document.values,
        warnings=report.warnings(),
    )


def renewed(config: WebConfig) -> WebConfig:
    """The same with the certificates that its files hold now.

    Raises ConfigError if they cannot be used.
    """
    server = config.settings.tls_server_config
    if server is None or config.context is None:
        return config
    versions = seen(config)
    try:
        context = tls.context(server, config.folder)
    except tls.TlsFault as fault:
        raise ConfigError([f"{config.places[str(fault.path[0])]}: {fault.what}"]) from None
    return msgspec.structs.replace(config, context=context, versions=versions)


def seen(config: WebConfig) -> tuple[Version, ...]:
    """The versions that the files of the certificates have now."""
    server = config.settings.tls_server_config
    if server is None or config.context is None:
        return ()
    return tuple(map(version, tls.named(server, config.folder)))


def version(file: str | os.PathLike[str]) -> Version:
    """The version of a file; empty if there is none."""
    try:
        found = files.status(file)
    except (OSError, ValueError):
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _given(report: Report, raw: Mapping[str, Any]) -> WebSettings:
    known = WebSettings.__struct_fields__
    for name, value in raw.items():
        if name not in known:
            report.fault((name,), unknown_key(name, known), position=report.key_position((name,)))
        elif value is not None and not isinstance(value, dict):
            report.fault((name,), f"must be a mapping, got {shown(value)} (write `key: value`)")
    found = {name: value for name in known if isinstance(value := raw.get(name), dict)}
    parts: dict[str, Any] = {
        name: report.validated(model, found[name], (name,)) or model()
        for name, model in _SECTIONS.items()
        if found.get(name)
    }
    users = found.get("basic_auth_users", {})
    return WebSettings(**parts, basic_auth_users=users)


_SECTIONS: Mapping[str, type[Section]] = {
    "tls_server_config": tls.TlsServer,
    "http_server_config": HttpServer,
    "rate_limit": RateLimit,
}


# -- what the types do not say


def _tls(
    report: Report, server: tls.TlsServer | None, file: str
) -> tuple[ssl.SSLContext | None, tuple[Version, ...]]:
    path = ("tls_server_config",)
    if server is None or not report.sound(path):
        return None, ()
    for fault in tls.faults(server):
        report.fault((*path, *fault.path), fault.what)
    if not report.sound(path):
        return None, ()
    folder = str(Path(file).parent)
    versions = tuple(map(version, tls.named(server, folder)))
    try:
        context = tls.context(server, folder)
    except tls.TlsFault as fault:
        report.fault((*path, *fault.path), fault.what)
        return None, ()
    if what := tls.expired(server, folder):
        report.warn((*path, "cert_file" if server.cert_file else "cert"), what)
    if server.key_file and (rights := files.others_may(Path(folder, server.key_file))):
        report.warn((*path, "key_file"), f"others may {rights} this file (chmod 600)")
    return context, versions


def _placed(report: Report, file: str, key: str) -> str:
    place = report.position(("tls_server_config", key))
    return f"{file}:{place.line}:{place.column}: tls_server_config.{key}"


def _headers(report: Report, settings: WebSettings) -> None:
    for name, value in settings.http_server_config.headers.items():
        path = ("http_server_config", "headers", name)
        if name not in HEADERS:
            near = guess(name, {known.lower(): known for known in HEADERS})
            known = next((known for known in HEADERS if known.lower() == near), None)
            hint = f"did you mean `{known}`?" if known else f"known: {', '.join(HEADERS)}"
            what = f"this header cannot be set ({hint})"
            report.fault(path, what, position=report.key_position(path))
        elif HEADERS[name] and value not in HEADERS[name]:
            words = " or ".join(HEADERS[name])
            report.fault(path, f"must be {words}, got {shown(value)}")
        elif not value.isascii() or (value and not value.isprintable()):
            report.fault(path, "must be one line of ASCII")


def _users(report: Report, settings: WebSettings) -> None:
    every: Mapping[str, Any] = settings.basic_auth_users
    for name, hashed in every.items():
        path = ("basic_auth_users", name)
        match = _HASH.fullmatch(hashed) if isinstance(hashed, str) else None
        if match is None:
            user = name if name.isalnum() and guarded(name) == name else "USER"
            hint = f"make one with `htpasswd -nBC 10 {user}`"
            report.fault(path, f"must be a bcrypt hash such as $2y$10$... ({hint})")
        elif int(match[1]) not in _COSTS:
            report.fault(path, f"has the cost {match[1]} (bcrypt takes 04 to 31; use 10)")
        elif int(match[1]) > _SLOW:
            report.warn(path, f"has the cost {match[1]}, so that a check takes seconds (use 10)")
        if ":" in name:
            report.warn(path, "nobody can log in by this name (a `:` ends the name)")
