"""The past, imported into a real Prometheus, is what happened."""

from __future__ import annotations

import itertools
import json
import os
import pty
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest

from exporter.cli import parser
from exporter.demo import JobRun, Run, World
from exporter.errors import ConfigError, ExporterError
from tests.tools.emulators.unified import EmulatorThread, Fault
from tests.tools.monitoring import assert_ready, served
from tests.tools.system import TOKEN_ENV, account, configure, eventually, get

HOUR, HOURS = 3600, 48
REPO, LIST = "acme/shop", "/unified/ci-cd/builds"
CONCLUSIONS = ("passed", "passed", "passed", "failed", "cancelled")


class Past(NamedTuple):
    """48 hours of builds, and where they are told of."""

    world: World
    emulator: EmulatorThread
    config: Path
    since: int
    until: int

    def run(self, *flags: str) -> int:
        """The exit code of the command, run in this process."""
        options = parser().parse_args(self.command(*flags)[3:])
        return int(options.run(options))

    def command(self, *flags: str) -> list[str]:
        span = () if any("--since" in f for f in flags) else (f"--since={told(self.since)}",)
        end = () if any("--until" in f for f in flags) else (f"--until={told(self.until)}",)
        file = f"--config.file={self.config}"
        return [sys.executable, "-m", "exporter", "backfill", file, *span, *end, *flags]

    def listed(self) -> list[Run]:
        """The builds that completed, as the API has them: each in its newest attempt."""
        accounts = self.world.accounts.values()
        return [
            run
            for known in accounts
            for entry in known.repos
            for run in self.world.listed(known, entry)
            if run.completed_at is not None and run.completed_at <= time.time()
        ]

    def per_hour(self, ended: Callable[[Any], bool] = lambda _: True) -> list[int]:
        """How many builds completed in each hour, its end included and its beginning not."""
        hours = Counter(
            (int(run.completed_at or 0) - 1 - self.since) // HOUR
            for run in self.listed()
            if ended(run)
        )
        return [hours[hour] for hour in range(HOURS)]


ENVIRONMENT = {**os.environ, TOKEN_ENV: "demo"}


