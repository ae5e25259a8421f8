"""Whatever happens to the exporter and around it, in the end its counters are the truth.

Faults of the APIs, kills, restarts, reloads and jumps of the wall clock come at random. The
test's name has the seed; CHAOS_SEED gives another one, CHAOS_SECONDS another length.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

from tests.tools.chaos.town import QUEUED, RERUN_TAKES, Attempt, Build, Town
from tests.tools.system import OPENMETRICS, Exporter, Exposition, configure, eventually

SECONDS = float(os.environ.get("CHAOS_SECONDS", "12"))
"""How long new builds are begun; what follows takes about as long."""
BUCKETS = (60.0, 120.0, 180.0)
HOUR = 3600
SHORT = "45m"
"""Less than the wall clock jumps, so that what is news must not go by that."""
CALM = 330.0
"""Seconds until all is counted: an account that has failed again and again is left alone for up to
five minutes, over restarts too."""
STEADY = {"github", "hub"}
"""Accounts that stay in the configuration all the time."""
_FAKETIME = "faketime/libfaketimeMT.so.1"


@pytest.fixture(scope="session")
def faketime() -> Path:
    """A library to be loaded first, that lets a process see another wall clock."""
    found = [p for lib in ("/usr/lib", "/usr/local/lib") for p in Path(lib).rglob(_FAKETIME)]
    if not found:
        pytest.skip("libfaketime is not installed (Debian: apt-get install faketime)")
    return found[0]


class Wall(threading.Thread):
    """A wall clock for other processes that is put forward and back by an hour, at random."""

    def __init__(self, file: Path, seed: str) -> None:
        super().__init__(name="wall clock", daemon=True)
        self.jumps = 0
        self._file = file
        self._chance = random.Random(f"wall {seed}")
        self._stopped = threading.Event()
        self._set(0)

    def run(self) -> None:
        ahead = 0
        while not self._stopped.wait(self._chance.uniform(0.5, 2.0)):
            ahead = 0 if ahead else self._chance.choice((-HOUR, HOUR))
            self._set(ahead)
            self.jumps += 1

    def stop(self) -> None:
        self._stopped.set()
        self.join()

    def _set(self, ahead: int) -> None:
        new = self._file.with_suffix(".new")
        new.write_text(f"{ahead:+}\n")
        new.replace(self._file)


class Storm:
    """One exporter after the other on one state, and all that is done to them."""

    def __init__(self, town: Town, folder: Path, faketime: Path, seed: str) -> None:
        self.town = town
        self.folder = folder
        self.done: Counter[str] = Counter()
        self._chance = random.Random(f"storm {seed}")
        self._seen: dict[str, float] = {}
        wall = folder / "wall"
        self.wall = Wall(wall, seed)
        self._env = {
            "LD_PRELOAD": str(faketime),
            "FAKETIME_TIMESTAMP_FILE": str(wall),
            "FAKETIME_CACHE_DURATION": "1",  # a jump is seen within a second
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",  # else waiting for a lock takes seconds
            "NO_FAKE_STAT": "1",
        }
        self.config = folder / "config.yaml"
        self.write()

    def __enter__(self) -> Self:
        self.wall.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.wall.stop()

    # -- the file

    def write(self) -> None:
        """A good configuration of everything."""
        self._put(self.town.accounts())

    def write_another(self) -> None:
        """A good configuration without some accounts and repos, or with another interval."""
        chance, kept = self._chance, []
        for one in self.town.accounts():
            if one["name"] not in STEADY and chance.random() < 0.4:
                continue
            if len(one["repos"]) > 1 and chance.random() < 0.4:
                one["repos"] = [chance.choice(one["repos"])]
            kept.append(one)
        self._put(kept, interval=chance.choice((0.5, 1)), reserve=chance.choice((0, 0.1)))

    def _put(self, accounts: list[Any], **polling: Any) -> None:
        """Put a configuration in place at once."""
        known: dict[str, Any] = {"interval": 1, "max_interval": 1, "timeout": 1}
        known |= {"lookback": SHORT, "rerun_window": "10m"}
        new = configure(
            self.folder / "new",
            accounts,
            state={"url": f"sqlite:///{self.folder}/state.db", "retention": SHORT},
            polling=known | polling,
            metrics={"zero_hold": 0.5, "duration_buckets": BUCKETS},
        )
        new.replace(self.config)

    def spoil(self) -> None:
        """A file that cannot be used."""
        good = json.loads(self.config.read_text())
        lost = {**good["accounts"][0], "name": "lost", "token_file": str(self.folder / "no")}
        del lost["token_env"]
        self.config.write_text(
            self._chance.choice(
                (
                    "accounts: [",
                    json.dumps({**good, "acounts": []}),
                    json.dumps({**good, "accounts": good["accounts"] * 2}),
                    json.dumps({**good, "accounts": [*good["accounts"], lost]}),
                    "",
                )
            )
        )

    @property
    def has_seen_it_all(self) -> bool:
        """Whether enough has happened for the truth at the end to mean anything.

        How much happens in a second is the machine's affair, so the storm lasts until then.
        """
        met = [sum(weather.met.values()) for weather in self.town.weathers.values()]
        return (
            len(self.town.builds) > 40
            and all(met)
            and sum(met) > 10
            and self.wall.jumps > 5
            and self.done.keys() >= {"killed", "reload", "faulty file"}
        )

    # -- processes

    @contextlib.contextmanager
    def exporter(self) -> Iterator[Exporter]:
        """A process that is killed at the end, unless it has been stopped."""
        one = Exporter(self.config, "--web.enable-lifecycle", env=self._env)
        try:
            yield one
        finally:
            if hasattr(one, "process"):
                one.kill()
                for left in Path("/dev/shm").glob(f"*faketime*_{one.process.pid}"):
                    left.unlink()  # what libfaketime of a killed process leaves behind
                assert "Traceback" not in one.log, one.log
                assert "this is a bug" not in one.log, one.log

    def life(self) -> None:
        """A process from its start to some end."""
        self.town.clock.steps()
        if self._chance.random() < 0.25:
            self.done["killed at its start"] += 1
            with self.exporter() as exporter:
                exporter.begin()
                time.sleep(self._chance.uniform(0.2, 1.0))
                assert exporter.process.poll() is None, exporter.log
            return
        with self.exporter() as exporter, exporter:
            for _ in range(self._chance.randint(1, 6)):
                self.town.clock.steps()
                act = self._chance.choice((self.watch, self.watch, self.reload, self.refuse))
                act(exporter)
                assert exporter.process.poll() is None, exporter.log
            if self._chance.random() < 0.4:
                self.done["stopped"] += 1
                assert exporter.stop() == 0, exporter.log
            else:
                self.done["killed"] += 1

    def watch(self, exporter: Exporter) -> None:
        """Scrape for a while."""
        until = time.monotonic() + self._chance.uniform(0.2, 1.5)
        while time.monotonic() < until:
            self.look(exporter)
            time.sleep(0.2)

    def reload(self, exporter: Exporter) -> None:
        """Another good configuration."""
        self.write_another()
        self.done["reload"] += 1
        if self._chance.random() < 0.5:
            exporter.process.send_signal(signal.SIGHUP)
            return
        answer = self._post(exporter)
        assert answer.status_code == 200, answer.text

    def refuse(self, exporter: Exporter) -> None:
        """A configuration with a fault changes nothing."""
        good = self.config.read_text()
        self.spoil()
        self.done["faulty file"] += 1
        answer = self._post(exporter)
        assert answer.status_code == 400, answer.text
        self.config.write_text(good)

    def _post(self, exporter: Exporter) -> httpx.Response:
        with httpx.Client(base_url=exporter.url, trust_env=False, timeout=60) as client:
            return client.post("/-/reload")

    def look(self, exporter: Exporter) -> Exposition:
        """A scrape: sound, and nothing in it is less than it was."""
        if self._chance.random() < 0.2:
            answer = exporter.get("/metrics", accept=OPENMETRICS)
            Exposition(answer.body.decode(), openmetrics=True)
        scrape = exporter.scrape()
        now = scrape.counters()
        lost = {
            key: (before, now.get(key))
            for key, before in self._seen.items()
            if (now.get(key, before) < before)
            or (key not in now and any(f'account="{name}"' in key for name in STEADY))
        }
        assert not lost, lost
        self._seen |= now
        self.done["scrape"] += 1
        return scrape


# -- the truth


def duration(build: Build, number: int, attempt: Attempt) -> int:
    """GitHub itself says that a first attempt starts when it is created."""
    begun = build.created if build.account == "hub" and number == 1 else attempt.started
    return attempt.ended - begun


def expected(town: Town, hidden: float) -> Counter[str]:
    """What is counted of every repo; `hidden` first attempts nobody could see."""
    told: Counter[str] = Counter()
    for build in town.builds:
        where = f"{build.account} {build.repo}"
        for number, attempt in enumerate(build.attempts, 1):
            end = f"{where} {attempt.conclusion}"
            seconds = duration(build, number, attempt)
            told[f"{end} builds"] += 1
            told[f"{end} observed"] += 1
            told[f"{end} seconds"] += seconds
            for bound in BUCKETS:
                told[f"{end} within {bound}"] += seconds <= bound
            told[f"{where} retries"] += number > 1
            if number == 1 and build.account not in {"hub", "jenkins"}:
                told[f"{where} queued"] += 1
                told[f"{where} queue seconds"] += attempt.started - build.created
        if build.account == "circleci":
            told[f"{where} jobs"] += 2
    (where,) = (f"{name} {repo}" for name, repo in town.reruns if name == "github")
    for what in ("builds", "observed", *(f"within {b}" for b in BUCKETS if b >= RERUN_TAKES)):
        told[f"{where} failed {what}"] -= int(hidden)
    told[f"{where} failed seconds"] -= int(hidden) * RERUN_TAKES
    told[f"{where} queued"] -= int(hidden)
    told[f"{where} queue seconds"] -= int(hidden) * QUEUED
    return told


FAMILIES = {
    "cicd_builds_total": "{conclusion} builds",
    "cicd_build_duration_seconds_count": "{conclusion} observed",
    "cicd_build_duration_seconds_sum": "{conclusion} seconds",
    "cicd_build_duration_seconds_bucket": "{conclusion} within {le}",
    "cicd_build_retries_total": "retries",
    "cicd_build_queue_seconds_count": "queued",
    "cicd_build_queue_seconds_sum": "queue seconds",
    "cicd_jobs_total": "jobs",
}


def counted(scrape: Exposition) -> Counter[str]:
    """The same as the exporter tells it."""
    told: Counter[str] = Counter()
    for key, value in scrape.select("cicd_(build|job).*").items():
        family, _, rest = key.partition("{")
        labels = dict(re.findall(r'(\w+)="([^"]*)"', rest))
        if family in FAMILIES and labels.get("le") != "+Inf":
            what = FAMILIES[family].format_map(labels)
            told[f"{labels['account']} {labels['repo']} {what}"] += int(value)
    return told


FIRST_TOOK = QUEUED + RERUN_TAKES
"""Seconds that GitHub's first attempts take that are run again, by GitHub's own account."""


def assert_true(scrape: Exposition, town: Town) -> None:
    missing = int(scrape.total("cicd_exporter_missing_values_total", field="attempt"))
    told = counted(scrape)
    # GitHub itself is asked for first attempts that nobody saw; what it did not tell is missing.
    where = "hub acme/core failed"
    unread = min(max(expected(town, 0)[f"{where} builds"] - told[f"{where} builds"], 0), missing)
    truth = expected(town, missing - unread)
    for what in ("builds", "observed", *(f"within {b}" for b in BUCKETS if b >= FIRST_TOOK)):
        truth[f"{where} {what}"] -= unread
    truth[f"{where} seconds"] -= unread * FIRST_TOOK
    wrong = {
        key: f"is {told[key]}, should be {truth[key]}"
        for key in sorted(truth.keys() | told.keys())
        if told[key] != truth[key]
    }
    assert not wrong, "\n".join(f"{key} {what}" for key, what in wrong.items())
    assert scrape.total("cicd_builds_active") == 0
    assert scrape.total("cicd_exporter_gaps_total") == 0
    assert scrape.total("cicd_exporter_missing_values_total", field="duration") == 0
    down = [key for key, up in scrape.select("cicd_exporter_account_up").items() if not up]
    assert not down


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [os.environ.get("CHAOS_SEED", "1")])
def test_a_storm_leaves_nothing_but_the_truth(tmp_path: Path, faketime: Path, seed: str) -> None:
    with Town(seed, tmp_path) as town, Storm(town, tmp_path, faketime, seed) as storm:
        until = time.monotonic() + SECONDS
        while time.monotonic() < until or not storm.has_seen_it_all:
            storm.life()
        town.ends_work()
        while not town.is_over:
            storm.life()
        town.calms_down()
        storm.write()
        with storm.exporter() as exporter, exporter:
            eventually(lambda: assert_true(storm.look(exporter), town), within=CALM, every=0.5)
            assert exporter.stop() == 0
        with storm.exporter() as exporter, exporter:  # and it is the truth for good
            eventually(lambda: assert_true(storm.look(exporter), town), every=0.5)
        met = {name: sum(weather.met.values()) for name, weather in town.weathers.items()}
        report = f"{len(town.builds)} builds; {met}; {storm.wall.jumps} jumps; {dict(storm.done)}"
        assert storm.has_seen_it_all, report
