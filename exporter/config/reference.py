"""`docs/PROVIDERS.md`, made from what the providers say of themselves.

python -m exporter.config.reference > docs/PROVIDERS.md
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator, Mapping

from exporter.config.example import shortest
from exporter.providers import Provider, catalogue

_HEAD = """\
# Providers

What each provider needs, costs and can tell. Made by `python -m exporter.config.reference` from the
docstrings in `exporter/providers/`; every key with its default is in
[CONFIGURATION.md](CONFIGURATION.md), measured costs in [API_COST.md](API_COST.md).

A token needs to read builds and nothing more: give it no other right, an end, and an account of its
own where the rights are those of a user. `cicd-exporter doctor` tells what a token lacks, and where
the API tells it (GitHub, GitLab) also what it has and when it expires. What is *unknown* is never
made up: it is no observation, an empty label or `other`, and
`cicd_exporter_missing_values_total` or `cicd_exporter_unmapped_values_total` counts it.
"""
_DESCRIBED = """\
## What each can tell about a build

The build log and the pages show this, where an answer that is read anyway has it. An address is a
link only if it is at the origin of the account's `web_url`, whose default follows from `url`. The
environment that a build deploys to is in none of these answers.
"""
DESCRIPTIONS = {
    "commit": "commit",
    "commit_at": "its time",
    "title": "title",
    "triggered_by": "by whom",
    "pull_request": "pull request",
    "url": "page",
    "job_url": "page of a job",
    "job_labels": "labels of its runner",
}
"""What people read of a build and its jobs, and metrics do not need: fields and their columns."""
LABELS = ("Token", "Requests", "Limits", "Self-hosted", "Known", "Unknown")
"""What a paragraph of a docstring can begin with; every provider has them all, in this order."""
_LABEL = re.compile(rf"^({'|'.join(LABELS)}): (.)", re.MULTILINE)


def reference(providers: Mapping[str, type[Provider]] | None = None) -> str:
    """The page, of all providers of the catalogue if none are given."""
    known = catalogue() if providers is None else providers
    sections = (line for item in known.items() for line in _section(*item))
    return "\n".join([_HEAD, *sections, _DESCRIBED, *_descriptions(known), ""])


def _descriptions(known: Mapping[str, type[Provider]]) -> Iterator[str]:
    yield f"| provider | {' | '.join(DESCRIPTIONS.values())} |"
    yield f"|---|{':-:|' * len(DESCRIPTIONS)}"
    for name, provider in known.items():
        for kind, fields in (provider.described or {"": ""}).items():
            marks = ("✓" if field in fields.split() else "" for field in DESCRIPTIONS)
            yield f"| {f'{name}, {kind}' if kind else name} | {' | '.join(marks)} |"


def _section(name: str, provider: type[Provider]) -> Iterator[str]:
    about = inspect.cleandoc(sys.modules[provider.__module__].__doc__ or provider.__doc__ or "")
    title, _, text = about.partition("\n")
    yield f"## {title.rstrip('.')}\n"
    own = [key for key in provider.model_fields if key not in Provider.model_fields]
    yield f"- `provider: {name}`"
    yield f"- `url`: {provider.default_url or 'every installation has its own'}"
    if provider.entry_form != Provider.entry_form:
        yield f"- `repos`: {_plain(provider.entry_form)}"
    yield f"- token: {'may be missing for what is public' if provider.anonymous else 'needed'}"
    if own:
        yield f"- keys of its own: {', '.join(f'`{key}`' for key in own)}"
    if provider.rights:
        yield f"- rights: {provider.rights}"
    yield f"\n{_LABEL.sub(_bold, text.strip())}\n" if text.strip() else ""
    details = inspect.cleandoc(provider.__doc__ or "").partition("\n")[2].strip()
    if details:
        yield f"{_plain(details)}\n"
    yield f"```yaml\n{shortest(name, provider)}```\n"


def _bold(label: re.Match[str]) -> str:
    return f"**{label[1]}.** {label[2].upper()}"


def _plain(text: str) -> str:
    """Text whose stars are not Markdown's."""
    return text.replace("*", "\\*")


if __name__ == "__main__":
    print(reference(), end="")  # noqa: T201 - the page is the output
