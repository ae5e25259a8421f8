"""The documentation that comes with the program, rendered: `/docs/NAME`, and its files."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from exporter.threads import apart
from exporter.web.headers import HEADERS
from exporter.web.markdown import Rendered, rendered, title_of
from exporter.web.rendering import Renderer

_FILES = {
    ".json": "application/json",
    ".yml": "text/plain",
    ".png": "image/png",
}
"""What is served as it is, with its media type."""

Endpoint = Callable[[Request], Awaitable[Response]]


class _Entry(NamedTuple):
    """A page of the table of contents."""

    path: str
    title: str


def docs_routes(renderer: Renderer) -> list[Route]:
    """The routes over the documentation."""

    async def index(request: Request) -> Response:
        pages = await apart(_contents, name="docs")
        return await renderer.page("docs.html", here="/docs/", pages=pages)

    def page(name: str) -> Endpoint:
        async def answer(request: Request) -> Response:
            made = await apart(lambda: _page(name, renderer.link("")), name="docs")
            return await renderer.page("doc.html", here="/docs/", page=made)

        return answer

    pages = [name for name in _files() if name.endswith(".md")]
    return [
        *(Route(path, index) for path in ("/docs", "/docs/")),
        *(Route(f"/docs/{name.removesuffix('.md')}", page(name)) for name in pages),
        *(Route(f"/docs/{name}", page(name)) for name in pages),  # the older address
        *(Route(f"/docs/{name}", _file(name)) for name in _files() if name not in pages),
    ]


def _file(name: str) -> Endpoint:
    async def answer(request: Request) -> Response:
        media_type = _FILES[Path(name).suffix]
        body = await apart(_files()[name].read_bytes, name="docs")
        return Response(body, media_type=media_type, headers=HEADERS)

    return answer


def _root() -> Traversable:
    """The folder in an installation, or the one of a checkout."""
    installed = resources.files("exporter") / "docs"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "docs"


@cache
def _files() -> Mapping[str, Traversable]:
    """The pages and files that are served, by their path."""
    found: dict[str, Traversable] = {}

    def look(folder: Traversable, prefix: str) -> None:
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
            if entry.is_dir():
                look(entry, f"{prefix}{entry.name}/")
            elif Path(entry.name).suffix in (".md", *_FILES):
                found[f"{prefix}{entry.name}"] = entry

    if (root := _root()).is_dir():
        look(root, "")
    return found


@cache
def _contents() -> Mapping[str, tuple[_Entry, ...]]:
    """All pages with their titles: guides, then runbooks."""
    entries = [
        _Entry(name.removesuffix(".md"), title_of(page.read_text("utf-8")))
        for name, page in _files().items()
        if name.endswith(".md")
    ]
    guides = [entry for entry in entries if "/" not in entry.path]
    runbooks = [entry for entry in entries if entry.path.startswith("runbooks/")]
    return {"Guides": tuple(guides), "Runbooks": tuple(runbooks)}


@cache
def _page(name: str, base: str) -> Rendered:
    """A page whose links begin with `base`."""

    def address(path: str) -> str | None:
        return f"{base}/docs/{path.removesuffix('.md')}" if path in _files() else None

    return rendered(_files()[name].read_text("utf-8"), name=name, address=address)
