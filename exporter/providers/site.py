"""The pages that a provider shows to people: the only addresses that become links.

>>> site = Site("https://ci.example/tools/")
>>> site.page("acme", "shop #1")
'https://ci.example/tools/acme/shop%20%231'
>>> site.own("https://ci.example/tools/acme/7")
'https://ci.example/tools/acme/7'
>>> site.own("https://elsewhere.example/acme/7") is None
True
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import quote, urlsplit

from msgspec.structs import replace

from exporter.model import Build, Job

_ADDRESS = re.compile(r"https?://[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]{1,2000}", re.ASCII)
"""RFC 3986, without what a browser would mend: spaces, quotes, backslashes, control characters."""


@lru_cache(maxsize=4096)
def _quoted(part: str) -> str:
    """A part of a path; those of a repo are needed for each of its builds."""
    return quote(part, safe="/~@!$'()*,;=:+-._")


class Site:
    """The web site of one account's provider. `root` is None where it is not known."""

    def __init__(self, root: str | None) -> None:
        self.root = None if root is None else root.rstrip("/")
        parts = urlsplit(self.root or "")
        self._origin = f"{parts.scheme}://{parts.netloc}/" if parts.netloc else None

    def page(self, *parts: object, query: str = "") -> str | None:
        """The address of a page; each of `parts` may hold slashes, which separate segments.

        None where the root is not known, or a part is empty or None.
        """
        if self.root is None or None in parts or "" in parts:
            return None
        texts = map(str, parts)
        path = "/".join([t if t.isascii() and t.isalnum() else _quoted(t) for t in texts])
        return f"{self.root}/{path}" + (f"?{query}" if query else "")

    def own(self, url: object) -> str | None:
        """`url` if it is an http(s) address at the site's origin; else None."""
        if self._origin is None or not isinstance(url, str) or not url.startswith(self._origin):
            return None
        return url if _ADDRESS.fullmatch(url) else None

    def with_own_links(self, build: Build) -> Build:
        """`build` without addresses that lead elsewhere, its jobs likewise."""
        jobs = build.jobs
        if jobs and any(job.url is not None and self.own(job.url) is None for job in jobs):
            jobs = tuple(map(self._with_own_link, jobs))
        url = self.own(build.url)
        if url == build.url and jobs is build.jobs:
            return build
        return replace(build, url=url, jobs=jobs)

    def _with_own_link(self, job: Job) -> Job:
        return replace(job, url=self.own(job.url))
