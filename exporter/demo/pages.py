"""What is behind the links of the demo: a page in place of each of a CI system's own."""

from __future__ import annotations

from html import escape

from starlette.requests import Request
from starlette.responses import HTMLResponse

PAGES = "pages"
"""The first part of the paths; the second one is the integration."""

_PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{system}: {path}</title>
<h1>{path}</h1>
<p>At this path {system} would show the build; this demo has no real one.</p>
"""


async def shown(request: Request) -> HTMLResponse:
    """The page of any path below `PAGES`, without a credential."""
    system, path = (escape(request.path_params[name]) for name in ("system", "path"))
    return HTMLResponse(_PAGE.format(system=system, path=path))
