"""From what a build says to label values: clean, bounded, few."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from unicodedata import normalize

import msgspec

from exporter.globs import matches
from exporter.ledger.rows import Labels
from exporter.model import OTHER, Build, Ref

MAX_BYTES = 200
"""The longest label value; longer ones end in a hash, so that they stay distinct."""

_CONTROL = dict.fromkeys((*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029), "\ufffd")
"""C0, C1 and the two separators that some readers take for the end of a line."""


_LONGEST = 1000
"""Characters of a text that are looked at: of so many more than 200 bytes are left, whatever
they are, and to bring marks into their order takes the square of their number."""
_LONGEST_BRANCH = 255
"""Bytes of a ref at GitHub; what is longer is no name, and globs with many stars are slow."""


def clean(text: str) -> str:
    """`text` as a label value: NFC, no control characters or lone surrogates, at most 200 bytes."""
    if text.isascii() and text.isprintable() and len(text) <= MAX_BYTES:
        return text
    # What is long is not remembered: a provider could fill the memory with it.
    return _remembered(text) if len(text) <= MAX_BYTES else _cleaned(text)


def _cleaned(text: str) -> str:
    known = text[:_LONGEST].encode("utf-8", "replace").decode()
    sound = normalize("NFC", known).translate(_CONTROL)
    raw = sound.encode()
    if len(raw) <= MAX_BYTES:
        return sound
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    kept = raw[: MAX_BYTES - len(digest) - 3].decode("utf-8", "ignore")
    return f"{kept}…{digest}"


_remembered = lru_cache(maxsize=65536)(_cleaned)


class RepoLabels(msgspec.Struct, frozen=True):
    """Labels of the repos that a glob matches."""

    repos: tuple[str, ...]
    """Globs of the `repo` label."""
    labels: dict[str, str]
    """Values by name, without the prefix that they are shown with."""


def repo_labels(repo: str, rules: Iterable[RepoLabels]) -> dict[str, str]:
    """What the `rules` say of a repo, by name: the first one that has a name wins.

    A name that no matching rule has is there with an empty value, as all series of a family have
    the same labels.
    """
    found = {f"label_{name}": "" for rule in rules for name in rule.labels}
    for rule in rules:
        if any(matches(glob, repo) for glob in rule.repos):
            for name, value in rule.labels.items():
                found[f"label_{name}"] = found[f"label_{name}"] or clean(value)
    return dict(sorted(found.items()))


def branch(build: Build, shown: Iterable[str]) -> str:
    """The `branch` label: a name only where `shown` globs or the default branch say so."""
    if build.ref is not Ref.BRANCH:
        return build.ref.value
    name = build.branch
    if not name:
        return ""
    if name == build.default_branch:
        return clean(name)
    if len(name) <= _LONGEST_BRANCH and any(matches(glob, name) for glob in shown):
        return clean(name)
    return OTHER


def address(url: str | None) -> str:
    """An address as a label value; empty if it is too long for one, as half of it leads nowhere."""
    return "" if url is None or len(url.encode("utf-8", "replace")) > MAX_BYTES else clean(url)


def build_info(build: Build) -> Labels:
    """What `cicd_build_last_info` says of a build, in the order of its labels."""
    number = "" if build.number is None else str(build.number)
    names = map(clean, (build.commit or "", build.triggered_by or ""))
    return (number, str(build.attempt), *names, address(build.url))


def pipeline(build: Build, *, provider: str, account: str, shown: Iterable[str]) -> Labels:
    """The labels of the pipeline that `build` belongs to, in the order of `PIPELINE`."""
    return (
        provider,
        clean(account),
        clean(build.repo),
        clean(build.workflow),
        branch(build, shown),
    )
