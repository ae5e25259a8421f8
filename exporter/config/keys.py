"""`docs/CONFIGURATION.md`: every key, made from the models that the file is read with.

python -m exporter.config.keys > docs/CONFIGURATION.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from exporter.config.differences import NEEDS_RESTART
from exporter.config.schema import SPAN, lists, sections
from exporter.messages import duration, inline
from exporter.providers import Provider, catalogue

_HEAD = """\
# Configuration

Made by `python -m exporter.config.keys` from the models that the file is read with: change those.
The same as a file with comments is [config.example.yaml](../config.example.yaml), and for editors
[config.schema.json](config.schema.json); the form of `--web.config.file` is in [WEB.md](WEB.md).

Only `accounts` is needed:

```yaml
accounts:
  - name: acme-github
    provider: github
    token_env: GITHUB_TOKEN
    repos: ["acme/*"]
```

```sh
cicd-exporter check-config --config.file=config.yaml   # every fault with its line and column
cicd-exporter doctor --config.file=config.yaml         # asks the providers
cicd-exporter discover --config.file=config.yaml       # what would be polled, and what it costs
```

- A key that is not here, a key twice and a value of another type are faults.
- Durations are `30s`, `5m`, `1h30m`, `1d` or a number of seconds.
- In globs `*` stops at `/`, `**` does not.
- Nothing is expanded, `${NAME}` neither. Secrets are only referenced: `token_env`, `token_file`.
- Paths of `*_file` keys start at the folder of the configuration, that of `state.url` at the
  working directory.
- A [reload](FAQ.md#what-does-a-reload-change) puts all in force but what is marked *at start*.
- The first line `# yaml-language-server: $schema=config.schema.json` makes editors complete keys
  (the file comes from `cicd-exporter config schema`).
"""
_ACCOUNTS = """\
## accounts

A list with one entry for each account at a CI system. These keys every account has:
"""
_OWN = """\
## Keys of one provider

What its `repos` hold, which rights its token needs and what it costs: [PROVIDERS.md](PROVIDERS.md).
"""
_AT_START = frozenset(f"{name}.{key}" for name, keys in NEEDS_RESTART.items() for key in keys)
_TYPES: Mapping[Any, str] = {
    bool: "true or false",
    str: "text",
    int: "whole number",
    float: "number",
    dict: "mapping of names to text",
}


def page(providers: Mapping[str, type[Provider]] | None = None) -> str:
    """The page; `providers` is the catalogue if not given."""
    known = catalogue() if providers is None else providers
    return "\n".join(_lines(known)) + "\n"


def _lines(providers: Mapping[str, type[Provider]]) -> Iterator[str]:
    yield _HEAD
    for name, section in sections().items():
        yield f"## {name}\n\n{_line(section.__doc__)}\n"
        yield from _table((f"{name}.{key}", field) for key, field in section.model_fields.items())
        yield ""
    for name, model in lists().items():
        yield f"## {name}\n\n{_line(model.__doc__)}\n"
        yield from _table((f"{name}[].{key}", field) for key, field in model.model_fields.items())
        yield ""
    yield _ACCOUNTS
    yield from _table(Provider.model_fields.items())
    yield f"\n{_OWN}"
    yield from _table(
        (f"{name}: {key}", field)
        for name, provider in providers.items()
        for key, field in provider.model_fields.items()
        if key not in Provider.model_fields
    )


def _table(fields: Iterable[tuple[str, FieldInfo]]) -> Iterator[str]:
    yield "| key | value | default | meaning |"
    yield "| --- | --- | --- | --- |"
    for name, field in fields:
        meaning = _line(field.description) + (" *At start.*" if name in _AT_START else "")
        cells = (f"`{name}`", _type(field), _default(field), meaning)
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _type(field: FieldInfo) -> str:
    return "duration" if SPAN in field.metadata else _words(field.annotation)


def _words(kind: Any) -> str:
    """A type in words; what may be left out is not told, as the default is null."""
    if (word := _TYPES.get(get_origin(kind) or kind)) is not None:
        return word
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return "mapping of " + ", ".join(f"`{key}`" for key in kind.model_fields)
    origin, parts = get_origin(kind), [p for p in get_args(kind) if p not in (type(None), ...)]
    if origin is Literal:
        return ", ".join(f"`{word}`" for word in parts)
    if origin in (list, tuple):
        inner = get_args(parts[0])[0] if get_args(parts[0]) else parts[0]
        return "list of numbers" if inner is float else "list of text"
    if origin in (Union, UnionType):
        return _words(parts[0])
    return "duration" if _is_duration(kind) else _words(parts[0])


def _is_duration(kind: Any) -> bool:
    """Whether it is a number with the pattern of a duration: `Annotated[float, ...]`."""
    return get_args(kind)[:1] == (float,)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    value = field.get_default(call_default_factory=True, validated_data={})
    return f"`{duration(value) if SPAN in field.metadata else inline(value)}`"


def _line(text: str | None) -> str:
    """In one line, which a cell of a table has to be."""
    return " ".join((text or "").split())


if __name__ == "__main__":
    sys.stdout.write(page())
