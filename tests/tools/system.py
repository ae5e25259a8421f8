"""The exporter as its users have it: a process with a file, a port, a log and a state."""

from __future__ import annotations

import functools
import http.client
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar
from urllib.parse import urlsplit

from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as read_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as read_text
from prometheus_client.samples import Sample

T = TypeVar("T")

TOKEN_ENV = "SYSTEM_TEST_TOKEN"
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
_PATIENCE = 60.0
"""Seconds that a machine under load may take for what is done in one on a quiet one."""


def eventually(check: Callable[[], T], *, within: float = _PATIENCE, every: float = 0.05) -> T:
    """What `check` returns once it no longer fails; its last failure after `within` seconds."""
    deadline = time.monotonic() + within
    while True:
        try:
            return check()
        except AssertionError:
            if time.monotonic() > deadline:
                raise
        time.sleep(every)


# -- configuration


def account(name: str, integration: str, url: str, repos: Iterable[str], **keys: Any) -> Any:
    """An account of the unified API; its id there is its name unless `keys` differ."""
    known = {
        "name": name,
        "provider": "truto",
        "integration": integration,
        "integrated_account_id": name,
        "url": url,
        "repos": list(repos),
    }
    if "token_file" not in keys:
        known["token_env"] = TOKEN_ENV
    return known | keys


def configure(folder: Path, accounts: list[Any], **sections: Any) -> Path:
    """A configuration file in `folder`, where the state is kept too."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {"state": {"url": f"sqlite:///{folder}/state.db"}, **sections, "accounts": accounts}
    file = folder / "config.yaml"
    file.write_text(json.dumps(content, indent=1))  # JSON is YAML
    return file


# -- what is exposed


def series(name: str, labels: Mapping[str, str]) -> str:
    """A series as text, with its labels in alphabetical order."""
    told = ",".join(f'{label}="{value}"' for label, value in sorted(labels.items()))
    return f"{name}{{{told}}}"


class _Family(NamedTuple):
    name: str
    type: str
    samples: list[tuple[str, Sample]]


@functools.lru_cache(maxsize=512)
def _families(text: str, openmetrics: bool) -> list[_Family]:
    """What Prometheus' own parser reads; from one scrape to the next most blocks are the same."""
    read = read_openmetrics if openmetrics else read_text
    return [
        _Family(family.name, family.type, [(series(s.name, s.labels), s) for s in family.samples])
        for family in read(text)
    ]


class Exposition:
    """A parsed scrape: its values by series, each series once."""

    def __init__(self, text: str, *, openmetrics: bool = False) -> None:
        self.text = text
        self.types: dict[str, str] = {}
        self.values: dict[str, float] = {}
        self.samples: list[Sample] = []
        blocks = [text] if openmetrics else re.split(r"^(?=# HELP )", text, flags=re.MULTILINE)
        for family in itertools.chain.from_iterable(_families(b, openmetrics) for b in blocks):
            assert family.name not in self.types, f"{family.name} has two blocks"
            self.types[family.name] = family.type
            for key, sample in family.samples:
                assert key not in self.values, f"{key} is exposed twice"
                assert sample.timestamp is None, f"{key} has a timestamp"
                self.values[key] = sample.value
                self.samples.append(sample)

    def select(self, pattern: str, **labels: str) -> dict[str, float]:
        """The series whose name matches the whole pattern and that have these labels."""
        names = re.compile(pattern)
        return {
            key: s.value
            for key, s in zip(self.values, self.samples, strict=True)
            if names.fullmatch(s.name) and labels.items() <= s.labels.items()
        }

    def total(self, name: str, **labels: str) -> float:
        """The sum of the series of this name that have these labels."""
        return sum(self.select(re.escape(name), **labels).values())

    def value(self, name: str, **labels: str) -> float:
        """The one series of this name that has these labels."""
        (value,) = self.select(re.escape(name), **labels).values() or (None,)
        assert value is not None, f"no {series(name, labels)}"
        return value

    def counters(self) -> dict[str, float]:
        """All that may never go down of what survives a restart."""
        lasting = (
            r"cicd_(build|job).*|cicd_exporter_(missing_values|unmapped_values|anomalies|gaps).*"
        )
        return {
            key: value
            for key, value in self.select(lasting).items()
            if key.partition("{")[0].endswith(("_total", "_count", "_sum", "_bucket"))
        }


