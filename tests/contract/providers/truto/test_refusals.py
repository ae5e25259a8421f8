"""The unified API says whose refusal it is, so that nobody rotates the wrong secret."""

from __future__ import annotations

import json
from typing import Any

import pytest

from exporter.errors import Refused
from exporter.providers.truto import Truto
from tests.system.client import Visit, visit
from tests.tools.hostile import http

REMOTE: dict[str, Any] = {"message": "Bad credentials", "truto_is_remote_error": True}


def refused(status: int, **told: Any) -> Visit:
    return visit(http(json.dumps(told), status), dialect=Truto.dialect)


@pytest.mark.parametrize(
    "told",
    [REMOTE, {"message": "no", "truto_error_insight": {"remote_error": {"description": "d"}}}],
)
def test_a_refusal_of_the_ci_system_is_not_one_of_our_token(told: dict[str, Any]) -> None:
    met = refused(401, **told)

    assert met.verdict == (Refused, "unauthorized")
    assert met.error.account_wide
    assert "the CI system refuses the credentials of the integrated account" in str(met.error)
    assert "check the token" not in str(met.error)
    assert "Connect the integrated account again" in (met.error.advice or "")


def test_a_refusal_of_truto_is_one_of_our_token() -> None:
    met = refused(401, message="Bad credentials")

    assert str(met.error).endswith("answered 401 Unauthorized: check the token: Bad credentials")
    assert met.error.advice is None


def test_a_right_that_the_integrated_account_lacks_is_told_as_its_own() -> None:
    met = refused(403, **REMOTE)

    assert met.verdict == (Refused, "forbidden")
    assert not met.error.account_wide
    assert "does not let the integrated account read this" in str(met.error)
    assert "what the token may read" not in str(met.error)


def test_a_failure_of_the_ci_system_is_told_as_its_own() -> None:
    met = refused(500, **REMOTE)

    assert met.error.reason == "server"
    assert "the CI system behind the unified API answered 500" in str(met.error)


def test_what_truto_found_out_is_told() -> None:
    insight = {
        "missing_required_query_parameters": {"description": "d", "value": ["a", "b"]},
        "forbidden_error": {"description": "d", "value": {"missing_scopes": ["repo"]}},
    }
    met = refused(400, message="Forbidden", truto_error_insight=insight)

    assert str(met.error).endswith(
        "Forbidden; missing query parameters: a, b; missing scopes: repo"
    )
