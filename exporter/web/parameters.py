"""The parameters of a query string, read strictly: what makes no sense is refused in one line."""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Collection
from urllib.parse import parse_qsl

from starlette.responses import Response

from exporter import times
from exporter.messages import unknown_word
from exporter.redaction import shown
from exporter.web.headers import HEADERS

_LONGEST = 1000
"""Characters of a value."""
_MOST = 100
"""Parameters of a query, known ones or not."""


class ParameterFault(ValueError):
    """Why a query string is refused: one line that begins with the parameter's name."""


def parameters(query: bytes, names: Collection[str]) -> dict[str, str]:
    """The values of those `names` that `query` has; other parameters do not matter.

    Raises ParameterFault for one that is given twice, too long, or no text of one line.
    """
    try:
        pairs = parse_qsl(
            query.decode("ascii"), keep_blank_values=True, max_num_fields=_MOST, errors="strict"
        )
    except UnicodeError:
        raise ParameterFault("the query is not percent-encoded UTF-8") from None
    except ValueError:
        raise ParameterFault(f"the query has more than {_MOST} parameters") from None
    found: dict[str, str] = {}
    for name, value in pairs:
        if name not in names:
            continue
        if name in found:
            raise ParameterFault(f"{name}: is given more than once")
        if len(value) > _LONGEST:
            raise ParameterFault(f"{name}: is longer than {_LONGEST} characters")
        if any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in value):
            raise ParameterFault(f"{name}: holds a control character")
        found[name] = value
    return found


def number(name: str, text: str, least: int, most: int) -> int:
    """A whole number in decimal digits. Raises ParameterFault."""
    if text.isascii() and text.isdigit() and len(text) < 10 and least <= int(text) <= most:
        return int(text)
    raise ParameterFault(
        f"{name}: must be a whole number from {least} to {most}, got {shown(text)}"
    )


def instant(name: str, text: str) -> float:
    """Epoch seconds of a time as people write it. Raises ParameterFault."""
    try:
        return times.point(text, now=time.time())
    except ValueError as error:
        raise ParameterFault(f"{name}: {error}") from None


def one_of(name: str, text: str, words: Collection[str]) -> str:
    """`text` if it is one of `words`. Raises ParameterFault."""
    if text in words:
        return text
    raise ParameterFault(f"{name}: {unknown_word(text, words)}")


def refused(fault: ParameterFault) -> Response:
    """The answer to a query with a fault."""
    return sentence(str(fault), 400)


def sentence(text: str, status: int) -> Response:
    """An answer of one line that no cache keeps."""
    body = f"{text}\n".encode("utf-8", "replace")
    return Response(body, status, HEADERS, media_type="text/plain")
