"""Credentials that a server echoes: they are removed from texts, headers and bodies."""

from __future__ import annotations

import base64
import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

from exporter.messages import plain

_PUBLIC_HEADERS = frozenset({"accept", "accept-encoding", "user-agent"})
_OF_A_CREDENTIAL = re.compile(r"auth|token|key|secret|password|cookie")
"""In the names of headers: in those of the others stand versions, which answers may repeat."""
_SHOWN_FROM, _READ_FROM = 4, 8
"""Characters of a secret that are looked for in texts and in answers; shorter ones are words."""
_HIDDEN = "***"
_ESCAPES = (rb"\u00", rb"\/", rb"\"", rb"\\")
"""What begins the escape of a letter that a header can carry."""


def redact(text: str, headers: Mapping[str, str]) -> str:
    """`text` on one printable line, with *** for any credential that the server echoes."""
    for secret in sorted(_values(headers), key=len, reverse=True):
        if len(secret) >= _SHOWN_FROM:
            text = text.replace(secret, _HIDDEN)
    return plain(text)


def secrets(headers: Mapping[str, str]) -> tuple[str, ...]:
    """The credentials in the headers of a request, none of which holds another one."""
    named = {name: value for name, value in headers.items() if _OF_A_CREDENTIAL.search(name)}
    found: list[str] = []
    for secret in sorted(_values(named), key=len):
        if len(secret) >= _READ_FROM and not any(known in secret for known in found):
            found.append(secret)
    return tuple(found)


def without_in(sent: Mapping[str, str], received: dict[str, str]) -> dict[str, str]:
    """The headers of an answer with *** for the credentials of its request's headers."""
    for secret in secrets(sent):
        for name, value in received.items():
            if secret in value:
                received[name] = value.replace(secret, _HIDDEN)
    return received


def without(hidden: Iterable[str], body: bytes) -> bytes:
    """JSON with *** for each of these secrets, however its letters are escaped."""
    for secret in hidden:
        body = body.replace(secret.encode(), _HIDDEN.encode())
        if any(mark in body for mark in _ESCAPES):
            body = _escaped(secret).sub(_HIDDEN.encode(), body)
    return body


@lru_cache(maxsize=256)
def _escaped(secret: str) -> re.Pattern[bytes]:
    return re.compile(b"".join(map(_spellings, secret)))


def _spellings(letter: str) -> bytes:
    """A pattern of all that a letter of a header can be in a JSON text."""
    code = f"{ord(letter):04x}"
    digits = "".join(f"[{d}{d.upper()}]" if d.isalpha() else d for d in code)
    ways = [re.escape(letter), rf"\\u{digits}"]
    if letter in '"\\/':
        ways.append(re.escape(f"\\{letter}"))
    return f"(?:{'|'.join(ways)})".encode()


def _values(headers: Mapping[str, str]) -> Iterator[str]:
    for name, value in headers.items():
        if name in _PUBLIC_HEADERS:
            continue
        scheme, _, credential = value.rpartition(" ")
        yield value
        yield credential
        if scheme.lower() == "basic":
            with contextlib.suppress(ValueError):
                pair = base64.b64decode(credential).decode()
                yield pair
                yield pair.partition(":")[2]
