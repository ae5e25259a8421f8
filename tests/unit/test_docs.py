"""What the pages for people say is so: links lead somewhere, examples are good, names are right."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import pytest
import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token

from exporter import cli
from exporter.config import load, load_settings
from exporter.config.schema import sections
from exporter.metrics.families import FAMILIES
from exporter.metrics.worker_families import WORKER_FAMILIES
from tests.conftest import ROOT

PAGES = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not re.search(r"/(\.|tests/|node_modules/|build/|dist/)", str(path.relative_to(ROOT.parent)))
)
SHELL = ("sh", "bash", "console", "")
"""Languages of code blocks with command lines; an indented block has none."""
NEWER = {"histogram_avg": "histogram_sum"}
"""Functions that Prometheus 2.42 does not know, and others of the same form that it does."""
PAGES_OF_THE_EXPORTER = r"\.\./\.\./(?:status|builds(?:\?conclusion=\w+)?)?"
"""Links of a runbook, from where the exporter serves it."""
SUFFIXES = r"(?:_bucket|_sum|_count)?"


class Block(NamedTuple):
    """A block of code."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


class Link(NamedTuple):
    """Where a page says that something is."""

    page: Path
    target: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}: {self.target}"


class Read(NamedTuple):
    """What there is to check of a page."""

    blocks: tuple[Block, ...]
    links: tuple[Link, ...]
    code: tuple[str, ...]
    """Words in backticks."""
    anchors: frozenset[str]


@cache
def read(page: Path) -> Read:
    tokens = MarkdownIt("commonmark").enable("table").parse(page.read_text())
    inner = [child for token in tokens for child in token.children or ()]
    hrefs = [str(token.attrGet("href") or token.attrGet("src") or "") for token in inner]
    blocks = (
        Block(page, (token.map or [0])[0] + 1, token.info.split(" ")[0], token.content)
        for token in tokens
        if token.type in ("fence", "code_block")
    )
    code = tuple(token.content for token in inner if token.type == "code_inline")
    links = tuple(Link(page, href) for href in hrefs if href)
    return Read(tuple(blocks), links, code, frozenset(_anchors(tokens)))


def _anchors(tokens: list[Token]) -> Iterator[str]:
    """Those that GitHub gives to headings."""
    seen: dict[str, int] = {}
    for opening, inline in pairwise(tokens):
        if opening.type == "heading_open":
            text = "".join(child.content for child in inline.children or ())
            slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            yield slug if slug not in seen else f"{slug}-{seen[slug]}"
            seen[slug] = seen.get(slug, 0) + 1


def blocks(*languages: str) -> list[Block]:
    return [b for page in PAGES for b in read(page).blocks if b.language in languages]


# --- links ---


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    assert [] == [str(link) for link in read(page).links if not leads_somewhere(link)]


def leads_somewhere(link: Link) -> bool:
    if re.match(r"https:|mailto:|http://(?:localhost|127\.0\.0\.1):\d+", link.target):
        return True
    if link.page.parent.name == "runbooks" and re.fullmatch(PAGES_OF_THE_EXPORTER, link.target):
        return True
    name, _, anchor = unquote(link.target).partition("#")
    target = (link.page.parent / name).resolve() if name else link.page
    inside = target.is_relative_to(ROOT) and target.exists()
    return inside and (not anchor or (target.suffix == ".md" and anchor in read(target).anchors))


def test_the_readme_leads_to_every_page() -> None:
    docs = set((ROOT / "docs").glob("*.md"))

    led = {
        (ROOT / link.target.partition("#")[0]).resolve() for link in read(ROOT / "README.md").links
    }

    assert set() == docs - led


# --- configurations ---


class Environment(dict[str, str]):
    """Every variable is set."""

    def __contains__(self, key: object) -> bool:
        return True

    def __missing__(self, key: str) -> str:
        return "hunter2"

    def get(self, key: str, default: Any = None) -> Any:
        return self[key]


def documents() -> list[Any]:
    """Every YAML block, and the configurations in it: whole ones, and sections by themselves."""
    return [pytest.param(block, id=str(block)) for block in blocks("yaml", "yml")]


@pytest.mark.parametrize("block", documents())
def test_every_yaml_block_is_yaml_and_good_where_it_is_a_configuration(
    block: Block, tmp_path: Path
) -> None:
    (read,) = yaml.safe_load_all(block.text)
    values = read.get("config", read) if isinstance(read, dict) else {}

    if isinstance(values, dict) and "accounts" in values:
        whole(values, tmp_path)
    elif values and values.keys() <= sections().keys():
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(values))
        load_settings(tmp_path / "config.yaml")


