"""One account: its repos, how one poll of them goes, and what that means for the account."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections import Counter
from collections.abc import Collection
from time import monotonic

from msgspec.structs import replace

from exporter.errors import (
    Fenced,
    ProviderError,
    Reason,
    Refused,
    StateUnavailable,
    TryLater,
    Waiting,
)
from exporter.http import REQUEST_COUNT, RequestCount
from exporter.ledger.polling import StoredPolling
from exporter.ledger.rows import Cursor, Vector, plus
from exporter.metrics.buckets import POLL_BUCKETS
from exporter.metrics.increments import observation
from exporter.model import Build
from exporter.outputs.prometheus import AccountView
from exporter.providers import Repo
from exporter.schedule.budget_group import BudgetGroup
from exporter.schedule.discovery import Discovery
from exporter.schedule.first_walks import FirstWalks
from exporter.schedule.health import AccountHealth
from exporter.schedule.outcome import Outcome
from exporter.schedule.plan import Demand
from exporter.schedule.polled_repos import PolledRepos
from exporter.schedule.repo import RepoState, log_facts
from exporter.schedule.stored import Instant
from exporter.schedule.token_end import TokenEnd
from exporter.schedule.watch import Watch
from exporter.sync import repo_sync
from exporter.sync.activity import Span
from exporter.sync.limits import part_of
from exporter.sync.window import SyncRules, believed

log = logging.getLogger(__name__)

POLL_DEADLINE = 300.0
"""Seconds for one poll of one repo; a longer sync goes on at the next poll."""
_WORTH_COMMITTING = 0.8
"""The share of it after which a sync commits what it has and ends."""
_EARLIEST, _LATEST = 0.9, 0.98
"""Shares of an idle repo's interval between which its next poll falls due. Less than the whole:
the poll then waits for a free worker."""
_AGAIN = 1.0
"""Seconds after which a poll that had to wait for the budget is due again."""
_PIECE = 15.0
"""Seconds of the past of a repo that are read before others have their turn."""
_DISCOVERY = 3600.0
"""Seconds between two discoveries of what the wildcards match."""
_HEALTH = 600.0
"""Seconds between two requests for the account's health."""


