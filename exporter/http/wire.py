"""What comes off the wire: faults, statuses, headers and JSON, turned into plain values.

The errors made here say what is wrong; `http` puts in front where it happened.
"""

from __future__ import annotations

import base64
import contextlib
import re
import ssl
from collections.abc import Iterator, Mapping
from functools import cache
from http import HTTPStatus
from http.client import responses
from typing import Any, TypeVar, cast

import aiohttp
import httpx
import msgspec

from exporter.errors import Gone, Malformed, ProviderError, Reason, Refused, TryLater
from exporter.http.address import ForbiddenAddressError
from exporter.http.limits import rate_limit
from exporter.payload import decoded

T = TypeVar("T")

TRANSPORT_ERRORS = (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, OSError)
"""All that httpx over aiohttp raises: the transport translates only some of aiohttp's errors."""

MAX_ERROR_BODY = 64 * 1024
"""Bytes of an error that are read."""
_BOM = b"\xef\xbb\xbf"

_Row = tuple[type[ProviderError], Reason, str]

_FAULTS: tuple[tuple[type[Exception], _Row], ...] = (
    (ForbiddenAddressError, (Refused, "connect", "the host has an address where no API can be")),
    (aiohttp.ClientConnectorDNSError, (TryLater, "dns", "the host name cannot be resolved")),
    (
        ssl.SSLCertVerificationError,
        (Refused, "tls", "certificate not trusted; a private CA's bundle goes into ca_file"),
    ),
    (ssl.SSLError, (TryLater, "tls", "no TLS connection; check the scheme of url, and ca_file")),
    (TimeoutError, (TryLater, "timeout", "no whole answer in time")),
    (aiohttp.ClientProxyConnectionError, (TryLater, "connect", "the proxy cannot be reached")),
    (aiohttp.ClientHttpProxyError, (TryLater, "connect", "the proxy refuses the connection")),
    (Exception, (TryLater, "connect", "the connection failed or broke off")),
)

_STATUS: dict[int, _Row] = {
    401: (Refused, "unauthorized", "check the token"),
    402: (Refused, "forbidden", "the plan does not include this"),
    403: (Refused, "forbidden", "check what the token may read"),
    404: (Gone, "not_found", "not there, or not for this token"),
    407: (Refused, "unauthorized", "the proxy wants credentials"),
    408: (TryLater, "timeout", ""),
    410: (Gone, "not_found", "not there any more, or a newer exporter is needed"),
    425: (TryLater, "server", ""),
    429: (TryLater, "rate_limited", "rate limited"),
    451: (Refused, "forbidden", ""),
    504: (TryLater, "timeout", ""),
}
_OTHER_4XX: _Row = (Refused, "bad_shape", "the API rejects the request")
_OTHER_5XX: _Row = (TryLater, "server", "")
_LIMIT_WORDS = re.compile(r"rate.?limit|abuse detection|too many requests", re.IGNORECASE)

_SCOPE_HEADERS = ("x-accepted-github-permissions", "x-accepted-oauth-scopes")
_SCOPE = re.compile(r'\bscope="([^"]{1,200})"')
"""In `WWW-Authenticate`: RFC 6750; GitLab does so."""

_PUBLIC_HEADERS = frozenset({"accept", "accept-encoding", "user-agent"})
_SECRET_FROM = 4  # characters; a shorter word of a header is a version, not a secret

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
    told: dict[str, str] = {}
    for raw_name, raw_value in response.headers.raw:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        told[name] = f"{told[name]}, {value}" if name in told else value
    return told


def refusal(reply: Reply) -> ProviderError:
    """The error that a status other than 2xx stands for."""
    answered = f"answered {reply.status} {responses.get(reply.status, '')}".rstrip()
    if reply.status < HTTPStatus.BAD_REQUEST:
        what = f"{answered}: redirected to {_host(reply)}; if the API has moved there, change url"
        return Malformed(what, reason="redirect")
    text = said(reply)
    status = reply.status
    if status == HTTPStatus.FORBIDDEN and _is_limit(reply, text):
        status = HTTPStatus.TOO_MANY_REQUESTS
    other = _OTHER_5XX if status >= HTTPStatus.INTERNAL_SERVER_ERROR else _OTHER_4XX
    kind, reason, hint = _STATUS.get(status, other)
    needs = _needs(reply) if reason == "forbidden" else ""
    return kind(": ".join(filter(None, (answered, hint, text, needs))), reason=reason)