def whole(values: dict[str, Any], folder: Path) -> None:
    """Load it, with the files that it names made here."""
    key = folder / "named"
    key.write_text("hunter2")
    for account in values["accounts"]:
        account.update({name: str(key) for name in ("token_file",) if name in account})
        account.pop("ca_file", None)
    if "password_file" in values.get("state", {}):
        values["state"]["password_file"] = str(key)
    (folder / "config.yaml").write_text(yaml.safe_dump(values))

    load(folder / "config.yaml", environ=Environment())


# --- command lines ---


def lines(block: Block) -> list[str]:
    """What is typed: in a block with prompts only what stands behind one."""
    whole = block.text.replace("\\\n", " ").splitlines()
    prompted = [line.removeprefix("$ ") for line in whole if line.startswith("$ ")]
    return prompted if block.language == "console" else whole


def ours(line: str) -> Iterator[list[str]]:
    """The arguments of each of our commands in a line."""
    try:
        words = shlex.split(line.replace("<TAB>", ""), comments=True)
    except ValueError:  # an apostrophe in what a command printed
        return
    names = {"cicd-exporter", "scripts/run"}
    first = {outline.path.split(" ")[0] for outline in cli.parser().outlines()}
    for i, word in enumerate(words):
        called = word.lstrip("(<") in names or word.endswith("/bin/cicd-exporter")
        before = words[i - 1] if i else "|"
        begins = before in ("|", "&&", ";", "source", "sudo", "exec") or "<(" in word
        begins = begins or re.match(r"[A-Z_]+=", before) is not None
        args = [w.rstrip(")") for w in words[i + 1 :]]
        if called and args and (begins or args[0] in first):
            end = next((n for n, w in enumerate(args) if w in ("|", "&&", ";", ">", "&")), None)
            yield args[:end]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_line_of_a_page_is_one_that_we_understand(page: Path) -> None:
    shown = [block for block in read(page).blocks if block.language in SHELL]

    assert [] == [
        f"{block} {' '.join(args)}: {fault}"
        for block in shown
        for line in lines(block)
        for args in ours(line)
        if (fault := usage_fault(args))
    ]


def usage_fault(args: list[str]) -> str:
    """What our parser says of the arguments; empty if it understands them."""
    if "COMMAND" in args or args in (["ARGUMENTS"], ["state"], ["--version"]):
        return ""  # a form, half a command, one that needs no parsing
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        try:
            cli.parser().parse_args(args)
        except SystemExit:
            return said.getvalue()
    return ""


def test_every_command_named_in_a_sentence_is_there() -> None:
    paths = [outline.path.split() for outline in cli.parser().outlines()]
    named = {
        code
        for page in PAGES
        for code in read(page).code
        if re.match(r"(?:cicd-exporter|scripts/run) [a-z]", code)
    }

    assert len(named) > 5
    assert [] == [code for code in named if not known(code.split()[1:], paths)]


def known(words: list[str], paths: list[list[str]]) -> bool:
    return any(path and words[: len(path)] == path for path in paths)


# --- queries and names ---


def expressions(block: Block) -> Iterator[str]:
    """One begins where a line does; what is indented or closes a bracket goes on."""
    kept = [line for line in block.text.splitlines() if line.strip() and line[0] != "#"]
    text = "\n".join(kept)
    for newer, older in NEWER.items():
        text = text.replace(f"{newer}(", f"{older}(")
    yield from re.split(r"\n(?![\s)])", text)


def queries() -> list[Block]:
    """Also what runbooks ask Prometheus, in indented blocks."""
    asked = [b for b in blocks("") if b.page.parent.name == "runbooks" and not any(typed(b))]
    return [*blocks("promql"), *asked]


def typed(block: Block) -> Iterator[str]:
    """The lines of a block that are for a shell."""
    return (line for line in lines(block) if re.match(r"cicd-exporter |curl |[a-z-]+ -", line))


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if page.name != "CHANGELOG.md"],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_every_metric_that_a_page_names_is_one_of_ours(page: Path) -> None:
    names = {family.name for family in (*FAMILIES, *WORKER_FAMILIES)}
    ours = re.compile(rf"(?:{'|'.join(sorted(names))}){SUFFIXES}")
    named = set(re.findall(r"(?<![\w:/-])cicd_[a-z0-9_]+(?![\w*:-])", page.read_text()))

    named -= {"cicd_exporter"}  # a schema of a database
    assert [] == sorted(name for name in named if not ours.fullmatch(name) and name[-1] != "_")
