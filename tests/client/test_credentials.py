"""A credential is always the newest one, and no error shows it."""

from __future__ import annotations

import json
import traceback
from pathlib import Path

import pytest

from exporter.errors import Refused
from exporter.http import Api, Token
from tests.client import BODY, LONG, OK, SECRET, Item, gz, secret_headers, visit
from tests.hostile import Reply, hang_up, http, reset

# Authorization


def test_a_token_that_has_been_rotated_is_tried_at_once() -> None:
    tokens = iter(["old", "new", "newest"])
    met = visit(http(status=401), OK, headers=lambda: {"Authorization": next(tokens)})

    assert met.answer.body == {"a": 1}
    assert [request.headers["authorization"] for request in met.requests] == ["old", "new"]
    assert met.pauses == []
    assert met.stats.errors == {"unauthorized": 1}


def test_a_token_that_is_wrong_twice_is_not_tried_again() -> None:
    tokens = iter(["old", "new", "newest"])
    met = visit(http(status=401), headers=lambda: {"Authorization": next(tokens)})

    assert met.verdict == (Refused, "unauthorized")
    assert met.error.account_wide
    assert len(met.requests) == 2


def test_a_credential_that_cannot_be_read_is_a_refusal_and_nothing_is_sent(tmp_path: Path) -> None:
    token = Token(env=None, file=str(tmp_path / "gone"))
    met = visit(OK, headers=lambda: {"Authorization": token.read() or ""})

    assert met.verdict == (Refused, "unauthorized")
    assert met.requests == []
    assert met.stats.errors == {"unauthorized": 1}


@pytest.mark.parametrize("value", ["to\r\nX-Evil: 1", "töken", "to\0ken"])
def test_a_credential_that_no_header_can_carry_is_a_refusal(value: str) -> None:
    met = visit(OK, headers=lambda: {"Authorization": value})

    assert met.verdict == (Refused, "unauthorized")
    assert met.requests == []
    assert value not in str(met.error)


# Secrets


@pytest.mark.parametrize(
    "reply",
    [
        http(json.dumps({"message": f"token {SECRET} is invalid"}), status=401),
        http(json.dumps({"message": f"Bearer {SECRET}"}), status=500),
        http(json.dumps({"message": f"{SECRET}"}), status=429),
        http(json.dumps({"error": SECRET})),
        http("<html>", content_type="text/html"),
        http(b"{"),
        gz(BODY),
        hang_up(),
        reset(LONG),
        hang_up(b"nonsense"),
    ],
    ids=["401", "500", "429", "shape", "page", "json", "gzip", "closed", "reset", "not-http"],
)
def test_no_error_shows_the_credential_or_the_query(reply: Reply) -> None:
    met = visit(reply, params={"cursor": "qu3ry"}, into=Item)

    shown = "".join(traceback.format_exception(met.error)) + repr(met.error)
    assert SECRET not in shown
    assert "qu3ry" not in shown
    assert met.error.__cause__ is None


def test_an_echoed_password_of_basic_authorization_is_hidden() -> None:
    reply = http('{"message":"no pa55word for dXM6cGE1NXdvcmQ="}', status=401)
    met = visit(reply, headers=lambda: {"Authorization": "Basic dXM6cGE1NXdvcmQ="})

    assert str(met.error).endswith("no *** for ***")


def test_a_credential_that_is_echoed_again_and_again_is_hidden_to_its_last_letter() -> None:
    shown = str(visit(http(json.dumps({"message": SECRET * 2000}), status=401)).error)

    assert SECRET[:4] not in shown
    assert SECRET[-4:] not in shown
    assert "***" in shown


# Tokens


def test_a_token_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CICD_TEST_TOKEN", f" {SECRET}\n")

    assert Token(env="CICD_TEST_TOKEN", file=None).read() == SECRET


def test_a_token_that_nobody_names_is_none() -> None:
    assert Token(env=None, file=None).read() is None


def test_a_token_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_bytes(b"\xef\xbb\xbfone\r\n")
    token = Token(env=None, file=str(file))
    assert token.read() == "one"

    file.write_text("two")
    assert token.read() == "two"

    replacement = tmp_path / "new"
    replacement.write_text("six")
    replacement.replace(file)
    assert token.read() == "six"


def test_a_token_behind_a_swapped_symlink_is_read_again(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "token").write_text(name)
    data = tmp_path / "data"
    data.symlink_to("one")
    token = Token(env=None, file=str(data / "token"))
    assert token.read() == "one"

    (tmp_path / "next").symlink_to("two")
    (tmp_path / "next").replace(data)
    assert token.read() == "two"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: no such file or directory"),
        (b"", "is not set or empty"),
        (b" \n", "is not set or empty"),
        (b"s3cr3t\xff", "does not hold text"),
        (b"s3cr3t\nline", "holds more than one line of ASCII"),
    ],
)
def test_a_file_without_a_token_is_refused_and_named(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(Refused) as caught:
        Token(env=None, file=str(file)).read()

    assert str(caught.value) == f"token_file {file} {said}"
    assert caught.value.reason == "unauthorized"
    assert "s3cr3t" not in "".join(traceback.format_exception(caught.value))


def test_a_variable_that_is_not_set_is_refused_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CICD_TEST_TOKEN", raising=False)

    with pytest.raises(Refused, match="environment variable CICD_TEST_TOKEN is not set or empty"):
        Token(env="CICD_TEST_TOKEN", file=None).read()


def test_no_repr_shows_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CICD_TEST_TOKEN", SECRET)
    token = Token(env="CICD_TEST_TOKEN", file=None)
    token.read()
    api = Api(root="http://h", headers=secret_headers, timeout=1, proxy="http://h")

    assert SECRET not in repr(token) + repr(api) + repr(vars(token)) + repr(api.stats)
