"""What comes off the wire: faults, statuses, headers and JSON, turned into plain values.

The errors made here say what is wrong; `http` puts in front where it happened.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator, Mapping
from functools import cache
from http import HTTPStatus
from typing import Any, TypeVar, cast

import aiohttp
import httpx
import msgspec

from exporter.errors import Malformed, ProviderError, Reason, Refused, TryLater
from exporter.http.address import ForbiddenAddressError
from exporter.messages import plain
from exporter.payload import decoded
from exporter.remedies import REMEDIES

T = TypeVar("T")

TRANSPORT_ERRORS = (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, OSError)
"""All that httpx over aiohttp raises: the transport translates only some of aiohttp's errors."""

MAX_ERROR_BODY = 64 * 1024
"""Bytes of an error that are read."""
_BOM = b"\xef\xbb\xbf"

_Row = tuple[type[ProviderError], Reason, str]

_FAULTS: tuple[tuple[type[Exception], _Row], ...] = (
    (httpx.InvalidURL, (Malformed, "bad_shape", "no URL can be made of what is to be asked for")),
    (ForbiddenAddressError, (Refused, "connect", "the host has an address where no API can be")),
    (aiohttp.ClientConnectorDNSError, (TryLater, "dns", "the host name cannot be resolved")),
    (
        ssl.SSLCertVerificationError,
        (Refused, "tls", f"certificate not trusted; {REMEDIES['tls'].hint}"),
    ),
    (ssl.SSLError, (TryLater, "tls", "no TLS connection; check the scheme of url, and ca_file")),
    (TimeoutError, (TryLater, "timeout", "no whole answer in time")),
    (aiohttp.ClientProxyConnectionError, (TryLater, "connect", "the proxy cannot be reached")),
    (aiohttp.ClientHttpProxyError, (TryLater, "connect", "the proxy refuses the connection")),
    (Exception, (TryLater, "connect", "the connection failed or broke off")),
)

_URL_QUERY = re.compile(r"(https?://[^\s?#]*)(?:[?#]\S*)?")  # matches on, to be linear
_TEXT_KEYS = ("message", "error_description", "error_message", "detail", "error")
_MAX_DEPTH = 4


def fault(error: Exception) -> ProviderError:
    """One of our errors for one of the transport's.

    The transport calls a closed connection a timeout and all of DNS and TLS a
    connection error, so what counts is the chain of causes.
    """
    causes = list(_causes(error))
    kind, reason, text = next(
        row for kind, row in _FAULTS if any(isinstance(cause, kind) for cause in causes)
    )
    detail = next((v for c in causes if (v := getattr(c, "verify_message", ""))), "")
    name = type(causes[-1]).__name__
    return kind(f"{text} ({f'{name}: {detail}' if detail else name})", reason=reason)


def _causes(error: BaseException | None) -> Iterator[Exception]:
    while isinstance(error, Exception):
        yield error
        error = error.__cause__


class Reply(msgspec.Struct, frozen=True):
    """A whole answer, unpacked."""

    url: httpx.URL
    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


def headers(response: httpx.Response) -> dict[str, str]:
    """The headers of an answer, names in lower case, values of the same name joined."""
    joined: dict[str, str] = {}
    for raw_name, raw_value in response.headers.raw:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined


def decode(reply: Reply, into: type[T]) -> T:
    """The body as JSON of type `into`.

    Raises Malformed: `bad_json` if it is not JSON, `bad_shape` with the place in it if
    it is not an `into`. Raises Refused(`unauthorized`) for a web page: that is how
    single sign-on answers, with status 200, those it does not know.
    """
    problem: ProviderError
    try:
        body = reply.body.removeprefix(_BOM) if reply.status != HTTPStatus.NO_CONTENT else b"null"
        value: T = decoded(body, _decoder(cast("Any", into)))
    except msgspec.ValidationError as error:
        text = f"the answer is not as the API promises: {error}"
        words = error_message(reply)
        problem = Malformed(f"{text}; it says: {words}" if words else text, reason="bad_shape")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        problem = _not_json(reply, error)
    else:
        return value
    raise problem  # here, so that no cause holds on to the body


def is_page(reply: Reply) -> bool:
    """Whether the answer is a web page, for people."""
    is_html = "html" in reply.headers.get("content-type", "").lower()
    return is_html or reply.body[:64].lstrip().startswith(b"<")


def _not_json(reply: Reply, error: Exception) -> ProviderError:
    if is_page(reply) or reply.status == HTTPStatus.NON_AUTHORITATIVE_INFORMATION:
        return Refused(
            "answered with a web page instead of JSON; "
            "the token is probably wrong or a login page is in between",
            reason="unauthorized",
        )
    if not reply.body.strip():
        return Malformed("the answer is empty", reason="bad_json")
    detail = str(error) if isinstance(error, msgspec.DecodeError) else type(error).__name__
    return Malformed(f"the answer is not JSON: {detail}", reason="bad_json")


@cache
def _decoder(into: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(into)


def error_message(reply: Reply) -> str:
    """What an error answer says in words, as one line of printable text; else nothing.

    Understood are the usual members of a JSON object (`message`, `error`, `errors`, ...)
    and plain text. The queries of URLs in it are left out.
    """
    if len(reply.body) > MAX_ERROR_BODY:
        return ""
    try:
        value: Any = msgspec.json.decode(reply.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        is_text = reply.headers.get("content-type", "").startswith("text/plain")
        value = reply.body.decode("utf-8", "replace") if is_text else None
    words = dict.fromkeys(_texts(value)) if isinstance(value, dict | str) else {}
    return plain(_URL_QUERY.sub(r"\1", "; ".join(words)))


def _texts(value: Any, depth: int = 0) -> Iterator[str]:
    """The texts of an error object, most telling first."""
    if isinstance(value, str) and value.strip():
        yield value.strip()
    elif isinstance(value, list) and depth < _MAX_DEPTH:
        for item in value[:5]:
            yield from _texts(item, depth + 1)
    elif isinstance(value, dict) and depth < _MAX_DEPTH:
        telling = next((found for key in _TEXT_KEYS if (found := value.get(key))), None)
        if telling is None and depth:  # {"field": "title", "code": "missing_field"}
            telling = list(value.values())
        yield from _texts(telling, depth + 1)
        yield from _texts(value.get("errors"), depth + 1)
