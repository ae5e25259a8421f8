"""Providers, variables and files for a configuration to name, and what is said of it."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from pydantic import BaseModel, ConfigDict

from exporter.config import Config, load
from exporter.errors import ConfigError
from exporter.providers import Provider

TOKEN = "hunter2"
ENVIRON = {"T": TOKEN, "EMPTY": " ", "TWO_LINES": f"{TOKEN}\n{TOKEN}"}
ACCOUNT = "accounts: [{name: a, provider: stub, token_env: T, repos: [x]}]\n"


class Stub(Provider):
    """A CI system with a public API."""

    default_url: ClassVar[str | None] = "https://api.stub.example"
    provider: Literal["stub"]
    integration: Literal["github", "jenkins"] = "github"
    """Which of its dialects."""

    @classmethod
    def faults(cls, account: dict[str, Any]) -> list[tuple[tuple[str | int, ...], str]]:
        entries = enumerate(account["repos"])
        return [(("repos", i), "is bad (mend it)") for i, entry in entries if entry == "bad"]


class SelfHosted(Stub):
    """A CI system that everybody runs for themselves."""

    default_url: ClassVar[str | None] = None
    provider: Literal["selfhosted"]  # type: ignore[assignment]


class App(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    id: int
    private_key_file: str
    installation_id: int


class Open(Stub):
    """A CI system that answers everybody, and takes a credential of its own kind."""

    anonymous: ClassVar[bool] = True
    credentials: ClassVar[tuple[str, ...]] = ("token_env", "token_file", "app")
    provider: Literal["open"]  # type: ignore[assignment]
    app: App | None = None


PROVIDERS: dict[str, type[Provider]] = {"open": Open, "selfhosted": SelfHosted, "stub": Stub}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with the files that accounts name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\0\xff")
    (tmp_path / "large").write_text("x" * 70_000)
    (tmp_path / "loop").symlink_to("loop")
    return tmp_path


def read(text: str | bytes) -> Config:
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    Path("config.yaml").write_bytes(data)
    return load("config.yaml", environ=ENVIRON, providers=PROVIDERS)


def faults(text: str | bytes) -> list[str]:
    """What is said of `text`, without the file's name; nothing if it is sound."""
    try:
        read(text)
    except ConfigError as error:
        caught = error
    else:
        return []
    assert all(fault.startswith("config.yaml:") for fault in caught.faults)
    assert "\n".join(caught.faults) == str(caught)
    assert TOKEN not in "".join(traceback.format_exception(caught))
    return [fault.removeprefix("config.yaml:") for fault in caught.faults]


def fault(text: str) -> str:
    (only,) = faults(text)
    return only


def account(**keys: str) -> str:
    """A file of one account on one line, sound but for `keys`, in YAML."""
    every = {"name": "a", "provider": "stub", "token_env": "T", "repos": "[x]", **keys}
    return f"accounts: [{{{', '.join(f'{key}: {value}' for key, value in every.items())}}}]\n"
