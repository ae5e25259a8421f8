"""Credentials in text that somebody else wrote are not repeated.

People paste a clone URL with its token into `repos`, or a token where a duration belongs. Every
message that quotes what they wrote does it with `shown`.
"""

from __future__ import annotations

import re
from typing import Any

HIDDEN = "***"
_LONGEST = 60
"""Characters of a quoted text."""

_KNOWN = re.compile(
    r"""(?<![A-Za-z0-9])(?:
        gh[oprsu]_\w{6,} | github_pat_\w{6,}                     # GitHub
        | gl(?:pat|ptt|dt|rt|cbt|ft|imt|agent|oas|soat|ffct|rtr)-[\w.=-]{6,}    # GitLab
        | CCI(?:PAT|PRJ)_\w{6,}                                  # CircleCI
        | AT(?:ATT|CTT|BB)[\w=-]{10,}                            # Atlassian
        | xox[a-z]-[\w-]{6,} | xapp-[\w-]{6,}                    # Slack
        | A(?:KIA|SIA|BIA|CCA)[A-Z0-9]{12,}                      # AWS
        | AIza[\w-]{20,} | ya29\.[\w-]{10,}                      # Google
        | eyJ[\w-]{8,}\.[\w.-]{8,}                               # a JSON Web Token
        | (?:npm|dckr_pat|pypi|hvs|hvb|dop_v1|sk|rk|pk_live|glsa|shpat)[_.-](?=\w*\d)[\w-]{20,}
        | -----BEGIN\ [A-Z ]*PRIVATE\ KEY-----.*
    )""",
    re.VERBOSE | re.DOTALL,
)
"""Tokens that say by their beginning what they are."""
_LEAST_SURE = 20
"""Characters from which a known beginning is no chance."""
_USER_INFO = re.compile(r"//\S*@|[^\s/\"'<>]+:[^\s\"'<>]+@")
"""What stands before the host of a URL; the password in it may hold any character."""
_SURE_USER_INFO = re.compile(r"://[^\s/@]*:(?!\d{1,5}(?:/|$))[^\s@]+@|://[^\s/@]{16,}@")
_NAMED = re.compile(
    r"(?i)((?:token|secret|passw(?:or)?d|credential|api[_-]?key|private[_-]key)[\w-]*"
    r"(?:=[\"']?|[\"']?\s*:\s*[\"'])|authorization[\"']?\s*[=:]\s*[\"']?)"
    r"(?:(?:bearer|basic|token)\s+)?[^\s\"'&;,]+"
)
"""A value behind a name that says that it is secret, as in a query or a header."""
_SCHEME = re.compile(r"(?i)\b(bearer|basic)\s+[\w+/=.~-]{6,}")
_WORD = re.compile(r"[A-Za-z0-9_+/=~.-]{20,}")
_RUN = re.compile(r"[A-Za-z0-9]{10,}")
_TURN = re.compile(r"(?<=[a-z])[A-Z0-9]|(?<=[A-Z])[a-z0-9]|(?<=[0-9])[A-Za-z]")
_DIGIT_TURN = re.compile(r"(?<=[A-Za-z])[0-9]|(?<=[0-9])[A-Za-z]")
_MANY = 3
"""So often a random run of letters and digits goes from one to the other, and a name hardly."""
_MOST = 0.34
"""The share of characters that are of another kind than the one before, from which on a word is
taken for random: about 0.6 in base64, a third in names such as `MyPaymentService2`."""


def redacted(text: str) -> str:
    """`text` with *** for what is certainly a credential: for names of files and repos."""
    return _KNOWN.sub(HIDDEN, _SURE_USER_INFO.sub(f"://{HIDDEN}@", text))


def holds_credential(text: str) -> bool:
    """Whether a credential is certainly in `text`."""
    found = _KNOWN.search(text)
    return (found is not None and len(found[0]) >= _LEAST_SURE) or bool(
        _SURE_USER_INFO.search(text)
    )


def guarded(text: str) -> str:
    """`text` with *** for all that may be a credential, long random words among it."""
    text = _USER_INFO.sub(lambda m: f"{'//' if m[0][0] == '/' else ''}{HIDDEN}@", text)
    text = _KNOWN.sub(HIDDEN, text)
    text = _NAMED.sub(rf"\1{HIDDEN}", text)
    text = _SCHEME.sub(rf"\1 {HIDDEN}", text)
    return _WORD.sub(lambda m: HIDDEN if _is_random(m[0]) else m[0], text)


def file_name(path: str) -> str:
    """A path as it was given; in place of one without folders a token may stand."""
    return redacted(path) if path.startswith(("/", "./", "../")) else guarded(path)


def shown(value: Any, longest: int = _LONGEST) -> str:
    """A value as its writer wrote it, shortened, without anything that may be a credential."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case str():
            text = guarded(value)
            return repr(text if len(text) <= longest else f"{text[:longest]}...")
        case list():
            return "a list"
        case dict():
            return "a mapping"
    return str(value)


def _is_random(word: str) -> bool:
    if not any(c.isdigit() for c in word) or not any(c.isalpha() for c in word):
        return False
    turns = len(_TURN.findall(word))
    return turns > _MOST * len(word) or any(
        len(_DIGIT_TURN.findall(run)) >= _MANY for run in _RUN.findall(word)
    )