def told(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def builds(since: int, until: int) -> Iterator[Run]:
    """Builds that complete in no pattern, also before and after; now and then one is rerun."""
    chance = random.Random(6)
    at, number = since - 3 * HOUR, 0
    while (at := at + chance.randrange(60, 2400)) < until + HOUR:
        number += 1
        started, took = at + chance.randrange(1, 60), chance.randrange(30, 5400)
        attempts = 2 if number % 17 == 0 else 1
        for attempt in range(1, attempts + 1):
            ended = started + took * attempt
            job = JobRun(
                id=f"{number}{attempt}",
                name="test",
                created_at=at,
                started_at=started + took * (attempt - 1),
                completed_at=ended,
                conclusion=chance.choice(CONCLUSIONS),
            )
            yield Run(
                id=str(number),
                number=number,
                attempt=attempt,
                workflow=chance.choice(("CI", "Deploy")),
                created_at=at,
                requested_at=job.started_at if attempt > 1 else None,
                started_at=job.started_at,
                completed_at=ended,
                conclusion=job.conclusion,
                jobs=(job,),
            )
    # On the stroke of the hour, and at the very end and the very beginning.
    for n, end in enumerate((since, since + HOUR, until), 9000):
        yield Run(
            id=str(n), number=n, workflow="Sharp", created_at=end - 90, started_at=end - 60,
            completed_at=end, conclusion="passed",
        )  # fmt: skip


@pytest.fixture(autouse=True)
def token(monkeypatch) -> None:
    monkeypatch.setenv(TOKEN_ENV, "demo")


@pytest.fixture(scope="module")
def past(tmp_path_factory) -> Iterator[Past]:
    world = World()
    until = int(time.time()) // HOUR * HOUR - HOUR
    since = until - HOURS * HOUR
    world.open("acme", "github", REPO)
    world.open("pipes", "azuredevops", "acme/pipes")
    for run in builds(since, until):
        world.add("acme", REPO, run)
        if run.attempt == 1 and run.number % 3:
            world.add("pipes", "acme/pipes", run)
    with EmulatorThread(world) as emulator:
        accounts = [
            account("acme", "github", emulator.url, [REPO], jobs=True),
            account("pipes", "azuredevops", emulator.url, ["acme/pipes"]),
        ]
        config = configure(tmp_path_factory.mktemp("exporter"), accounts)
        yield Past(world, emulator, config, since, until)


def first_scrapes(since: int) -> str:
    """What an exporter shows that starts where the import ends: its lookback is in already."""
    series = f'cicd_builds_total{{account="acme",repo="{REPO}",instance="live"}} 1000'
    points = [f"{series} {at}" for at in range(since, since + HOUR + 1, 300)]
    return "\n".join(["# TYPE cicd_builds counter", *points, "# EOF\n"])


class Imported(NamedTuple):
    """A Prometheus that scrapes nothing and has the history."""

    url: str
    said: str
    """What `backfill` wrote to the terminal."""


@pytest.fixture(scope="module")
def api(past, prometheus, promtool, tmp_path_factory) -> Iterator[Imported]:
    folder = tmp_path_factory.mktemp("prometheus")
    text = folder / "history.txt"
    flags = (f"--output={text}", "--step=5m", "--label=instance=backfill")
    ours, its = pty.openpty()
    subprocess.run(past.command(*flags), env=ENVIRONMENT, stderr=its, check=True, timeout=60)
    os.close(its)
    said = os.read(ours, 65536).decode()
    os.close(ours)
    live = folder / "live.txt"
    live.write_text(first_scrapes(past.until))
    for file in (text, live):
        importing = [promtool, "tsdb", "create-blocks-from", "--max-block-duration=72h"]
        importing += ["openmetrics", file, folder / "data"]
        subprocess.run(importing, check=True, capture_output=True, timeout=60)
    with served(prometheus, folder) as url:
        eventually(lambda: assert_ready(url))
        yield Imported(url, said)


def hourly(url: str, past: Past, query: str) -> list[float]:
    """The values of a query at the end of each of the hours."""
    span = f"start={past.since + HOUR}&end={past.until}&step={HOUR}"
    answer = get(url, f"/api/v1/query_range?query={quote(query)}&{span}")
    assert answer.status == 200, answer.body
    (row,) = json.loads(answer.body)["data"]["result"]
    values = {int(at): float(value) for at, value in row["values"]}
    return [values.get(past.since + HOUR * n, 0.0) for n in range(1, HOURS + 1)]


# A millisecond more, as Prometheus 3 takes the beginning of a range for the one before.
WINDOW = "[1h1ms]"
OURS = '{instance="backfill"}'


@pytest.mark.parametrize(
    ("selector", "ended"),
    [
        ("cicd_builds_total", lambda _: True),
        ('cicd_builds_total{conclusion="failed"}', lambda run: run.conclusion == "failed"),
        ('cicd_builds_total{workflow="Sharp"}', lambda run: run.workflow == "Sharp"),
        ("cicd_build_duration_seconds_count", lambda _: True),
        ("cicd_build_retries_total", lambda run: run.attempt > 1),
        ('cicd_build_duration_seconds_bucket{le="600.0"}', lambda run: run.duration <= 600),
        ("cicd_jobs_total", lambda run: run.jobs and run.repo == REPO),
    ],
)
def test_the_increase_of_an_hour_is_the_builds_of_that_hour(past, api, selector, ended):
    expected = past.per_hour(ended)
    assert sum(expected) > 1

    increases = hourly(api.url, past, f"sum(increase({selector}{WINDOW}))")

    assert increases == pytest.approx(expected, abs=1e-4)


def test_a_query_sees_every_series_at_any_moment_until_the_end(past, api):
    for at in (past.since + 30 * HOUR + 299, past.until):
        answer = get(
            api.url, f"/api/v1/query?query={quote(f'sum(cicd_builds_total{OURS})')}&time={at}"
        )
        (row,) = json.loads(answer.body)["data"]["result"]
        over = sum(past.since < run.completed_at <= at - at % 300 for run in past.listed())
        assert float(row["value"][1]) == over


def test_where_the_exporter_takes_over_no_counter_jumps(past, api):
    half = HOUR // 2
    ended = sum(past.until - half < run.completed_at <= past.until for run in past.listed())

    query = "sum(sum without (instance) (increase(cicd_builds_total[1h])))"
    answer = get(api.url, f"/api/v1/query?query={quote(query)}&time={past.until + half}")

    (row,) = json.loads(answer.body)["data"]["result"]
    # Prometheus takes a series that ends for one that goes on for half a step more.
    assert float(row["value"][1]) == pytest.approx(ended, rel=0.1)


def test_each_series_begins_at_zero_and_never_falls(past, tmp_path):
    text = tmp_path / "history.txt"
    flags = (f"--output={text}", "--account=pipes", "--since=6h", "--label=job=ci")

    assert past.run(*flags) == 0

    # Not by prometheus-client's reader, which loses the later points of a histogram.
    *lines, end = text.read_text().splitlines()
    known: dict[str, list[tuple[int, float]]] = {}
    for line in lines:
        if not line.startswith("# "):
            series, value, at = line.rsplit(" ", 2)
            known.setdefault(series, []).append((int(at), float(value)))
    assert end == "# EOF"
    assert len(known) > 20
    for series, points in known.items():
        times, values = zip(*points, strict=True)
        assert values[0] == 0
        assert list(values) == sorted(values)
        assert {b - a for a, b in itertools.pairwise(times)} == {60}
        assert times[-1] == past.until
        assert 'account="pipes"' in series or series.startswith("cicd_exporter_")
        assert 'job="ci"' in series


def test_the_metrics_of_one_family_stand_together(past, capfdbinary):
    assert past.run("--output=-", "--since=6h", "--account=acme") == 0

    lines = capfdbinary.readouterr().out.decode().splitlines()
    types = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert {"cicd_builds", "cicd_build_duration_seconds", "cicd_jobs"} <= {*types}
    assert len(types) == len({*types})
    family = ""
    for line in lines[:-1]:
        if line.startswith("# "):
            family = line.split()[2]
        else:
            assert line.startswith(family)
    histogram = [line for line in lines if line.startswith("cicd_build_queue_seconds")]
    point = [line.rsplit(" ", 1)[1] for line in histogram[:12]]
    assert len({*point}) == 1  # of one moment


def test_the_running_exporters_state_is_not_touched(past, capfdbinary):
    state = past.config.parent / "state.db"
    state.write_bytes(b"whatever it is")

    assert past.run("--output=-", "--since=3h") == 0

    assert capfdbinary.readouterr().out.endswith(b"# EOF\n")
    assert state.read_bytes() == b"whatever it is"


def test_a_repo_that_cannot_be_read_is_left_out_and_told(past, tmp_path, caplog):
    gone = account("acme", "github", past.emulator.url, [REPO, "acme/nowhere"])
    text = tmp_path / "history.txt"
    config = configure(tmp_path / "config", [gone])

    assert past._replace(config=config).run("--since=3h", f"--output={text}") == 1

    assert "left out: acme: acme/nowhere: " in caplog.text
    assert "acme/shop" in text.read_text()
    assert "acme/nowhere" not in text.read_text()


def test_a_rate_limit_is_waited_for(past, tmp_path, caplog):
    text = tmp_path / "history.txt"
    caplog.set_level("INFO")
    limit = past.emulator.faults.add(
        Fault(where=LIST, account="pipes", status=429, headers={"Retry-After": "1"}, times=1)
    )

    assert past.run("--since=6h", "--account=pipes", f"--output={text}") == 0

    past.emulator.faults.remove(limit)
    assert limit.hits == 1
    assert "waiting for the rate limit" in caplog.text
    assert "cicd_builds_total{" in text.read_text()


def test_nothing_is_written_where_nothing_could_be_read(past, tmp_path):
    text = tmp_path / "history.txt"
    text.write_text("what was there")
    past.emulator.faults.add(Fault(where=LIST, status=401))
    try:
        with pytest.raises(ExporterError, match="no history could be read: nothing is written"):
            past.run(f"--output={text}")
    finally:
        past.emulator.faults.clear()

    assert [text] == [*tmp_path.iterdir()]
    assert text.read_text() == "what was there"


def test_a_stop_leaves_nothing_half(past, tmp_path):
    past.emulator.faults.hang(where=LIST)
    asked = past.emulator.journal.count(LIST)
    try:
        process = subprocess.Popen(
            past.command(f"--output={tmp_path}/history.txt"),
            env=ENVIRONMENT,
            stderr=subprocess.PIPE,
            text=True,
        )
        eventually(lambda: _assert_more(past.emulator.journal.count(LIST), asked))
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=10)
    finally:
        past.emulator.faults.clear()

    assert process.returncode == 1
    assert said.splitlines()[-1] == "cicd-exporter: stopped: nothing is written"
    assert "Traceback" not in said
    assert not [*tmp_path.iterdir()]


