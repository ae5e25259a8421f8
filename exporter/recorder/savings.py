"""What is saved for the next process beside the counters, and loses no build if it is lost.

Stored responses save requests, limits and backoff keep a restart from sending too many.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine, Mapping
from typing import Any

from exporter.errors import StateUnavailable
from exporter.http.response_cache import ResponseCache
from exporter.ledger import Ledger, Transaction
from exporter.ledger.polling import PollingChanges
from exporter.recorder.budgets import Budgets
from exporter.recorder.polling import PollingRows
from exporter.recorder.steps import Steps

log = logging.getLogger(__name__)


class Savings(Steps):
    """Saves what the clients and the schedule have learned."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self._ledger = ledger
        self.budgets = Budgets((), self._note_limits)
        self.polling = PollingRows(self._note_polling)
        self._notes: set[asyncio.Task[None]] = set()
        self._is_noting_polling = False

    async def recall(self, account: str, answers: ResponseCache) -> None:
        """Give `answers` back what was remembered of an account's API, the first time."""
        if answers.is_new:
            await self._finish(self._recall(account, answers))

    async def _recall(self, account: str, answers: ResponseCache) -> None:
        async with self._turn:
            if not answers.is_new:
                return  # done by who had the turn before
            try:
                rows = await self._attempt(lambda: self._ledger.responses(account))
            except StateUnavailable as error:
                log.warning("%s: everything is asked for anew", error, extra={"account": account})
                rows = []
            answers.restore(rows)

    async def remember(self, account: str, answers: ResponseCache) -> None:
        """Write what has changed in `answers`, of an account's API, since the last time.

        What cannot be written is written later: to lose it costs a restart some requests
        and nothing else.
        """
        await self._finish(self._remember(account, answers))

    async def _remember(self, account: str, answers: ResponseCache) -> None:
        async with self._turn:
            if not self.state_ok:
                return  # what there is room for belongs to the counters
            changes = answers.changes()
            if not any(changes):
                return

            def step() -> None:
                with self._ledger.transaction() as tx:
                    tx.save_responses(account, changes)

            try:
                await self._write(step)
            except StateUnavailable:
                answers.unsaved(changes)

    def _note_limits(self) -> None:
        """Remember at once what an API has forbidden."""
        self._note(self.remember_limits())

    def _note_polling(self) -> None:
        """A backoff has begun: that is saved at once."""
        if not self._is_noting_polling:
            self._is_noting_polling = True
            self._note(self.remember_polling())

    def _note(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._notes.add(task)
        task.add_done_callback(self._notes.discard)

    async def remember_polling(self, *, whole: bool = False) -> None:
        """Write what the schedule has learned and no other transaction has written, in one.

        `whole` leaves nothing for the next time. What cannot be written is written later.
        """
        await self._finish(self._remember_polling(whole=whole))

    async def _remember_polling(self, *, whole: bool) -> None:
        async with self._turn:
            self._is_noting_polling = False
            if not self.state_ok:
                return  # what there is room for belongs to the counters
            changes = self.polling.changes(whole=whole)

            def step() -> None:
                with self._ledger.transaction() as tx:
                    self._save(tx, changes)

            try:
                if changes:
                    await self._write(step)
            except StateUnavailable:
                self.polling.unsaved(changes)

    @staticmethod
    def _save(tx: Transaction, changes: Mapping[str, PollingChanges]) -> None:
        for account, rows in changes.items():
            tx.save_polling(account, rows)

    async def remember_limits(self) -> None:
        """Write what APIs have forbidden since the last time, if anything."""
        await self._finish(self._remember_limits())

    async def _remember_limits(self) -> None:
        async with self._turn:
            changes = self.budgets.changes()

            def step() -> None:
                with self._ledger.transaction() as tx:
                    tx.save_limits(changes, now=time.time())

            try:
                if changes:
                    await self._write(step)
            except StateUnavailable:
                self.budgets.unsaved()
