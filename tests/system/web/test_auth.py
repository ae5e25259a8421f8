"""Passwords: who is let in, what it costs, and what a stranger can do to it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import random
import threading
import time
from collections.abc import Iterator

import bcrypt
import pytest

from exporter.web import auth
from exporter.web.access import RateLimiter
from exporter.web.auth import MOST_CHECKS, BusyError, Users, credentials
from exporter.web.config import RateLimit

PASSWORD = b"correct horse"
HASHES = {
    "alice": bcrypt.hashpw(PASSWORD, bcrypt.gensalt(4)).decode(),
    "bob": bcrypt.hashpw(b"other", bcrypt.gensalt(5)).decode(),
}


class Checks:
    """What bcrypt is asked, and in which threads; waits for `gate` before it answers."""

    def __init__(self) -> None:
        self.asked: list[tuple[bytes, bytes]] = []
        self.threads: set[int] = set()
        self.at_once = self.most = 0
        self.gate = threading.Event()
        self.gate.set()
        self._real = bcrypt.checkpw

    def __call__(self, password: bytes, hashed: bytes) -> bool:
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        self.asked.append((password, hashed))
        self.threads.add(threading.get_ident())
        assert self.gate.wait(10)
        self.at_once -= 1
        return self._real(password, hashed)


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> Iterator[Checks]:
    checks = Checks()
    monkeypatch.setattr("exporter.web.auth.bcrypt.checkpw", checks)
    yield checks
    checks.gate.set()


def test_the_right_password_lets_in_and_no_other(checks: Checks) -> None:
    async def main() -> None:
        users = Users(HASHES)
        for _ in range(2):
            assert await users.admits(b"alice", PASSWORD)
            assert await users.admits(b"bob", b"other")
            assert not await users.admits(b"alice", b"other")
            assert not await users.admits(b"alice", b"")
            assert not await users.admits(b"alice", PASSWORD + b"\0")
            assert not await users.admits(b"Alice", PASSWORD)
            assert not await users.admits(b"", b"")
            assert not await users.admits(b"alic", b"e" + PASSWORD)

    asyncio.run(main())


def test_an_admitted_password_is_checked_once_and_a_wrong_one_each_time(checks: Checks) -> None:
    async def main() -> None:
        users = Users(HASHES)
        for _ in range(5):
            assert await users.admits(b"alice", PASSWORD)
        assert len(checks.asked) == 1
        for _ in range(3):
            assert not await users.admits(b"alice", b"wrong")
        assert len(checks.asked) == 4
        assert await users.admits(b"alice", PASSWORD)
        assert len(checks.asked) == 4

    asyncio.run(main())


def test_scrapes_at_the_same_moment_share_one_check_apart_from_the_event_loop(
    checks: Checks,
) -> None:
    async def main() -> None:
        users = Users(HASHES)
        checks.gate.clear()
        asked = [asyncio.create_task(users.admits(b"alice", PASSWORD)) for _ in range(50)]
        await asyncio.sleep(0.01)  # the loop goes on while bcrypt does not
        asked[0].cancel()  # a client that has gone takes nobody along
        checks.gate.set()
        assert await asyncio.gather(*asked[1:]) == [True] * 49
        assert len(checks.asked) == 1
        assert threading.get_ident() not in checks.threads

    asyncio.run(main())


def test_a_flood_of_passwords_waits_in_a_line_that_ends(checks: Checks) -> None:
    async def main() -> None:
        users = Users(HASHES)
        assert await users.admits(b"alice", PASSWORD)
        checks.gate.clear()
        flood = [
            asyncio.create_task(users.admits(b"eve", str(n).encode()))
            for n in range(MOST_CHECKS + 21)
        ]
        await asyncio.sleep(0)
        assert len(users._waiting) == MOST_CHECKS
        assert await users.admits(b"alice", PASSWORD)  # who is known does not wait
        checks.gate.set()
        ends = await asyncio.gather(*flood, return_exceptions=True)
        assert [False] * MOST_CHECKS == [end for end in ends if end is False]
        assert [BusyError] * 21 == [type(end) for end in ends if end is not False]
        assert checks.most == 1
        assert (users._checks, users._waiting) == ({}, [])
        assert users._admitted.keys() == {b"alice"}  # nothing is kept of strangers

    asyncio.run(main())


def test_whoever_guesses_however_quickly_locks_nobody_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The queue is full at each moment, and refused guesses come back after their penalty."""
    monkeypatch.setattr(auth, "_lot", random.Random(1))
    monkeypatch.setattr(auth, "PENALTY", 0.05)
    asked = 0

    async def guess(users: Users, number: int) -> None:
        for n in itertools.count():
            with contextlib.suppress(BusyError):
                await users.admits(b"alice", f"{number} {n}".encode())

    async def main() -> None:
        nonlocal asked
        users = Users(HASHES)
        crowd = [asyncio.create_task(guess(users, n)) for n in range(3 * MOST_CHECKS)]
        await asyncio.sleep(0)
        is_in = False
        while not is_in:
            asked += 1
            with contextlib.suppress(BusyError):
                is_in = await users.admits(b"alice", PASSWORD)
        for task in crowd:
            task.cancel()
        await asyncio.gather(*crowd, return_exceptions=True)

    asyncio.run(main())

    assert asked <= 30


