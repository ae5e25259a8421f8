"""Nothing is lost and nothing is counted twice, however often the process is killed."""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

from exporter.demo import JobRun, Run, World
from tests.tools.emulators.unified import EmulatorThread, Request
from tests.tools.system import Exporter, Exposition, account, configure, eventually

KILLS = 25
GITHUB, CIRCLECI = "acme/shop", "gh/acme/web"
BUCKETS = (1.0, 2.0, 3.0)


class Factory(threading.Thread):
    """Makes builds that take a few seconds, until it is told to stop.

    They begin and end on whole seconds. At GitHub every first attempt that is run again
    failed after exactly two seconds, and nothing else fails: so those that were hidden
    from the exporter by the next attempt can be told from the others.
    """

    def __init__(self, world: World) -> None:
        super().__init__(name="factory", daemon=True)
        self._world = world
        self._chance = random.Random(7)
        self._stopped = threading.Event()
        self._serial = 1000

    def run(self) -> None:
        while not self._stopped.wait(0.2):
            self._serial += 1
            if self._serial % 2:
                self._world.add("github", GITHUB, *self._runs())
            else:
                self._world.add("circleci", CIRCLECI, self._pipeline())

    def stop(self) -> None:
        self._stopped.set()
        self.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def _runs(self) -> Iterator[Run]:
        created = int(time.time())
        is_rerun = self._serial % 5 == 0
        span = 2 if is_rerun else self._chance.randint(1, 3)
        first = Run(
            id=str(self._serial),
            number=self._serial,
            # New pipelines all the time: something is held back at any moment.
            workflow=f"CI {self._serial // 40}",
            created_at=created,
            started_at=created + 1,
            completed_at=created + 1 + span,
            conclusion="failed" if is_rerun else self._chance.choice(("passed", "cancelled")),
        )
        yield first
        if is_rerun:
            asked = created + 1 + span + self._chance.choice((0, 1, 3))
            yield Run(
                id=first.id,
                number=first.number,
                workflow=first.workflow,
                created_at=created,
                attempt=2,
                requested_at=asked,
                started_at=asked + 1,
                completed_at=asked + 1 + self._chance.randint(1, 3),
            )

    def _pipeline(self) -> Run:
        created = int(time.time())
        started, span = created + 1, self._chance.randint(1, 2)
        conclusion = self._chance.choice(("passed", "timeout", "error"))
        first = JobRun(
            id=f"{self._serial}0", name="a", started_at=started, completed_at=started + span
        )
        second = JobRun(
            id=f"{self._serial}1",
            name="b",
            started_at=started + span,
            completed_at=started + 2 * span,
            conclusion=conclusion,
        )
        return Run(
            id=str(uuid.UUID(int=self._serial)),
            number=self._serial,
            created_at=created,
            started_at=started,
            completed_at=started + 2 * span,
            conclusion=conclusion,
            jobs=(first, second),
        )


class Watch:
    """Scrapes, and remembers what it saw: nothing may go down or vanish."""

    def __init__(self) -> None:
        self._seen: dict[str, float] = {}
        self.scrapes = 0

    def look(self, exporter: Exporter) -> Exposition:
        return self.seen(exporter.scrape())

    def seen(self, scrape: Exposition) -> Exposition:
        now = scrape.counters()
        lost = {k: (v, now.get(k)) for k, v in self._seen.items() if now.get(k, -1.0) < v}
        assert not lost, lost
        self._seen |= now
        self.scrapes += 1
        return scrape


def assert_complete(scrape: Exposition, world: World) -> None:
    """Each attempt is in the counters; those nobody could see are told as missing."""
    hidden = scrape.total("cicd_exporter_missing_values_total", provider="github", field="attempt")
    for name in ("github", "circleci"):
        runs = world.finished(name)
        assert not world.active(name)
        for word in {run.conclusion for run in runs}:
            ended = [run for run in runs if run.conclusion == word]
            lost = hidden if (name, word) == ("github", "failed") else 0
            labels = {"account": name, "conclusion": word}
            count, seconds = len(ended) - lost, sum(run.duration or 0 for run in ended) - 2 * lost
            assert scrape.total("cicd_builds_total", **labels) == count
            assert scrape.total("cicd_build_duration_seconds_count", **labels) == count
            assert scrape.total("cicd_build_duration_seconds_sum", **labels) == seconds
            for bound in BUCKETS:
                quick = sum((run.duration or 0) <= bound for run in ended)
                within = quick - lost * (bound >= 2)
                bucket = "cicd_build_duration_seconds_bucket"
                assert scrape.total(bucket, le=str(bound), **labels) == within
        firsts = sum(run.attempt == 1 for run in runs) - (hidden if name == "github" else 0)
        assert scrape.total("cicd_build_queue_seconds_count", account=name) == firsts
        assert scrape.total("cicd_build_queue_seconds_sum", account=name) == firsts
        retries = sum(run.attempt > 1 for run in runs)
        assert scrape.total("cicd_build_retries_total", account=name) == retries
        assert scrape.total("cicd_builds_active", account=name) == 0
    jobs = world.finished_jobs("circleci")
    assert scrape.total("cicd_jobs_total", account="circleci") == len(jobs)
    seconds = sum(job.duration or 0 for _, job in jobs)
    assert scrape.total("cicd_job_duration_seconds_sum", account="circleci") == seconds
    assert scrape.total("cicd_exporter_gaps_total") == 0
    assert scrape.total("cicd_exporter_anomalies_total") == 0


