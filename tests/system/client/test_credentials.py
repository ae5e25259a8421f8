"""A credential is always the newest one, and no error shows it."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from exporter import files
from exporter.errors import ProviderError, Refused
from exporter.http import Api, Token, secret
from exporter.providers import catalogue
from tests.system.client import BODY, LONG, OK, SECRET, Item, connected, gz, secret_headers, visit
from tests.tools.hostile import Reply, Server, hang_up, http, reset

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


# Files that change, and those that do not answer


def rotating(file: Path) -> tuple[Token, Callable[[], dict[str, str]]]:
    """A token from a file, and the headers of requests with it."""
    token = Token(env=None, file=str(file))
    return token, lambda: {"Authorization": token.known() or ""}


def sent(server: Server) -> list[str]:
    return [request.headers["authorization"] for request in server.requests]


def test_a_token_that_is_refused_is_read_again_at_once(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("old")
    token, headers = rotating(file)

    async def go() -> list[str]:
        async with (
            Server(OK, http(status=401), OK) as server,
            connected(server.root, headers=headers, token=token) as (api, _),
        ):
            await api.get("/x", into=dict)
            file.write_text("new")
            await api.get("/x", into=dict)
            return sent(server)

    assert asyncio.run(go()) == ["old", "old", "new"]


def test_whether_a_token_has_changed_can_be_asked_without_a_request(tmp_path: Path) -> None:
    file, key = tmp_path / "token", tmp_path / "key"
    file.write_text("one")
    key.write_text("k1")
    token = Token(env=None, file=str(file), beside=(str(key),))

    async def go() -> list[bool]:
        async with (
            Server(OK) as server,
            connected(server.root, headers=secret_headers, token=token) as (api, _),
        ):
            told = []

            async def ask() -> None:
                told.append(await api.has_new_credential())

            await api.get("/x", into=dict)
            await ask()
            file.touch()  # by somebody who has changed nothing
            await ask()
            file.write_text("two")
            await ask()
            await ask()
            file.unlink()
            await ask()
            (tmp_path / "next").write_text("two")
            (tmp_path / "next").replace(file)
            await ask()
            key.write_text("k2!")
            await ask()
            await ask()
            assert len(server.requests) == 1
            return told

    assert asyncio.run(go()) == [False, False, True, False, True, True, True, False]


def test_a_variable_never_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CICD_TEST_TOKEN", SECRET)
    token = Token(env="CICD_TEST_TOKEN", file="/dev/zero")

    async def go() -> bool:
        await token.look()
        return await token.changed()

    assert not asyncio.run(go())
    assert token.known() == SECRET


def of_another_kind(folder: Path, kind: str) -> str:
    file = folder / kind
    if kind == "fifo":
        os.mkfifo(file)
    elif kind == "huge":
        file.touch()
        os.truncate(file, 2**40)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(file))
    else:
        return kind
    return str(file)


@pytest.mark.parametrize("kind", ["fifo", "huge", "socket", "/dev/zero", "/dev/tty", "/"])
def test_a_token_file_of_another_kind_is_refused_and_holds_nobody_up(
    tmp_path: Path, kind: str
) -> None:
    file = tmp_path / "token"
    file.write_text("old")
    token, headers = rotating(file)

    async def go() -> ProviderError:
        async with (
            Server(OK) as server,
            connected(server.root, headers=headers, token=token) as (api, _),
        ):
            await api.get("/x", into=dict)
            file.unlink()
            file.symlink_to(of_another_kind(tmp_path, kind))
            assert await api.has_new_credential()
            await token.look(anew=True)
            with pytest.raises(Refused) as caught:
                await api.get("/x", into=dict)
            assert sent(server) == ["old"]
            file.unlink()
            file.write_text("new")
            assert await api.has_new_credential()
            await api.get("/x", into=dict)
            assert sent(server) == ["old", "new"]
        return caught.value

    error = asyncio.run(go())
    assert error.reason == "unauthorized"
    assert "token_file" in str(error)


def test_a_disk_that_does_not_answer_costs_neither_the_token_nor_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, answers = tmp_path / "token", threading.Event()
    file.write_text("old")
    token, headers = rotating(file)
    looks: list[str] = []

    def stamp(name: str) -> None:
        looks.append(name)
        answers.wait(60)

    async def go() -> list[str]:
        async with (
            Server(OK) as server,
            connected(server.root, headers=headers, token=token) as (api, _),
        ):
            await api.get("/x", into=dict)
            monkeypatch.setattr(secret, "_stamp", stamp)
            monkeypatch.setattr(files, "PATIENCE", 0.05)
            monkeypatch.setattr(secret, "_STILL_NEW", 0.0)
            for _ in range(5):
                await api.get("/x", into=dict)
            assert not await api.has_new_credential()
            assert looks == [str(file)], "one thread waits, and no second one"
            return sent(server)

    try:
        assert asyncio.run(go()) == ["old"] * 6
    finally:
        answers.set()


def test_a_disk_that_never_answered_is_a_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()
    token, headers = rotating(tmp_path / "token")
    monkeypatch.setattr(secret, "_stamp", lambda _: answers.wait(60))
    monkeypatch.setattr(files, "PATIENCE", 0.05)

    try:
        met = visit(OK, headers=headers, token=token)
    finally:
        answers.set()

    assert met.verdict == (Refused, "unauthorized")
    assert "its disk does not answer" in str(met.error)
    assert met.requests == []


def test_a_key_that_does_not_come_in_time_is_a_refusal() -> None:
    answers = threading.Event()

    def headers() -> dict[str, str]:
        answers.wait(60)
        return {}

    async def go() -> ProviderError:
        async with Server(OK) as server, connected(server.root, timeout=0.1) as (api, _):
            with pytest.raises(Refused) as caught:
                await api.post("/x", into=dict, headers=headers)
            assert server.requests == []
            return caught.value

    try:
        assert asyncio.run(go()).reason == "unauthorized"
    finally:
        answers.set()


@pytest.mark.parametrize(
    ("provider", "keys", "expected"),
    [
        ("github", {"token_env": "T"}, ()),
        (
            "github",
            {"app": {"id": 1, "installation_id": 2, "private_key_file": "/k.pem"}},
            ("/k.pem",),
        ),
        (
            "azure_devops",
            {"entra": {"tenant_id": "t", "client_id": "c", "client_secret_file": "/s"}},
            ("/s",),
        ),
        (
            "azure_devops",
            {"entra": {"tenant_id": "t", "client_id": "c", "federated_token_file": "/f"}},
            ("/f",),
        ),
    ],
)
def test_every_file_of_a_credential_is_looked_at(
    provider: str, keys: dict[str, Any], expected: tuple[str, ...]
) -> None:
    account = catalogue()[provider].model_validate(
        {"name": "a", "provider": provider, "repos": ["acme/shop"], **keys}
    )

    assert account.secret_files == expected
