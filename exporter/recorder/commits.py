"""Commits, and what follows from them: what is shown is what was committed, in its order.

Where other processes write the same state, their commits are read from a feed. Each commit has a
turn, and they are taken over one after the other, whoever made them. One that is known already is
left out, so it does not matter which way it has come.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from time import monotonic
from typing import TypeVar

from exporter.errors import Fenced, StateBehind, StateUnavailable
from exporter.ledger import Ledger, Transaction
from exporter.ledger.rows import Changes, Snapshot
from exporter.ledger.shared import Feed
from exporter.recorder.steps import Steps, looked_at
from exporter.threads import WorkerThread

log = logging.getLogger(__name__)

T = TypeVar("T")

PATIENCE = 10.0
"""Seconds in which a database that others write to must answer."""


class Commits(Steps):
    """Makes commits, and follows those of others."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self._ledger = ledger
        self.position = 0
        """The turn of the commit that was taken over last; 0 where nobody else writes."""
        self.is_followed = True
        """Whether what others have committed could be read the last time."""
        self.fenced = 0
        """Commits that came too late, as another process polls the account by now."""
        self.loads = 0
        """How often everything was loaded anew."""
        self.images = 0
        """How many commits were read that changed what is shown."""
        self.timed: Callable[[str, float], None] = lambda _step, _seconds: None
        """Called with how long a `commit` or a read of the `feed` took, in seconds."""
        self._reader = WorkerThread("feed")
        self._reading = asyncio.Lock()
        self._next_read: asyncio.Task[None] | None = None

    # -- ours

    async def _commit(
        self,
        decide: Callable[[Transaction], T],
        *accounts: str,
        shows: bool = True,
        proves: bool = True,
    ) -> T:
        """Commit what `decide` does to a transaction, and show what it has changed if it `shows`.

        Its success `proves` that the state can be written, unless it may write nothing. Raises
        StateUnavailable, nothing done, and Fenced where another process polls one of the
        `accounts`. Called by who has the lock.
        """

        def step() -> tuple[T, Changes]:
            with self._ledger.transaction(*accounts) as tx:
                result = decide(tx)
            return result, tx.changes

        began = monotonic()
        try:
            result, changes = await (self._write if proves else self._attempt)(step)
        except Fenced:
            self.fenced += 1
            raise
        finally:
            self.timed("commit", monotonic() - began)
        if changes.turn in {0, self.position + 1}:
            self._take_over(changes if shows else Changes(turn=changes.turn))
        elif changes.turn > self.position:
            with contextlib.suppress(StateUnavailable):  # then whoever follows next shows it
                await self._catch_up()
        return result

    def _take_over(self, changes: Changes) -> None:
        self.position = changes.turn
        self._show(changes)

    def _show(self, changes: Changes) -> None:
        """Show what was committed."""
        raise NotImplementedError

    async def _catch_up(self) -> None:
        """Take over what is not known here: commits of others, or one that nobody has answered."""
        if self._ledger.shared is None:
            await self._load_anew()
        else:
            await self.follow()

    # -- those of others

    async def follow(self) -> None:
        """Take over what was committed before this call, by whomever. Raises StateUnavailable."""
        if self._ledger.shared is None:
            return
        if self._next_read is None:
            feed = self._ledger.shared.feed
            self._next_read = asyncio.create_task(self._read_in_turn(feed))
            self._next_read.add_done_callback(looked_at)
        await asyncio.shield(self._next_read)

    async def _read_in_turn(self, feed: Feed) -> None:
        async with self._reading:
            self._next_read = None  # who comes from now on might miss something in this one
            try:
                await self._read(feed)
            except StateUnavailable as error:
                if self.is_followed:
                    log.error("%s, and nothing is shown", error)
                self.is_followed = False
                raise
            if not self.is_followed:
                log.info("the state can be read again")
            self.is_followed = True

    async def _read(self, feed: Feed) -> None:
        since, began = self.position, monotonic()
        try:
            news = await asyncio.wait_for(self._reader.run(lambda: feed.read(since)), PATIENCE)
        except TimeoutError:
            raise silent() from None
        except StateBehind:
            await self._load_anew()
            return
        finally:
            self.timed("feed", monotonic() - began)
        self.images += len(news.commits)
        for changes in news.commits:
            if changes.turn <= self.position:
                continue
            if changes.is_anew:
                await self._load_anew()
                return
            self._take_over(changes)
        self.position = max(self.position, news.turn)

    async def _load_in_turn(self) -> None:
        """Load everything anew, between two reads of the feed."""
        async with self._reading:
            await self._load_anew()

    def _forget_position(self) -> None:
        """Let the next read of the feed load everything anew, if nothing else does before."""
        self.position = -1

    async def _load_anew(self) -> None:
        """Forget what is shown, and show what the state holds."""
        self.loads += 1
        snapshot = await self._run(self._ledger.load)
        if snapshot.turn < self.position:
            log.error(
                "the state lacks commits that were made: the database may have been put back;"
                " counters go back once",
                extra={"commits": self.position - snapshot.turn},
            )
        self._renew(snapshot)
        self.position = snapshot.turn

    def _renew(self, snapshot: Snapshot) -> None:
        """Show this instead of everything."""
        raise NotImplementedError

    def _end_reading(self) -> None:
        self._reader.shutdown()


def silent() -> StateUnavailable:
    """A database that takes what is asked and does not answer."""
    return StateUnavailable(f"the state has not answered for {PATIENCE:g} s")