def accounts_at(url: str) -> list[dict[str, Any]]:
    """The accounts of a configuration that polls what the factory makes."""
    return [
        account("github", "github", url, [GITHUB]),
        account("circleci", "circleci", url, [CIRCLECI], jobs=True),
    ]


def live_and_die(exporter: Exporter, turn: int, chance: random.Random, watch: Watch) -> None:
    """A process that is scraped for a moment and killed, each third one while it starts."""
    if turn % 3 == 2:
        exporter.begin()
        time.sleep(chance.uniform(0.2, 0.9))
        assert exporter.process.poll() is None, exporter.log
        exporter.kill()
        return
    with exporter:
        # Mostly in the first poll, which begins a second after the start.
        moment = chance.uniform(1.0, 1.2) if turn % 6 else chance.random()
        until = time.monotonic() + moment
        while time.monotonic() < until:
            watch.look(exporter)
        exporter.kill()


def test_25_kills_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    world = World(page_size=20)
    world.open("github", "github", GITHUB)
    world.open("circleci", "circleci", CIRCLECI)
    chance, watch = random.Random(25), Watch()
    with EmulatorThread(world) as emulator, Factory(world) as factory:
        file = configure(
            tmp_path,
            accounts_at(emulator.url),
            polling={"interval": 0.3},
            metrics={"zero_hold": 0.5, "duration_buckets": BUCKETS},
        )
        for turn in range(KILLS):
            if turn == KILLS - 4:  # the last builds end while the last kills happen
                factory.stop()
            live_and_die(Exporter(file), turn, chance, watch)
        with Exporter(file) as exporter:
            eventually(lambda: assert_complete(watch.look(exporter), world))
            assert exporter.stop() == 0
    assert watch.scrapes > KILLS
    assert len(world.finished("github")) > KILLS


def test_a_first_walk_that_is_killed_goes_on_where_it_was_and_is_shown_whole(
    tmp_path: Path,
) -> None:
    world, builds = World(page_size=5), 40
    world.open("github", "github", GITHUB)
    now = int(time.time())
    for n in range(builds):
        created = now - 100 * (n + 1)
        run = Run(
            id=str(n),
            number=builds - n,
            workflow="CI",
            created_at=created,
            started_at=created + 1,
            completed_at=created + 3,
        )
        world.add("github", GITHUB, run)

    def page(number: int) -> Callable[[Request], bool]:
        begins = f"c/2+=&x[{number},"
        return lambda request: request.params.get("next_cursor", "").startswith(begins)

    with EmulatorThread(world) as emulator:
        accounts = [account("github", "github", emulator.url, [GITHUB])]
        file = configure(tmp_path, accounts, polling={"interval": 0.3})
        fault = emulator.faults.hang(where=page(4))
        with Exporter(file) as exporter:
            emulator.journal.wait(1, page(4))
            early = exporter.scrape()
            assert early.select("cicd_build_last_conclusion"), "the newest page is read"
            assert not early.select("cicd_builds_total|cicd_build_.*seconds_bucket")
            exporter.kill()
        emulator.faults.remove(fault)
        emulator.journal.clear()
        with Exporter(file) as exporter:

            def assert_whole() -> None:
                shown = exporter.scrape().total("cicd_builds_total")
                assert shown in {0, builds}, "history is shown in parts"
                assert shown

            eventually(assert_whole)
            newest, first = emulator.journal.requests("/unified/ci-cd/builds")[:2]
            assert "next_cursor" not in newest.params
            assert page(4)(first), first