class Answer(NamedTuple):
    """An HTTP answer; `seconds` is how long it took."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float


def get(url: str, path: str, **headers: str) -> Answer:
    """GET; a header's name is written with underscores. Raises OSError."""
    begun = time.monotonic()
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=_PATIENCE)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("GET", path, headers=named)
        response = connection.getresponse()
        body = response.read()
        told = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, told, body, time.monotonic() - begun)
    except http.client.HTTPException as error:
        raise ConnectionError(str(error)) from error
    finally:
        connection.close()


# -- processes


class Exporter:
    """`cicd-exporter run` on a free port; ready inside the `with` block."""

    url: str

    def __init__(self, config: Path, *flags: str, env: Mapping[str, str] | None = None) -> None:
        self._command = _command("run", config, "--web.listen-address=127.0.0.1:0", *flags)
        self._env = _environment(env)
        self._lines: list[str] = []
        self._news = threading.Condition()
        self._listens = threading.Event()
        self._listens.set()

    def begin(self) -> None:
        """Start the process and do not wait for it."""
        self.began_at = time.time()
        self.process = subprocess.Popen(
            self._command, env=self._env, stderr=subprocess.PIPE, text=True, encoding="utf-8"
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        self.begin()
        try:
            line = self.logged("serving")
        except BaseException:
            self.kill()
            raise
        found = re.search(r'address(?:=|": ")([^\s"]+)', line)
        assert found is not None, line
        self.url = f"http://{found.group(1)}"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    @property
    def log(self) -> str:
        """All it has written to its standard error so far."""
        with self._news:
            return "".join(self._lines)

    def logged(self, text: str, *, within: float = _PATIENCE) -> str:
        """The first log line with `text` in it, awaited."""

        def found() -> str | None:
            return next((line for line in self._lines if text in line), None)

        with self._news:
            self._news.wait_for(lambda: found() or self.process.poll() is not None, within)
            line = found()
        assert line is not None, f"no {text!r} in the log:\n{self.log}"
        return line

    def silence(self) -> None:
        """Read its log no more, until `listen` is called or it has ended."""
        self._listens.clear()

    def listen(self) -> None:
        """Read its log again."""
        self._listens.set()

    def get(self, path: str, **headers: str) -> Answer:
        return get(self.url, path, **headers)

    def scrape(self) -> Exposition:
        answer = self.get("/metrics")
        assert answer.status == 200, answer
        return Exposition(answer.body.decode())

    def scrape_at_once(self) -> Exposition:
        """A scrape that waits for nobody: one of three is quick, however busy the machine is."""
        answers = [self.get("/metrics")]
        while answers[-1].seconds >= 1 and len(answers) < 3:
            answers.append(self.get("/metrics"))
        assert answers[-1].status == 200, answers[-1]
        assert answers[-1].seconds < 1, "a scrape waited"
        return Exposition(answers[-1].body.decode())

    def status(self) -> Any:
        """`/status.json`."""
        return json.loads(self.get("/status.json").body)

    def polled(self) -> Exposition:
        """A scrape after every repo was polled by this process."""
        scrape = self.scrape()
        polls = scrape.select("cicd_exporter_poll_last_success_timestamp_seconds")
        assert polls
        assert all(at > self.began_at for at in polls.values()), polls
        return scrape

    def kill(self) -> None:
        """SIGKILL, if it still runs."""
        self.process.kill()
        self._ended(_PATIENCE)

    def stop(self, *, within: float = _PATIENCE) -> int:
        """SIGTERM; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self._ended(within)

    def _ended(self, within: float) -> int:
        code = self.process.wait(within)
        self.listen()
        self._reader.join()
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._listens.wait()
            with self._news:
                self._lines.append(line)
                self._news.notify_all()
        with self._news:
            self._news.notify_all()


class Once(NamedTuple):
    """What `cicd-exporter once` left."""

    code: int
    scrape: Exposition
    log: str


def once(config: Path, *flags: str, env: Mapping[str, str] | None = None) -> Once:
    """Poll every target once."""
    done = subprocess.run(
        _command("once", config, *flags),
        env=_environment(env),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    return Once(done.returncode, Exposition(done.stdout), done.stderr)


def _command(command: str, config: Path, *flags: str) -> list[str]:
    return [sys.executable, "-m", "exporter", command, f"--config.file={config}", *flags]


def _environment(env: Mapping[str, str] | None) -> dict[str, str]:
    return {**os.environ, TOKEN_ENV: "demo", **(env or {})}
