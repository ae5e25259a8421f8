"""One account: its repos, how one poll of them goes, and what that means for the account."""

from __future__ import annotations

import asyncio
import logging
import random
import time
import zlib
from collections.abc import Collection, Iterable
from time import monotonic

from exporter.errors import ProviderError, Refused, StateUnavailable, TryLater, Waiting
from exporter.http import TALLY, Tally
from exporter.ledger.rows import Cursor, Vector, plus
from exporter.metrics import families as f
from exporter.metrics.increments import observation
from exporter.model import Build
from exporter.outputs.prometheus import AccountView
from exporter.providers import Repo
from exporter.schedule.budget_group import BudgetGroup
from exporter.schedule.discovery import Discovery
from exporter.schedule.due_queue import DueQueue
from exporter.schedule.health import AccountHealth
from exporter.schedule.outcome import Outcome
from exporter.schedule.plan import Demand
from exporter.schedule.repo import RepoState, log_facts
from exporter.schedule.watch import Watch
from exporter.sync import repo_sync
from exporter.sync.activity import Span

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
_SPREAD = 0.1
"""Seconds between the first polls of an account's repos."""
_DISCOVERY = 3600.0
"""Seconds between two discoveries of what the wildcards match."""
_HEALTH = 600.0
"""Seconds between two requests for the account's health."""


