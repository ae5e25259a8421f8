"""`doctor`: what keeps the exporter from working, each with its remedy."""

from __future__ import annotations

import argparse
import asyncio
import json
from itertools import chain

import msgspec

from exporter import __version__
from exporter.commands import (
    Command,
    Progress,
    config_file,
    form,
    listen_address,
    loaded,
    sampling,
    table,
)
from exporter.commands.doctor import host
from exporter.commands.doctor.account import checked
from exporter.commands.doctor.checks import Check
from exporter.config import Config, host_port
from exporter.schedule.budget_group import BudgetGroups
from exporter.threads import to_the_end

_AT_ONCE = 8
"""Accounts that are looked at side by side."""
_SAMPLE = 5


def _run(options: argparse.Namespace) -> int:
    config = loaded(options.config)
    address = options.listen or host_port(config.web.listen_address)
    held = host.is_held(config.state.path)
    checks = [
        host.state(config.state),
        host.port(address, held=held),
        *to_the_end(examined(config, sample=options.sample)),
    ]
    well = all(check.status != "failed" for check in checks)
    if options.output == "json":
        found = {
            "version": __version__,
            "ok": well,
            "checks": [msgspec.to_builtins(check) for check in checks],
        }
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        print(_table(checks), end="")
    return 0 if well else 1


async def examined(config: Config, *, sample: int = _SAMPLE) -> list[Check]:
    """The checks of all accounts, in the order of the configuration."""
    groups = BudgetGroups(config.polling.reserve)
    gate = asyncio.Semaphore(_AT_ONCE)
    progress = Progress(len(config.accounts))

    async def one(number: int) -> list[Check]:
        async with gate:
            account = config.accounts[number]
            found = await checked(account, config, groups, sample=sample, tell=progress.tell)
            progress.done()
            return found

    found = await asyncio.gather(*map(one, range(len(config.accounts))))
    progress.end()
    return list(chain.from_iterable(found))


def _table(checks: list[Check]) -> str:
    rows: list[tuple[str, ...]] = []
    for check in checks:
        rows.append((check.account or "-", check.check, check.status, check.text))
        if check.remedy:
            rows.append(("", "", "", f"-> {check.remedy}"))
    failed = sum(check.status == "failed" for check in checks)
    warned = sum(check.status == "warning" for check in checks)
    end = f"{len(checks)} checks: {failed} failed, {warned} warning(s)\n"
    return table(("ACCOUNT", "CHECK", "STATUS", "FOUND"), rows) + end


COMMAND = Command(
    name="doctor",
    text="tell what keeps the exporter from working, and what to do about it",
    run=_run,
    arguments=(
        config_file,
        listen_address,
        sampling("are asked for builds", default=_SAMPLE),
        form("table", "json"),
    ),
    about="""\
It may run beside the exporter: it neither touches the state nor takes a lock on it, and asks
each account for its health, its token and the builds of some repos, a few requests that count
against the account's budget like any other.

- `state`: can be written, is ours, is on a local disk with room
- `port`: can be listened on
- `dns`, `tls`: the host of the account is known, can be connected to and has a good certificate
- `authentication`: the credential is accepted
- `scopes`: what the token may do and when it expires, where the API tells (GitHub, GitLab)
- `rate_limit`: what is left of it
- `clock`: of the provider, at most 30 seconds from ours
- `repo`: lists builds, all parts of them can be read; a wildcard matches something, and all of
  that can be listed and polled

As JSON it is `{"version": ..., "ok": ..., "checks": [...]}`, a check has `account` (null for those
of the machine), `check` (a word of the list above), `status` (`ok`, `warning`, `failed`,
`skipped`), `text` and `remedy` (empty if there is nothing to do). `ok` is whether none has failed.
Exit code 1 means that one has.""",
    example="""\
$ cicd-exporter doctor --config.file=config.yaml
ACCOUNT  CHECK           STATUS   FOUND
-        state           ok       /var/lib/cicd.db is in use by a running exporter (process 812)
-        port            ok       :10054 is in use by a running exporter
acme     dns             ok       api.github.com is 192.0.2.6
acme     tls             ok       api.github.com:443 TLSv1.3, certificate good for 71 days
acme     authentication  ok       the token of token_file /run/secrets/github is accepted
acme     scopes          ok       the token has repo
acme     rate_limit      ok       4987 of 5000 requests left (core), full again in 41m12s
acme     clock           ok       the same as here
acme     repo            ok       acme/shop: lists builds, the newest 4m10s ago
acme     repo            failed   acme/old: ... answered 404 Not Found: not there, ...
                                  -> check its spelling and that the token may see it, ...
10 checks: 1 failed, 0 warning(s)""",
)
