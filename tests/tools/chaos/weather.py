"""What becomes of true answers on their way: a server that fails now and then, in many ways."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from typing import Any, NamedTuple

_STALE = 3.0
"""Seconds after which an answer is too old to be given once more."""

Misdeed = Callable[["Visit"], Awaitable[None]]


class Reply(NamedTuple):
    """A whole answer; names of headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Visit:
    """One request under way: its true answer, and how to give another one."""

    def __init__(self, scope: Any, receive: Any, send: Any, chance: random.Random) -> None:
        self.path: str = scope["path"]
        self.url = f"{self.path}?{scope['query_string'].decode()}"
        self.chance = chance
        self.reply: Reply
        self.earlier: Reply | None = None
        """What the same request was answered with a moment ago."""
        self._receive, self._send = receive, send

    @property
    def lists_builds(self) -> bool:
        """Whether it asks for builds; what it asks for else may be lost if it is denied."""
        return self.path.endswith(("/builds", "/runs", "/pipelines"))

    async def send(self, reply: Reply) -> None:
        await self.begin(reply)
        await self._send({"type": "http.response.body", "body": reply.body})

    async def begin(self, reply: Reply, share: float = 0.0) -> None:
        """Send the head, and so much of the body."""
        # A length of the true answer is right only for the true answer.
        headers = {**reply.headers, "content-length": str(len(reply.body))}
        if reply.status == 304:
            del headers["content-length"]
        pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
        start = {"type": "http.response.start", "status": reply.status, "headers": pairs}
        await self._send(start)
        part = reply.body[: int(len(reply.body) * share)]
        await self._send({"type": "http.response.body", "body": part, "more_body": True})

    async def says(self, status: int, body: bytes | str = b"", **headers: str) -> None:
        """Answer something else."""
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        data = body.encode() if isinstance(body, str) else body
        await self.send(Reply(status, {"date": self.reply.headers["date"], **told}, data))

    async def left(self, within: float = 60.0) -> None:
        """Wait until the client has gone, but not for ever."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                while (await self._receive())["type"] != "http.disconnect":
                    pass


# -- what can go wrong


async def _hang(visit: Visit) -> None:
    await visit.left()


async def _stall(visit: Visit) -> None:
    await visit.begin(visit.reply, 0.5)
    await visit.left()


async def _slow(visit: Visit) -> None:
    await asyncio.sleep(visit.chance.uniform(0.1, 0.9))
    await visit.send(visit.reply)


async def _cut(visit: Visit) -> None:
    await visit.begin(visit.reply, 0.5)  # and the server closes the connection


async def _half_a_gzip(visit: Visit) -> None:
    packed = gzip.compress(visit.reply.body)
    headers = {**visit.reply.headers, "content-encoding": "gzip"}
    await visit.send(visit.reply._replace(headers=headers, body=packed[: len(packed) // 2]))


async def _half_a_json(visit: Visit) -> None:
    body = visit.reply.body
    await visit.send(visit.reply._replace(body=body[: len(body) // 2]))


async def _stale(visit: Visit) -> None:
    """An answer of a replica that lags behind."""
    await visit.send(visit.earlier or visit.reply)


async def _poisoned(visit: Visit) -> None:
    """A list with an item that nobody can understand."""
    body = json.loads(visit.reply.body or b"null")
    lists = [v for v in body.values() if isinstance(v, list)] if isinstance(body, dict) else [body]
    for items in lists:
        if isinstance(items, list):
            items.insert(len(items) // 2, {"id": {"is": []}})
    await visit.send(visit.reply._replace(body=json.dumps(body).encode()))


def _saying(status: int, body: str = '{"message":"no"}', **headers: str) -> Misdeed:
    async def misdeed(visit: Visit) -> None:
        await visit.says(status, body, **{"content_type": "application/json", **headers})

    return misdeed


_PAGE = "<!doctype html><title>Sign in</title>"

FAULTS: dict[str, Misdeed] = {
    "hang": _hang,
    "stalled body": _stall,
    "slow": _slow,
    "cut connection": _cut,
    "half a gzip": _half_a_gzip,
    "stale": _stale,
    "poisoned list": _poisoned,
    "500": _saying(500),
    "502 of a proxy": _saying(502, _PAGE, content_type="text/html"),
    "503 with Retry-After": _saying(503, retry_after="1"),
    "504": _saying(504, ""),
    "429": _saying(429, retry_after="1"),
    "403 for a limit": _saying(403, retry_after="1"),
    "login page": _saying(200, _PAGE, content_type="text/html"),
    "401": _saying(401),
    "redirect": _saying(302, "", location="https://login.invalid/"),
}
"""What may happen to any request without anything being lost."""

DENIALS: dict[str, Misdeed] = {
    "half a JSON": _half_a_json,
    "nothing": _saying(200, ""),
    "another shape": _saying(200, '{"errors":[{"message":"oops"}]}'),
    "403": _saying(403),
    "404": _saying(404),
}
"""What is taken for an answer where a gap of one build was to be filled."""


class Weather:
    """An app (ASGI) before another one, which spoils some of its answers.

    `clock` is what the answers are dated with.
    """

    def __init__(self, app: Any, clock: Callable[[], float], seed: str) -> None:
        self.state = app.state
        self.met: Counter[str] = Counter()
        self._app = app
        self._clock = clock
        self._chance = random.Random(seed)
        self._share = 0.0
        self._kinds: list[str] = []
        self._answers: dict[str, tuple[float, Reply]] = {}

    def clears(self) -> None:
        """Everything is answered as it should be."""
        self._share = 0.0

    def changes(self) -> None:
        """Other faults, more or fewer of them, or none for a while."""
        self._share = self._chance.choice((0.0, 0.0, 0.2, 0.2, 0.6, 1.0))
        self._kinds = self._chance.sample([*FAULTS, *DENIALS], self._chance.randint(1, 4))

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        visit = Visit(scope, receive, send, self._chance)
        visit.reply = await self._true(scope, receive)
        at, earlier = self._answers.get(visit.url, (0.0, visit.reply))
        visit.earlier = earlier if time.monotonic() - at < _STALE else None
        if visit.reply.status == 200:
            self._answers[visit.url] = time.monotonic(), visit.reply
        await self._misdeed(visit)(visit)

    def _misdeed(self, visit: Visit) -> Misdeed:
        if self._chance.random() < self._share and visit.reply.status == 200:
            kind = self._chance.choice(self._kinds)
            if kind in FAULTS or visit.lists_builds:
                self.met[kind] += 1
                return (FAULTS | DENIALS)[kind]
        return lambda visit: visit.send(visit.reply)

    async def _true(self, scope: Any, receive: Any) -> Reply:
        """What the app answers."""
        sent: list[Any] = []

        async def keep(message: Any) -> None:
            sent.append(message)

        await self._app(scope, receive, keep)
        headers = {name.decode().lower(): value.decode() for name, value in sent[0]["headers"]}
        headers["date"] = formatdate(self._clock(), usegmt=True)
        body = b"".join(message.get("body", b"") for message in sent[1:])
        return Reply(sent[0]["status"], headers, body)
