"""The configuration as frozen values: every key with its type, default and meaning.

The docstrings below the fields are the comments of `config.example.yaml`.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Annotated, Literal, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from exporter.ledger import DATABASES
from exporter.providers import Duration, Provider

LONGEST = 100 * 365 * 86400
"""Seconds that date arithmetic still bears."""

SPAN = "span"
"""Marks the fields that are durations, so that they can be written like ones."""

Seconds = Annotated[Duration, Field(gt=0, le=LONGEST, allow_inf_nan=False), SPAN]
SecondsOrOff = Annotated[Duration, Field(ge=0, le=LONGEST, allow_inf_nan=False), SPAN]

_PORTS = range(65536)
_HOST = re.compile(r"\[[0-9A-Fa-f:.]+(?:%[\w.-]+)?\]|[\w.-]*", re.ASCII)
_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)+/?")
_OWN_PATHS = (
    "/",
    "/builds",
    "/builds.json",
    "/config",
    "/docs",
    "/go",
    "/repo",
    "/static",
    "/status",
    "/status.json",
    "/webhooks",
    "/-",
)


def host_port(text: str) -> tuple[str, int]:
    """Host (empty for all addresses, IPv6 without brackets) and port of a listen address.

    Raises ValueError with a hint. Used for the command line flag too.
    """
    if fault := _address_fault(text):
        raise ValueError(fault)
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def _address_fault(text: str) -> str | None:
    host, colon, port = text.rpartition(":")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) not in _PORTS:
        return "must be HOST:PORT or :PORT with a port from 0 to 65535"
    if not _HOST.fullmatch(host):
        hint = f" (write [{host}]:{port})" if re.fullmatch(r"[0-9A-Fa-f:.]+", host) else ""
        return f"must be HOST:PORT, and HOST is no host name or address{hint}"
    return None


def _telemetry_fault(text: str) -> str | None:
    if (text != "/" and not _PATH.fullmatch(text)) or re.search(r"/\.\.?(?:/|$)", text):
        return "must be a path such as /metrics"
    if (text.rstrip("/") or "/") in _OWN_PATHS or text.startswith(
        ("/-/", "/static/", "/docs/", "/webhooks/")
    ):
        return "is a path of the exporter's own pages (use another, such as /metrics)"
    return None


def _external_fault(text: str) -> str | None:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        return "must be a URL such as https://ops.example.com/tools/cicd"
    if parts.query or parts.fragment or text.endswith(("?", "#")):
        return "must not hold a query or a fragment"
    if parts.path.strip("/") and not _PATH.fullmatch(parts.path):
        return "must have a plain path, such as /tools/cicd"
    return None


_DATABASE = re.compile(r"postgres(?:ql)?://(?:[^\s/?#@]*@)?[^\s/?#@]*/[^\s/?#]+(?:\?[^\s#]*)?")
_PASSWORD = re.compile(r"://[^/?@]*:[^/?@]*@|[?&]password=")
_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,62}")


def _state_fault(text: str) -> str | None:
    path = text.removeprefix("sqlite:///")
    if text == "memory:":
        return None
    if text.startswith(DATABASES):
        return _database_fault(text)
    if path == text or not path or path.endswith("/"):
        return (
            "must be sqlite:///PATH (an absolute PATH has four slashes), postgresql://HOST/DATABASE"
            " or memory:"
        )
    if path.startswith(":memory:"):
        return "keeps nothing in this form (write memory:)"
    return None


def _database_fault(text: str) -> str | None:
    if not _DATABASE.fullmatch(text):
        return "must be postgresql://HOST/DATABASE as libpq takes it (USER may stand before HOST)"
    if _PASSWORD.search(text):
        return "must hold no password (use state.password_file or state.password_env)"
    return None


def _schema_fault(text: str) -> str | None:
    if not _SCHEMA.fullmatch(text) or text.startswith("pg_"):
        return "must be a name of at most 63 letters a-z, digits and _ that does not begin with pg_"
    return None


def glob_fault(pattern: str) -> str | None:
    """Why `pattern` is no glob: only `*` and `**` are special in ours."""
    if not pattern:
        return "must not be empty"
    if pattern != pattern.strip():
        return "begins or ends with a space (remove it)"
    if "***" in pattern:
        return "holds `***` (`*` stops at `/`, `**` does not)"
    if found := re.search(r"[\[\]{}?\\]", pattern):
        return f"holds `{found.group()}` (only `*` and `**` are special in a glob; write one each)"
    return None


def _unless(fault: Callable[[str], str | None]) -> AfterValidator:
    def check(text: str) -> str:
        if what := fault(text):
            raise ValueError(what)
        return text

    return AfterValidator(check)


Glob = Annotated[str, _unless(glob_fault)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Buckets = Annotated[tuple[_Positive, ...], Field(strict=False, min_length=1)]
"""Upper bounds in seconds, rising. Lax only in that a YAML list becomes a tuple."""


class Section(BaseModel):
    """A mapping of the file; one that is empty has all its defaults."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        validate_default=True,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
    )


