"""The unified CI/CD API over a `World`: paths, parameters, envelopes, errors and limits.

    GET /ping
    GET /integrated-account[/{id}[/capabilities]]
    GET /unified/ci-cd/{builds,jobs,repos,workflow,workspaces,organizations}[/{id}]

Not emulated: writing, batches, proxy, webhooks, meta, and the response formats `raw`,
`normalized` and `stream` (400).
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route

from exporter.demo import paging
from exporter.demo.facts import Item
from exporter.demo.integrations import (
    INTEGRATIONS,
    Call,
    account_item,
    capabilities,
)
from exporter.demo.pages import PAGES, shown
from exporter.demo.reader import (
    Failure,
    Reader,
    missing_parameters,
    page_of,
    remote_failure,
)
from exporter.demo.request import Request
from exporter.demo.world import Account, Behaviour, World

PLATFORM_PAGE = 5000
"""How many items a page of the platform's own lists has."""

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How many requests each account and each token may make in any `window` seconds."""

    per_account: int = 50
    per_token: int = 500
    window: float = 10.0


class Emulator:
    """The API's answers about a `world`, for clients with `token`.

    Without `limits` no request is answered 429, but for those over an account's own quota.
    """

    def __init__(
        self,
        world: World,
        *,
        token: str = "demo",  # noqa: S107 - not a secret
        limits: Limits | None = None,
    ) -> None:
        self.world = world
        self.token = token
        self.limits = limits
        self._recent: defaultdict[str, deque[float]] = defaultdict(deque)

    async def answer(self, http: HttpRequest) -> Response:
        """Answer any request; the endpoint of `routed`."""
        return self.respond(Request.of(http))

    def respond(self, request: Request) -> Response:
        """The response to a request, dated by the world's clock."""
        headers: dict[str, str] = {}
        try:
            body: Any = self._body(request, headers)
            status = 200
        except Failure as failure:
            body, status = failure.body, failure.status
            headers |= failure.headers
        headers["date"] = formatdate(self.world.clock(), usegmt=True)
        return Response(
            msgspec.json.encode(body), status, headers, "application/json; charset=utf-8"
        )

    def _body(self, request: Request, headers: dict[str, str]) -> Any:
        scheme, _, secret = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or secret != self.token:
            raise Failure(401, "The API token is missing or invalid")
        self._take(f"token {secret}", lambda limits: limits.per_token)
        if request.method != "GET":
            raise Failure(405, f"{request.method} is not allowed here")
        match request.path.strip("/").split("/", 3):
            case ["ping"]:
                return {"message": "pong"}
            case ["integrated-account"]:
                return self._accounts(request)
            case ["integrated-account", account_id]:
                return account_item(self._account(account_id))
            case ["integrated-account", account_id, "capabilities"]:
                return capabilities(self._account(account_id))
            case ["unified", "ci-cd", resource]:
                return self._unified(request, headers, (resource, "list"), "")
            case ["unified", "ci-cd", resource, item_id]:
                return self._unified(request, headers, (resource, "get"), item_id)
        raise Failure(404, f"There is no {request.path}")

    def _take(self, who: str, allowed: Callable[[Limits], int]) -> None:
        """Count one request of `who`, or refuse it."""
        if self.limits is None:
            return
        now, recent = self.world.clock(), self._recent[who]
        while recent and recent[0] <= now - self.limits.window:
            recent.popleft()
        if len(recent) >= allowed(self.limits):
            raise Failure(429, "Rate limited", headers={"retry-after": "10"})
        recent.append(now)

    def _account(self, account_id: str) -> Account:
        account = self.world.accounts.get(account_id)
        if account is None:
            raise Failure(404, "Integrated account not found")
        return account

    def _accounts(self, request: Request) -> Item:
        wanted = request.params.get("status")
        accounts = [
            account_item(account)
            for account in list(self.world.accounts.values())
            if wanted in {None, "", account.status}
        ]
        listing = paging.Listing(items=accounts, key=lambda item: (item["id"],), name="accounts")
        page, following = page_of(listing, request, PLATFORM_PAGE, Behaviour())
        return {"result": page, "next_cursor": following, "limit": PLATFORM_PAGE}

    def _unified(self, request: Request, headers: dict[str, str], call: Call, item_id: str) -> Any:
        query = request.params
        if not query.get("integrated_account_id"):
            raise missing_parameters(["integrated_account_id"])
        account = self._account(query["integrated_account_id"])
        self._take(f"account {account.id}", lambda limits: limits.per_account)
        integration = INTEGRATIONS[account.integration]
        resource, method = call
        if method not in integration.resources.get(resource, ()):
            raise Failure(404, f"{resource} {method} is not supported by {integration.title}")
        required = [
            account.behaviour.build_param if name == "build_id" else name
            for name in integration.required.get(call, ())
        ]
        if missing := [name for name in required if not query.get(name)]:
            raise missing_parameters(missing)
        if account.is_blocked:
            raise Failure(503, "The integrated account is blocked")
        if account.status == "needs_reauth":
            raise remote_failure(401, account.last_error or "Bad credentials")
        self._spend(account, headers)
        reader = Reader(self.world, account, request)
        return reader.item(resource, item_id) if method == "get" else reader.page(resource)

    def _spend(self, account: Account, headers: dict[str, str]) -> None:
        """Take one request from the CI system's own limit, and tell what is left."""
        quota, now = account.behaviour.quota, self.world.clock()
        if quota is None:
            return
        while quota.reset_at <= now:
            quota.remaining, quota.reset_at = quota.limit, quota.reset_at + quota.period
        spent = quota.remaining <= 0
        quota.remaining = max(quota.remaining - 1, 0)
        seconds = str(int(quota.reset_at - now) + 1)
        headers |= {
            "ratelimit-limit": f"{quota.limit};w={int(quota.period)}",
            "ratelimit-remaining": str(quota.remaining),
            "ratelimit-reset": seconds,
        }
        if spent:
            failure = remote_failure(
                429, "API rate limit exceeded", headers={"retry-after": seconds}
            )
            failure.body["truto_error_insight"] = {
                "rate_limit_error": {"description": "The CI system's limit is used up."}
            }
            raise failure


def routed(answer: Callable[[HttpRequest], Awaitable[Response]]) -> Starlette:
    """An application in which `answer` handles every path and method but those of pages."""
    pages = Route(f"/{PAGES}/{{system}}/{{path:path}}", shown)
    return Starlette(routes=[pages, Route("/{path:path}", answer, methods=METHODS)])