class AccountPoller:
    """Polls the repos of one account when its `BudgetRunner` says so.

    `group` is the budget that it shares with other accounts of the same credential.
    """

    def __init__(
        self, reader: repo_sync.Reader, *, interval: float, group: BudgetGroup | None = None
    ) -> None:
        self.provider = reader.provider
        self.api = reader.api
        self.group = BudgetGroup(reader.api.budget) if group is None else group
        self.repos: dict[str, RepoState] = {}
        self.rejected = 0
        """Listed items that could not be parsed."""
        interval = reader.provider.interval or interval
        self.health = AccountHealth(self.provider.name, interval=interval)
        self.discovery = Discovery(self.provider, self.health)
        self.queue = DueQueue(self.repos)
        self._reader = reader
        self._recorder = reader.recorder
        self._span = Span(interval, max(interval, reader.rules.max_interval))
        self._outcome = Outcome(self.health, self._span, self.repos)
        self._watch = Watch(self.provider.name, self.api, self.health, self.queue, self.group)
        self._made_at = monotonic()
        self._known: dict[str, RepoState] = {}
        self._discovered_at: float | None = None
        self._healthy_at: float | None = None
        self._announced = False
        self._polls: Vector = (0.0,) * (len(f.POLL_BUCKETS) + 2)
        self.waiting: str | None = None
        """What polls wait for, if they do."""
        self._adopt(self.discovery.named())

    def inherit(self, old: AccountPoller) -> None:
        """Take over what a stopped poller of the same account has learned."""
        self.api.stats = old.api.stats
        self.rejected, self._polls = old.rejected, old._polls
        self.health.inherit(old.health)
        self._known = old.repos
        found = self.discovery.named()
        if any(map(self.provider.is_wildcard, self.provider.repos)):
            # What wildcards found stays until the next discovery says otherwise.
            stay = {entry: state.repo for entry, state in old.repos.items()}
            found = {e: repo for e, repo in stay.items() if not self.provider.excludes(e)} | found
        self.repos.clear()
        self._adopt(found)

    async def close(self) -> None:
        """Save the stored responses and close the connections. Polls must have been stopped."""
        await self._recorder.remember(self.provider.name, self.api.answers)
        await self.api.aclose()

    # -- between the polls

    def begin(self) -> None:
        """Count the due times of the repos from now on: the rounds have begun."""
        late = monotonic() - self._made_at
        for state in self.repos.values():
            self._wait(state, state.due + late)

    def look(self) -> None:
        """Notice an API that has fallen silent, and a repo that nothing would poll."""
        self._watch.look(monotonic())

    def may_be_mended(self) -> bool:
        """Whether a new credential may help, and it is time to look for one."""
        return self._watch.may_be_mended(monotonic(), self.repos.values())

    async def take_new_credential(self) -> None:
        """If the credential is a new one, try at once what the old one was refused."""
        await self._watch.take_new_credential(list(self.repos.values()))

    def hasten(self, state: RepoState) -> None:
        """Let a repo be due now, or once more after the poll that is under way."""
        if state.is_hastened:
            return
        state.is_hastened = True
        if not state.is_polled:
            self._wait(state, min(state.due, monotonic()))

    def _wait(self, state: RepoState, due: float) -> None:
        self.queue.wait(state, max(due, state.backoff_until))

    # -- which repos

    @property
    def is_prepared(self) -> bool:
        """Whether discovery has ended once."""
        return self._discovered_at is not None

    @property
    def needs_preparing(self) -> bool:
        """Whether its health or its wildcards are due for a look."""
        now = monotonic()
        if self._discovered_at is None or self._healthy_at is None:
            return True
        return now - self._discovered_at >= _DISCOVERY or now - self._healthy_at >= _HEALTH

    async def prepare(self) -> None:
        """Ask for the account's health and discover what its wildcards match."""
        try:
            await self.provider.renew(self.api)
            await self.provider.health(self.api)
            now = monotonic()
            self._healthy_at = now
            if self._discovered_at is None or now - self._discovered_at >= _DISCOVERY:
                before = {entry: state.repo for entry, state in self.repos.items()}
                self._adopt(await self.discovery.find(self.api, before))
                self._announced = False
                # A wildcard that failed is tried again with the next look at the health.
                unresolved = self.discovery.unresolved
                self._discovered_at = now - _DISCOVERY + _HEALTH if unresolved else now
        except Waiting:
            return  # asked again at the first round with a budget
        except ProviderError as error:
            self.health.failed(error, now=time.time())

    def _adopt(self, found: dict[str, Repo]) -> None:
        """Poll these repos from now on, and no others."""
        now = monotonic()
        for entry in self.repos.keys() - found.keys():
            del self.repos[entry]
        # Spread by hash, so that a restart or a second exporter does not poll in the same order.
        fresh = sorted(found.keys() - self.repos.keys(), key=lambda e: zlib.crc32(e.encode()))
        interval = self._span.interval
        for turn, entry in enumerate(fresh):
            demand = Demand(interval, interval, self._span.longest)
            due = now + min(turn * _SPREAD, interval)
            state = self._known.pop(entry, None)
            if state is None:
                state = RepoState(found[entry], due, demand, interval, now, begun_at=now)
            else:
                state.demand, due = demand, min(state.due, now + interval)
            self.repos[entry] = state
            self._wait(state, due)
        for entry, state in self.repos.items():
            state.repo = found[entry]
        self._show_active()

    def _show_active(self) -> None:
        """Show the unfinished builds of the repos that are there."""
        there = {entry for entry, state in self.repos.items() if not state.is_gone}
        self._recorder.keep_active(self.provider.name, there)

    # -- one poll

    async def poll_in_turn(self, state: RepoState, tally: Tally) -> None:
        """Poll a repo and let it wait for its next poll."""
        started, put_off = monotonic(), False
        state.begun_at, state.is_polled, state.is_hastened = started, True, False
        try:
            put_off = await self.poll(state, tally)
        finally:
            state.is_polled = False
            state.interval = self.group.plan.interval(state.demand)
            due = started + self._pause(state.interval)
            if state.backs_off:
                state.backoff_until = max(state.backoff_until, due)
            if state.is_hastened:
                self._wait(state, monotonic())
            elif put_off:
                self._wait(state, monotonic() + _AGAIN)
            elif state.is_unfinished:
                self.queue.wait_for_room(state)
            else:
                self._wait(state, due)

    def _pause(self, interval: float) -> float:
        """Seconds to the next poll; those of idle repos must not fall into step."""
        if interval <= self._span.interval or self.group.is_short:
            return interval
        return interval * random.uniform(_EARLIEST, _LATEST)  # noqa: S311 - no secret

    async def poll(self, state: RepoState, tally: Tally) -> bool:
        """Poll a repo; whether that must be done again as soon as the budget allows."""
        started = monotonic()
        TALLY.set(tally)
        poll: repo_sync.RepoSync | None = None
        try:
            async with asyncio.timeout(POLL_DEADLINE):
                poll = await self._walk(state, until=started + _WORTH_COMMITTING * POLL_DEADLINE)
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
        except StateUnavailable as error:
            state.error, state.reason = str(error), "state"
        except Exception as error:  # noqa: BLE001 - it is logged, and one repo's own
            self._outcome.broke_down(state, error)
        else:
            self._succeeded(state, poll)
        finally:
            if poll is not None:
                self.rejected += poll.rejected
                self.group.costs.note(tally, news=poll.moved or not state.was_polled)
            seconds = monotonic() - started
            self._polls = plus(self._polls, observation(seconds, f.POLL_BUCKETS))
            log.debug("polled", extra=log_facts(self.provider.name, state, tally, seconds))
        return False

    async def _walk(self, state: RepoState, *, until: float) -> repo_sync.RepoSync:
        """A walk through the repo from where the last one ended."""
        await self._recorder.recall(self.provider.name, self.api.answers)
        await self.provider.renew(self.api)
        rules = self._reader.rules
        floor = repo_sync.now_of(self.api, rules) - rules.lookback
        target = await self._recorder.target(
            self.provider.name, state.repo.entry, Cursor(floor=floor)
        )
        state.target = target.id
        return repo_sync.RepoSync(
            self._reader,
            repo=state.repo,
            target=target,
            memory=state.memory,
            bounds=self.group.bounds(until, self._span.longest),
        )

    async def _diagnose(self) -> None:
        """Whether the provider says more about the account than the refusal did."""
        health = self.health
        if health.backoff_until > monotonic() and health.error is not None:
            return
        try:
            await self.provider.health(self.api)
        except ProviderError as error:
            if error.account_wide and not isinstance(error, Waiting):
                health.failed(error, now=time.time())

    def _succeeded(self, state: RepoState, poll: repo_sync.RepoSync) -> None:
        was_gone = state.is_gone
        self._outcome.succeeded(state, poll, self.active(state), now=self.api.now())
        if was_gone:
            self._show_active()
        self.waiting = None
        if not self._announced:
            self._announce()

    def _failed(self, state: RepoState, error: ProviderError) -> None:
        was_gone = state.is_gone
        self._outcome.failed(state, error)
        if was_gone != state.is_gone:
            self._show_active()

    def _announce(self) -> None:
        """Log what polling will cost, now that an answer has told of the limits."""
        self._announced = True
        group = self.group
        planned = sum(1.0 / group.plan.interval(state.demand) for state in self.repos.values())
        at_least = len(self.repos) / self._span.longest
        per_hour = {
            "planned": round(3600 * group.costs.requests(planned)),
            "if_idle": round(3600 * group.costs.requests(at_least)),
            "limit": group.limit() or "unknown",
        }
        log.info(
            "polling",
            extra={
                "account": self.provider.name,
                "repos": len(self.repos),
                **{f"requests_per_hour_{name}": value for name, value in per_hour.items()},
            },
        )

    def demands(self) -> Iterable[Demand]:
        """What each repo is worth."""
        return [state.demand for state in self.repos.values()]

    # -- what others see

    @property
    def is_well(self) -> bool:
        """Whether each repo was polled well, and nothing is wrong with the account."""
        polled = all(s.was_polled and not s.failures for s in self.repos.values())
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
        )
