"""What a status other than success means, and what a person can do about it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from http import HTTPStatus
from http.client import responses
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote

import httpx
import msgspec

from exporter.errors import Gone, Malformed, ProviderError, Reason, Refused, TryLater
from exporter.http.limits import rate_limit
from exporter.http.paths import is_safe
from exporter.http.wire import Reply, error_message, is_page
from exporter.messages import plain
from exporter.remedies import REMEDIES

_Row = tuple[type[ProviderError], Reason, str]

_STATUS: dict[int, _Row] = {
    401: (Refused, "unauthorized", REMEDIES["unauthorized"].hint),
    402: (Refused, "forbidden", "the plan does not include this"),
    403: (Refused, "forbidden", REMEDIES["forbidden"].hint),
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

_SCOPE = re.compile(r'\bscope="([^"]{1,200})"')
"""In `WWW-Authenticate`: RFC 6750; GitLab does so."""


class Dialect(NamedTuple):
    """How one API words its refusals beyond what HTTP and its standards say."""

    scope_headers: tuple[str, ...] = ()
    """Response headers that name the permission a request takes; lower case."""
    sso_header: str = ""
    """The response header `required; url=...` with which the owner demands single sign-on."""
    limit_mark: bytes = b""
    """What the body of a 403 has in it where that is a rate limit."""
    explained: Callable[[ProviderError, Mapping[str, Any]], ProviderError] = lambda error, _: error
    """A refusal, or a better one by the JSON object that came with it."""


STANDARD = Dialect()


class _Policy(NamedTuple):
    """A rule of the owner that keeps a good token out."""

    words: re.Pattern[str]
    text: str
    advice: str


_POLICIES = (
    _Policy(
        re.compile(r"\bsaml\b|\bsingle[ -]sign[ -]?on\b|\bsso\b", re.IGNORECASE),
        "the organization wants single sign-on: authorize the token for it",
        "Authorize the token for the organization's single sign-on, at the link if the error"
        " has one, or take the organization's repos out.",
    ),
    _Policy(
        re.compile(
            r"\b(?:ip|address(?:es)?)\b.{0,80}\b(?:allow|white)[ -]?list"
            r"|\b(?:allow|white)[ -]?list.{0,80}\bip\b"
            r"|\bip (?:address )?.{0,80}\bnot (?:allowed|permitted|authorized|in the allowed)"
            r"|\bip (?:address )?restrict",
            re.IGNORECASE,
        ),
        "the address of this machine is not on the owner's IP allow list",
        "Add the address from which this machine is seen to the owner's IP allow list.",
    ),
    _Policy(
        re.compile(r"conditional access|\bVS403463\b|\bAADSTS530\d\d\b", re.IGNORECASE),
        "a conditional access policy keeps this machine or the token's owner out",
        "Ask whoever manages the conditional access policy to let this machine's address or the"
        " token's owner through.",
    ),
)
"""GitHub, GitLab, Bitbucket and Azure DevOps say so in the text of a 401 or 403."""

_SSO_LINK = re.compile(r"\burl=(\S{1,500})")

_TEMPORARY = (HTTPStatus.FOUND, HTTPStatus.SEE_OTHER, HTTPStatus.TEMPORARY_REDIRECT)
_SIGN_IN_PATH = re.compile(
    r"_?(?:(?:user|web|sso|saml|oauth2?|account|auth)[-_])?(?:commence|finish)?"
    r"(?:log|sign)[-_]?(?:in|on)(?:[-_](?:form|page))?(?:\.[a-z]{2,6})?"
    r"|sso|saml2?|oauth2?|oidc|openid(?:-connect)?|wsfed|adfs|cas|idp"
    r"|auth|authorize|authenticate|securityrealm",
    re.IGNORECASE,
)
"""Segments of the paths at which people sign in."""
_SIGN_IN_HOST = re.compile(
    r"(?:^|\.)(?:(?:login|signin|sso|auth|idp|adfs)[-\w]*|accounts|identity|okta\w*|auth0|onelogin"
    r"|microsoftonline|cloudflareaccess|vssps)\.",
    re.IGNORECASE,
)
_SIGN_IN_QUERY = re.compile(
    r"return[-_]?(?:url|to)|redirect[-_]?ur[il]|back_url|reply_to|relaystate|samlrequest"
    r"|response_type|wtrealm",
    re.IGNORECASE,
)
"""Names of what such a page is told."""


def refusal(reply: Reply, root: httpx.URL, dialect: Dialect = STANDARD) -> ProviderError:
    """The error that a status other than 2xx stands for; `root` and `dialect` are the API's."""
    answered = f"answered {reply.status} {responses.get(reply.status, '')}".rstrip()
    if reply.status < HTTPStatus.BAD_REQUEST:
        return _redirect(reply, root, answered)
    text = error_message(reply)
    status = reply.status
    if status == HTTPStatus.FORBIDDEN and _is_limit(reply, text, dialect.limit_mark):
        status = HTTPStatus.TOO_MANY_REQUESTS
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        policy = next((p for p in _POLICIES if p.words.search(text)), None)
        link = _sso_link(reply, dialect.sso_header)
        if link or policy is not None:
            policy = policy or _POLICIES[0]
            what = f"{policy.text} at {link}" if link else policy.text
            message = ": ".join(filter(None, (answered, what, text)))
            return Refused(message, reason="forbidden", advice=policy.advice)
    other = _OTHER_5XX if status >= HTTPStatus.INTERNAL_SERVER_ERROR else _OTHER_4XX
    kind, reason, hint = _STATUS.get(status, other)
    if reason == "not_found" and is_page(reply):
        hint += " (a web page says so; if nothing is found, check that url is the API's root)"
    needs = _needs(reply, dialect.scope_headers) if reason == "forbidden" else ""
    return kind(": ".join(filter(None, (answered, hint, text, needs))), reason=reason)


