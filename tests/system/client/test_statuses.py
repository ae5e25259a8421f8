"""Each status becomes its error, told in one line; what may pass is tried again."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from exporter.errors import Gone, Malformed, ProviderError, Refused, TryLater
from exporter.http import RetryPolicy, bodies
from exporter.providers.github import GitHub
from tests.system.client import LONG, OK, Item, visit
from tests.tools.hostile import Reply, flood, hang_up, http, reset, stall

# Statuses


@pytest.mark.parametrize(
    ("status", "verdict", "retried"),
    [
        (204, (Malformed, "bad_shape"), False),
        (300, (Malformed, "redirect"), False),
        (304, (Malformed, "redirect"), False),
        (400, (Refused, "bad_shape"), False),
        (401, (Refused, "unauthorized"), False),
        (402, (Refused, "forbidden"), False),
        (403, (Refused, "forbidden"), False),
        (404, (Gone, "not_found"), False),
        (405, (Refused, "bad_shape"), False),
        (407, (Refused, "unauthorized"), False),
        (408, (TryLater, "timeout"), True),
        (409, (Refused, "bad_shape"), False),
        (410, (Gone, "not_found"), False),
        (418, (Refused, "bad_shape"), False),
        (422, (Refused, "bad_shape"), False),
        (425, (TryLater, "server"), True),
        (429, (TryLater, "rate_limited"), False),
        (451, (Refused, "forbidden"), False),
        (500, (TryLater, "server"), True),
        (502, (TryLater, "server"), True),
        (503, (TryLater, "server"), True),
        (504, (TryLater, "timeout"), True),
        (511, (TryLater, "server"), True),
    ],
)
def test_each_status_becomes_its_error(
    status: int, verdict: tuple[type[ProviderError], str], *, retried: bool
) -> None:
    met = visit(http(b"" if status in (204, 304) else "{}", status=status))

    assert met.verdict == verdict
    assert str(status) in str(met.error) or status == 204
    assert met.stats.requests == {str(status): 3 if retried else 1}
    assert met.stats.errors == {verdict[1]: 3 if retried else 1}
    assert met.left_open == 0


def test_a_status_nobody_knows_is_the_servers_fault() -> None:
    assert visit(hang_up(b"HTTP/1.1 599 ?\r\n\r\n")).verdict == (TryLater, "server")


NOT_FOUND = b"HTTP/1.1 404 Not Found\r\ncontent-length: 10\r\n\r\n"


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(stall(NOT_FOUND), id="stalled"),
        pytest.param(reset(NOT_FOUND + b"{"), id="reset"),
        pytest.param(flood(NOT_FOUND.replace(b"10", b"9999999"), b" " * 9999), id="endless"),
        pytest.param(http(b"x", status=404, content_encoding="br"), id="other-encoding"),
        pytest.param(http(b"x", status=404, content_encoding="gzip"), id="broken-gzip"),
        pytest.param(http(b"[" * 60_000, status=404), id="deep"),
        pytest.param(http(b"\xff\xfe", status=404, content_type="text/plain"), id="no-utf-8"),
        pytest.param(http("<html>", status=404, content_type="text/html"), id="web-page"),
    ],
)
def test_no_fault_of_its_body_hides_the_status(
    reply: Reply, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "_ERROR_BODY_SECONDS", 0.05)

    assert visit(reply).verdict == (Gone, "not_found")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            {"statusCode": 400, "error": "Bad Request", "message": "integrated_account_id missing"},
            "integrated_account_id missing",
        ),
        (
            {"message": "Validation Failed", "errors": [{"field": "per_page", "code": "invalid"}]},
            "Validation Failed; per_page; invalid",
        ),
        ({"error": "invalid_token", "error_description": "Token revoked"}, "Token revoked"),
        ({"type": "error", "error": {"message": "No such repo"}}, "No such repo"),
        ({"message": {"base": ["not allowed"]}}, "not allowed"),
        ({"@type": "error", "error_message": "access denied"}, "access denied"),
        ({"errors": [{"message": "Wrong project"}, "Other"]}, "Wrong project; Other"),
        ({"message": "two\r\nlines\t\0 \x1b[31m \u202e"}, "two lines [31m"),
        (
            {"message": "at https://h.example/p?access_token=1&b#c now"},
            "at https://h.example/p now",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_error_tells_what_the_api_says(body: dict[str, Any], said: str) -> None:
    error = visit(http(json.dumps(body), status=400)).error

    assert str(error).endswith(f"/x: answered 400 Bad Request: the API rejects the request: {said}")


@pytest.mark.parametrize(
    ("headers", "needs"),
    [
        ({"x_accepted_github_permissions": "actions=read"}, ": it takes actions=read"),
        ({"x_accepted_oauth_scopes": "repo, admin:org"}, ": it takes repo, admin:org"),
        (
            {"www_authenticate": 'Bearer error="insufficient_scope", scope="api read_api"'},
            ": it takes api read_api",
        ),
        ({"www_authenticate": "Basic realm=x", "x_accepted_oauth_scopes": ""}, ""),
    ],
)
def test_a_refusal_names_the_permission_that_is_missing(
    headers: dict[str, str], needs: str
) -> None:
    met = visit(http('{"message":"no"}', 403, **headers), dialect=GitHub.dialect)

    assert met.verdict == (Refused, "forbidden")
    assert str(met.error).endswith(f"check what the token may read: no{needs}")


def test_a_plain_text_error_is_told() -> None:
    error = visit(http("No such job\n", status=404, content_type="text/plain")).error

    assert str(error).endswith("not there, or not for this token: No such job")


def test_an_error_is_one_short_line() -> None:
    met = visit(http(json.dumps({"message": "very\nlong " * 999}), status=400), path="/p" * 999)

    assert len(str(met.error)) < 620
    assert str(met.error).isprintable()


def test_no_text_takes_long_to_be_told() -> None:
    begun = time.process_time()
    visit(http(json.dumps({"message": "http://" * 9000}), status=400))

    assert time.process_time() - begun < 1


def test_a_huge_answer_of_the_wrong_shape_is_not_read_twice() -> None:
    body = json.dumps({"message": "x" * 100_000})

    assert "it says" not in str(visit(http(body), into=Item).error)


# Retries


def test_what_may_succeed_is_tried_again_with_growing_pauses() -> None:
    met = visit(http(status=503), reset(LONG), OK)

    assert met.answer.body == {"a": 1}
    assert met.pauses == [0.25, 0.5]
    assert met.stats.requests == {"503": 1, "200": 2}
    assert met.stats.errors == {"server": 1, "connect": 1}


def test_pauses_are_a_random_share_up_to_the_cap() -> None:
    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    pauses: list[float] = []
    visit(http(status=500), retries=RetryPolicy(attempts=8, sleep=sleep, random=lambda: 1.0))

    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]


def test_a_server_that_names_a_short_pause_gets_it() -> None:
    met = visit(http(status=503, retry_after="7"), OK)

    assert met.answer.body == {"a": 1}
    assert met.pauses == [7.0]


def test_a_server_that_names_a_long_pause_is_left_alone() -> None:
    met = visit(http(status=503, retry_after="120"))

    assert met.verdict == (TryLater, "server")
    assert isinstance(met.error, TryLater)
    assert met.error.delay == 120.0
    assert len(met.requests) == 1
