"""One credential, one budget: whoever else uses it waits as well, and nobody else does."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import signal
import time
from collections import Counter
from email.utils import formatdate
from pathlib import Path
from typing import Any, NamedTuple, Self, cast

import pytest
from starlette.applications import Starlette

from exporter.demo import Quota, Run, World
from exporter.demo.serve import serving
from tests.tools.emulators.github import Hub
from tests.tools.emulators.unified import EmulatorThread
from tests.tools.hostile import Loop
from tests.tools.system import TOKEN_ENV, Exporter, Exposition, account, configure, eventually

SHARED, OTHER, PRIMARY = "tok-shared", "tok-other", "tok-primary"
SPARSE, WRONG = "tok-sparse", "tok-wrong"
INTERVAL = 0.5
LIMITED = (SHARED, PRIMARY)
FULL, AT_FIRST, RESERVE = 100, 30, 10
"""What the sparse token may send in an hour, what is left of it at first, and for people."""
SPARED = 5
"""What may be left of it beside the reserve."""
RESET = 4
"""Seconds from its first request after which it is full again, if it has been used by then."""
BLOCKS = (3.0, 10.0, 30.0)
"""Seconds for which the limited are to wait; the next where a machine sees too little in one."""
AFAR = 0.3
"""Seconds that an answer takes: many requests are under way at once."""
MANY = 50
"""Repos of the account with a wrong token, and of the sparse one."""


class Visit(NamedTuple):
    """A request as the hub saw it."""

    at: float
    """When it arrived; monotonic."""
    left: float
    """When its answer left."""
    token: str
    path: str
    status: int
    remaining: int | None
    """What was told of the limit; None if nothing was."""


class Guard:
    """GitHub's limits before a hub: notes all visits, and refuses who has no more."""

    def __init__(self, app: Starlette, block: float) -> None:
        self.state = app.state
        self.block = block
        """Seconds for which the limited are to wait."""
        self.visits: list[Visit] = []
        self.used_up_by: dict[str, str] = {}
        """Which token's limit the next request for such a path is to use up."""
        self.refused_until: dict[str, float] = {}
        """By token; monotonic."""
        self.remaining = {SPARSE: AT_FIRST}
        """By token, of those that are told a limit."""
        self.reset_at = math.inf
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        at = time.monotonic()
        await asyncio.sleep(AFAR)
        headers = dict(scope["headers"])
        token = headers.get(b"authorization", b"").decode().removeprefix("Bearer ")
        told = {"date": formatdate(usegmt=True)}
        if token in self.remaining:
            if math.isinf(self.reset_at):  # the first request, however late
                self.reset_at = time.time() + RESET
            if time.time() >= self.reset_at:
                if self.remaining[token] < RESERVE + SPARED:
                    self.remaining[token], self.reset_at = FULL, self.reset_at + 3600
                else:  # a slow machine has hardly used it yet
                    self.reset_at = time.time() + 1
            self.remaining[token] -= 1
            told |= _limit(self.remaining[token], self.reset_at)

        async def answer(message: Any) -> None:
            if message["type"] == "http.response.start":
                status = message["status"]
                left = self.remaining.get(token)
                now = time.monotonic()
                self.visits.append(Visit(at, now, token, scope["path"], status, left))
                kept = [pair for pair in message["headers"] if b"ratelimit" not in pair[0]]
                more = [(name.encode(), value.encode()) for name, value in told.items()]
                message = {**message, "headers": kept + more}
            await send(message)

        if token in self.used_up_by and self.used_up_by[token] in scope["path"]:
            del self.used_up_by[token]
            self.refused_until[token] = at + self.block
        wait = self.refused_until.get(token, 0.0) - at
        if wait <= 0:
            await self._app(scope, receive, answer)
            return
        if token == PRIMARY:
            told |= _limit(0, time.time() + wait)
        else:
            told["retry-after"] = str(math.ceil(wait))
        status = 403 if token == PRIMARY else 429
        await answer({"type": "http.response.start", "status": status, "headers": []})
        await answer({"type": "http.response.body", "body": b""})

    def of(self, token: str) -> list[Visit]:
        """The visits of those who have this token."""
        return [visit for visit in list(self.visits) if visit.token == token]

    def refused(self, token: str) -> float:
        """When the first of them was refused; monotonic."""
        refused = [visit.at for visit in self.of(token) if visit.status in {403, 429}]
        assert refused
        return refused[0]


