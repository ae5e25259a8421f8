"""Everything that a configuration asks for, put together, and taken over to another one."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import AsyncIterator, Callable, Generator
from typing import TypeVar

from exporter import fleet
from exporter.config import Config
from exporter.config.differences import ConfigDiff, diff
from exporter.daemon.housekeeping import Housekeeping
from exporter.daemon.parts import (
    account_poller,
    labels_of,
    ledger_config,
    metrics_rules,
    open_state,
    revision,
    sync_rules,
)
from exporter.daemon.timers import Timers
from exporter.errors import StateDamaged, StateUnavailable
from exporter.fleet import FLUSH, Fleet
from exporter.fleet.rules import obeying, wanted
from exporter.ledger import Ledger
from exporter.ledger.build_log import BuildLog
from exporter.outputs.prometheus import AccountView, Exposition, Health
from exporter.recorder import Recorder
from exporter.schedule import Schedule
from exporter.schedule.account import AccountPoller
from exporter.schedule.budget_group import BudgetGroups
from exporter.schedule.dispatch import Dispatcher, InProcess
from exporter.status import ci, report
from exporter.status.ci import CiReport
from exporter.status.document import StatusReport
from exporter.status.report import Reload
from exporter.view.series_view import SeriesView

T = TypeVar("T")

log = logging.getLogger(__name__)

GRACE = 8.0
"""Seconds that a stop may take before what is left is abandoned; the supervisor gives 10."""
DRAIN = 2.0
"""Seconds of it that open scrapes get."""


class Application:
    """The parts of a running process: ledger, view, schedule and timers.

    `hold=False` lets every increment in at once. Raises StateError.
    """

    def __init__(self, config: Config, *, hold: bool = True, ledger: Ledger | None = None) -> None:
        """`ledger` is that of the configuration, if it is open already."""
        self.file = config
        """What the file says."""
        self.config = config
        """What is in force: where several processes share a state not all that the file says."""
        self._hold = hold
        self._opened = ledger
        self._changing = asyncio.Lock()
        self._groups = BudgetGroups(config.polling.reserve)
        self.started_at = time.time()
        self.health = Health(reload_time=self.started_at, revision=revision())
        self.fleet: Fleet | None = None
        """The other processes that write the state; None where there cannot be any."""
        try:
            self.recorder = self._open_recorder()
        except StateDamaged as damage:
            self.recorder = self._open_recorder(damage=str(damage))
        dispatcher = self._dispatcher()
        self.schedule = Schedule(
            (
                account_poller(account, self.config, self.recorder, self._groups)
                for account in self.config.accounts
            ),
            dispatcher,
        )
        self.timers = Timers()
        self.housekeeping = Housekeeping(self.recorder, self.schedule)
        self.last_reload = Reload(self.started_at)
        self.exposition = Exposition(self.view, self._views, self.health)

    @property
    def view(self) -> SeriesView:
        """The series in memory."""
        return self.recorder.view

    def start(self) -> None:
        """Begin to poll and to keep the state, in the running event loop."""
        self.schedule.start()
        self.housekeeping.start(self.timers)
        if self.fleet is not None:
            self.timers.every(self.fleet.keeper.every, self.fleet.beat, "beat")
            self.timers.every(FLUSH, self.fleet.flush, "flush")
        self.timers.start()

    async def once(self) -> bool:
        """Poll every repo once; whether all went well."""
        well = await self.schedule.once()
        await self.housekeeping.release()
        return well

    async def stop(self) -> None:
        """End all polls and let go of the state; the step under way in it is finished first."""
        await self.timers.stop()
        await self.housekeeping.save_polling(whole=True)
        if self.fleet is not None:
            await self.fleet.flush()
        await self.schedule.stop()
        if self.fleet is not None:
            await self.fleet.keeper.leave()
        await self.recorder.close()

    def _views(self) -> list[AccountView]:
        self.health.state_ok = self.recorder.state_ok
        self.health.external_url = self.config.web.external_url
        if self.fleet is not None:
            self.health.fleet = self.fleet.health()
            return [*self.fleet.views()]
        return [account.view() for account in self.schedule.accounts]

    def worker_metrics(self) -> bytes | None:
        """What is this process's own; None where `metrics` has it, as nobody else writes."""
        return None if self.fleet is None else self.fleet.metrics.text()

    async def follow(self) -> Callable[[], None]:
        """Know what was committed before; what to call once an answer of now was read whole.

        Raises StateUnavailable: nothing may be shown then.
        """
        if self.fleet is not None:
            return await self.fleet.follow()
        return functools.partial(self.view.scraped, self.view.clock())

    @property
    def is_ready(self) -> bool:
        """Whether whoever asks is shown how things stand."""
        return self.fleet is None or self.fleet.is_well

    # -- what the fleet asks for

    @property
    def accounts(self) -> list[AccountPoller]:
        """The accounts in the file."""
        return self.schedule.accounts

    async def agree(self, rules: bytes) -> None:
        """Put in force what all processes go by from now on. Raises StateUnavailable."""
        async with self._changing:
            await self.recorder.agree(rules)

    async def show_accounts(self) -> None:
        """Show the accounts of all processes. Raises StateUnavailable."""
        async with self._changing:
            config = self.config
            await self.recorder.change(
                metrics_rules(config), self._labels(config), retention=config.state.retention
            )

    def _renewed(self) -> None:
        """Go by the rules with which everything was loaded anew."""
        before, config = self.config, obeying(self.file, self.recorder.rules)
        for line in diff(before, config).changes:
            log.info("all exporters that share the state go by it now: %s", line)
        self.config = config
        self.ledger.configure(ledger_config(config, hold=self._hold))
        self.recorder.retention = config.state.retention
        self.exposition = Exposition(self.view, self._views, self.health)
        for account in self.schedule.accounts:
            account.change(
                sync_rules(config),
                interval=config.polling.interval,
                timeout=config.polling.timeout,
            )

    def _dispatcher(self) -> Dispatcher:
        return InProcess() if self.fleet is None else self.fleet.keeper

    def _labels(self, config: Config) -> dict[str, str]:
        """The `provider` label of each account that is shown."""
        if self.fleet is None:
            return labels_of(config)
        return fleet.labels_of(self.fleet.last, config)

    def report(self) -> Generator[None, None, StatusReport]:
        """What the status page says, made in short steps."""
        if self.fleet is not None:
            self.fleet.mirror()
        return report.of_process(
            self.schedule,
            self.view,
            started_at=self.started_at,
            reload=self.last_reload,
            state_ok=self.recorder.state_ok,
            beat=None if self.fleet is None else self.fleet.last,
        )

    def ci(self) -> Generator[None, None, CiReport]:
        """What the pages about CI say, made in short steps."""
        if self.fleet is not None:
            self.fleet.mirror()
        return ci.of_process(self.schedule, self.view)

    async def read_log(self, read: Callable[[BuildLog], T]) -> T:
        """What `read` returns of the build log. May be cancelled. Raises StateUnavailable."""
        return await self.recorder.read_log(read)

    def reloaded(self, error: str | None = None) -> None:
        """Show that a reload has ended, well or with a line for each fault."""
        self.last_reload = Reload(time.time(), error)
        self.health.reload_ok = error is None
        if error is None:
            self.health.reload_time = self.last_reload.at

    def _open_recorder(self, *, damage: str | None = None) -> Recorder:
        """A recorder over the configured state; `damage` says what is wrong with its content."""
        opened, self._opened = self._opened, None
        self.ledger = opened or open_state(self.file, hold=self._hold, damage=damage)
        try:
            return self._start_recorder()
        except BaseException:
            self.ledger.close()
            raise

    def _start_recorder(self) -> Recorder:
        shared, rules, labels = self.ledger.shared, None, labels_of(self.file)
        shown = SeriesView(metrics_rules(self.file), labels, hold=self._hold)
        recorder = Recorder(self.ledger, shown, retention=self.file.state.retention)
        if shared is not None:
            first = shared.leases.beat(fleet.facts_of(self.health, self.file), shown=0)
            if fleet.is_first(first, shared.leases.worker):
                rules = wanted(self.file)
            config = obeying(self.file, rules or first.rules)
            self.ledger.configure(ledger_config(config, hold=self._hold))
            labels = fleet.labels_of(first, self.file)
            shown.configure(shown.rules, labels)
            self.fleet = Fleet(self, shared.leases, recorder, first)
            recorder.rules_of = lambda rules: metrics_rules(obeying(self.file, rules))
        recorder.start(labels, rules_for_all=rules)
        if shared is not None:
            self.config = obeying(self.file, recorder.rules)
            self.ledger.configure(ledger_config(self.config, hold=self._hold))
            recorder.retention = self.config.state.retention
            recorder.renewed = self._renewed
        return recorder

    async def apply(self, wanted: Config) -> ConfigDiff:
        """Apply another configuration as far as a running process can; returns how far.

        Accounts whose own keys are equal keep their source and what they have learned. Raises
        StateUnavailable, nothing done.
        """
        async with self._changing:
            return await self._apply(wanted)

    async def _apply(self, wanted: Config) -> ConfigDiff:
        change = diff(self.config, self._possible(wanted))
        config = change.config
        await self.recorder.prepare(metrics_rules(config), self._labels(config))
        kept = self._kept(config)
        await self.schedule.pause(
            account for account in self.schedule.accounts if account.provider.name not in kept
        )
        try:
            await self.recorder.change(
                metrics_rules(config), self._labels(config), retention=config.state.retention
            )
        except StateUnavailable:
            self._resume(kept)
            raise
        # From here on nothing is awaited: either all of it is in force or nothing.
        self.config, self.file = self._possible(config), wanted
        self.ledger.configure(ledger_config(config, hold=self._hold))
        self._groups.keep(config.polling.reserve)
        for account in kept.values():
            account.change(
                sync_rules(config),
                interval=config.polling.interval,
                timeout=config.polling.timeout,
            )
        self._resume(kept)
        return change

    def _possible(self, wanted: Config) -> Config:
        """What is in force then: what all processes must go by stays until they agree on it."""
        return wanted if self.fleet is None else obeying(wanted, self.recorder.rules)

    def _resume(self, kept: dict[str, AccountPoller]) -> None:
        """Poll the configured accounts: those that were `kept`, and new ones for the others."""
        config = self.config
        self.schedule.resume(
            kept.get(account.name) or account_poller(account, config, self.recorder, self._groups)
            for account in config.accounts
        )

    def _kept(self, config: Config) -> dict[str, AccountPoller]:
        """The accounts, by name, whose own keys are as they were: their sources stay."""
        wanted = {account.name: account for account in config.accounts}
        return {
            account.provider.name: account
            for account in self.schedule.accounts
            if wanted.get(account.provider.name) == account.provider
            and self.schedule.is_polled(account)  # else an earlier reload broke down half-way
        }


@contextlib.asynccontextmanager
async def assembled(
    config: Config, *, hold: bool = True, ledger: Ledger | None = None
) -> AsyncIterator[Application]:
    """An application that is not yet started; stopped at the end."""
    made = Application(config, hold=hold, ledger=ledger)
    try:
        yield made
    finally:
        try:
            async with asyncio.timeout(GRACE - DRAIN):
                await made.stop()
        except TimeoutError:
            log.warning("some polls did not stop in time and are abandoned")
