"""Takes, keeps and gives back the leases of a worker, and runs rounds under them.

Each beat compares what the rows say with what runs here, and mends the difference. Nothing is done
on the word of an event alone: the answer that a lease was taken may be lost, and a round may have
ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from functools import partial
from time import monotonic
from typing import TypeVar

from exporter.errors import StateUnavailable
from exporter.fleet.shares import Groups, holders, wishes
from exporter.ledger.shared import BEATS, Beat, Leases, WorkerFacts
from exporter.recorder import Recorder
from exporter.recorder.commits import PATIENCE, silent
from exporter.schedule.dispatch import Dispatcher, Lease, Work
from exporter.threads import WorkerThread

log = logging.getLogger(__name__)

T = TypeVar("T")

_STEADY = 2
"""Lengths of a lease in which the workers must have been the same before one gives back."""
_OVERDUE = 2
"""Beats after which a worker takes what nobody has, also beyond its share."""
_AFTER_A_BUG = 1.0
"""Seconds before a round that broke down is begun again."""


class _Group:
    """The accounts of one credential, and the round under way for them."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.lease: Lease | None = None
        """None while it is not ours."""
        self.epochs: Mapping[str, int] = {}
        self.granted = asyncio.Event()
        self.round: asyncio.Task[None] | None = None
        self.free_since: float | None = None
        """Since when nobody holds it, monotonic seconds."""


