"""A page of the documentation as HTML: pure functions of its text.

HTML in the text is text. Links to other pages lead to those pages here; a link to a file that is
not part of the documentation is left out, and only what it says remains.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from markdown_it.token import Token

_OUTWARD = frozenset({"http", "https", "mailto"})


class Heading(NamedTuple):
    """A heading below the title."""

    level: int
    """2 for a chapter."""
    anchor: str
    text: str


class Rendered(NamedTuple):
    """A page."""

    title: str
    html: str
    """Without the title."""
    headings: tuple[Heading, ...]


def rendered(text: str, *, name: str, address: Callable[[str], str | None]) -> Rendered:
    """The page `name`, whose links are relative to it.

    `address` returns where a file of the documentation is here, None where there is none; both
    names are paths below its root, such as `runbooks/CicdBuildStuck.md`.
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    parser.add_render_rule("table_open", _table_open)
    parser.add_render_rule("table_close", _table_close)
    parser.add_render_rule("fence", _code)
    parser.add_render_rule("code_block", _code)
    tokens = parser.parse(text)
    headings = tuple(_named(tokens))
    for token in tokens:
        if token.children is not None:
            token.children = _led(token.children, name, address)
    title, body = _split(tokens)
    return Rendered(title, parser.renderer.render(body, parser.options, {}), headings)


def title_of(text: str) -> str:
    """The title of a page, which its first line has."""
    return text.partition("\n")[0].removeprefix("#").strip()


def _split(tokens: Sequence[Token]) -> tuple[str, Sequence[Token]]:
    """The title, and the rest of the page."""
    if tokens and tokens[0].type == "heading_open" and tokens[0].tag == "h1":
        return _text(tokens[1]), tokens[3:]
    return "", tokens


def _named(tokens: Sequence[Token]) -> Iterator[Heading]:
    """Give each heading the anchor that GitHub gives it; yields those below the title."""
    seen: dict[str, int] = {}
    for opening, inline in pairwise(tokens):
        if opening.type == "heading_open":
            text = _text(inline)
            slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            anchor = slug if slug not in seen else f"{slug}-{seen[slug]}"
            seen[slug] = seen.get(slug, 0) + 1
            opening.attrSet("id", anchor)
            level = int(opening.tag[1:])
            if level > 1:
                yield Heading(level, anchor, text)


def _text(inline: Token) -> str:
    return "".join(child.content for child in inline.children or ())


def _led(children: Sequence[Token], name: str, address: Callable[[str], str | None]) -> list[Token]:
    """The parts of a line, with links and pictures that lead somewhere."""
    found: list[Token] = []
    dropped = 0
    for child in children:
        if child.type == "link_open":
            href = _target(str(child.attrGet("href") or ""), name, address)
            if href is None:
                dropped += 1
                continue
            child.attrSet("href", href)
        elif child.type == "link_close" and dropped:
            dropped -= 1
            continue
        elif child.type == "image":
            source = _target(str(child.attrGet("src") or ""), name, address)
            if source is None or urlsplit(source).scheme:
                continue
            child.attrSet("src", source)
        found.append(child)
    return found


def _target(href: str, name: str, address: Callable[[str], str | None]) -> str | None:
    """Where a link leads here; None if that is nowhere."""
    parts = urlsplit(href)
    if parts.scheme or parts.netloc:
        return href if parts.scheme in _OUTWARD else None
    if not parts.path:
        return href
    path = posixpath.normpath(posixpath.join(posixpath.dirname(name), unquote(parts.path)))
    found = address(path)
    return found if found is None or not parts.fragment else f"{found}#{parts.fragment}"


# -- what is wider than the page is scrolled by itself, by the keyboard too


def _table_open(renderer: Any, tokens: Sequence[Token], index: int, *_: Any) -> str:
    head = next((t for t in tokens[index:] if t.type == "inline"), None)
    label = escapeHtml(_text(head) if head is not None else "") or "of values"
    number = sum(token.type == "table_open" for token in tokens[: index + 1])
    name = f"Table {number}: {label}"  # no two regions of a page may have one name
    return f'<div class="wide" role="region" aria-label="{name}" tabindex="0">\n<table>\n'


def _table_close(*_: Any) -> str:
    return "</table>\n</div>\n"


def _code(renderer: Any, tokens: Sequence[Token], index: int, *_: Any) -> str:
    return f'<pre tabindex="0"><code>{escapeHtml(tokens[index].content)}</code></pre>\n'
