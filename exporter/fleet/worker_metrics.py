"""What one worker shows of itself at `/metrics/worker`, to be scraped at each of them.

`/metrics` is the same whichever worker answers, so what is one process's has no place there.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    Histogram,
    Metric,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from exporter import __version__
from exporter.fleet.keeper import Keeper
from exporter.metrics import families as f
from exporter.metrics.labels import clean
from exporter.outputs.prometheus import Health
from exporter.recorder import Recorder

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0)
STEPS = ("commit", "feed", "beat")
_CHANGES = ("taken", "given_back", "lost")


class WorkerMetrics(Collector):
    """The metrics of this process. What takes its time in the ledger is observed from now on."""

    def __init__(self, keeper: Keeper, recorder: Recorder, health: Health) -> None:
        self._keeper = keeper
        self._recorder = recorder
        self._health = health
        self._registry = CollectorRegistry()
        seconds = Histogram(
            "cicd_exporter_ledger_seconds",
            "How long the database took, by step: commit, feed or beat.",
            ["step"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        by_step = {step: seconds.labels(step) for step in STEPS}
        recorder.timed = keeper.timed = lambda step, spent: by_step[step].observe(spent)
        self._registry.register(self)
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)

    def text(self) -> bytes:
        """All of it, in the text format."""
        return bytes(generate_latest(self._registry))

    def collect(self) -> Iterator[Metric]:
        """What is counted elsewhere."""
        health, recorder, keeper = self._health, self._recorder, self._keeper
        yield _info((__version__, clean(health.revision), platform.python_version()))
        for family, value in (
            (f.RELOAD_OK, health.reload_ok),
            (f.RELOAD_TIME, health.reload_time),
            (f.STATE_OK, recorder.state_ok and recorder.is_followed and keeper.is_well),
        ):
            yield GaugeMetricFamily(family.name, family.help, float(value))
        yield GaugeMetricFamily(
            "cicd_exporter_worker_accounts", "Accounts that this exporter polls.", len(keeper.held)
        )
        leases = CounterMetricFamily(
            "cicd_exporter_worker_lease_changes",
            "Leases of groups of accounts that were taken, given back or lost.",
            labels=["change"],
        )
        for change in _CHANGES:
            leases.add_metric([change], keeper.changes[change])
        yield leases
        for name, text, value in (
            ("fenced", "Transactions that came too late: another exporter polls.", recorder.fenced),
            ("behind", "Times that the state had to be loaded anew.", recorder.loads),
        ):
            yield CounterMetricFamily(f"cicd_exporter_worker_{name}", text, value)
        yield CounterMetricFamily(
            "cicd_exporter_feed_images", "Commits read that changed what is shown.", recorder.images
        )


def _info(running: tuple[str, str, str]) -> Metric:
    metric = GaugeMetricFamily(f.BUILD_INFO.name, f.BUILD_INFO.help, labels=f.BUILD_INFO.labels)
    metric.add_metric(running, 1.0)
    return metric
