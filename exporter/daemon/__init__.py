"""The running process: what is made of a configuration, served, reloaded and stopped."""

from exporter.daemon.assembly import Assembly, account_poller, assembled
from exporter.daemon.reload import Reloads
from exporter.daemon.service import Service, serve

__all__ = ["Assembly", "Reloads", "Service", "account_poller", "assembled", "serve"]
