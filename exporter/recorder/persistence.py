"""What is saved for the next process beside the counters. To lose it loses no build.

Stored responses save requests; limits, backoff and due times keep a restart from sending too many.
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
from exporter.recorder.commits import Commits
from exporter.recorder.polling import PollingRows

log = logging.getLogger(__name__)


class Persistence(Commits):
    """Saves what the clients and the schedule have learned."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(ledger)
        self.budgets = Budgets((), self._note_limits)
        self.polling = PollingRows(self._note_polling, is_shared=ledger.shared is not None)
        self.reports: dict[str, bytes] = {}
        """What the processes that poll accounts say of them, by account."""
        self._notes: set[asyncio.Task[None]] = set()
        self._is_noting_polling = False

    async def load_responses(self, account: str, responses: ResponseCache) -> None:
        """Fill a new cache with the stored responses of an account's API."""
        if responses.is_new:
            await self._finish(self._load_responses(account, responses))

    async def _load_responses(self, account: str, responses: ResponseCache) -> None:
        async with self._lock:
            if not responses.is_new:
                return  # another poll has just done it
            try:
                rows = await self._attempt(lambda: self._ledger.responses(account))
            except StateUnavailable as error:
                log.warning("%s: everything is asked for anew", error, extra={"account": account})
                rows = []
            responses.restore(rows)

    async def save_responses(self, account: str, responses: ResponseCache) -> None:
        """Write the stored responses of an account's API that have changed since the last call.

        What cannot be written is written later: to lose it costs a restart some requests
        and nothing else.
        """
        await self._finish(self._save_responses(account, responses))

    async def _save_responses(self, account: str, responses: ResponseCache) -> None:
        async with self._lock:
            if not self.state_ok:
                return  # what there is room for belongs to the counters
            changes = responses.changes()
            if not any(changes):
                return

            try:
                await self._commit(lambda tx: tx.save_responses(account, changes), account)
            except StateUnavailable:
                responses.unsaved(changes)

    def _note_limits(self) -> None:
        """Save at once that a limit is reached."""
        self._note(self.save_limits())

    def _note_polling(self) -> None:
        """Save at once that an account or a repo backs off."""
        if not self._is_noting_polling:
            self._is_noting_polling = True
            self._note(self.save_polling())

    def _note(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._notes.add(task)
        task.add_done_callback(self._notes.discard)

    async def save_polling(self, *, whole: bool = False) -> None:
        """Write the rows of the schedule that no other transaction has written, in one.

        `whole` leaves nothing for the next time. What cannot be written is written later.
        """
        await self._finish(self._save_polling(whole=whole))

    async def _save_polling(self, *, whole: bool) -> None:
        async with self._lock:
            self._is_noting_polling = False
            if not self.state_ok:
                return  # what there is room for belongs to the counters
            changes = self.polling.changes(whole=whole)
            if self._ledger.shared is None:
                parts = [changes] if changes else []
            else:  # an account that is another's by now holds up no other
                parts = [{account: rows} for account, rows in changes.items()]
            for part in parts:
                await self._save_part(part)

    async def _save_part(self, changes: Mapping[str, PollingChanges]) -> None:
        try:
            await self._commit(lambda tx: self._write_polling(tx, changes), *changes)
        except StateUnavailable:
            self.polling.unsaved(changes)

    async def save_account(self, account: str, report: bytes) -> None:
        """Write the rows of an account's schedule, and a report of it that is another one.

        What cannot be written is written later.
        """
        await self._finish(self._save_account(account, report))

    async def _save_account(self, account: str, report: bytes) -> None:
        async with self._lock:
            if not self.state_ok:
                return
            changes = self.polling.changes_of(account, whole=True)
            is_other = report != self.reports.get(account)

            def write(tx: Transaction) -> None:
                self._write_polling(tx, changes)
                if is_other:
                    tx.save_report(account, report)

            try:
                if changes or is_other:
                    await self._commit(write, account)
            except StateUnavailable:
                self.polling.unsaved(changes)

    @staticmethod
    def _write_polling(tx: Transaction, changes: Mapping[str, PollingChanges]) -> None:
        for account, rows in changes.items():
            tx.save_polling(account, rows)

    async def save_limits(self) -> None:
        """Write the limits that were reached since the last call."""
        await self._finish(self._save_limits())

    async def _save_limits(self) -> None:
        async with self._lock:
            changes = self.budgets.changes()

            try:
                if changes:
                    await self._commit(lambda tx: tx.save_limits(changes, now=time.time()))
            except StateUnavailable:
                self.budgets.unsaved()