class Web(Section):
    """What is served, and where."""

    listen_address: Annotated[str, _unless(_address_fault)] = ":10054"
    """HOST:PORT; without HOST, or with [::], all addresses of IPv4 and IPv6. The flag
    --web.listen-address wins."""
    telemetry_path: Annotated[str, _unless(_telemetry_fault)] = "/metrics"
    """Where Prometheus finds the metrics."""
    external_url: Annotated[str, _unless(_external_fault)] | None = None
    """How people reach the pages, such as https://ops.example.com/tools/cicd. With a path they
    answer below it as well as at the root."""
    native_histograms: bool = False
    """Whether who asks for protobuf gets it, with durations and queue times as native histograms
    beside the classic ones: docs/NATIVE_HISTOGRAMS.md."""


# `schema` is a method of pydantic's first version too, which nobody calls here.
warnings.filterwarnings("ignore", message='Field name "schema" in "State" shadows')


class State(Section):
    """What survives a restart."""

    url: Annotated[str, _unless(_state_fault)] = "sqlite:///cicd-exporter.db"
    """sqlite:///PATH (four slashes for an absolute path), postgresql://USER@HOST/DATABASE as libpq
    takes it, or memory: to keep nothing."""
    password_env: str | None = None
    """Environment variable that holds the password of the database. At most one of password_env,
    password_file."""
    password_file: Annotated[str, Field(min_length=1)] | None = None
    """File that holds it; read again at each connection."""
    retention: Seconds = 30 * 86400
    """How long finished builds are remembered; not less than polling.lookback."""
    on_corrupt: Literal["fail", "quarantine"] = "fail"
    """fail, or quarantine: set a damaged file aside and start empty."""
    schema: Annotated[str, _unless(_schema_fault)] = "cicd_exporter"  # type: ignore[assignment]
    """Schema of the database in which the tables are; it is made if it is not there."""
    builds: Annotated[int, Field(ge=1, le=10_000)] = 50
    """Finished builds that the build log keeps for each pipeline, about 350 bytes each; failed ones
    are kept for all of the retention."""

    @property
    def is_database(self) -> bool:
        """Whether it is kept in PostgreSQL."""
        return self.url.startswith(DATABASES)

    @property
    def path(self) -> str | None:
        """The SQLite file; None for `memory:` and for a database."""
        is_file = self.url != "memory:" and not self.is_database
        return self.url.removeprefix("sqlite:///") if is_file else None


class Polling(Section):
    """How often and how far back the providers are asked."""

    interval: Seconds = 60
    """Between two polls of a repo; an account may override it."""
    lookback: Seconds = 86400
    """How far back the first poll of a repo reads."""
    timeout: Seconds = 30
    """Total time for one API request."""
    max_interval: Seconds = 900
    """How far an idle repo backs off; not less than interval."""
    rerun_window: Seconds = 86400
    """Builds created this recently are read again at least every max_interval, to see re-runs."""
    max_open_age: Seconds = 7 * 86400
    """An unfinished build older than this leaves the gauges; it still counts when it completes."""
    reserve: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)] = 0.1
    """Share of a provider's rate limit that is left to people: 0 to below 1."""


