"""The web sites of the configured accounts: where links of builds may lead."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from exporter.metrics.labels import clean
from exporter.providers import Provider, Site


def sites_of(accounts: Iterable[Provider]) -> Mapping[str, Site]:
    """The site of each account, by its label."""
    return {clean(account.name): Site(account.web_root) for account in accounts}
