"""`config.example.yaml`: made from the models, so that it cannot fall behind them."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterator, Mapping, Set
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from exporter.config import json_schema
from exporter.config.schema import SPAN, lists, sections
from exporter.messages import duration, inline
from exporter.providers import Provider, catalogue

_WIDTH = 96
_HEAD = """\
Configuration of cicd-exporter: every key, with its default where it has one.
Durations are 30s, 5m, 1h30m, 1d or a number of seconds. In globs `*` stops at `/`, `**`
does not. Nothing is expanded, and secrets are only referenced. The paths of `*_file` keys
start at the folder of this file."""
_ACCOUNTS = """\
What to poll: one entry for each account at a CI system. The first one shows the keys
that all of them have, the others what is their own."""
_OFTEN = frozenset({"name", "provider", "token_env", "repos"})


def example(providers: Mapping[str, type[Provider]] | None = None) -> str:
    """The text of `config.example.yaml`; `providers` is the catalogue if not given.

    What defaults cannot say a provider class says in its docstring, the comment above its
    account, and in a class attribute `example_values`, the values of keys by name.
    """
    return "".join(f"{line}\n" for line in _lines(catalogue() if providers is None else providers))


def _lines(providers: Mapping[str, type[Provider]]) -> Iterator[str]:
    yield f"# yaml-language-server: $schema={json_schema.FILE}"
    yield from _comment(_HEAD, "")
    for name, section in sections().items():
        yield ""
        yield from _comment(section.__doc__, "")
        yield f"{name}:"
        for key, inner in section.model_fields.items():
            yield from _comment(inner.description, "  ")
            is_span = SPAN in inner.metadata
            yield f"  {key}: {duration(inner.default) if is_span else inline(inner.default)}"
    for name, model in lists().items():
        yield ""
        yield from _comment(model.__doc__, "")
        yield f"{name}: []"
    yield ""
    yield from _comment(_ACCOUNTS, "")
    yield "accounts:"
    for number, (name, provider) in enumerate(providers.items()):
        yield from [""] if number else []
        yield from _account(name, provider, shown=Provider.model_fields if number else {})


def _account(
    name: str, provider: type[Provider], *, shown: Mapping[str, FieldInfo]
) -> Iterator[str]:
    """`shown` are the fields that an account above shows already."""
    values, needed = _values(name, provider), _needed(provider)
    yield from _comment(provider.__doc__, "  ")
    lead = "  - "
    for key, field in _in_reading_order(provider):
        about = _about(field)
        if key in shown and about == _about(shown[key]):
            if key not in needed:
                continue
            about = ""
        yield from _comment(about, "  " if lead == "  - " else "    ")
        yield f"{lead}{key}: {inline(values[key] if key in values else _default(field))}"
        lead = "    "


def shortest(name: str, provider: type[Provider]) -> str:
    """`accounts` with one account of `provider` that has the keys it is mostly given."""
    values, needed = _values(name, provider), _needed(provider)
    lines = [
        f"    {key}: {inline(values[key] if key in values else _default(field))}\n"
        for key, field in _in_reading_order(provider)
        if key in needed
    ]
    return "".join(["accounts:\n", *lines]).replace("    name", "  - name", 1)


def _values(name: str, provider: type[Provider]) -> dict[str, Any]:
    return {
        "name": f"acme-{name.replace('_', '-')}",
        "provider": name,
        "url": provider.default_url,
        "token_env": f"{name.upper()}_TOKEN",
        "repos": ["acme/shop"],
        **getattr(provider, "example_values", {}),
    }


def _needed(provider: type[Provider]) -> Set[str]:
    """The keys that an account of `provider` mostly has."""
    required = {key for key, field in provider.model_fields.items() if field.is_required()}
    url = {"url"} if provider.default_url is None else set()
    return _OFTEN | required | url | getattr(provider, "example_values", {}).keys()


def _in_reading_order(provider: type[Provider]) -> list[tuple[str, FieldInfo]]:
    """Name and provider, then what only this provider has, then the rest."""

    def rank(item: tuple[str, FieldInfo]) -> int:
        return 0 if item[0] in ("name", "provider") else 1 + (item[0] in Provider.model_fields)

    return sorted(provider.model_fields.items(), key=rank)


def _about(field: FieldInfo) -> str:
    """The docstring, and the words that can be chosen from."""
    words = _words(field)
    choice = f"One of {', '.join(words)}." if len(words) > 1 else ""
    return f"{field.description or ''}\n{choice}".strip()


def _words(field: FieldInfo) -> list[str]:
    chosen = get_origin(field.annotation) is Literal
    return [str(word) for word in get_args(field.annotation)] if chosen else []


def _default(field: FieldInfo) -> Any:
    if field.is_required():
        return [*_words(field), "..."][0]
    return field.get_default(call_default_factory=True, validated_data={})


def _comment(text: str | None, indent: str) -> Iterator[str]:
    """Filled paragraphs; one with an indented line is a table or a list and stays."""
    for number, paragraph in enumerate(inspect.cleandoc(text or "").split("\n\n")):
        yield from [f"{indent}#"] if number else []
        lines = paragraph.splitlines()
        if not any(line.startswith((" ", "- ")) for line in lines):
            lines = textwrap.wrap(paragraph, _WIDTH - len(indent), break_on_hyphens=False)
        yield from (f"{indent}# {line}" for line in lines)