class AccountPoller:
    """Polls the repos of one account when its `BudgetRunner` says so.

    `group` is the budget that it shares with other accounts of the same credential.
    """

    def __init__(
        self, context: repo_sync.SyncContext, *, interval: float, group: BudgetGroup | None = None
    ) -> None:
        self.source = context.source
        self.provider, self.api = context.source.account, context.source.api
        self.group = BudgetGroup(self.api.budget) if group is None else group
        self.rejected = 0
        """Listed items that could not be parsed."""
        self._span = Span.of(self.provider.interval or interval, context.rules.max_interval)
        self.health = AccountHealth(self.provider.name, interval=self._span.interval)
        self.discovery = Discovery(self.source, self.health)
        self.polled = PolledRepos(
            self.provider, self.group, self._span, health=self.health, discovery=self.discovery
        )
        self.repos, self.rows = self.polled.by_entry, self.polled.rows
        self.first_walks = FirstWalks(self.provider.name, self.repos, self.group)
        self._context = context
        self._recorder = context.recorder
        self._outcome = Outcome(self.health, self._span, self.repos)
        self.watch = Watch(self.provider.name, self.api, self.health, self.polled.queue, self.group)
        self.health.changed = self._health_changed
        self._token_end = TokenEnd(self.source)
        self._healthy_at: float | None = None
        self._announced = False
        self._polls: Vector = (0.0,) * (len(POLL_BUCKETS) + 2)
        self.waiting: str | None = None
        """Why the last poll had to wait for the budget; None if it did not."""
        self._show_active()

    def inherit(self, old: AccountPoller) -> None:
        """Take over what a stopped poller of the same account has learned."""
        self.api.stats = old.api.stats
        self.rejected, self._polls = old.rejected, old._polls
        is_same = self.rows.identity == old.rows.identity
        self.health.inherit(old.health, is_same=is_same)
        self.polled.inherit(old.polled, is_same=is_same)
        self._show_active()

    def change(self, rules: SyncRules, *, interval: float, timeout: float) -> None:
        """Poll by other rules with the same source, which keeps all that it remembers.

        `interval` and `timeout` are in seconds. Polls under way end by the old rules.
        """
        span = Span.of(self.provider.interval or interval, rules.max_interval)
        if (rules, span, timeout) == (self._context.rules, self._span, self.api.timeout):
            return
        self._context, self.api.timeout = replace(self._context, rules=rules), timeout
        self._span = self._outcome.span = span
        self.health.change(interval=span.interval)
        self.polled.change(span)

    async def flush(self) -> None:
        """Write what was learned to the state."""
        await self._recorder.save_polling(whole=True)
        await self._recorder.save_responses(self.provider.name, self.api.responses)

    async def close(self) -> None:
        """Write what was learned and close the connections. Polls must have been stopped."""
        await self.flush()
        self.rest()
        await self.api.aclose()

    # -- over a restart

    def save(self) -> None:
        """Write what is learned to the state from now on."""
        self._recorder.polling.join(self.provider.name, self.rows)

    def restore(self) -> None:
        """Go on as the state says that another process has ended."""
        stored = self._recorder.polling.take(self.provider.name)
        if stored is None:
            return
        now, account = Instant(time.time(), monotonic()), stored.account
        is_same = self.rows.is_same(account)
        backoff_until, asked_until = (
            now.wait(until, written_at=account.written_at) if is_same else 0.0
            for until in (account.backoff_until, account.asked_until)
        )
        self.health.restore(account, backoff_until, asked_until=asked_until)
        self.polled.restore(stored, now, is_same=is_same)
        self._show_active()

    def rest(self) -> None:
        """Write nothing more of what is learned: others may poll it."""
        self._recorder.polling.leave(self.provider.name, self.rows)

    def resume(self) -> None:
        """Go on as whoever has polled the account meanwhile has left it."""
        self.restore()
        self._recorder.budgets.restore(self.group.name)

    def resume_counts(
        self, requests: Counter[str], errors: Counter[Reason], *, rejected: int, polls: Vector
    ) -> None:
        """Go on with the counters of whoever has polled the account before."""
        self.api.stats.requests, self.api.stats.errors = requests, errors
        self.discovery.rejected, self.rejected, self._polls = 0, rejected, polls

    def mirror(self, stored: StoredPolling, *, up: bool) -> None:
        """Look as whoever polls the account has written."""
        now = Instant(time.time(), monotonic())
        self.health.mirror(stored.account, up=up, until=now.ahead(stored.account.backoff_until))
        self.polled.mirror(stored, now, self._recorder.view.targets_of(self.provider.name))

    def _health_changed(self) -> None:
        self.rows.touch()
        self._save_now()

    def _save_now(self) -> None:
        self.rows.hurry()
        self._recorder.polling.urgent()

    # -- which repos

    @property
    def needs_preparing(self) -> bool:
        """Whether its health or its wildcards are due for a look."""
        now = monotonic()
        if self.discovery.ended_at is None or self._healthy_at is None:
            return True
        return now - self.discovery.ended_at >= _DISCOVERY or now - self._healthy_at >= _HEALTH

    async def prepare(self) -> None:
        """Ask for the account's health and discover what its wildcards match."""
        try:
            await self.source.renew()
            await self.source.health()
            now = monotonic()
            self._healthy_at = now
            if self.discovery.ended_at is None or now - self.discovery.ended_at >= _DISCOVERY:
                before = {entry: state.repo for entry, state in self.repos.items()}
                self.polled.adopt(await self.discovery.find(before))
                self._show_active()
                self._announced = False
                # A wildcard that failed is tried again with the next look at the health.
                early = _DISCOVERY - _HEALTH if self.discovery.unresolved else 0.0
                self.discovery.ended_at = now - early
                self.rows.touch()
            await self._token_end.look()
        except Waiting:
            return  # asked again at the first round with a budget
        except ProviderError as error:
            self.health.failed(error, now=time.time())

    def _show_active(self) -> None:
        """Show the unfinished builds of the repos that are there."""
        there = {entry for entry, state in self.repos.items() if not state.is_gone}
        self._recorder.keep_active(self.provider.name, there)

    # -- one poll

    async def poll_in_turn(self, state: RepoState, requests: RequestCount) -> None:
        """Poll a repo and let it wait for its next poll."""
        started, put_off = monotonic(), True  # also where it is cancelled
        if not state.reads_past:
            state.begun_at, state.is_hastened = started, False
        try:
            put_off = await self.poll(state, requests, pause_at=started + _PIECE)
        finally:
            state.is_polled = False
            self.rows.touch(state.repo.entry)
            state.interval = self.group.plan.interval(state.demand)
            due = (started if state.backs_off else state.begun_at) + self._pause(state.interval)
            if state.backs_off:
                state.backoff_until = max(state.backoff_until, due)
            if state.is_unfinished:
                self.polled.queue.wait_for_room(state)
            if state.is_hastened:
                due = monotonic()
            elif put_off and state.reads_past:
                due, state.past_rests_until = state.due, monotonic() + _AGAIN
            elif put_off:
                due = monotonic() + _AGAIN
            self.polled.wait(state, due)

    def _pause(self, interval: float) -> float:
        """Seconds to the next poll; those of idle repos must not fall into step."""
        if interval <= self._span.interval or self.group.is_short:
            return interval
        return interval * random.uniform(_EARLIEST, _LATEST)  # noqa: S311 - no secret

    async def poll(
        self, state: RepoState, requests: RequestCount, *, pause_at: float = math.inf
    ) -> bool:
        """Poll a repo; whether that must be done again as soon as the budget allows.

        At `pause_at` (monotonic seconds) it ends with the page that it is at.
        """
        started = monotonic()
        REQUEST_COUNT.set(requests)
        poll: repo_sync.RepoSync | None = None
        try:
            async with asyncio.timeout(POLL_DEADLINE):
                until = started + _WORTH_COMMITTING * POLL_DEADLINE
                poll = await self._sync(state, until=until, pause_at=pause_at)
                await poll.run()
        except TimeoutError:
            late = (
                f"the poll took longer than {POLL_DEADLINE:g} s and is begun anew at the next one"
            )
            self._failed(state, TryLater(late, reason="timeout"))
        except Waiting as error:
            self.waiting = str(error)
            return True
        except ProviderError as error:
            self._failed(state, error)
            if isinstance(error, Refused) or error.reason == "server":
                await self._diagnose()
        except Fenced:
            return True  # whoever polls it by now does so
        except StateUnavailable as error:
            state.error, state.reason = str(error), "state"
        except Exception as error:  # noqa: BLE001 - it is logged, and one repo's own
            self._outcome.broke_down(state, error)
        else:
            self._succeeded(state, poll)
        finally:
            if poll is not None:
                self.rejected += poll.rejected
                is_news = poll.moved or state.reads_past or not state.was_polled
                self.group.costs.note(requests, news=is_news)
            seconds = monotonic() - started
            self._polls = plus(self._polls, observation(seconds, POLL_BUCKETS))
            log.debug("polled", extra=log_facts(self.provider.name, state, requests, seconds))
        return False

    async def _sync(self, state: RepoState, *, until: float, pause_at: float) -> repo_sync.RepoSync:
        """A sync of the repo from where the last one ended."""
        name = self.provider.name
        await self._recorder.load_responses(name, self.api.responses)
        await self.source.renew()
        rules = self._context.rules
        floor = believed(self.api.now(), rules) - rules.lookback
        target = await self._recorder.target(name, state.repo.entry, Cursor(floor=floor))
        state.target = target.id
        return repo_sync.RepoSync(
            self._context,
            repo=state.repo,
            target=target,
            notes=state.notes,
            limits=replace(
                self.group.poll_limits(until, self._span.longest),
                part=part_of(target.cursor, reads_past=state.reads_past),
                pause_at=pause_at if state.reads_past else math.inf,
            ),
        )

    async def _diagnose(self) -> None:
        """Whether the provider says more about the account than the refusal did."""
        health = self.health
        if health.backoff_until > monotonic() and health.error is not None:
            return
        try:
            await self.source.health()
        except ProviderError as error:
            if error.account_wide and not isinstance(error, Waiting):
                health.failed(error, now=time.time())

    def _succeeded(self, state: RepoState, poll: repo_sync.RepoSync) -> None:
        was_gone, was_catching_up = state.is_gone, (state.is_pending, state.is_unfinished)
        self._outcome.succeeded(state, poll, self.active(state), now=self.api.now())
        if was_gone:
            self._show_active()
        if was_catching_up != (state.is_pending, state.is_unfinished):
            state.saved_at = None  # a restart is to know of it
        self.waiting = None
        if not self._announced:
            self._announce()

    def _failed(self, state: RepoState, error: ProviderError) -> None:
        was_gone = state.is_gone
        self._outcome.failed(state, error)
        if state.backoff_until > monotonic():  # its API has asked for it
            self.rows.touch(state.repo.entry)
            self._save_now()
        if was_gone != state.is_gone:
            self._show_active()

    def _announce(self) -> None:
        """Log what polling will cost, once a response has named the limits."""
        self._announced = True
        costs = self.group.forecast(self.demands())
        log.info("polling", extra={"account": self.provider.name, "repos": len(self.repos)} | costs)

    def demands(self) -> list[Demand]:
        """What each repo is worth."""
        return [state.demand for state in self.repos.values()]

    # -- what others see

    @property
    def is_well(self) -> bool:
        """Whether each repo was polled well, and nothing is wrong with the account."""
        polled = all(
            s.was_polled and not s.is_unfinished and not s.failures for s in self.repos.values()
        )
        return self.health.error is None and not self.discovery.unresolved and polled

    def active(self, state: RepoState) -> Collection[Build]:
        """The unfinished builds of a repo."""
        return () if state.target is None else self._recorder.open_builds(state.target).values()

    def view(self) -> AccountView:
        """For the exposition."""
        return AccountView(
            provider=self.provider.label,
            account=self.provider.name,
            stats=self.api.stats,
            up=self.health.up,
            budget_exhausted=self.group.is_exhausted,
            rejected=self.rejected + self.discovery.rejected,
            polls=self._polls,
            repos=self.repos,
            page_of=self.page_of,
            states=self.states,
        )

    def page_of(self, repo: str) -> str | None:
        """The address of a repo's page at the provider, by its label."""
        return self.provider.page_of(Repo(repo))

    def states(self) -> Counter[str]:
        """How many repos there are by state; one that is read in part counts as failing."""
        now, plan = time.time(), self.group.plan
        states = (s.health(now, plan.interval(s.demand)) for s in self.repos.values())
        return Counter("failing" if state == "partial" else state for state in states)