def _needs(reply: Reply, headers: Iterable[str]) -> str:
    """Which permission a refusal asks for, where a header names it."""
    named = next((v for h in headers if (v := reply.headers.get(h))), None)
    if named is None:
        found = _SCOPE.search(reply.headers.get("www-authenticate", ""))
        named = found[1] if found else ""
    return f"it takes {plain(named)[:200]}" if named else ""


def _sso_link(reply: Reply, name: str) -> str:
    """Where a person authorizes the token: only at the site that the API belongs to."""
    header = reply.headers.get(name, "")
    found = _SSO_LINK.search(header) if header.lower().startswith("required") else None
    if found is None:
        return ""
    try:
        link = httpx.URL(found[1])
    except httpx.InvalidURL:
        return ""
    ours = reply.url.host in (link.host, f"api.{link.host}")
    return plain(str(link)) if link.scheme == "https" and ours and not link.userinfo else ""


def _is_limit(reply: Reply, text: str, mark: bytes) -> bool:
    limit = rate_limit(reply.headers, 0.0)
    exhausted = limit is not None and limit.remaining == 0
    exhausted |= bool(mark) and mark in reply.body
    return exhausted or "retry-after" in reply.headers or bool(_LIMIT_WORDS.search(text))


def json_object(reply: Reply) -> dict[str, Any]:
    """The JSON object that a refusal came with; an empty one where there is none."""
    try:
        value = msgspec.json.decode(reply.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def suspect_root(fault: ProviderError, reply: Reply, likely_root: str) -> None:
    """Say where the API probably is, if it was a site for people that has answered."""
    is_redirect = HTTPStatus.MULTIPLE_CHOICES <= reply.status < HTTPStatus.BAD_REQUEST
    is_site = fault.reason == "unauthorized" if is_redirect else is_page(reply)
    if not is_site or reply.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return
    fault.args = (f"{fault}; url is probably not the root of the API: set it to {likely_root}",)
    fault.account_wide = True
    fault.advice = f"Set url to {likely_root}, the root of the API." + (
        " If it is right, check the token." if fault.reason == "unauthorized" else ""
    )


# -- redirects


def moved(reply: Reply, root: httpx.URL) -> str:
    """Where a permanent redirect points if that is below `root`; else raises its error."""
    try:
        target = reply.url.join(reply.headers.get("location", ""))
    except httpx.InvalidURL:
        raise refusal(reply, root) from None
    path = target.raw_path.partition(b"?")[0]
    if (
        (target.scheme, target.host, target.port) != (root.scheme, root.host, root.port)
        or target.userinfo
        or not path.startswith(root.raw_path.rstrip(b"/") + b"/")
        or not is_safe(path.decode("ascii"))
    ):
        raise refusal(reply, root)
    return str(target.copy_with(fragment=None))


def _redirect(reply: Reply, root: httpx.URL, answered: str) -> ProviderError:
    try:
        target = reply.url.join(reply.headers.get("location", ""))
    except httpx.InvalidURL:
        return Malformed(f"{answered}: redirected to an address that is none", reason="redirect")
    if signs_in(reply, target):
        hint = REMEDIES["unauthorized"].hint
        what = f"{answered}: redirected to a page for signing in at {target.host}; {hint}"
        return Refused(what, reason="unauthorized")
    if root.scheme == "https" and target.scheme == "http":
        what = (
            f"{answered}: redirected to plain http at {target.host}, where no credential is sent;"
            " tell the server (or the proxy before it) that it is reached by https"
        )
        advice = "Set the server's external address, or X-Forwarded-Proto of its proxy, to https."
        return Malformed(what, reason="redirect", advice=advice)
    moved = _new_root(reply, root, target)
    change = f"set url to {moved}" if moved else "change url"
    what = f"{answered}: redirected to {target.host}; if the API has moved there, {change}"
    # That http must be https is no matter of one resource.
    secured = moved is not None and (root.scheme, root.host) == ("http", target.host)
    return Malformed(what, reason="redirect", account_wide=secured and target.scheme == "https")


def signs_in(reply: Reply, target: httpx.URL) -> bool:
    """Whether a redirect to `target` asks for a person to sign in.

    What the request itself named, such as a repo called `login`, is no sign of that; and
    a permanent redirect within a host is a resource that has moved.
    """
    if target.scheme not in ("http", "https"):
        return False
    if reply.status not in _TEMPORARY and target.host == reply.url.host:
        return False
    asked = set(_segments(reply.url))
    named = parse_qsl(target.query.decode("ascii", "replace")[:2000])
    return (
        any(_SIGN_IN_PATH.fullmatch(word) for word in _segments(target) if word not in asked)
        or (target.host != reply.url.host and bool(_SIGN_IN_HOST.search(f"{target.host}.")))
        or any(_SIGN_IN_QUERY.fullmatch(name) for name, _ in named)
    )


def _segments(url: httpx.URL) -> Iterator[str]:
    return filter(None, unquote(url.path)[:2000].lower().split("/"))


def _new_root(reply: Reply, root: httpx.URL, target: httpx.URL) -> str | None:
    """The root below which a redirect has the very path that was asked for, if another one."""
    below = reply.url.path.removeprefix(root.path.rstrip("/"))
    if not below or not target.path.endswith(below) or target.userinfo:
        return None
    moved = target.copy_with(path=target.path.removesuffix(below) or "/", query=None, fragment=None)
    text = str(moved).rstrip("/")
    return None if text == str(root).rstrip("/") else text