def _needs(reply: Reply) -> str:
    """Which permission a refusal asks for, where a header names it."""
    named = next((v for h in _SCOPE_HEADERS if (v := reply.headers.get(h))), None)
    if named is None:
        found = _SCOPE.search(reply.headers.get("www-authenticate", ""))
        named = found[1] if found else ""
    return f"it takes {plain(named)[:200]}" if named else ""


def _host(reply: Reply) -> str:
    try:
        return reply.url.join(reply.headers.get("location", "")).host
    except httpx.InvalidURL:
        return "an address that is none"


def _is_limit(reply: Reply, text: str) -> bool:
    limit = rate_limit(reply.headers, 0.0)
    exhausted = limit is not None and limit.remaining == 0
    return exhausted or "retry-after" in reply.headers or bool(_LIMIT_WORDS.search(text))


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
        words = said(reply)
        problem = Malformed(f"{text}; it says: {words}" if words else text, reason="bad_shape")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        problem = _not_json(reply, error)
    else:
        return value
    raise problem  # here, so that no cause holds on to the body


def _not_json(reply: Reply, error: Exception) -> ProviderError:
    start = reply.body[:64].lstrip()
    if not start:
        return Malformed("the answer is empty", reason="bad_json")
    if start.startswith(b"<") or "html" in reply.headers.get("content-type", "").lower():
        return Refused(
            "answered with a web page instead of JSON; "
            "the token is probably wrong or a login page is in between",
            reason="unauthorized",
        )
    detail = str(error) if isinstance(error, msgspec.DecodeError) else type(error).__name__
    return Malformed(f"the answer is not JSON: {detail}", reason="bad_json")


@cache
def _decoder(into: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(into)


def said(reply: Reply) -> str:
    """What an error answer says in words, as one line of printable text; else nothing.

    Understood are the usual members of a JSON object (`message`, `error`, `errors`, ...),
    the unified API's `truto_error_insight`, and plain text. The queries of URLs in it
    are left out.
    """
    if len(reply.body) > MAX_ERROR_BODY:
        return ""
    try:
        value: Any = msgspec.json.decode(reply.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        is_text = reply.headers.get("content-type", "").startswith("text/plain")
        value = reply.body.decode("utf-8", "replace") if is_text else None
    words = dict.fromkeys(_words(value)) if isinstance(value, dict | str) else {}
    return plain(_URL_QUERY.sub(r"\1", "; ".join(words)))


def _words(value: Any, depth: int = 0) -> Iterator[str]:
    """The texts of an error object, most telling first."""
    if isinstance(value, str) and value.strip():
        yield value.strip()
    elif isinstance(value, list) and depth < _MAX_DEPTH:
        for item in value[:5]:
            yield from _words(item, depth + 1)
    elif isinstance(value, dict) and depth < _MAX_DEPTH:
        telling = next((found for key in _TEXT_KEYS if (found := value.get(key))), None)
        if telling is None and depth:  # {"field": "title", "code": "missing_field"}
            telling = list(value.values())
        yield from _words(telling, depth + 1)
        yield from _words(value.get("errors"), depth + 1)
        yield from _insight(value.get("truto_error_insight"))


def _insight(insight: Any) -> Iterator[str]:
    """What the unified API found out about a provider's error."""
    for key, entry in insight.items() if isinstance(insight, dict) else ():
        match key, entry:
            case "missing_required_query_parameters", {"value": list() | str() as names}:
                yield f"missing query parameters: {_listed(names)}"
            case "forbidden_error", {"value": {"missing_scopes": list() | str() as scopes}}:
                yield f"missing scopes: {_listed(scopes)}"
            case "rate_limit_error", _:
                yield "rate limit"


def _listed(value: list[Any] | str) -> str:
    return value if isinstance(value, str) else ", ".join(str(item) for item in value[:10])


def plain(text: str) -> str:
    """`text` on one line, with blanks for what cannot be printed."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def hushed(text: str, headers: Mapping[str, str]) -> str:
    """`text` on one printable line, with *** for any credential that the server echoes."""
    for secret in sorted(_secrets(headers), key=len, reverse=True):
        text = text.replace(secret, "***")
    return plain(text)


def _secrets(headers: Mapping[str, str]) -> Iterator[str]:
    for name, value in headers.items():
        if name in _PUBLIC_HEADERS:
            continue
        scheme, _, credential = value.rpartition(" ")
        candidates = [value, credential]
        if scheme.lower() == "basic":
            with contextlib.suppress(ValueError):
                pair = base64.b64decode(credential).decode()
                candidates += [pair, pair.partition(":")[2]]
        yield from (secret for secret in candidates if len(secret) >= _SECRET_FROM)
