"""Every account that can be configured, polled through the whole machinery."""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from functools import cache
from typing import Any, Protocol, get_args
from urllib.parse import urlsplit

from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as read_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as read_text
from starlette.applications import Starlette

from exporter.errors import ProviderError
from exporter.http import Api
from exporter.ledger.build_log import BuildFilter
from exporter.ledger.rows import AttemptKey, SeriesKey, Vector
from exporter.metrics import families as f
from exporter.metrics.labels import MAX_BYTES
from exporter.model import Status
from exporter.outputs.prometheus import AccountView, Exposition, Format, Health
from exporter.providers import Provider, Repo, catalogue
from tests.tools.emulators.rig import TOKEN, Station
from tests.tools.scripted import BUCKETS
from tests.tools.stories import SYSTEMS

Keys = dict[str, Any]
"""An account's keys, as in the configuration."""

FORMATS: tuple[Format, ...] = ("text", "openmetrics")


@cache
def accounts() -> dict[str, Keys]:
    """The keys of an account of each provider, and of each integration it has, by a name."""
    found: dict[str, Keys] = {}
    for word, provider in catalogue().items():
        keys = {"provider": word, "token_env": "T", **provider.example_values, "name": "acme"}
        field = provider.model_fields.get("integration")
        if field is None:
            found[word] = keys | {"repos": _entries(provider, keys)}
        for one in () if field is None else get_args(field.annotation):
            own = keys | {"integration": one, "repos": [SYSTEMS[one].entry]}
            found[f"{word}-{one}"] = own | {"repos": _entries(provider, own)}
    return found


def _entries(provider: type[Provider], keys: Keys) -> list[str]:
    """The first entry of an account, and all wildcards that would cover it."""
    entry = next(entry for entry in keys["repos"] if "*" not in entry)
    above = entry.rpartition("/")[0]
    stars = ["*", "**", f"{above}/*", f"{above}/**"] if above else ["*", "**"]
    sound = [star for star in stars if not provider.faults({**keys, "repos": [star]})]
    return [entry, *sound]


def provider_of(keys: Keys, *, jobs: bool) -> Provider:
    """A fresh one, which remembers nothing."""
    jobs = jobs or keys.get("integration") == "buddy"
    return catalogue()[keys["provider"]].model_validate(
        {"name": "acme", "token_env": "T", **keys, "jobs": jobs}
    )


class System(Protocol):
    """A CI system that can be polled."""

    def api(self, headers: dict[str, str]) -> Api:
        """A client of it."""


class Bench(Station):
    """Polls one account of a provider, with its ledger, its view and its exposition."""

    def __init__(self, provider: Provider) -> None:
        super().__init__(provider, Starlette(), "")
        self.heard: set[AttemptKey] = set()
        self._stats: Any = None
        record = self.recorder.record

        async def note(target: Any, builds: Any, **options: Any) -> Any:
            builds = list(builds)
            done = (b for b in builds if b.status is Status.COMPLETED)
            self.heard.update(AttemptKey(b.key, b.attempt) for b in done)
            return await record(target, builds, **options)

        self.recorder.record = note  # type: ignore[method-assign]

    def polls(self, system: System) -> None:
        """One poll of each entry; only what a provider may raise is caught."""
        self.run(lambda: self._visit(system, self._poll_entries))

    def discover(self, system: System) -> None:
        """Ask what the wildcards match, and whether the account is well."""
        self.run(lambda: self._visit(system, self._discover))

    async def _visit(self, system: System, visit: Callable[[Api], Awaitable[None]]) -> None:
        api = system.api(self.native.headers(TOKEN))
        try:
            await visit(api)
        finally:
            self._stats = api.stats
            await api.aclose()

    async def _poll_entries(self, api: Api) -> None:
        for entry in self.native.repos:
            if not self.native.is_wildcard(entry):
                with suppress(ProviderError):
                    await self._one(api, Repo(entry))

    async def _discover(self, api: Api) -> None:
        with suppress(ProviderError):
            await self.source(api).health()
        for entry in self.native.repos:
            if self.native.is_wildcard(entry):
                with suppress(ProviderError):
                    found = await self.source(api).discover(entry)
                    assert all(isinstance(repo.entry, str) for repo in found)

    @property
    def misses(self) -> bool:
        """Whether unfinished builds were not found at the latest poll."""
        return any(notes.misses for notes in self.memories.values())

    def counted(self) -> tuple[float, ...]:
        """Completed builds, and jobs where there are no builds."""
        builds = self.value(f.BUILDS)
        return (builds, 0.0 if builds else self.value(f.JOBS))

    def stored(self) -> dict[SeriesKey, Vector]:
        """All counters and histograms."""
        return dict(self.view.stored())

    def exposition(self, form: Format) -> str:
        """What a scrape would show."""
        view = AccountView(
            provider="scripted",
            account="acme",
            stats=self._stats,
            up=True,
            budget_exhausted=False,
            rejected=0,
            polls=(0.0,) * BUCKETS.width(f.POLL_DURATION),
            repos={},
            page_of=lambda repo: f"https://ci.example/{repo}",
            states=Counter,
        )
        shown = Exposition(self.view, lambda: [view], Health())
        return shown.text(form).decode("utf-8", "strict")


def samples(form: Format, text: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """What a strict parser reads of an exposition."""
    read: Any = read_openmetrics if form == "openmetrics" else read_text
    for family in read(text):
        for sample in family.samples:
            yield sample.name, sample.labels, sample.value


def check_exposition(bench: Bench, form: Format) -> None:
    """Assert that it parses and holds what a sound exposition holds."""
    seen: set[tuple[str, tuple[tuple[str, str], ...]]] = set()
    for name, labels, value in samples(form, bench.exposition(form)):
        key = (name, tuple(sorted(labels.items())))
        assert key not in seen, key
        seen.add(key)
        for label in labels.values():
            assert len(label.encode()) <= MAX_BYTES, label
            assert not any(unicodedata.category(c) in ("Cc", "Cs") for c in label), label
        assert math.isfinite(value), key
        assert value >= 0 or "skew" in name, key


def check_log(bench: Bench) -> None:
    """Assert that logged builds hold printable lines, and links to the account's own pages."""
    site = bench.native.web_root
    for build in bench.ledger.build_log().builds(BuildFilter(), limit=1000).builds:
        lines = (build.commit, build.title, build.triggered_by, build.environment, build.ref)
        names = (job.name for job in build.jobs)
        assert all(len(line) <= 200 and line.isprintable() for line in (*lines, *names) if line)
        for url in filter(None, (build.url, *(job.url for job in build.jobs))):
            assert site is not None, url
            assert urlsplit(url)[:2] == urlsplit(site)[:2], url


def check_counters(bench: Bench, before: dict[SeriesKey, Vector]) -> None:
    """Assert that no counter has gone down, no attempt was counted twice, all is remembered."""
    now = bench.stored()
    for key, vector in before.items():
        assert all(b >= a for a, b in zip(vector, now[key], strict=True)), key
    assert bench.value(f.BUILDS) <= len(bench.heard)
    assert bench.value(f.RETRIES) <= sum(key.attempt > 1 for key in bench.heard)
    remembered = {row.series: row.vector for row in bench.ledger.load().series}
    assert now == {key: remembered.get(key) for key in now}
