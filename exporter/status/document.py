"""The shape of `/status.json`, which the status page is made from too."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from exporter.schedule.repo import Health

Time = Annotated[str, Meta(description="ISO 8601, UTC.", extra_json_schema={"format": "date-time"})]

AccountState = Annotated[
    Literal["starting", "catching_up", "up", "limited", "backing_off", "unauthorized"],
    Meta(
        description="`starting`: not polled yet. `catching_up`: it is well, and builds of before it"
        " was configured are still read. `limited`: nothing is sent until a rate limit"
        " allows. `unauthorized`: the provider refuses the credential. `backing_off`: it fails as"
        " a whole, is left alone for a while and tried again."
    ),
]
RepoHealth = Annotated[
    Health,
    Meta(
        description="`pending`: it was never polled. `catching_up`: its newest builds have been"
        " read, and older ones are still to be. `partial`: a part of it could not be read,"
        " such as a branch or a build. `failing`: the last poll failed."
        " `stale`: no poll succeeded for three intervals."
    ),
]


class Ended(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A build that has ended."""

    at: Annotated[Time | None, Meta(description="When it ended; null if that is not known.")]
    conclusion: Annotated[str, Meta(description="One of the eight named conclusions, or `other`.")]


class RepoReport(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One polled repo."""

    repo: Annotated[str, Meta(description="The polled entry of `repos`.")]
    state: RepoHealth
    last_success_at: Annotated[Time | None, Meta(description="Null before the first success.")]
    age_seconds: Annotated[int | None, Meta(description="Since the last success.")]
    stale: Annotated[
        bool, Meta(description="Whether no poll succeeded for three intervals, or never one.")
    ]
    interval_seconds: Annotated[float, Meta(description="The polling interval in force.")]
    next_poll_at: Annotated[Time, Meta(description="When it is due.")]
    error: Annotated[str | None, Meta(description="Why the last poll failed.")]
    reason: Annotated[
        str | None,
        Meta(description="The kind of error, as in `api_errors_total`; `state` if not the API's."),
    ]
    advice: Annotated[str | None, Meta(description="What a person can do about the error.")]
    active: Annotated[int, Meta(description="Unfinished builds.")]
    active_by_status: Annotated[
        dict[str, int], Meta(description="The same by `queued`, `waiting`, `in_progress`.")
    ]
    oldest_active_at: Annotated[
        Time | None, Meta(description="Creation, else start, of the oldest unfinished build.")
    ]
    last_conclusion: Annotated[
        str | None, Meta(description="Of the latest completed build of all its pipelines.")
    ]
    last_completed_at: Annotated[Time | None, Meta(description="When that build completed.")]
    history: Annotated[
        list[Ended], Meta(description="The last builds that are known, at most 20, oldest first.")
    ]
    builds: Annotated[int, Meta(description="Builds counted.")]


class LimitReport(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What the provider last said of one of its limits; null where it did not say."""

    limit: float | None
    remaining: float | None
    reset_at: Time | None


class BudgetReport(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What the account may send."""

    exhausted: Annotated[bool, Meta(description="Whether polls wait for the budget.")]
    next_request_in_seconds: Annotated[float, Meta(description="0 if a request may go now.")]
    requests_per_hour_limit: Annotated[
        int | None, Meta(description="Requests there are means for; null if no limit is known.")
    ]
    limits: Annotated[
        dict[str, LimitReport], Meta(description="By the provider's name of what it limits.")
    ]


class CatchingUp(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How far the first walks of an account's repos have come."""

    done: Annotated[int, Meta(description="Repos that were read as far back as they are to be.")]
    repos: Annotated[int, Meta(description="Repos of the account.")]
    seconds_left: Annotated[
        int | None, Meta(description="An estimate; null while there is nothing to go by.")
    ]
    text: Annotated[str, Meta(description="The same in words.")]


class AccountReport(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One account with its repos."""

    name: str
    provider: Annotated[str, Meta(description="The `provider` label.")]
    url: Annotated[str, Meta(description="The API root in force.")]
    worker: Annotated[
        str | None, Meta(description="Who polls it, of several exporters that share a state.")
    ]
    up: Annotated[bool, Meta(description="False while the account as a whole fails.")]
    state: AccountState
    error: str | None
    reason: Annotated[str | None, Meta(description="The kind of error, as in `api_errors_total`.")]
    advice: Annotated[str | None, Meta(description="What a person can do about the error.")]
    since: Annotated[Time | None, Meta(description="Since when it fails.")]
    next_try_at: Annotated[
        Time | None, Meta(description="When it is tried again; null if it is not left alone.")
    ]
    errors: Annotated[dict[str, int], Meta(description="Failed requests by reason.")]
    requests: Annotated[int, Meta(description="Requests sent.")]
    budget: BudgetReport
    catching_up: Annotated[
        CatchingUp | None, Meta(description="Null unless the past of a repo is still to be read.")
    ]
    repos: list[RepoReport]


class ReloadReport(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How the last attempt to load the configuration ended."""

    ok: bool
    at: Time
    error: Annotated[str | None, Meta(description="Every fault on a line of its own.")]


class SeriesReport(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Samples of the build and job families, and their cap."""

    used: int
    limit: Annotated[int, Meta(description="`metrics.series_limit`.")]
    dropped: Annotated[int, Meta(description="Increments folded or refused because of it.")]


class WorkerReport(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One of several exporters that write the same state."""

    name: Annotated[str, Meta(description="`fleet.name`, else the name of its host.")]
    version: str
    started_at: Time
    accounts: Annotated[list[str], Meta(description="The accounts that it polls.")]


class StatusReport(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The answer of `/status.json`. Keys may be added in any version."""

    version: str
    now: Annotated[Time, Meta(description="When this was made.")]
    started_at: Time
    uptime_seconds: int
    state_ok: Annotated[bool, Meta(description="False while the state cannot be written.")]
    reload: ReloadReport
    series: SeriesReport
    workers: Annotated[
        list[WorkerReport],
        Meta(description="Exporters that share a state in PostgreSQL; empty elsewhere."),
    ]
    accounts: list[AccountReport]