def _limit(remaining: int, reset_at: float) -> dict[str, str]:
    told = {"limit": FULL, "remaining": remaining, "reset": math.ceil(reset_at)}
    return {f"x-ratelimit-{name}": str(value) for name, value in told.items()}


class Street:
    """Two APIs and eight accounts.

    At GitHub `a` and `b` share a token, `c` has another one, `primary` one that will be used
    up, `sparse` one with a small limit and `wrong` one that is not right. At the unified API
    `d` and `e` share a token, but not the CI system behind.
    """

    def __init__(self, folder: Path, block: float) -> None:
        self.folder = folder
        self.hub = Hub()
        self.hub.tokens = {SHARED, OTHER, PRIMARY, SPARSE}
        self.guard = Guard(self.hub.app, block)
        self.emulator = EmulatorThread(World())
        self.ended = dict.fromkeys(("a", "b", "c", "d", "e", "primary", "sparse"), 0)
        self.repos = {
            "a": ["acme/a1", "acme/a2"],
            "b": ["acme/b1", "acme/b2"],
            "c": ["acme/c1"],
            "primary": ["acme/p1", "acme/p2"],
            "sparse": [f"acme/sparse{n}" for n in range(MANY)],
            "wrong": [f"acme/wrong{n}" for n in range(MANY)],
        }
        for repo in (repo for repos in self.repos.values() for repo in repos):
            self.hub.repo(repo)
        self._loop = Loop()

    def __enter__(self) -> Self:
        for name in ("d", "e"):
            self.emulator.world.open(name, "github", "acme/shop")
        self.emulator.__enter__()
        self._loop.__enter__()
        self._serving = serving(cast("Starlette", self.guard))
        self.url = self._loop.run(self._serving.__aenter__()) + "/api/v3"
        return self

    def __exit__(self, *error: Any) -> None:
        self._loop.run(self._serving.__aexit__(None, None, None))
        self._loop.__exit__()
        self.emulator.__exit__(None, None, None)

    def write(self, **polling: Any) -> Path:
        tokens = {"a": SHARED, "b": SHARED, "c": OTHER}
        tokens |= {"primary": PRIMARY, "sparse": SPARSE, "wrong": WRONG}
        accounts: list[Any] = []
        for name, repos in self.repos.items():
            file = self.folder / tokens[name]
            file.write_text(tokens[name])
            keys = {"url": self.url, "token_file": str(file), "repos": repos}
            accounts.append({"name": name, "provider": "github", **keys})
        accounts += [account(n, "github", self.emulator.url, ["acme/shop"]) for n in ("d", "e")]
        return configure(
            self.folder,
            accounts,
            polling={"interval": INTERVAL, "max_interval": INTERVAL, "timeout": 5, **polling},
            metrics={"zero_hold": 0},
        )

    def build(self) -> None:
        """A build ends in every account that can be polled."""
        now = int(time.time())
        for name in self.ended:
            self.ended[name] += 1
            if name in self.repos:
                self.hub.end(self.hub.begin(self.repos[name][0]))
                continue
            number = self.ended[name]
            run = Run(
                id=str(number),
                number=number,
                created_at=now - 60,
                started_at=now - 50,
                completed_at=now - 5,
            )
            self.emulator.world.add(name, "acme/shop", run)


class Story(NamedTuple):
    """What was seen while the limits were met, one after the other."""

    street: Street
    reloaded: float
    """When another configuration was in force; monotonic."""
    during: Exposition
    """When accounts without a limit had gone on for a while."""
    status: dict[str, Any]
    """The accounts of the status page then, by name."""
    after_reload: Exposition
    afterwards: Exposition


def counted(scrape: Exposition, *names: str) -> dict[str, float]:
    return {name: scrape.total("cicd_builds_total", account=name) for name in names}


def gauge(scrape: Exposition, name: str, *accounts: str) -> list[float]:
    return [scrape.value(f"cicd_exporter_{name}", account=account) for account in accounts]


class _TooSlowError(Exception):
    """The limits were over before it was seen what happens until then."""


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    for block in BLOCKS:
        with contextlib.suppress(_TooSlowError):
            return _lived(tmp_path_factory.mktemp("street"), block)
    pytest.fail("others did not go on in any of the blocks")


