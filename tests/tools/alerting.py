"""A real Alertmanager, and those whom it tells."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from scripts.alerts import PAGE
from tests.tools.monitoring import assert_ready, running
from tests.tools.system import eventually


class Inbox:
    """A webhook that keeps what Alertmanager sends."""

    def __init__(self) -> None:
        self._told: list[dict[str, Any]] = []
        self._news = threading.Condition()

    def take(self, message: Any) -> None:
        with self._news:
            self._told += message["alerts"]
            self._news.notify_all()

    def about(self, alert: str, status: str, repo: str | None = None) -> list[dict[str, Any]]:
        """What was said of an alert, `firing` or `resolved`; with `repo` of that one's only."""
        with self._news:
            return [
                told
                for told in self._told
                if (told["labels"]["alertname"], told["status"]) == (alert, status)
                and repo in (None, told["labels"].get("repo"))
            ]

    def awaited(
        self, alert: str, status: str, repo: str | None = None, *, within: float = 30.0
    ) -> dict[str, Any]:
        """The first of them, awaited."""
        with self._news:
            self._news.wait_for(lambda: self.about(alert, status, repo), within)
            told = self.about(alert, status, repo)
        assert told, f"{alert} is not {status} after {within} s; told so far: {self._told}"
        return told[0]

    def names(self, *, since: float) -> set[str]:
        """The alerts told that began to fire after `since`, epoch seconds."""
        with self._news:
            return {
                told["labels"]["alertname"]
                for told in self._told
                if datetime.fromisoformat(told["startsAt"]).timestamp() > since
            }


@contextmanager
def listening() -> Iterator[tuple[Inbox, str]]:
    """An inbox and its URL."""
    inbox = Inbox()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            inbox.take(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield inbox, f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def managing(alertmanager: Path, folder: Path, settings: Any) -> Iterator[str]:
    """The address of an Alertmanager with this configuration."""
    folder.mkdir()
    flags = (f"--storage.path={folder}/data", "--cluster.listen-address=")  # alone
    with running(alertmanager, folder / "alertmanager.yml", settings, *flags) as url:
        eventually(lambda: assert_ready(url))
        yield url.removeprefix("http://")


def blocks() -> list[Any]:
    """Every YAML of docs/ALERTS.md."""
    found = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    return [yaml.safe_load(block) for block in found]


def advised() -> dict[str, Any]:
    """What the guide advises for the configuration of Alertmanager."""
    return {
        key: value
        for block in blocks()
        for key, value in block.items()
        if key in {"route", "inhibit_rules"}
    }
