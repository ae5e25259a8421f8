"""What a provider's source says of the answers that it reads."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from functools import cache
from types import ModuleType
from typing import NamedTuple

import msgspec

_LONGEST = 60
"""Characters; a longer word is no word of an API."""


class Source(NamedTuple):
    """What is read of the answers, as far as the source tells."""

    structs: tuple[type[msgspec.Struct], ...]
    words: frozenset[str]
    """Words and names in it, such as those of tables and paths."""
    paths: dict[str, set[str]]
    """What is looked for inside the objects that are called so: `at(item.state, "result.name")`."""

    @property
    def names(self) -> frozenset[str]:
        """What keys may be called that it reads."""
        return self.words | {f.encode_name for s in self.structs for f in msgspec.structs.fields(s)}


@cache
def source(word: str) -> Source:
    """Of the provider that is called so."""
    modules = list(_modules(importlib.import_module(f"exporter.providers.{word}")))
    structs = tuple(
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, msgspec.Struct)
        and value.__module__ == module.__name__
        and not value.__struct_config__.array_like
    )
    trees = [ast.parse(inspect.getsource(module)) for module in modules]
    told = [word for tree in trees for text in _texts(tree) for word in text.split()]
    words = {part for word in told for part in (word, *word.split("."))}
    paths: dict[str, set[str]] = {}
    for owner, path in (pair for tree in trees for pair in _looks(tree)):
        paths.setdefault(plainly(owner), set()).add(path)
    return Source(structs, frozenset(w for w in words if 0 < len(w) < _LONGEST), paths)


def _modules(module: ModuleType) -> Iterator[ModuleType]:
    yield module
    for inner in pkgutil.iter_modules(getattr(module, "__path__", ())):
        yield importlib.import_module(f"{module.__name__}.{inner.name}")


def _texts(tree: ast.Module) -> Iterator[str]:
    """The string constants of a module, but for the docstrings and those of messages."""
    nodes = list(ast.walk(tree))
    prose: set[ast.AST] = {n.value for n in nodes if isinstance(n, ast.Expr)}
    prose |= {part for n in nodes if isinstance(n, ast.JoinedStr) for part in n.values}
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in prose:
            yield node.value


def _looks(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Each `at(owner, "path")` of a module."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Name(id="at"),
                args=[
                    ast.Attribute(attr=owner) | ast.Name(id=owner),
                    ast.Constant(value=str(path)),
                ],
            ):
                yield owner, path


def plainly(name: str) -> str:
    """A name in whichever case it is spelled."""
    return name.replace("_", "").lower()