class Keeper(Dispatcher):
    """Grants what the rows of the state say is ours.

    `facts` returns what is said of this worker. `resumed` is called with accounts whose lease
    is ours by now, before their round begins.
    """

    def __init__(
        self,
        leases: Leases,
        recorder: Recorder,
        facts: Callable[[], WorkerFacts],
        resumed: Callable[[Collection[str]], None],
    ) -> None:
        self.last: Beat | None = None
        """How things stood at the last beat."""
        self.is_well = True
        """Whether the last beat was answered."""
        self.changes = Counter[str]()
        """Leases that were `taken`, `given_back` or `lost`."""
        self.timed: Callable[[str, float], None] = lambda _step, _seconds: None
        """Called with how long a `beat` took, in seconds."""
        self.shown = 0
        """Up to which turn somebody was shown all commits by this process."""
        self._leases = leases
        self._recorder = recorder
        self._facts = facts
        self._resumed = resumed
        self._thread = WorkerThread("leases")
        self._groups: dict[bytes, _Group] = {}
        self._workers: Collection[str] = ()
        self._same_since = monotonic()

    @property
    def worker(self) -> str:
        """Our id."""
        return self._leases.worker

    @property
    def every(self) -> float:
        """Seconds between two beats."""
        return self._leases.length / BEATS

    @property
    def held(self) -> set[str]:
        """The accounts that are polled here."""
        held = (group.work.names for group in self._groups.values() if group.lease is not None)
        return {name for names in held for name in names}

    async def run(self, work: Work) -> None:
        """Run the rounds of one credential while its lease is ours, until cancelled."""
        group = self._groups[work.name] = _Group(work)
        try:
            while True:
                await group.granted.wait()
                await self._round(group)
        finally:
            if self._groups.get(work.name) is group:
                del self._groups[work.name]
            if group.round is not None:
                await self._end(group)
            if group.lease is not None:
                await self._give_back(group)

    async def _round(self, group: _Group) -> None:
        lease = group.lease
        if lease is None:
            group.granted.clear()
            return
        task = group.round = asyncio.create_task(group.work.round(lease))
        await asyncio.wait([task])
        group.round = None
        if not task.cancelled() and task.exception() is not None:
            log.error(
                "a round broke down: this is a bug, please report it", exc_info=task.exception()
            )
            await asyncio.sleep(_AFTER_A_BUG)
        if group.lease is lease and lease.is_over:  # nobody has answered us for too long
            log.info(
                "polls pause, as the lease has ended",
                extra={"accounts": ", ".join(sorted(group.work.names))},
            )
            self._lose(group)

    # -- a beat

    async def beat(self) -> None:
        """Say that we live, and do what follows from how things stand."""
        began = monotonic()
        try:
            self.last = await self._ask(partial(self._leases.beat, self._facts(), shown=self.shown))
        except StateUnavailable as error:
            if self.is_well:
                log.error("%s, and polls pause that have no lease", error)
            self.is_well = False
            return
        finally:
            self.timed("beat", monotonic() - began)
        if not self.is_well:
            log.info("leases can be kept again")
        self.is_well = True
        await self._mend(self.last, until=began + self._leases.length)

    async def _ask(self, work: Callable[[], T]) -> T:
        """What `work` returns in our thread. Raises StateUnavailable, also where it hangs."""
        try:
            return await asyncio.wait_for(self._thread.run(work), PATIENCE)
        except TimeoutError:
            raise silent() from None

    async def _mend(self, beat: Beat, *, until: float) -> None:
        self._look_at_workers(beat)
        for group in list(self._groups.values()):
            ours = self._ours(beat, group)
            if group.lease is not None and (ours is None or ours != group.epochs):
                if holders(beat, group.work.names) - {self.worker}:
                    self.changes["lost"] += 1
                    log.info(
                        "accounts are another worker's by now",
                        extra={"accounts": ", ".join(sorted(group.work.names))},
                    )
                self._lose(group)
            elif group.lease is not None:
                group.lease.until = until
            elif ours is not None:  # nobody has told us that we had taken it
                await self._grant(group, ours, until)
        groups: Groups = {name: group.work.names for name, group in self._groups.items()}
        wanted = wishes(
            groups,
            beat,
            self.worker,
            overdue=self._overdue(beat),
            is_steady=monotonic() - self._same_since >= _STEADY * self._leases.length,
        )
        for name in wanted.take:
            await self._take(name, until)
        if wanted.give_back is not None and (mine := self._groups.get(wanted.give_back)):
            log.info(
                "accounts are given back, as other workers have fewer",
                extra={"accounts": ", ".join(sorted(mine.work.names))},
            )
            await self._end(mine)
            await self._give_back(mine)

    def _ours(self, beat: Beat, group: _Group) -> Mapping[str, int] | None:
        """The epochs of the leases of a group, if all of them are ours."""
        held = {name: beat.held.get(name) for name in group.work.names}
        ours = {
            name: one.epoch
            for name, one in held.items()
            if one is not None and one.worker == self.worker
        }
        return ours if ours and len(ours) == len(held) else None

    def _look_at_workers(self, beat: Beat) -> None:
        if self._workers != beat.workers.keys():
            self._workers = {*beat.workers}
            self._same_since = monotonic()

    def _overdue(self, beat: Beat) -> frozenset[bytes]:
        now, overdue = monotonic(), set()
        for name, group in self._groups.items():
            if any(account in beat.held for account in group.work.names):
                group.free_since = None
            elif group.free_since is None:
                group.free_since = now
            elif now - group.free_since >= _OVERDUE * self.every:
                overdue.add(name)
        return frozenset(overdue)

    # -- leases

    async def _take(self, name: bytes, until: float) -> None:
        group = self._groups.get(name)
        if group is None or not group.work.names:
            return
        try:
            epochs = await self._ask(partial(self._leases.take, group.work.names))
        except StateUnavailable as error:
            log.debug("a lease was not taken: %s", error)
            return
        if epochs:
            self.changes["taken"] += 1
            await self._grant(group, epochs, until)

    async def _grant(self, group: _Group, epochs: Mapping[str, int], until: float) -> None:
        """Let the rounds of a group begin, where all is known that others have committed."""
        if group.round is not None:  # one that has lost its lease is ending
            await asyncio.wait([group.round])
        try:
            await self._recorder.follow()
        except StateUnavailable:
            return  # the next beat tries again
        group.work.resume()
        self._resumed(epochs.keys())
        group.epochs, group.lease = epochs, Lease(until)
        log.info("accounts are polled here", extra={"accounts": ", ".join(sorted(epochs))})
        group.granted.set()

    def _lose(self, group: _Group) -> None:
        group.lease, group.epochs = None, {}
        group.granted.clear()
        if group.round is not None:
            group.round.cancel()

    async def _end(self, group: _Group) -> None:
        """End a round; what it has learned is written."""
        group.granted.clear()
        if (task := group.round) is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _give_back(self, group: _Group) -> None:
        group.lease, group.epochs = None, {}
        self.changes["given_back"] += 1
        with contextlib.suppress(StateUnavailable):  # it ends by itself
            await self._ask(partial(self._leases.give_back, group.work.names))

    async def leave(self) -> None:
        """Be no worker any more: what is left of our leases is free at once."""
        with contextlib.suppress(StateUnavailable):
            await self._ask(self._leases.leave)
        self._thread.shutdown()