def _lived(folder: Path, block: float) -> Story:
    with Street(folder, block) as street, Exporter(street.write(), env={TOKEN_ENV: "demo"}) as it:
        guard, world = street.guard, street.emulator.world

        def assert_counted(*names: str) -> Exposition:
            scrape = it.scrape()
            assert counted(scrape, *names) == {name: street.ended[name] for name in names}
            return scrape

        def scraped_in_time() -> Exposition:
            scrape = it.scrape()
            until = min(guard.refused_until.values())
            if time.monotonic() > until or world.clock() > quota.reset_at:
                raise _TooSlowError
            return scrape

        def assert_others_go_on() -> Exposition:
            scrape = scraped_in_time()
            assert counted(scrape, *"ce") == {name: street.ended[name] for name in "ce"}
            assert [0, 1, 0, 1, 0] == gauge(scrape, "account_up", *"acde", "primary")
            return scrape

        street.build()
        eventually(lambda: assert_counted("a", "b", "c", "d", "e", "primary"), within=60)
        street.build()
        guard.used_up_by = {SHARED: "/acme/a", PRIMARY: "/acme/p"}
        quota = Quota(limit=FULL, remaining=0, reset_at=world.clock() + block + 2)
        world.accounts["d"].behaviour.quota = quota
        eventually(lambda: [guard.refused(token) for token in LIMITED], within=60)
        during = eventually(assert_others_go_on, within=2 * block)
        status = {told["name"]: told for told in it.status()["accounts"]}

        street.write(timeout=4)
        it.process.send_signal(signal.SIGHUP)
        it.logged("the configuration is reloaded")
        reloaded = time.monotonic()
        last = min(guard.refused_until.values()) - 0.3
        time.sleep(max(last - reloaded, 0.0))  # what is sent too early is sent by then
        after_reload = scraped_in_time()
        if reloaded > last - 0.2:
            raise _TooSlowError
        afterwards = eventually(lambda: assert_counted(*street.ended), within=60)
        assert it.stop() == 0
        assert "Traceback" not in it.log
        return Story(street, reloaded, during, status, after_reload, afterwards)


@pytest.mark.parametrize("token", LIMITED)
def test_nobody_with_a_limited_token_says_a_word_before_it_is_reset(
    story: Story, token: str
) -> None:
    guard = story.street.guard
    begun, until = guard.refused(token), guard.refused_until[token]
    said = Counter(v.path for v in guard.of(token) if begun < v.at < until)
    # What was sent before the refusal came arrives: of each repo one request at the most.
    assert all(count == 1 for count in said.values()), said


def test_a_reload_forgets_no_limit(story: Story) -> None:
    guard = story.street.guard
    until = guard.refused_until[SHARED]
    assert [] == [v for v in guard.of(SHARED) if story.reloaded < v.at < until]


def test_others_go_on_while_one_is_limited(story: Story) -> None:
    ended = story.street.ended
    assert {name: ended[name] for name in "ce"} == counted(story.during, "c", "e")
    assert all(counted(story.during, name)[name] < ended[name] for name in ("a", "d", "primary"))


def test_whose_budget_is_exhausted_is_shown_also_after_a_reload(story: Story) -> None:
    for scrape in (story.during, story.after_reload):
        assert [1, 1, 0, 1, 0] == gauge(scrape, "budget_exhausted", *"abcde")
        assert [0, 1, 0, 1] == gauge(scrape, "account_up", *"acde")
    for name, answered in {"a": "429", "primary": "403", "d": "429"}.items():
        assert story.status[name]["reason"] == "rate_limited"
        assert answered in story.status[name]["error"]


def test_nothing_is_lost_once_the_limits_are_over(story: Story) -> None:
    ended = story.street.ended
    assert ended == counted(story.afterwards, *ended)
    assert [1] * len(ended) == gauge(story.afterwards, "account_up", *ended)


def test_the_reserve_of_a_told_limit_is_left_to_people(story: Story) -> None:
    left = [visit.remaining for visit in story.street.guard.of(SPARSE)]
    before_reset = [n for n in left[: left.index(FULL - 1)] if n is not None]
    assert RESERVE <= min(before_reset) < RESERVE + SPARED


def test_a_wrong_token_is_tried_by_one_repo_in_each_pause(story: Story) -> None:
    visits = story.street.guard.of(WRONG)
    tries = [v for v in visits if v.at < story.reloaded]
    again = [v for v in visits if v.at >= story.reloaded]
    assert tries
    assert again, "a reload is a reason to try"
    pairs = [pair for part in (tries, again) for pair in itertools.pairwise(part)]
    # From the answer on, which a loaded machine reads late: the pause is no shorter for that.
    pauses = [later.at - earlier.left for earlier, later in pairs]
    assert min(pauses) > INTERVAL - 0.05, pauses
    assert gauge(story.afterwards, "account_up", "wrong") == [0]
