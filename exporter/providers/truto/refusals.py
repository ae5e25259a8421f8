"""Whose refusal it is: the unified API's own, or that of the CI system behind it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from exporter.errors import ProviderError
from exporter.remedies import REMEDIES

_ADVICE = (
    "Connect the integrated account again in Truto, or give it the rights that it lacks at the CI"
    " system; Truto's own token is good."
)


def explained(error: ProviderError, body: Mapping[str, Any]) -> ProviderError:
    """A refusal of the unified API by what it says of it.

    https://truto.one/docs/api-reference/overview/errors
    """
    insight = body.get("truto_error_insight")
    insight = insight if isinstance(insight, dict) else {}
    text = "; ".join([str(error), *_words(insight)])
    is_remote = body.get("truto_is_remote_error") is True or "remote_error" in insight
    if is_remote and error.reason == "unauthorized":
        text = text.replace(f": {REMEDIES['unauthorized'].hint}", "", 1)
        text = f"the CI system refuses the credentials of the integrated account: it {text}"
        error.advice, error.account_wide = _ADVICE, True  # though Truto itself takes our token
    elif is_remote and error.reason == "forbidden":
        text = text.replace(f": {REMEDIES['forbidden'].hint}", "", 1)
        text = f"the CI system does not let the integrated account read this: it {text}"
        error.advice = error.advice or _ADVICE
    elif is_remote:
        text = f"the CI system behind the unified API {text}"
    error.args = (text,)
    return error


def _words(insight: Mapping[str, Any]) -> Iterator[str]:
    """What the unified API found out about the error."""
    for key, entry in insight.items():
        match key, entry:
            case "missing_required_query_parameters", {"value": list() | str() as names}:
                yield f"missing query parameters: {_listed(names)}"
            case "forbidden_error", {"value": {"missing_scopes": list() | str() as scopes}}:
                yield f"missing scopes: {_listed(scopes)}"
            case "rate_limit_error", _:
                yield "rate limit"


def _listed(value: list[Any] | str) -> str:
    return value if isinstance(value, str) else ", ".join(str(item) for item in value[:10])
