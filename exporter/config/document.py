"""YAML text as plain values, with the place of every key and value.

PyYAML reads the syntax; values are made here, from its nodes, because its own
resolution surprises: `no` is false, `1:30` is 90, a date is a date, the second of two
equal keys wins, nine aliases fill the memory. Here a plain `true` or `false` is a
boolean, plain digits are a number, nothing, `~` and `null` are None, and the rest is text.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from exporter import files
from exporter.config.fault_texts import syntax_fault
from exporter.errors import ConfigError
from exporter.messages import key_path
from exporter.redaction import file_name, guarded

MAX_BYTES = 4 * files.MIB
MAX_DEPTH = 50
MAX_VALUES = 200_000
"""Counted after aliases are followed: what stops an alias bomb."""
MAX_LINES = 100_000
"""Counted with the commas, before anything is parsed, which takes a second for so many."""

Path = tuple[str | int, ...]
"""Where a value is: `("accounts", 1, "repos", 0)`."""


class Position(NamedTuple):
    """Line and column, both from 1."""

    line: int
    column: int


START = Position(1, 1)


class FileKind(NamedTuple):
    """A kind of file, for messages about the file as a whole."""

    flag: str
    """The flag that names it."""
    key: str
    """One of its keys."""
    lack: str | None
    """What an empty one should have; None if it may be empty."""
    texts: frozenset[Path] = frozenset()
    """The values that may have more than one line."""
    piped: bool = True
    """Whether it may be a pipe, such as `<(...)` of a shell, which can be read only once."""


CONFIG_FILE = FileKind("--config.file", "accounts", "write at least one account under `accounts`")


class Fault(NamedTuple):
    """An error or a warning about one key or value."""

    position: Position
    path: Path
    what: str

    def text(self, file: str) -> str:
        """`FILE:LINE:COL: key.path: what is wrong (hint)`, whatever it quotes without secrets."""
        where = f"{file_name(file)}:{self.position.line}:{self.position.column}"
        return f"{where}: {key_path(self.path)}: {guarded(self.what)}"


class Document(NamedTuple):
    """What a YAML file says, and where it says it."""

    value: dict[str, Any]
    values: dict[Path, Position]
    """Where each value begins; a mapping or list begins at its first key or item."""
    keys: dict[Path, Position]
    """Where each key begins; list items have none."""
    faults: list[Fault]
    """What is wrong whatever the keys mean: duplicate keys, tags, control characters."""


def read(path: str | os.PathLike[str], kind: FileKind = CONFIG_FILE) -> Document:
    """The document of the file at `path`.

    Raises ConfigError with one fault if the file cannot be read, is not YAML or is no mapping.
    """
    file = os.fspath(path)
    try:
        return parse(_text(_bytes(file, kind)), kind)
    except _UnusableFileError as unusable:
        raise ConfigError([unusable.fault.text(file)]) from None


def parse(text: str, kind: FileKind = CONFIG_FILE) -> Document:
    """The document that `text` is; raises like `read`, with a private exception."""
    if len(text.splitlines()) + text.count(",") > MAX_LINES:
        raise _UnusableFileError("file", f"has more than {MAX_LINES} lines and commas")
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        what, mark = syntax_fault(error)
        raise _UnusableFileError("syntax", what, _mark_position(mark)) from None
    except (ValueError, OverflowError):  # what PyYAML leaves to int() and chr()
        what = "a number in an escape or a directive is too large"
        raise _UnusableFileError("syntax", what, _mark_position(loader.get_mark())) from None
    finally:
        loader.dispose()
    builder = _Builder(kind)
    if root is None and kind.lack is None:
        return Document({}, {}, {}, [])
    if root is None:
        raise _UnusableFileError("file", f"is empty ({kind.lack})")
    value = builder.build(root, ())
    if not isinstance(value, dict):
        raise _UnusableFileError(
            "file", f"must be a mapping of keys such as `{kind.key}:`", _node_position(root)
        )
    return Document(value, builder.values, builder.keys, builder.faults)


class _UnusableFileError(Exception):
    """The file as a whole says nothing that could be checked further."""

    def __init__(self, about: str, what: str, position: Position = START) -> None:
        super().__init__(what)
        self.fault = Fault(position, (about,), what)


def _bytes(file: str, kind: FileKind) -> bytes:
    read = files.given if kind.piped else files.content
    try:
        return read(file, most=MAX_BYTES)
    except FileNotFoundError:
        raise _UnusableFileError("file", f"not found (check {kind.flag})") from None
    except IsADirectoryError:
        raise _UnusableFileError("file", "is a directory (name the file in it)") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise _UnusableFileError("file", files.why(error)) from None


def _text(data: bytes) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        position = _position(error.object[: error.start].decode("utf-8", "replace"))
        raise _UnusableFileError(
            "syntax", "not UTF-8 text (save the file as UTF-8)", position
        ) from None
    if found := _UNPRINTABLE.search(text):
        what = f"the control character {found.group()!r} (remove it)"
        raise _UnusableFileError("syntax", what, _position(text[: found.start()]))
    return text


def _position(before: str) -> Position:
    return Position(before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)


_UNPRINTABLE = yaml.reader.Reader.NON_PRINTABLE
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def _mark_position(mark: yaml.Mark | None) -> Position:
    return START if mark is None else Position(mark.line + 1, mark.column + 1)


def _node_position(node: Node) -> Position:
    return _mark_position(node.start_mark)


_PLAIN = "plain"
_TEXT = "tag:yaml.org,2002:str"
_OUR_TAGS = frozenset({_PLAIN, _TEXT, "mapping", "sequence"})


class _Loader(yaml.SafeLoader):
    """Nodes whose tag tells plain scalars, other text and explicit tags apart."""

    depth = 0
    nodes = 0

    def resolve(self, kind: Any, _value: Any, implicit: Any) -> str:
        if kind is ScalarNode:
            return _PLAIN if implicit[0] else _TEXT
        return "mapping" if kind is MappingNode else "sequence"

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        self.depth += 1
        self.nodes += 1
        if self.depth > MAX_DEPTH or self.nodes > MAX_VALUES:
            problem = "nested too deeply" if self.depth > MAX_DEPTH else "too many values"
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark)
        node: Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node


class _Builder:
    """Makes values of nodes, and notes places and faults on the way."""

    def __init__(self, kind: FileKind) -> None:
        self._kind = kind
        self.values: dict[Path, Position] = {}
        self.keys: dict[Path, Position] = {}
        self.faults: list[Fault] = []
        self._count = 0
        self._open: list[Node] = []

    def build(self, node: Node, path: Path) -> Any:
        position = self.values[path] = self._visit(node)
        if node.tag not in _OUR_TAGS:
            self._fault(position, path, "a YAML tag is not allowed (remove the word with the `!`)")
        if isinstance(node, ScalarNode):
            return self._scalar(node, path)
        self._open.append(node)
        value = (
            self._mapping(node, path)
            if isinstance(node, MappingNode)
            else [self.build(item, (*path, i)) for i, item in enumerate(node.value)]
        )
        self._open.pop()
        return value

    def _visit(self, node: Node) -> Position:
        self._count += 1
        if self._count > MAX_VALUES:
            what = f"more than {MAX_VALUES} values, aliases followed (are they nested?)"
            raise _UnusableFileError("file", what, _node_position(node))
        if len(self._open) > MAX_DEPTH:
            raise _UnusableFileError("syntax", "nested too deeply", _node_position(node))
        if any(node is parent for parent in self._open):
            raise _UnusableFileError(
                "syntax", "an alias inside its own anchor", _node_position(node)
            )
        return _node_position(node)

    def _fault(self, position: Position, path: Path, what: str) -> None:
        self.faults.append(Fault(position, path, what))

    def _scalar(self, node: ScalarNode, path: Path) -> Any:
        text = node.value.replace("\n", "") if path in self._kind.texts else node.value
        if found := _CONTROL.search(text):
            what = f"holds the control character {found.group()!r} (remove it)"
            self._fault(_node_position(node), path, what)
        return _plain(node.value) if node.tag == _PLAIN else node.value

    def _mapping(self, node: MappingNode, path: Path) -> dict[str, Any]:
        pairs = self._pairs(node, path, self._fault)
        self.keys.update({(*path, name): _node_position(key) for name, (key, _) in pairs.items()})
        return {name: self.build(value, (*path, name)) for name, (_, value) in pairs.items()}

    def _pairs(
        self, node: MappingNode, path: Path, fault: Callable[[Position, Path, str], None]
    ) -> dict[str, tuple[Node, Node]]:
        """Key and value nodes by name; `<<` adds those of other mappings that are not there."""
        pairs: dict[str, tuple[Node, Node]] = {}
        merged: list[Node] = []
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                fault(
                    _node_position(key), (*path, "?"), "a key must be text, not a list or mapping"
                )
            elif key.tag == _PLAIN and key.value == "<<":
                merged += value.value if isinstance(value, SequenceNode) else [value]
            elif (name := key.value) in pairs:
                first = _node_position(pairs[name][0]).line
                what = f"duplicate key (first on line {first}; remove one)"
                fault(_node_position(key), (*path, name), what)
            else:
                pairs[name] = (key, value)
        for other in merged:
            self._visit(other)
            if not isinstance(other, MappingNode):
                what = "takes the alias of a mapping (&name, *name)"
                fault(_node_position(other), (*path, "<<"), what)
                continue
            self._open.append(other)
            for name, pair in self._pairs(other, path, _raised).items():
                pairs.setdefault(name, pair)
            self._open.pop()
        return pairs


def _raised(position: Position, path: Path, what: str) -> None:
    """The fault handler of a merged mapping: its faults are noted at its anchor."""


_SCALARS: tuple[tuple[re.Pattern[str], Callable[[str], Any]], ...] = (
    (re.compile(r"|~|null|Null|NULL"), lambda _: None),
    (re.compile(r"true|True|TRUE"), lambda _: True),
    (re.compile(r"false|False|FALSE"), lambda _: False),
    # Python refuses to convert thousands of digits; nobody means them.
    (re.compile(r"[-+]?(?:0|[1-9][0-9]{0,29})"), int),
    (re.compile(r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"), float),
    (re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+"), float),
    (re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"), lambda t: float(t.replace(".", ""))),
)


def _plain(text: str) -> Any:
    for pattern, make in _SCALARS:
        if pattern.fullmatch(text):
            return make(text)
    return text
