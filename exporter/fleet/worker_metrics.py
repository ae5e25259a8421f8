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
from exporter.metrics import worker_families as w
from exporter.metrics.labels import clean
from exporter.outputs.prometheus import Health
from exporter.recorder import Recorder


class WorkerMetrics(Collector):
    """The metrics of this process. What takes its time in the ledger is observed from now on."""

    def __init__(self, keeper: Keeper, recorder: Recorder, health: Health) -> None:
        self._keeper = keeper
        self._recorder = recorder
        self._health = health
        self._registry = CollectorRegistry()
        seconds = Histogram(
            w.SECONDS.name,
            w.SECONDS.help,
            w.SECONDS.labels,
            buckets=w.LEDGER_BUCKETS,
            registry=self._registry,
        )
        by_step = {step: seconds.labels(step) for step in w.SECONDS.zeros}
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
            (w.ACCOUNTS, len(keeper.held)),
        ):
            yield GaugeMetricFamily(family.name, family.help, float(value))
        for family, count in (
            (w.FENCED, recorder.fenced),
            (w.BEHIND, recorder.loads),
            (w.IMAGES, recorder.images),
        ):
            yield CounterMetricFamily(family.name, family.help, float(count))
        leases = CounterMetricFamily(
            w.LEASE_CHANGES.name, w.LEASE_CHANGES.help, labels=w.LEASE_CHANGES.labels
        )
        for change in w.LEASE_CHANGES.zeros:
            leases.add_metric([change], keeper.changes[change])
        yield leases


def _info(running: tuple[str, str, str]) -> Metric:
    metric = GaugeMetricFamily(f.BUILD_INFO.name, f.BUILD_INFO.help, labels=f.BUILD_INFO.labels)
    metric.add_metric(running, 1.0)
    return metric
