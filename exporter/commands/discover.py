"""`discover`: what would be polled, and what it would cost."""

from __future__ import annotations

import argparse
import asyncio
import json
import math
from collections import defaultdict
from time import monotonic
from typing import Any

import msgspec

from exporter import daemon
from exporter.commands import Command, Progress, config_file, form, loaded, sampling
from exporter.config import Config
from exporter.errors import ProviderError
from exporter.http import REQUEST_COUNT, RequestCount, RequestRate
from exporter.ledger.rows import Cursor
from exporter.messages import duration, plain
from exporter.providers import Provider, Repo
from exporter.schedule.budget_group import BudgetGroup, BudgetGroups
from exporter.schedule.discovery import Discovery
from exporter.schedule.health import AccountHealth
from exporter.schedule.plan import Demand, planned
from exporter.sync import repo_sync
from exporter.sync.limits import PollLimits
from exporter.sync.notes import RepoNotes
from exporter.threads import to_the_end

_AT_ONCE = 8
"""Accounts that are looked at side by side."""
_SAMPLE = 3
_DEADLINE = 300.0
"""Seconds for one account."""
_READING = 10.0
"""Seconds after which a sampled repo is not read further."""
_HOUR = 3600.0


class _Prospect(msgspec.Struct, kw_only=True):
    """What polling one account comes to. Costs are of one idle poll, in requests."""

    account: str
    provider: str
    interval: float
    longest: float
    group: BudgetGroup
    errors: list[str] = []
    wildcards: dict[str, tuple[str, ...]] = {}
    repos: list[str] = []
    sampled: list[str] = []
    cost: RequestRate = RequestRate(sent=1.0, counted=1.0)
    samples: int = 0
    """Of the sampled repos."""

    @property
    def series(self) -> int | None:
        """What all repos are likely to have; None if no repo could be sampled."""
        if not self.sampled:
            return None if self.repos else 0
        return math.ceil(self.samples / len(self.sampled) * len(self.repos))


def _run(options: argparse.Namespace) -> int:
    config = loaded(options.config)
    found = to_the_end(_prospects(config, options.sample))
    data = _data(found, config)
    if options.output == "json":
        print(json.dumps(data, indent=2, ensure_ascii=False))
    else:
        print("\n".join(_lines(data)))
    return 1 if any(prospect.errors for prospect in found) else 0


async def _prospects(config: Config, sample: int) -> list[_Prospect]:
    groups = BudgetGroups(config.polling.reserve)
    gate = asyncio.Semaphore(_AT_ONCE)
    progress = Progress(len(config.accounts))

    async def one(account: Provider) -> _Prospect:
        async with gate:
            progress.tell(f"{account.name}: discovering")
            found = await _prospect(account, config, groups, sample)
            progress.done()
            return found

    found = await asyncio.gather(*map(one, config.accounts))
    progress.end()
    return list(found)


async def _prospect(
    account: Provider, config: Config, groups: BudgetGroups, sample: int
) -> _Prospect:
    recorder = daemon.recorder_in_memory(
        config, reach=config.state.retention, lookback=config.polling.lookback
    )
    reader, group = daemon.account_context(account, config, recorder, groups)
    interval = account.interval or config.polling.interval
    prospect = _Prospect(
        account=account.name,
        provider=account.label,
        interval=interval,
        longest=max(interval, config.polling.max_interval),
        group=group,
    )
    discovery = Discovery(reader.source, AccountHealth(account.name, interval=interval))
    try:
        async with asyncio.timeout(_DEADLINE):
            await reader.source.renew()
            repos = await discovery.find({})
            prospect.repos = sorted(repos)
            chosen = [repos[entry] for entry in _spread(prospect.repos, sample)]
            await _sample(reader, chosen, prospect)
    except ProviderError as error:
        prospect.errors.append(plain(str(error)))
    except TimeoutError:
        prospect.errors.append(f"not done after {duration(_DEADLINE)}")
    finally:
        await reader.source.api.aclose()
        await recorder.close()
    prospect.wildcards = {
        pattern: discovery.matches.get(pattern, ())
        for pattern in filter(account.is_wildcard, account.repos)
    }
    prospect.errors += map(plain, discovery.unresolved.values())
    prospect.samples = recorder.view.samples
    return prospect


def _spread(entries: list[str], most: int) -> list[str]:
    """At most so many, evenly from all of them."""
    step = max(1.0, len(entries) / most)
    return [entries[int(i * step)] for i in range(min(most, len(entries)))]


async def _sample(reader: repo_sync.SyncContext, repos: list[Repo], prospect: _Prospect) -> None:
    """Poll some repos twice as the exporter would; the second time tells what an idle poll costs.

    Raises ProviderError if the account as a whole fails.
    """
    requests = RequestCount()
    for repo in repos:
        try:
            floor = reader.source.api.now() - reader.rules.lookback
            account = reader.source.account.name
            target = await reader.recorder.target(account, repo.entry, Cursor(floor=floor))
            notes, limits = RepoNotes(), PollLimits(monotonic() + _READING)
            first = repo_sync.RepoSync(reader, repo=repo, target=target, notes=notes, limits=limits)
            target = await first.run()
            REQUEST_COUNT.set(requests)
            await repo_sync.RepoSync(reader, repo=repo, target=target, notes=notes).run()
        except ProviderError as error:
            if error.account_wide:
                raise
            prospect.errors.append(plain(f"{repo.entry}: {error}"))
        else:
            prospect.sampled.append(repo.entry)
        finally:
            REQUEST_COUNT.set(None)
    if prospect.sampled:
        count = len(prospect.sampled)
        prospect.cost = RequestRate(sent=requests.sent / count, counted=requests.counted / count)