def test_a_user_who_is_not_there_costs_what_one_who_is_does(checks: Checks) -> None:
    async def main() -> None:
        users = Users(HASHES)
        for n in range(40):
            assert not await users.admits(f"nobody{n}".encode(), PASSWORD)
        costs = {hashed[:7] for _, hashed in checks.asked}
        assert costs == {b"$2b$04$", b"$2b$05$"}
        checks.asked.clear()
        for _ in range(3):
            assert not await users.admits(b"nobody", b"x")
        assert len({hashed for _, hashed in checks.asked}) == 1  # the same one every time

    asyncio.run(main())


def test_the_hash_of_nobody_fits_no_password_and_takes_as_long() -> None:
    hashed = Users({"alice": bcrypt.hashpw(b"x", bcrypt.gensalt(8)).decode()})._of_nobody(b"eve")
    begun = time.thread_time()
    assert not bcrypt.checkpw(b"x", hashed)
    assert not bcrypt.checkpw(b"", hashed)
    slow = time.thread_time() - begun
    begun = time.thread_time()
    for _ in range(2):
        bcrypt.hashpw(b"x", bcrypt.gensalt(8))
    assert 0.3 < slow / (time.thread_time() - begun) < 3


def test_a_password_counts_as_far_as_bcrypt_reads_it() -> None:
    long = b"x" * 72
    users = Users({"alice": bcrypt.hashpw(long, bcrypt.gensalt(4)).decode()})

    assert asyncio.run(users.admits(b"alice", long + b"as htpasswd and Go have it"))


@pytest.mark.parametrize(
    ("header", "told"),
    [
        (b"Basic " + base64.b64encode(b"alice:a:b"), (b"alice", b"a:b")),
        (b"basic  " + base64.b64encode(b":"), (b"", b"")),
        (b"BASIC " + base64.b64encode("ä:ö".encode()), ("ä".encode(), "ö".encode())),
        (b"Basic " + base64.b64encode(b"alice"), None),
        (b"Basic alice:secret", None),
        (b"Basic !!!!", None),
        (b"Basic \xff\xfe", None),
        (b"Basic", None),
        (b"", None),
        (b"Bearer " + base64.b64encode(b"alice:secret"), None),
    ],
)
def test_credentials_are_read_as_rfc_7617_has_them(
    header: bytes, told: tuple[bytes, bytes] | None
) -> None:
    assert told == credentials(header)


def test_the_rate_limit_is_a_bucket() -> None:
    now = 100.0
    bucket = RateLimiter(RateLimit(interval="500ms", burst=3), lambda: now)  # type: ignore[arg-type]

    assert [bucket.take() for _ in range(4)] == [True, True, True, False]
    now += 0.4
    assert not bucket.take()
    now += 0.2
    assert [bucket.take(), bucket.take()] == [True, False]
    now += 1000
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]
    assert all(RateLimiter(RateLimit(), lambda: now).take() for _ in range(100))
