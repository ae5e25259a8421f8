"""The parts that a configuration asks for, each made of what it says about it."""

from __future__ import annotations

import contextlib
import hashlib
from importlib import resources

from exporter.config import Config
from exporter.errors import ProviderError
from exporter.http import Api, RetryPolicy, Token
from exporter.ledger import Ledger, LedgerConfig
from exporter.ledger.opening import FleetMember, open_ledger, password_of
from exporter.metrics.buckets import Buckets
from exporter.metrics.labels import RepoLabels
from exporter.metrics.rules import MetricsRules
from exporter.providers import Provider, Source
from exporter.recorder import Recorder
from exporter.schedule.account import AccountPoller
from exporter.schedule.budget_group import BudgetGroup, BudgetGroups
from exporter.sync import repo_sync
from exporter.sync.window import SyncRules
from exporter.view.series_view import SeriesView

PATIENCE = 20.0
"""Seconds that a command waits for another process to let go of a state in a database."""


def open_state(
    config: Config,
    *,
    hold: bool = True,
    damage: str | None = None,
    patience: float | None = None,
    alone: bool = True,
) -> Ledger:
    """The ledger that a configuration names; unless `alone`, other processes may write a database.

    Raises StateRefused, StateInUse.
    """
    return open_ledger(
        config.state.url,
        ledger_config(config, hold=hold),
        on_corrupt=config.state.on_corrupt,
        damage=damage,
        schema=config.state.schema,
        password=password_of(config.state.password_env, config.state.password_file),
        patience=PATIENCE if patience is None else patience,
        worker=None if alone else FleetMember(config.fleet.name, config.fleet.lease),
    )


def revision() -> str:
    """The commit that this was built from, if who built it wrote it into the package."""
    try:
        return (resources.files("exporter") / "REVISION").read_text("utf-8").strip()
    except FileNotFoundError:
        return ""


def account_poller(
    account: Provider, config: Config, recorder: Recorder, groups: BudgetGroups
) -> AccountPoller:
    """What polls one configured account."""
    context, group = account_context(account, config, recorder, groups)
    return AccountPoller(context, interval=config.polling.interval, group=group)


def account_context(
    account: Provider, config: Config, recorder: Recorder, groups: BudgetGroups
) -> tuple[repo_sync.SyncContext, BudgetGroup]:
    """The context of syncs of one configured account, and the budget that it shares."""
    source, group = account_source(account, config, groups)
    recorder.budgets.adopt(group.name, group.budget)
    return repo_sync.SyncContext(source, recorder, sync_rules(config)), group


def account_source(
    account: Provider, config: Config, groups: BudgetGroups, *, retries: RetryPolicy | None = None
) -> tuple[Source[Provider], BudgetGroup]:
    """The source of one configured account with its client: the only place that makes one.

    `retries` is the usual one if it is not given.
    """
    token = Token(env=account.token_env, file=account.token_file, beside=account.secret_files)
    group = groups.of(account, _credential(account, token))
    page = account.own_token_page
    api = Api(
        root=account.root,
        headers=lambda: source.headers(token.known()),
        token=token,
        timeout=config.polling.timeout,
        ca_file=account.ca_file,
        proxy=account.proxy,
        retries=RetryPolicy() if retries is None else retries,
        budget=group.budget,
        likely_root=account.likely_root,
        dialect=account.dialect,
        expiry_header=page.expires if page is not None and page.on_all else None,
    )
    source = account.connect(api)
    return source, group


def _credential(account: Provider, token: Token) -> bytes:
    """What tells credentials apart and gives none away: by value, else by where it is."""
    known: object = account.model_dump(include=set(account.credentials))
    with contextlib.suppress(ProviderError):
        if (value := token.read()) is not None:
            known = sorted(account.headers(value).items())
    return hashlib.blake2b(repr(known).encode(), digest_size=16).digest()


# -- what each part wants to know of a configuration


def sync_rules(config: Config) -> SyncRules:
    """What the configuration says about syncs."""
    return SyncRules(
        lookback=config.polling.lookback,
        retention=config.state.retention,
        rerun_window=config.polling.rerun_window,
        max_interval=max(config.polling.max_interval, config.polling.interval),
    )


def metrics_rules(config: Config) -> MetricsRules:
    """What the configuration says about metrics."""
    return MetricsRules(
        branches=config.metrics.branches,
        buckets=Buckets(config.metrics.duration_buckets, config.metrics.queue_buckets),
        zero_hold=config.metrics.zero_hold,
        series_limit=config.metrics.series_limit,
        max_open_age=config.polling.max_open_age,
        repo_labels=tuple(RepoLabels(tuple(x.repos), x.labels) for x in config.labels),
        build_info=config.metrics.build_info,
        native=config.web.native_histograms,
    )


def ledger_config(config: Config, *, hold: bool) -> LedgerConfig:
    """What the configuration says about what is remembered; `hold` as of `Application`."""
    return LedgerConfig(
        config.state.retention,
        config.polling.lookback,
        gauges_only=hold,
        native=config.web.native_histograms,
        builds=config.state.builds,
    )


def recorder_in_memory(config: Config, *, reach: float, lookback: float) -> Recorder:
    """A recorder of its own, whose state is kept nowhere and which holds nothing back.

    It remembers builds for `reach` seconds, and reads `lookback` seconds at first.
    """
    labels = labels_of(config)
    recorder = Recorder(
        open_ledger("memory:", LedgerConfig(reach, lookback, gauges_only=False)),
        SeriesView(metrics_rules(config), labels, hold=False),
        retention=reach,
    )
    recorder.start(labels)
    return recorder


def labels_of(config: Config) -> dict[str, str]:
    """The `provider` label of each account."""
    return {account.name: account.label for account in config.accounts}
