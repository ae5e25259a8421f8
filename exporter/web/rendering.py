"""HTML of the templates: one environment, one base page, and links below one prefix.

Whatever a template is given is text, which is escaped. What every page may use beside its own
values: `link(path, **query)` and `static(name)`, which make addresses, `now` (ISO 8601),
`version`, `telemetry_path` (None where links have a prefix, below which it does not answer), `nav`,
`here` (the address of the page in the navigation) and the filters below.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Mapping
from functools import cache
from importlib import resources
from typing import Any
from urllib.parse import urlencode

import jinja2
from starlette.responses import Response

from exporter import __version__
from exporter.status.report import iso
from exporter.threads import apart
from exporter.web import wording
from exporter.web.headers import HEADERS
from exporter.web.slices import gathered, in_slices

STATIC = {
    "site.css": "text/css",
    "site.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
"""The files of the pages with their media types."""

NAV = (
    ("/", "CI"),
    ("/builds", "Builds"),
    ("/status", "Status"),
    ("/docs/", "Docs"),
)
"""The pages that every page links to, with their titles."""

_HIDDEN = dict.fromkeys((*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F), "\ufffd")
"""What turns the direction of text: a name could pretend to be another one."""


class Renderer:
    """Makes pages, one at a time, whoever waits for one.

    `base` returns what stands before the path of each internal link, without a slash at its end:
    empty, or the path of the address at which people reach the exporter.
    """

    def __init__(self, base: Callable[[], str] = lambda: "", *, telemetry_path: str) -> None:
        self._base = base
        self._telemetry_path = telemetry_path
        self._turn = asyncio.Lock()

    async def page(
        self, template: str, *, here: str, status: int = 200, now: str | None = None, **values: Any
    ) -> Response:
        """The page that `template` makes of `values`; `here` is its address in the navigation.

        `now` is the time of the values, ISO 8601; by default this moment.
        """
        async with self._turn:
            # The first time they are compiled.
            made = (await apart(_environment, name="templates")).get_template(template)
            parts = made.generate(
                link=self.link,
                static=lambda name: self.link(f"/static/{name}?{digests()[name]}"),
                telemetry_path=None if self._base() else self._telemetry_path,
                nav=NAV,
                here=here,
                version=__version__,
                now=iso(time.time()) if now is None else now,
                **values,
            )
            return html("".join(await in_slices(gathered(parts))), status)

    def link(self, path: str, **query: object) -> str:
        """The address of one of our pages; what is None or empty is left out of its query."""
        asked = {key: value for key, value in query.items() if value not in (None, "")}
        return f"{self._base()}{path}" + (f"?{urlencode(asked)}" if asked else "")


def html(text: str, status: int = 200) -> Response:
    """An answer for people."""
    return answer(text, "text/html", status)


def answer(text: str, media_type: str, status: int = 200) -> Response:
    """An answer that no cache keeps."""
    # Lone surrogates in a repo's name must not take the page down.
    body = text.encode("utf-8", "replace")
    return Response(body, status, media_type=media_type, headers=HEADERS)


@cache
def static(name: str) -> bytes:
    """One of the `STATIC` files."""
    return (resources.files("exporter.web") / "static" / name).read_bytes()


@cache
def digests() -> Mapping[str, str]:
    """A digest of each of the `STATIC` files: another one when its content is another."""
    return {name: hashlib.sha256(static(name)).hexdigest()[:12] for name in STATIC}


@cache
def _environment() -> jinja2.Environment:
    """The templates, compiled."""
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        loader=jinja2.PackageLoader("exporter.web"),
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {
        "stamp": wording.stamp,
        "elapsed": wording.elapsed,
        "clock": wording.clock,
        "number": wording.number,
        "since": wording.seconds_between,
        "words": lambda state: wording.STATES.get(state, state),
        "history_summary": wording.history_summary,
    }
    for name in environment.list_templates():
        environment.get_template(name)
    return environment


def _visible(value: Any) -> Any:
    return value.translate(_HIDDEN) if isinstance(value, str) else value
