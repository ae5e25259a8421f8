"""The client: requests with deadlines, retries, one redirect and the limits of a budget."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import httpx
import msgspec

from exporter import __version__, times
from exporter.errors import Malformed, ProviderError, Refused, TryLater
from exporter.http import bodies, limits, paths, reflection, refusals, wire
from exporter.http.acceptance import Acceptance
from exporter.http.budget import Budget
from exporter.http.call import Answer, ApiStats, Call
from exporter.http.connections import Connections
from exporter.http.refusals import STANDARD, Dialect
from exporter.http.response_cache import ResponseCache
from exporter.http.retries import RetryPolicy
from exporter.http.secret import Token, is_header_value
from exporter.http.silence import Silence
from exporter.http.throttle import Throttle
from exporter.threads import begun, ended

T = TypeVar("T")

_PERMANENT_REDIRECTS = (HTTPStatus.MOVED_PERMANENTLY, HTTPStatus.PERMANENT_REDIRECT)

_SKEW_FROM = 2.0  # seconds; `Date` is cut to the second and travels a while

_RESOURCES = ("x-ratelimit-resource", "ratelimit-name")
_MAX_RESOURCES = 32  # names that the server makes up must not fill our memory
_MAX_PLACE, _MAX_TEXT = 160, 450  # characters of an error's text
_MAX_URL = 16 * 1024  # characters; servers take 8 KiB, few of them more

CONCURRENCY = 8
"""Requests of one account under way at once."""
_RETRIES = RetryPolicy()
_PLAIN = {"accept": "application/json"}
_ALWAYS = {"accept-encoding": "gzip", "user-agent": f"cicd-exporter/{__version__}"}


class Api:
    """One account's way to one API: its connections, its limits and its clock.

    `root` is the URL that paths are appended to, `proxy` that of an HTTP proxy, both
    without credentials. `headers` is asked before each request and gives the credential.
    `timeout` is the seconds that one attempt may take from connecting to the last byte.
    `ca_file` replaces the public CAs. `budget` may be shared with other accounts. The
    environment's proxies and `.netrc` are not used, and cookies are not kept.

    `token` is what `headers` reads: it is looked at before each request, beside the event loop.
    `likely_root` is where the API probably is if a web site answers at `root`. `dialect`
    is how the API words its refusals, `expiry_header` where each answer says when the token ends.
    """

    def __init__(  # noqa: PLR0913 - the keys of an account
        self,
        *,
        root: str,
        headers: Callable[[], dict[str, str]],
        timeout: float,
        ca_file: str | None = None,
        proxy: str | None = None,
        retries: RetryPolicy = _RETRIES,
        budget: Budget | None = None,
        token: Token | None = None,
        likely_root: str | None = None,
        dialect: Dialect = STANDARD,
        expiry_header: str | None = None,
    ) -> None:
        self.stats = ApiStats()
        self.budget = Budget() if budget is None else budget
        self._root = root.rstrip("/")
        self._likely_root = likely_root
        self._dialect = dialect
        self._expiry_header = expiry_header
        self._place = urlsplit(root).netloc
        self._token = Token(env=None, file=None) if token is None else token
        self._credentials = headers
        self.timeout = timeout
        self._retries = retries
        self._slots = asyncio.Semaphore(CONCURRENCY)
        self._way: dict[str, Any] = {"ca_file": ca_file, "proxy": proxy, "retries": retries}
        self._connections = Connections(ca_file=ca_file, proxy=proxy, limit=CONCURRENCY)
        self._sent: tuple[dict[str, str], dict[str, str]] = ({}, {})
        """The account's headers the last time, and all that were sent with them."""
        self._throttle = Throttle(self.budget, retries, self.now)
        self._acceptance = Acceptance()
        self.silence = Silence()
        self.responses = ResponseCache()
        """Of conditional requests."""

    def beside(self, root: str) -> Api:
        """A client for another server of the account, such as that which grants its tokens.

        It has the timeout, CAs, proxy and statistics of this one, and no credential.
        """
        client = Api(root=root, headers=dict, timeout=self.timeout, **self._way)
        client.stats = self.stats
        return client

    def now(self) -> float:
        """Seconds since the epoch by the provider's clock."""
        shown, at = self.stats.clock or (time.time(), time.monotonic())
        return shown + time.monotonic() - at

    @property
    def has_answered(self) -> bool:
        """Whether any answer has come yet; before that `now()` is our own clock, right or wrong."""
        return any(code != "error" for code in self.stats.requests)

    async def has_new_credential(self) -> bool:
        """Whether a file of the credential has changed since the last request; tells it once.

        Costs a look at the file, at most five seconds of waiting, and no request.
        """
        return await self._token.changed()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._connections.aclose()

    async def get(
        self,
        path: str,
        params: Mapping[str, str | int] | None = None,
        *,
        into: type[T],
        conditional: bool = False,
        tries: int | None = None,
    ) -> Answer[T]:
        """GET `root` + `path` and decode its JSON as `into`.

        `path` begins with a slash and its segments are quoted by the caller:
        `quote(segment, safe="")`; `params` are quoted here. A permanent redirect (301,
        308) to below `root` is followed once, any other is refused, so the credential
        goes nowhere else. Raises only ProviderErrors, as the table of this module says.

        A `conditional` answer with an `ETag` is stored, and the next such request sends it
        as `If-None-Match`; after a 304 the stored body is the answer.

        `tries` is how often it is sent while the server fails (5xx, no answer in time), by
        default as `retries` says.
        """
        url = self._url(path, params)
        return await self._answer(Call("GET", url, into, self._credentials, conditional, tries))

    async def post(
        self,
        path: str,
        *,
        into: type[T],
        headers: Callable[[], dict[str, str]],
        form: Callable[[], dict[str, str]] | None = None,
    ) -> Answer[T]:
        """POST a form, or nothing, to `root` + `path` with `headers` in place of the account's.

        Like `get` it sends again what failed, so it is for requests that may be served
        twice, such as for a short-lived token. No redirect is followed.
        """
        return await self._answer(Call("POST", self._url(path, None), into, headers, form=form))

    async def _answer(self, call: Call[T]) -> Answer[T]:
        attempt = 0
        while True:
            attempt += 1
            try:
                return await self._authorized(call)
            except TryLater as fault:
                pause = max(fault.delay or 0.0, self._retries.pause(attempt))
                hopeless = fault.reason == "rate_limited" or pause > self._retries.cap
                if hopeless or attempt >= min(call.tries or math.inf, self._retries.attempts):
                    raise
            await self._retries.sleep(pause)

    def _url(self, path: str, params: Mapping[str, str | int] | None) -> str:
        if not paths.is_safe(path):
            raise self._not_sent(f"{path[:_MAX_PLACE]!r} is no path below url")
        query = urlencode(params or {}, quote_via=quote, safe="", errors="replace")
        url = f"{self._root}{path}?{query}".removesuffix("?")
        if len(url) > _MAX_URL:
            raise self._not_sent(f"{path[:_MAX_PLACE]!r} is asked for in too many characters")
        return url

    def _not_sent(self, what: str) -> Malformed:
        """Our own request is wrong, whatever it was made of: a name, or a cursor."""
        self.stats.errors["bad_shape"] += 1
        return Malformed(f"{self._place}: {what}", reason="bad_shape", counted=True)

    async def _authorized(self, call: Call[T]) -> Answer[T]:
        """An attempt, and at once another if it is refused and the token is a new one."""
        headers = await self._headers(call)
        try:
            return await self._attempt(call, headers)
        except Refused as fault:
            if fault.reason != "unauthorized":
                raise
            fresh = await self._headers(call, anew=True)
            if fresh == headers:
                raise
        return await self._attempt(call, fresh)

    async def _headers(self, call: Call[T], *, anew: bool = False) -> dict[str, str]:
        """What is sent with a request; the very same object as long as nothing changes."""
        try:
            await self._token.look(anew=anew)
            wanted = (
                call.credentials() if call.method == "GET" else await self._made(call.credentials)
            )
            if wanted == self._sent[0]:
                return self._sent[1]
            if not all(map(is_header_value, wanted.values())):
                raise Refused(
                    f"{self._place}: the credential holds what no header can carry",
                    reason="unauthorized",
                )
        except ProviderError as fault:
            self.stats.errors[fault.reason] += 1
            fault.counted = True
            raise
        headers = _PLAIN | {name.lower(): value for name, value in wanted.items()} | _ALWAYS
        self._sent, self._acceptance = (wanted, headers), Acceptance()
        if self._expiry_header is not None:
            self.stats.token_expiry = None  # it may have been that of another token
        return headers

    async def _made(self, make: Callable[[], dict[str, str]]) -> dict[str, str]:
        """What is sent with a POST, made in a thread: that may take a key from a file, and sign."""
        making = begun(make, name="signature")
        if await ended(making, within=self.timeout):
            return making.result()
        raise Refused(f"{self._place}: the credential is not there in time", reason="unauthorized")

    async def _attempt(self, call: Call[T], headers: Mapping[str, str]) -> Answer[T]:
        """One request with its redirect; a failure is counted and names its URL's path."""
        url, into = call.url, call.into
        form: dict[str, str] = {}
        async with self._slots:
            await self._wait_for_budget()
            try:
                form = {} if call.form is None else await self._made(call.form)
                stored = self.responses.lookup(url, into, headers) if call.conditional else None
                asked = headers if stored is None else stored.conditional(headers)
                reply = await self._send(call.method, url, asked, form)
                if reply.status in _PERMANENT_REDIRECTS and call.method == "GET":
                    reply = await self._send(
                        call.method, refusals.moved(reply, httpx.URL(self._root)), asked, form
                    )
                if stored is not None and reply.status == HTTPStatus.NOT_MODIFIED:
                    self._throttle.served()
                    self._acceptance.accepted(reply.url)
                    return Answer(
                        self.responses.body(url, into, stored), reply.headers, reply.status
                    )
                body = await self._read(reply, into, headers)
                if call.method == "GET":
                    self._acceptance.accepted(reply.url)
            except ProviderError as fault:
                self.stats.errors[fault.reason] += 1
                fault.counted = True
                where = f"{self._place}{urlsplit(url).path}"[:_MAX_PLACE]
                text = reflection.redact(str(fault), {**headers, **form})[:_MAX_TEXT]
                fault.args = (f"{where}: {text}",)
                raise
        if call.conditional:
            self.responses.store(url, into, headers, etag=reply.headers.get("etag"), body=body)
        return Answer(body=body, headers=reply.headers, status=reply.status)

    async def _wait_for_budget(self) -> None:
        """Wait until the budget has room for a request. Raises Waiting if that is far off."""
        while (wait := self.budget.admit(self._place)) > 0:
            await self._retries.sleep(wait)
            if not self.budget.is_closed:
                return

    async def _send(
        self, method: str, url: str, headers: Mapping[str, str], form: Mapping[str, str]
    ) -> wire.Reply:
        code = "error"
        self.budget.sent()
        self.silence.asked()
        try:
            async with (
                asyncio.timeout(self.timeout),
                self._connections.asked(method, url, headers, form) as response,
            ):
                code = str(response.status_code)
                self.silence.broken()
                received = reflection.without_in(headers, wire.headers(response))
                self._note(received)
                return await bodies.receive(response, received)
        except wire.TRANSPORT_ERRORS as error:
            fault = wire.fault(error)
        finally:
            self.silence.ended(answered=code != "error")
            self.stats.requests[code] += 1
            self.budget.answered(unchanged=code == "304")
        if fault.reason == "tls":
            await self._connections.trust_anew()
        raise fault  # here, so that no cause holds on to the request and its headers

    def _note(self, headers: Mapping[str, str]) -> None:
        """Take the clock, the limits and the token's end from the headers of an answer."""
        if self._expiry_header is not None and (ends := headers.get(self._expiry_header)):
            self.stats.token_expiry = times.instant(ends)
        date = None if "age" in headers else limits.http_date(headers.get("date", ""))
        if date is not None:
            ours = time.time()
            skew = date - ours if abs(date - ours) >= _SKEW_FROM else 0.0
            self.stats.clock_skew, self.stats.clock = skew, (ours + skew, time.monotonic())
        limit = limits.rate_limit(headers, self.now())
        if limit is not None:
            resource = next((headers[name] for name in _RESOURCES if name in headers), "")
            if resource in self.stats.rate_limits or len(self.stats.rate_limits) < _MAX_RESOURCES:
                self.stats.rate_limits[resource] = limit
                self.budget.observe(resource, limit, self.now())

    async def _read(self, reply: wire.Reply, into: type[T], headers: Mapping[str, str]) -> T:
        """The decoded body; raises the error of an answer without success."""
        try:
            self._judge(reply)
            return await bodies.decoded(reply, into, reflection.secrets(headers))
        except ProviderError as error:
            fault = error
        if fault.reason == "unauthorized":
            fault.account_wide = await self._acceptance.refused_by_all(reply.url, self._again)
        if not httpx.codes.is_success(reply.status):
            fault = self._dialect.explained(fault, refusals.json_object(reply))
        if self._likely_root is not None and not self._acceptance.is_proven:
            refusals.suspect_root(fault, reply, self._likely_root)
        raise fault  # here, so that no cause holds on to the body

    async def _again(self, url: httpx.URL) -> None:
        """Repeat a request that was accepted before; raises if it is refused now."""
        try:
            reply = await self._send("GET", str(url), self._sent[1], {})
            self._judge(reply)
            await bodies.decoded(reply, msgspec.Raw, ())
        except ProviderError as error:
            self.stats.errors[error.reason] += 1
            raise

    def _judge(self, reply: wire.Reply) -> None:
        """Raise the error of a status other than success; block the budget for a rate limit."""
        if httpx.codes.is_success(reply.status):
            if "retry-after" in reply.headers:  # Azure DevOps slows down before it refuses
                self._throttle.block(reply.headers)
            self._throttle.served()
            return
        fault = refusals.refusal(reply, httpx.URL(self._root), self._dialect)
        if isinstance(fault, TryLater) and fault.reason == "rate_limited":
            fault.delay = self._throttle.block(reply.headers)
        elif isinstance(fault, TryLater) and "retry-after" in reply.headers:
            fault.delay = self._throttle.requested_delay(reply.headers)
        raise fault
