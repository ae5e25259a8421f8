"""The fleet: several equal exporters that write one state, each of them called a worker.

`keeper` holds the leases that say who polls what, and `shares` decides who should. `reports` are
what a worker tells of the accounts that it polls, `rules` what all of them go by, and
`worker_metrics` what is one worker's own.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Protocol

from exporter import __version__
from exporter.config import Config
from exporter.errors import StateUnavailable
from exporter.fleet import reports
from exporter.fleet.keeper import Keeper
from exporter.fleet.rules import wanted
from exporter.fleet.worker_metrics import WorkerMetrics
from exporter.ledger.shared import Beat, Leases, WorkerFacts
from exporter.outputs.prometheus import AccountView, FleetHealth, Health
from exporter.recorder import Recorder
from exporter.schedule.account import AccountPoller

FLUSH = 5.0
"""Seconds between two writes of what was learned of the accounts that are polled here."""


class Process(Protocol):
    """What the fleet wants of the process that it is in."""

    @property
    def file(self) -> Config:
        """What its file says."""

    @property
    def accounts(self) -> Iterable[AccountPoller]:
        """The accounts in it."""

    @property
    def health(self) -> Health:
        """What it shows of itself."""

    async def agree(self, rules: bytes) -> None:
        """Put in force what all workers go by from now on. Raises StateUnavailable."""

    async def show_accounts(self) -> None:
        """Show the accounts of all workers. Raises StateUnavailable."""


class Fleet:
    """This process among those that write the same state."""

    def __init__(self, process: Process, leases: Leases, recorder: Recorder, first: Beat) -> None:
        self._process = process
        self._recorder = recorder
        self.keeper = Keeper(leases, recorder, self.facts, self._resume)
        self.keeper.last = first
        self.metrics = WorkerMetrics(self.keeper, recorder, process.health)
        """What is this worker's own."""
        self._mirrored: dict[str, int] = {}
        """Which rows of the schedule an account that is polled elsewhere was last shown by."""

    @property
    def last(self) -> Beat:
        """How things stood at the last beat."""
        beat = self.keeper.last
        if beat is None:
            raise RuntimeError("there was no beat")
        return beat

    @property
    def is_well(self) -> bool:
        """Whether what others commit can be read, and leases can be kept."""
        return self.keeper.is_well and self._recorder.is_followed

    def facts(self) -> WorkerFacts:
        """What is said of this worker."""
        return facts_of(self._process.health, self._process.file)

    def _resume(self, accounts: Collection[str]) -> None:
        """Go on with the counters of whoever has polled these accounts before."""
        for account in self._process.accounts:
            report = self._recorder.reports.get(account.provider.name)
            if account.provider.name in accounts and report is not None:
                reports.resume(account, reports.decoded(report))

    # -- at regular times

    async def beat(self) -> None:
        """Say that we live, follow the others, and do what follows from how things stand."""
        await self.keeper.beat()
        try:
            await self._recorder.follow()
            if self.keeper.is_well:
                await self._obey(self.last)
        except StateUnavailable:
            return  # the recorder has said so, and shows it

    async def _obey(self, beat: Beat) -> None:
        self._recorder.view.scraped(beat.shown)
        agreed = beat.agreed
        if agreed is not None and agreed != beat.rules and min(beat.workers) == self.keeper.worker:
            await self._process.agree(agreed)
        if labels_of(beat, self._process.file) != self._recorder.view.labels_of:
            await self._process.show_accounts()

    async def flush(self) -> None:
        """Write what was learned of the accounts that are polled here."""
        held = self.keeper.held
        for account in self._process.accounts:
            if account.provider.name in held:
                await self._recorder.save_account(account.provider.name, reports.report_of(account))

    # -- a scrape

    async def follow(self) -> Callable[[], None]:
        """Take over what was committed before this call; what to call once it was shown whole.

        Raises StateUnavailable: nothing may be shown then.
        """
        await self._recorder.follow()
        position = self._recorder.position

        def seen() -> None:
            self.keeper.shown = max(self.keeper.shown, position)

        return seen

    def views(self) -> Iterator[AccountView]:
        """What a scrape shows of all accounts, as was committed."""
        held = self.last.held
        ours = {account.provider.name: account for account in self._process.accounts}
        for name, provider in self._recorder.view.labels_of.items():
            stored, account = self._recorder.polling.take(name), ours.get(name)
            yield reports.view_of(
                (provider, name),
                reports.decoded(self._recorder.reports.get(name)),
                is_held=name in held,
                repos={} if stored is None else stored.repos,
                page_of=_nowhere if account is None else account.page_of,
            )

    def health(self) -> FleetHealth:
        """What a scrape shows of all workers."""
        workers = [worker.facts for worker in self.last.workers.values()]
        known = [one for one in workers if one.version]
        return FleetHealth(
            workers=len(workers),
            unheld=len(self._recorder.view.labels_of.keys() - self.last.held.keys()),
            is_agreed=self.last.is_agreed,
            reload_ok=all(one.reload_ok for one in known),
            reload_time=min((one.reload_at for one in known), default=0.0),
            builds=frozenset((one.version, one.revision, one.python) for one in known),
        )

    # -- pages

    def mirror(self) -> None:
        """Let the accounts that are polled elsewhere look as their workers have written."""
        held, polling = self.keeper.held, self._recorder.polling
        for account in self._process.accounts:
            name = account.provider.name
            if name in held:
                self._mirrored.pop(name, None)
                continue
            revision, stored = polling.revisions.get(name, 0), polling.take(name)
            if stored is not None and self._mirrored.get(name) != revision:
                self._mirrored[name] = revision
                report = reports.decoded(self._recorder.reports.get(name))
                account.mirror(stored, up=report.up)
                reports.resume(account, report)


def facts_of(health: Health, file: Config) -> WorkerFacts:
    """What is said of a worker with this file."""
    return WorkerFacts(
        version=__version__,
        revision=health.revision,
        python=platform.python_version(),
        accounts={account.name: account.label for account in file.accounts},
        rules=wanted(file),
        reload_ok=health.reload_ok,
        reload_at=health.reload_time,
    )


def labels_of(beat: Beat, file: Config) -> dict[str, str]:
    """The `provider` label of each account that any worker has; ours go first."""
    labels = {account.name: account.label for account in file.accounts}
    for worker in beat.workers.values():
        labels = {**worker.facts.accounts, **labels}
    return labels


def is_first(beat: Beat, worker: str) -> bool:
    """Whether no other worker lives that has said what it goes by: this one may say so."""
    return not any(one.facts.rules for one in beat.workers.values() if one.id != worker)


def _nowhere(_repo: str) -> str | None:
    return None
