"""The running process: what is made of a configuration, served, reloaded and stopped."""

from exporter.daemon.application import (
    Application,
    account_api,
    account_poller,
    account_reader,
    assembled,
    labels_of,
    showing,
)
from exporter.daemon.reload import Reloads
from exporter.daemon.service import Service, listening, serve

__all__ = [
    "Application",
    "Reloads",
    "Service",
    "account_api",
    "account_poller",
    "account_reader",
    "assembled",
    "labels_of",
    "listening",
    "serve",
    "showing",
]
