"""The running process: what is made of a configuration, served, reloaded and stopped."""

from exporter.daemon.application import Application, assembled
from exporter.daemon.parts import (
    account_context,
    account_poller,
    account_source,
    labels_of,
    metrics_rules,
    recorder_in_memory,
)
from exporter.daemon.reload import Reloads
from exporter.daemon.service import Service, listening, serve

__all__ = [
    "Application",
    "Reloads",
    "Service",
    "account_context",
    "account_poller",
    "account_source",
    "assembled",
    "labels_of",
    "listening",
    "metrics_rules",
    "recorder_in_memory",
    "serve",
]
