"""How messages to the operator are worded: plain text, a hint in brackets, never a secret."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable
from typing import Any

from exporter.redaction import guarded, redacted, shown

_LONGEST = 60
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_.?<~/-]{1,60}")
SECRET_KEY = re.compile(r"token|secret|passw|credential|api_?key|private|auth", re.IGNORECASE)
_BARE = re.compile(r"[0-9]+[smhd]|[A-Za-z/][\w./-]*(?::/+[\w./-]+)?|[a-z]+:", re.ASCII)
_NOT_TEXT = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})


def key_path(path: Iterable[str | int]) -> str:
    """`accounts[1].repos[0]`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{_key(part)}" for part in path)
    return text.removeprefix(".")


def _key(name: str) -> str:
    return name if _PLAIN_KEY.fullmatch(name) and guarded(name) == name else shown(name)


def guess(word: str, words: Iterable[str]) -> str | None:
    """The one of `words` that `word` was probably meant to be."""
    close = difflib.get_close_matches(word[:_LONGEST].lower(), list(words), n=1)
    return close[0] if close else None


def duration(seconds: float) -> str:
    """`15m`: the reverse of `times.span`, for whole seconds."""
    if seconds != int(seconds):
        return f"{seconds:g}s"
    left, parts = int(seconds), []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        parts += [f"{count}{unit}"] if count else []
    return "".join(parts) or "0s"


def inline(value: Any) -> str:
    """A value as YAML on one line, without what is certainly a credential."""
    match value:
        case str():
            value = redacted(value)
            bare = _BARE.fullmatch(value) and value.lower() not in _NOT_TEXT
            return value if bare else json.dumps(value, ensure_ascii=False)
        case list() | tuple():
            return f"[{', '.join(map(inline, value))}]"
        case dict():
            return f"{{{', '.join(f'{key}: {inline(item)}' for key, item in value.items())}}}"
        case float():
            return f"{value:g}"
    return json.dumps(value)


def unknown_key(name: str, known: Iterable[str]) -> str:
    """`known` are the keys that could stand there."""
    known = list(known)
    if SECRET_KEY.search(name) and "token_env" in known and name not in known:
        return "unknown key (secrets are only referenced: use `token_env` or `token_file`)"
    near = guess(name, known)
    return f"unknown key ({f'did you mean `{near}`?' if near else f'known: {_listed(known)}'})"


def unknown_word(word: Any, known: Iterable[str]) -> str:
    """`word`, which may not be text at all, is not one of `known`."""
    known = list(known)
    near = guess(word, known) if isinstance(word, str) else None
    hint = f" (did you mean {near}?)" if near else ""
    return f"must be one of {_listed(known)}, got {shown(word)}{hint}"


def _listed(words: Iterable[str]) -> str:
    return ", ".join(words)


def plain(text: str) -> str:
    """`text` on one line, with blanks for what cannot be printed."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
