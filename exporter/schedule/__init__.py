"""The schedule: all accounts of one process, and the rounds in which they are polled.

A `BudgetRunner` (`runner`) polls the accounts of one credential; a `Dispatcher` (`dispatch`)
runs its rounds. What keeps a poll from being sent is a gate (`gates`). How often a repo should
be polled says `repo`, and how often the budget allows it `plan`; `due_queue` has the repos in
the order of their due times. How long a failing account backs off says `health`, and what the
end of a poll means for repo and account `outcome`. `stored` and `account_rows` keep all that
over a restart.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable

from exporter.schedule.account import AccountPoller
from exporter.schedule.budget_group import BudgetGroup
from exporter.schedule.dispatch import Dispatcher, InProcess
from exporter.schedule.gates import STOPPED, Gate
from exporter.schedule.repo import RepoState
from exporter.schedule.runner import BudgetRunner

_GOLDEN = 0.618034
"""The fractional parts of its multiples are spread evenly."""


class Schedule:
    """Polls accounts, each by the runner of its credential."""

    def __init__(
        self, accounts: Iterable[AccountPoller], dispatcher: Dispatcher | None = None
    ) -> None:
        self.accounts: list[AccountPoller] = []
        """Those that are shown, in the order of the configuration; paused ones among them."""
        self._dispatcher = InProcess() if dispatcher is None else dispatcher
        self._runners: dict[BudgetGroup, BudgetRunner] = {}
        self._rounds: dict[BudgetRunner, asyncio.Task[None]] = {}
        self._places = itertools.count()
        self._is_started = False
        self.resume(accounts)

    def start(self) -> None:
        """Restore what the last process saved, then begin the rounds in the running event loop."""
        self._is_started = True
        for account in self.accounts:
            account.restore()
        for runner in self._runners.values():
            self._begin(runner)

    def _begin(self, runner: BudgetRunner) -> None:
        # Not all budgets at the same moment: scrapes would wait for all of their polls.
        after = next(self._places) * _GOLDEN % 1.0

        async def run() -> None:
            await asyncio.sleep(after)
            await self._dispatcher.run(runner)

        self._rounds[runner] = asyncio.create_task(run())

    async def once(self) -> bool:
        """Poll every repo once; whether all went well."""
        return all(await asyncio.gather(*(runner.once() for runner in self._runners.values())))

    async def stop(self) -> None:
        """End all polls; the step under way in the ledger is finished first."""
        await self.pause(self.accounts)

    # -- one repo

    def not_now(self, account: AccountPoller, repo: RepoState | None = None) -> Gate | None:
        """Why nothing is sent for the account, or this repo of it, and until when."""
        runner = self._runners.get(account.group)
        return STOPPED if runner is None else runner.not_now(account, repo)

    def hasten(self, account: str, repo: str) -> bool:
        """Poll a repo as soon as limits and backoff allow; False if it is not polled at all.

        `account` is its name, `repo` the polled entry. Repeated calls make one poll; a call
        during a poll of the repo makes one more follow.
        """
        return any(
            (runner := self._runners.get(polled.group)) is not None and runner.hasten(polled, repo)
            for polled in self.accounts
            if polled.provider.name == account
        )

    # -- another configuration

    async def pause(self, accounts: Iterable[AccountPoller]) -> None:
        """End the polls of some accounts, which are still shown as they are."""
        await asyncio.gather(*map(self._pause, list(accounts)))

    async def _pause(self, account: AccountPoller) -> None:
        runner = self._runners.get(account.group)
        if runner is not None and account in runner.accounts:
            await runner.remove(account)
            await account.flush()  # before somebody else may poll it
            if not runner.accounts and self._runners.pop(account.group, None) is not None:
                await self._end(runner)
        await account.close()

    async def _end(self, runner: BudgetRunner) -> None:
        if (rounds := self._rounds.pop(runner, None)) is not None:
            rounds.cancel()
            await asyncio.gather(rounds, return_exceptions=True)

    def is_polled(self, account: AccountPoller) -> bool:
        """Whether it takes part in the rounds: it was added, and not paused since."""
        runner = self._runners.get(account.group)
        return runner is not None and account in runner.accounts

    def resume(self, accounts: Iterable[AccountPoller]) -> None:
        """Poll and show these accounts from now on, and no others.

        Accounts that are to go must be paused before. A new account takes over what the old one
        of its name has learned.
        """
        before = {account.provider.name: account for account in self.accounts}
        self.accounts = list(accounts)
        for account in self.accounts:
            old = before.get(account.provider.name)
            if old is account:
                continue
            if old is not None:
                account.inherit(old)
            elif self._is_started:
                account.restore()
            self._runner(account).add(account)

    def _runner(self, account: AccountPoller) -> BudgetRunner:
        """The runner of an account's credential, made and begun if there is none."""
        runner = self._runners.get(account.group)
        if runner is None:
            runner = self._runners[account.group] = BudgetRunner(account.group)
            if self._is_started:
                self._begin(runner)
        return runner