def _assert_more(count: int, before: int) -> None:
    assert count > before


def test_a_terminal_sees_how_far_it_is(api):
    assert re.search(r"\r\x1b\[K\[[#.]{30}\] reading: \d of \d repos, \d+ builds", api.said)
    assert re.search(r"\r\x1b\[K\[#*\.*\] writing: \d+ of \d+ samples", api.said)
    assert ' msg="the history is written" ' in api.said


@pytest.mark.parametrize(
    ("flags", "what"),
    [
        (["--since=yesterday"], "'yesterday' is no date (write 2026-08-01, "),
        (["--since=2999-01-01"], "--since: the time from --since to --until is shorter than"),
        (["--until=2999-01-01"], "--until: lies in the future"),
        (["--step=10m"], "'10m' is not from 15s to 5m"),
        (["--label=repo=x"], "'repo' is a label that the metrics have already"),
        (["--label=x"], "'x' is not NAME=VALUE"),
        (["--account=acne"], "has no such account (it has acme, pipes)"),
    ],
)
def test_a_wrong_flag_is_told_in_one_line(past, flags, what, capsys):
    with pytest.raises((SystemExit, ConfigError)) as raised:
        past.run("--output=-", *flags)

    out, said = capsys.readouterr()
    error = raised.value
    lines = error.faults if isinstance(error, ConfigError) else said.splitlines()
    assert what in lines[-1]
    assert out == ""


@pytest.mark.parametrize("name", ["/dev/null", "nowhere/history.txt"])
def test_an_output_that_cannot_be_written_is_told_before_anything_is_read(past, name, tmp_path):
    asked = past.emulator.journal.count(LIST)

    with pytest.raises(ExporterError, match="--output="):
        past.run(f"--output={tmp_path / name}")

    assert past.emulator.journal.count(LIST) == asked
