"""The web sites of the configured accounts: where links of builds may lead."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from exporter.ledger.build_log import LoggedBuild
from exporter.metrics.labels import clean
from exporter.providers import Provider, Site


def sites_of(accounts: Iterable[Provider]) -> Mapping[str, Site]:
    """The site of each account, by its label."""
    return {clean(account.name): Site(account.web_root) for account in accounts}


def with_own_links(build: LoggedBuild, sites: Mapping[str, Site]) -> LoggedBuild:
    """`build` without addresses that are not of its account's site, its jobs likewise."""
    site = sites.get(build.account, Site(None))
    jobs = tuple(replace(job, url=site.own(job.url)) for job in build.jobs)
    return replace(build, url=site.own(build.url), jobs=jobs)
