"""A GitHub with many customers, each of whom it can treat badly in a way of its own."""

from __future__ import annotations

import calendar
import json
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from tests.tools import hostile
from tests.tools.hostile import Loop, Reply, Request, Server, http

TOKEN = "tok-7e1d-of-all-customers"
ENTRY = "acme/shop"
LASTS = 25
"""Seconds that every run takes."""

Misdeed = Callable[[Request, bytes], Reply]
"""What becomes of a request that deserved this answer."""

Run = dict[str, Any]


class Customer:
    """One customer's repository, and the truth about it."""

    def __init__(self, serial: int) -> None:
        self.runs: list[Run] = []
        self.misdeed: Misdeed | None = None
        self.tokens = {TOKEN}
        self.seen: list[str] = []
        """The credentials of all requests."""
        self.strangers = 0
        """Requests without a right one."""
        self.ahead = 0.0
        """Seconds that its clock is ahead of ours."""
        self._id = serial * 1000

    def begin(self, *, ago: int = LASTS + 5) -> Run:
        """Somebody starts a run."""
        self._id += 1
        at = stamp(time.time() + self.ahead - ago)
        run = {
            "id": self._id,
            "name": "CI",
            "run_number": len(self.runs) + 1,
            "run_attempt": 1,
            "event": "push",
            "head_branch": "main",
            "status": "in_progress",
            "conclusion": None,
            **dict.fromkeys(("created_at", "run_started_at", "updated_at"), at),
        }
        self.runs.insert(0, run)
        return run

    def end(self, run: Run) -> None:
        """It passes."""
        ended = _seconds(run["run_started_at"]) + LASTS
        run |= {"status": "completed", "conclusion": "success", "updated_at": stamp(ended)}

    @property
    def ended(self) -> int:
        """How many of its runs have ended."""
        return sum(run["conclusion"] is not None for run in self.runs)

    def reply_to(self, request: Request, path: str) -> Reply:
        """What a request below the customer's root is answered with."""
        date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + self.ahead))
        self.seen.append(request.headers.get("authorization", "").removeprefix("Bearer "))
        if self.seen[-1] not in self.tokens:
            self.strangers += 1
            return http('{"message":"Bad credentials"}', 401, date=date)
        found = self._found(path)
        sound = http(found or '{"message":"Not Found"}', 200 if found else 404, date=date)
        return sound if self.misdeed is None else self.misdeed(request, found or b"{}")

    def _found(self, path: str) -> bytes | None:
        runs = f"/repos/{ENTRY}/actions/runs"
        if path == runs:
            page = {"total_count": len(self.runs), "workflow_runs": self.runs}
            return json.dumps(page).encode()
        wanted = [run for run in self.runs if path == f"{runs}/{run['id']}"]
        return json.dumps(wanted[0]).encode() if wanted else None


class Source(Server):
    """All customers of one place, told apart by the first part of the path."""

    def __init__(self) -> None:
        super().__init__()
        self.customers: dict[str, Customer] = {}

    def reply_to(self, request: Request) -> Reply:
        self.requests.clear()
        name, slash, rest = request.target.partition("?")[0][1:].partition("/")
        return self.customers[name].reply_to(request, slash + rest)


class Sources:
    """Sources with ports of their own, in a thread; a context manager.

    The first one has all customers who need neither a certificate nor a port of their own.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loop = Loop()
        self._places: dict[str, Source] = {}
        self._count = 0

    def __enter__(self) -> Self:
        self._loop.__enter__()
        self._open("", None)
        return self

    def __exit__(self, *error: object) -> None:
        for place in self._places.values():
            self._loop.run(place.close())
        self._loop.__exit__(*error)

    def add(
        self, name: str, *, apart: bool, tls: ssl.SSLContext | None = None
    ) -> tuple[Customer, str]:
        """A new customer and its API root; `apart` is at a port of its own, perhaps with TLS."""
        place = self._open(name, tls) if apart else self._places[""]
        self._count += 1
        path = f"customer-{self._count}"
        customer = place.customers[path] = Customer(self._count)
        host = "https://localhost" if tls else "http://127.0.0.1"
        return customer, f"{host}:{place.port}/{path}"

    def close(self, name: str) -> None:
        """Nobody listens at this customer's port any more."""
        self._loop.run(self._places[name].close())

    def reopen(self, name: str, tls: ssl.SSLContext | None) -> None:
        """It serves with this certificate from now on; None: without TLS."""
        self.close(name)
        self._loop.run(self._places[name].open(tls))

    def certified(self, certificate: str) -> ssl.SSLContext:
        """The server's side of a certificate."""
        return hostile.tls(self._folder, certificate)

    def _open(self, name: str, tls: ssl.SSLContext | None) -> Source:
        place = self._places[name] = Source()
        self._loop.run(place.open(tls))
        return place


def stamp(at: float) -> str:
    """Whole seconds with a Z, as GitHub writes times."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def _seconds(text: str) -> int:
    return calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ"))