# -- what it comes to


def _data(found: list[_Prospect], config: Config) -> dict[str, Any]:
    intervals = _intervals(found)
    known = [prospect.series for prospect in found]
    return {
        "accounts": [_account(prospect, intervals[prospect.account]) for prospect in found],
        "series": {
            "estimate": None if None in known else sum(series or 0 for series in known),
            "limit": config.metrics.series_limit,
        },
    }


def _account(prospect: _Prospect, interval: float) -> dict[str, Any]:
    per_round = len(prospect.repos) * prospect.cost.sent
    return {
        "account": prospect.account,
        "provider": prospect.provider,
        "errors": prospect.errors,
        "wildcards": {pattern: list(found) for pattern, found in prospect.wildcards.items()},
        "repos": prospect.repos,
        "sampled": prospect.sampled,
        "interval": round(interval, 3),
        "wanted_interval": prospect.interval,
        "requests_per_hour": {
            "planned": math.ceil(per_round * _HOUR / interval),
            "if_idle": math.ceil(per_round * _HOUR / max(interval, prospect.longest)),
            "limit": prospect.group.limit(),
        },
        "series": prospect.series,
    }


def _intervals(found: list[_Prospect]) -> dict[str, float]:
    """Seconds between two polls of a repo that the budget allows, by account.

    Accounts with one credential live on one budget.
    """
    groups: defaultdict[int, list[_Prospect]] = defaultdict(list)
    for prospect in found:
        groups[id(prospect.group)].append(prospect)
    intervals: dict[str, float] = {}
    for group in groups.values():
        demands = {p.account: Demand(p.interval, p.interval, p.longest) for p in group}
        count = sum(len(p.repos) for p in group)
        plan = planned(
            (demands[p.account] for p in group for _ in p.repos),
            _polls(group, group[0].group.budget.headroom(), max(count, 1)),
        )
        intervals |= {name: plan.interval(demand) for name, demand in demands.items()}
    return intervals


def _polls(group: list[_Prospect], headroom: RequestRate, count: int) -> float:
    """Polls per second that the headroom is enough for, at their average cost."""
    sent, counted = (
        sum(getattr(p.cost, which) * len(p.repos) for p in group) / count
        for which in ("sent", "counted")
    )
    return min(
        headroom.sent / sent if sent else math.inf,
        headroom.counted / counted if counted else math.inf,
    )


def _lines(data: dict[str, Any]) -> list[str]:
    lines = []
    for found in data["accounts"]:
        rates, series = found["requests_per_hour"], found["series"]
        lines.append(f"{found['account']} ({found['provider']}): {len(found['repos'])} repos")
        for pattern, entries in found["wildcards"].items():
            lines.append(f"  {pattern} matches {len(entries)}")
            lines += [f"    {plain(entry)}" for entry in sorted(entries)]
        lines += [f"  error: {error}" for error in found["errors"]]
        limit = "not known" if rates["limit"] is None else rates["limit"]
        lines.append(
            f"  requests per hour: {rates['planned']} at first, {rates['if_idle']} when all is"
            f" idle, limit {limit}"
        )
        if found["interval"] > found["wanted_interval"]:
            wanted, allowed = (duration(round(found[k])) for k in ("wanted_interval", "interval"))
            lines.append(f"  polled every {allowed}, not {wanted}: the limit allows no more")
        amount = "not known" if series is None else f"about {series}"
        lines.append(f"  series: {amount}, from {len(found['sampled'])} sampled repo(s)")
    total, most = data["series"]["estimate"], data["series"]["limit"]
    amount = "not known" if total is None else f"about {total}"
    lines.append(f"all series: {amount}, metrics.series_limit {most}")
    if total is not None and total > most:
        lines.append("more than the limit: raise it, or poll fewer repos, branches or jobs")
    return lines


COMMAND = Command(
    name="discover",
    text="tell what would be polled, and what it would cost",
    run=_run,
    arguments=(
        config_file,
        sampling("are polled to learn their cost", default=_SAMPLE),
        form("table", "json"),
    ),
    about="""\
It asks what the wildcards match and polls some repos twice, as the exporter would and with a
state that is thrown away; their series and the requests of the second poll, in which nothing is
new, are taken for those of all. A new build costs more, as docs/API_COST.md tells. `limit` is
what is published or told by the API, less `polling.reserve`.

As JSON it is `{"accounts": [...], "series": {"estimate": ..., "limit": ...}}`. An account has
`account`, `provider`, `errors` (texts), `wildcards` (matched entries by pattern), `repos` (all
that would be polled), `sampled`, `interval` and `wanted_interval` (seconds between two polls of a
repo: what the limit allows and what is configured), `requests_per_hour` (`planned`, `if_idle`,
`limit` or null) and `series` (an estimate, null if none could be made). Exit code 1 means that
there is an error.""",
    example="""\
$ cicd-exporter discover --config.file=config.yaml
acme (github): 3 repos
  acme/* matches 3
    acme/api
    acme/shop
    acme/tools
  requests per hour: 180 at first, 12 when all is idle, limit 4500
  series: about 822, from 3 sampled repo(s)
all series: about 822, metrics.series_limit 500000""",
)
