"""A credential that a server sends back becomes no name, no label and no row of the state."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tests.system.client import SECRET, secret_headers, visit
from tests.tools.hostile import http

ESCAPED = "".join(f"\\u{ord(letter):04X}" for letter in SECRET)
SLASHED = "s3cr3t/with/slashes"


def read(body: str | bytes, headers: dict[str, str] | None = None) -> Any:
    """What is read of an answer to a request with these headers."""
    sent = secret_headers() if headers is None else headers
    return visit(http(body), headers=lambda: sent, into=Any).answer.body


@pytest.mark.parametrize(
    "told",
    [SECRET, f"Bearer {SECRET}", f"a{SECRET}b", SECRET * 3, ESCAPED, ESCAPED[:6] + SECRET[1:]],
)
def test_an_echoed_token_is_not_read(told: str) -> None:
    name = read(f'{{"name": "{told}", "n": 1}}')["name"]

    assert SECRET not in name
    assert "***" in name


@pytest.mark.parametrize("headers", [{"PRIVATE-TOKEN": SLASHED}, {"Circle-Token": SLASHED}])
def test_a_token_with_slashes_is_not_read_however_they_are_escaped(headers: dict[str, str]) -> None:
    for told in (SLASHED, SLASHED.replace("/", "\\/"), SLASHED.replace("/", "\\u002f")):
        assert read(f'{{"name": "{told}"}}', headers) == {"name": "***"}


def test_an_echoed_password_is_not_read() -> None:
    pair = base64.b64encode(b"me:pa55word").decode()

    told = read(
        json.dumps([pair, "pa55word", "me:pa55word", "me"]), {"Authorization": f"Basic {pair}"}
    )

    assert told == ["***", "***", "me:***", "me"]


def test_an_echoed_token_is_not_read_of_a_large_answer() -> None:
    body = json.dumps({"a": ["x" * 50] * 40_000, "name": SECRET})

    assert read(body)["name"] == "***"


def test_what_is_no_secret_is_read_as_it_is() -> None:
    headers = secret_headers() | {
        "X-GitHub-Api-Version": "2022-11-28",
        "Accept": "application/json",
    }
    told = {"at": "2022-11-28", "type": "application/json", "path": "a/b\\c", "by": "cicd-exporter"}

    assert read(json.dumps(told), headers) == told


def test_a_short_password_is_a_word_that_names_may_hold() -> None:
    pair = base64.b64encode(b"me:main").decode()

    assert read('{"name":"main"}', {"Authorization": f"Basic {pair}"}) == {"name": "main"}


def test_an_echoed_token_is_not_read_of_headers() -> None:
    reply = http(
        "{}",
        x_ratelimit_resource=SECRET,
        x_ratelimit_limit="5",
        etag=f'"{SECRET}"',
        link=f"<https://x?cursor={SECRET}>",
    )
    met = visit(reply, conditional=True, count=2)

    assert SECRET not in repr(met.answer.headers) + repr(met.stats)
    assert met.requests[1].headers["if-none-match"] == '"***"'
