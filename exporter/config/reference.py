"""`docs/PROVIDERS.md`, made from what the providers say of themselves.

python -m exporter.config.reference > docs/PROVIDERS.md
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping

from exporter.providers import Provider, catalogue

_HEAD = """\
# Providers

What each provider can tell, what it costs and what it needs. Made by
`python -m exporter.config.reference` from the docstrings in `exporter/providers/`; every key
with its default is in [config.example.yaml](../config.example.yaml).
"""


def reference(providers: Mapping[str, type[Provider]] | None = None) -> str:
    """The page, of all providers of the catalogue if none are given."""
    known = catalogue() if providers is None else providers
    return "\n".join([_HEAD, *(line for item in known.items() for line in _section(*item))])


def _section(name: str, provider: type[Provider]) -> Iterator[str]:
    about = inspect.cleandoc(sys.modules[provider.__module__].__doc__ or provider.__doc__ or "")
    title, _, text = about.partition("\n")
    yield f"## {title.rstrip('.')}\n"
    own = [key for key in provider.model_fields if key not in Provider.model_fields]
    yield f"- `provider: {name}`"
    yield f"- `url`: {provider.default_url or 'every installation has its own'}"
    if provider.entry_form != Provider.entry_form:
        yield f"- `repos`: {provider.entry_form}"
    yield f"- token: {'may be missing for what is public' if provider.anonymous else 'needed'}"
    if own:
        yield f"- keys of its own: {', '.join(f'`{key}`' for key in own)}"
    yield f"\n{text.strip()}\n" if text.strip() else ""
    details = inspect.cleandoc(provider.__doc__ or "").partition("\n")[2].strip()
    if details:
        yield f"{details}\n"


if __name__ == "__main__":
    print(reference(), end="")  # noqa: T201 - the page is the output