class Metrics(Section):
    """What the metrics tell apart."""

    branches: Annotated[tuple[Glob, ...], Field(strict=False)] = (
        "main",
        "master",
        "develop",
        "release/*",
    )
    """Globs of branches that keep their name; any other is `other`, a tag `tag`, a pull
    request `pull_request`, a merge queue or train `merge_queue`. `*` stops at `/`, `**`
    does not."""
    duration_buckets: Buckets = (
        10, 30, 60, 120, 180, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400,
    )  # fmt: skip
    """Upper bounds of the duration histograms, in seconds. A change starts them anew at 0."""
    queue_buckets: Buckets = (1, 5, 15, 60, 300, 900, 3600, 14400, 86400)
    """Upper bounds of the queue histograms, in seconds."""
    series_limit: Annotated[int, Field(gt=0)] = 500_000
    """Hard cap on the samples of all build and job families."""
    zero_hold: SecondsOrOff = 120
    """How long a new series shows 0 before its first increment, so that increase() sees it;
    twice the scrape interval or more. 0 turns it off."""
    build_info: bool = False
    """Whether the latest build of each pipeline is shown as a metric with number, commit, author
    and address, in labels that change with every build."""


LabelName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=100)]
LabelValue = Annotated[str, Field(min_length=1, max_length=200)]


class RepoLabels(Section):
    """What `cicd_repo_info` says of repos beside their names, so that alerts reach their team.

    Entries such as {repos: ["acme/pay-*"], labels: {team: payments}}, which give it the label
    `label_team`. Of several that match a repo the first one that has a name gives its value.
    """

    repos: Annotated[list[Glob], Field(min_length=1)]
    """Globs of the `repo` label. `*` stops at `/`, `**` does not."""
    labels: Annotated[dict[LabelName, LabelValue], Field(min_length=1)]
    """Text by name; a name has letters, digits and `_`."""


class Log(Section):
    """What is written to the log."""

    level: Literal["debug", "info", "warn", "error"] | None = None
    """debug, info, warn or error, which wins over the flag --log.level and changes with a
    reload; null leaves it to the flag."""


class Fleet(Section):
    """How several exporters share a state in PostgreSQL; without effect on any other state."""

    lease: Annotated[Seconds, Field(ge=5, le=300)] = 15
    """How long an exporter that is silent keeps the accounts that it polls; 5s to 5m, and the same
    for all."""
    name: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    """What people are told this exporter is called; null for the name of its host."""


class Settings(Section):
    """All keys but `accounts`."""

    web: Web = Web()
    state: State = State()
    fleet: Fleet = Fleet()
    polling: Polling = Polling()
    metrics: Metrics = Metrics()
    labels: Annotated[tuple[RepoLabels, ...], Field(strict=False)] = ()
    log: Log = Log()


def sections() -> dict[str, type[Section]]:
    """The sections by key."""
    models = {name: field.annotation for name, field in Settings.model_fields.items()}
    return {
        name: model
        for name, model in models.items()
        if isinstance(model, type) and issubclass(model, Section)
    }


def lists() -> dict[str, type[Section]]:
    """What the items of each list are, by key; `accounts` is none of these."""
    parts = {name: get_args(field.annotation) for name, field in Settings.model_fields.items()}
    return {name: items[0] for name, items in parts.items() if items}


class Config(Settings):
    """A configuration without faults. It refers to secrets and holds none."""

    accounts: tuple[Provider, ...]
    """At least one, each of its provider's own class."""
    warnings: tuple[str, ...] = ()
    """`FILE:LINE:COL: key.path: what is doubtful (hint)`; not a key of the file."""
