"""The running process: what is made of a configuration, served, reloaded and stopped."""

from exporter.daemon.application import (
    Application,
    account_poller,
    account_reader,
    account_source,
    assembled,
    labels_of,
    recorder_in_memory,
    showing,
)
from exporter.daemon.reload import Reloads
from exporter.daemon.service import Service, listening, serve

__all__ = [
    "Application",
    "Reloads",
    "Service",
    "account_poller",
    "account_reader",
    "account_source",
    "assembled",
    "labels_of",
    "listening",
    "recorder_in_memory",
    "serve",
    "showing",
]
