"""Several processes write one state: what they count and show, whoever polls."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from exporter.errors import Fenced, StateUnavailable
from exporter.ledger import LedgerConfig
from exporter.ledger.rows import SeriesKey, Touched
from exporter.ledger.shared import Shared, WorkerFacts
from exporter.metrics import families as f
from exporter.model import Build
from exporter.recorder import Recorder
from exporter.view.series_view import SeriesView
from tests.tools import postgres, stores
from tests.tools.scripted import Rig, build, done

pytestmark = pytest.mark.parametrize("store", ["postgres"], indirect=True)

WORKERS = 3
ACCOUNT = "acme"


class WorkerRig(Rig):
    """One process among several; it polls once it holds the lease."""

    def start(self) -> None:
        from exporter.ledger.postgres import ledger

        self.ledger = ledger.open_ledger(
            postgres.shared().url,
            LedgerConfig(self.retention, self.lookback),
            schema_name=postgres.schema_of(self.url),
            password=lambda: None,
            patience=0.0,
            alone=False,
            name="tests",
        )
        view = SeriesView(self.rules, self.accounts, clock=self.clock, hold=self.hold)
        self.recorder = Recorder(self.ledger, view, retention=self.retention)
        self.recorder.start(self.accounts)

    @property
    def shared(self) -> Shared:
        assert self.ledger.shared is not None
        return self.ledger.shared

    @property
    def holds(self) -> bool:
        """Whether the rows say that it polls."""
        held = self.shared.leases.beat(WorkerFacts(), shown=0).held.get(ACCOUNT)
        return held is not None and held.worker == self.shared.leases.worker

    def execute(self, sql: str, *parameters: object) -> None:
        """Change the tables behind everybody's back."""
        self.ledger._db.execute(sql, parameters)

    def dies(self) -> None:
        """Be silent for too long, as far as the others can see."""
        self.execute(
            "UPDATE worker SET expires = '-infinity' WHERE id = ?", self.shared.leases.worker
        )

    def take(self) -> bool:
        return bool(self.shared.leases.take([ACCOUNT]))

    def follow(self) -> dict[SeriesKey, Any]:
        """What a scrape shows."""
        self.recorder._reading = type(self.recorder._reading)()
        self.run(self.recorder.follow)
        return dict(self.view.stored())

    def leave(self) -> None:
        self.recorder._reader.shutdown()
        self.crash()


@pytest.fixture
def workers(tmp_path: Path, store: str) -> Iterator[list[WorkerRig]]:
    rigs = [WorkerRig(tmp_path / "s.db", size=100) for _ in range(WORKERS)]
    yield rigs
    for rig in rigs:
        rig.leave()


def test_a_commit_is_shown_by_whoever_looks_afterwards(workers: list[WorkerRig]) -> None:
    polls, *others = workers
    assert polls.take()
    polls.provider._builds = [done(build("1")), build("2")]

    polls.poll()

    for other in others:
        assert other.follow() == dict(polls.view.stored())
        assert other.value(f.BUILDS) == 1
        assert [*other.view.active.values()] == [*polls.view.active.values()]


def test_only_one_of_them_takes_an_account_while_it_lives(workers: list[WorkerRig]) -> None:
    first, second, third = workers
    assert first.take()
    assert not second.take()
    first.shared.leases.give_back([ACCOUNT])
    assert third.take()
    assert not first.take()
    third.dies()
    assert second.take()


def test_all_of_a_group_are_taken_or_none(workers: list[WorkerRig]) -> None:
    first, second, _ = workers
    assert first.take()
    assert not second.shared.leases.take([ACCOUNT, "globex"])
    assert "globex" not in first.shared.leases.beat(WorkerFacts(), shown=0).held


def test_who_slept_while_another_took_over_writes_nothing(workers: list[WorkerRig]) -> None:
    sleeper, other, _ = workers
    assert sleeper.take()
    sleeper.provider._builds = other.provider._builds = [done(build("1"))]
    sleeper.poll()
    sleeper.dies()
    assert other.take()
    sleeper.provider._builds = [done(build("1")), done(build("2"))]

    with pytest.raises(Fenced):
        sleeper.poll()

    assert sleeper.recorder.state_ok, "the state is well"
    other.poll()
    assert other.value(f.BUILDS) == 1
    assert sleeper.follow() == other.follow()


def test_who_has_lost_a_lease_and_taken_it_again_writes_nothing_of_before(
    workers: list[WorkerRig],
) -> None:
    """Its epoch is another one: another worker may have moved the cursor meanwhile."""
    sleeper, other, _ = workers
    assert sleeper.take()
    before = sleeper.shared.leases.held
    sleeper.dies()
    assert other.take()
    other.shared.leases.give_back([ACCOUNT])
    assert sleeper.take()
    sleeper.ledger._leases.held = before  # type: ignore[attr-defined]  # as it knew then

    with pytest.raises(Fenced):
        sleeper.poll()


def test_a_process_that_stops_within_a_commit_is_cut_off_by_those_who_wait(
    workers: list[WorkerRig], caplog: pytest.LogCaptureFixture
) -> None:
    """The server would wait for it for ever, as it has not heard the end of what it is told."""
    stops, other, _ = workers
    assert stops.take()
    target = stops.poll()

    def wait_for_it() -> None:
        began = time.monotonic()
        while not any("was ended" in record.message for record in caplog.records):
            assert time.monotonic() - began < 30
            with suppress(StateUnavailable), other.ledger.transaction():
                pass
        with other.ledger.transaction():
            pass  # it is let in

    def commit() -> None:
        with stops.ledger.transaction(ACCOUNT) as tx:
            tx.reconcile(target, [done(build("1"))], now=time.time())
            wait_for_it()
            tx.load(Touched([], []), accounts=[ACCOUNT])

    with pytest.raises(StateUnavailable):
        commit()
    assert other.follow() == {}


def test_who_has_not_looked_for_long_loads_everything_anew(workers: list[WorkerRig]) -> None:
    polls, other, _ = workers
    assert polls.take()
    polls.provider._builds = [done(build("1"))]
    polls.poll()
    polls.execute("DELETE FROM change")
    polls.execute("UPDATE fleet SET forgotten = turn")

    assert other.follow() == dict(polls.view.stored())
    assert other.recorder.loads == 1


def test_an_image_that_cannot_be_read_is_one_of_a_later_version_and_loads_everything_anew(
    workers: list[WorkerRig],
) -> None:
    polls, other, _ = workers
    assert polls.take()
    polls.provider._builds = [done(build("1"))]
    polls.poll()
    polls.execute(r"UPDATE change SET image = '\x93'")

    assert other.follow() == dict(polls.view.stored())
    assert other.recorder.loads == 1


def test_a_database_that_was_put_back_is_said_once_and_shown_as_it_is(
    workers: list[WorkerRig], caplog: pytest.LogCaptureFixture
) -> None:
    polls, other, _ = workers
    assert polls.take()
    polls.provider._builds = [done(build("1"))]
    polls.poll()
    other.follow()
    polls.execute("DELETE FROM change WHERE turn = (SELECT turn FROM fleet)")
    polls.execute("UPDATE fleet SET turn = turn - 1")
    polls.execute("DELETE FROM attempt")
    polls.execute("DELETE FROM series")

    assert other.follow() == {}
    assert [record.message for record in caplog.records if "lacks commits" in record.message]
    polls.poll()
    assert other.follow() == polls.follow()
    assert other.value(f.BUILDS) == 1, "it is counted again"


def test_what_nobody_has_shown_is_held_and_what_one_has_shown_the_other_releases(
    tmp_path: Path, store: str
) -> None:
    now = [1000.0]
    rigs = [
        WorkerRig(tmp_path / "s.db", size=100, zero_hold=60.0, clock=lambda: now[0])
        for _ in range(2)
    ]
    polls, other = rigs
    assert polls.take()
    polls.provider._builds = [done(build("1"))]
    polls.poll()
    polls.provider._builds.append(done(build("2"), "failed"))
    polls.poll()
    polls.provider._builds.append(done(build("3"), "failed"))
    polls.poll()
    hidden = polls.value(f.BUILDS)

    def release() -> float:
        polls.run(polls.recorder.release)
        return polls.value(f.BUILDS)

    now[0] += 61.0
    assert release() == hidden, "nobody has seen it at 0"
    other.follow()
    shown = other.recorder.position
    polls.view.scraped(other.shared.leases.beat(WorkerFacts(), shown=shown).shown)
    assert release() == 3
    other.follow()
    assert other.value(f.BUILDS) == 3
    assert other.view.due() == [], "who does not poll releases nothing"
    for rig in rigs:
        rig.leave()


class Life(RuleBasedStateMachine):
    """Workers that poll, die, sleep and lose answers in any order."""

    folder: Path
    lives = 0

    def __init__(self) -> None:
        super().__init__()
        Life.lives += 1
        path = Life.folder / f"{Life.lives}.db"
        self.rigs = [WorkerRig(path, size=100) for _ in range(WORKERS)]
        self.builds: dict[str, Build] = {}
        self.seen: dict[SeriesKey, float] = {}

    def teardown(self) -> None:
        polls = self.rigs[0]
        for rig in self.rigs[1:]:
            rig.dies()
        if not polls.holds:
            assert polls.take()
        polls.provider._builds = [*self.builds.values()]
        polls.poll()
        ended = sum(one.completed_at is not None for one in self.builds.values())
        for rig in self.rigs:
            rig.follow()
            assert rig.value(f.BUILDS) == rig.value(f.BUILD_DURATION) == ended
            assert dict(rig.view.stored()) == dict(polls.view.stored())
            assert {*rig.view.active.get(1, ())} == {*polls.view.active.get(1, ())}
            rig.leave()

    @rule()
    def begin(self) -> None:
        self.builds[str(len(self.builds))] = build(str(len(self.builds)), created_at=time.time())

    @rule(chance=st.randoms(use_true_random=False))
    def end(self, chance: Any) -> None:
        running = [key for key, one in self.builds.items() if one.completed_at is None]
        if running:
            key = chance.choice(running)
            self.builds[key] = done(self.builds[key], chance.choice(["passed", "failed"]))

    @rule(who=st.integers(0, WORKERS - 1))
    def take(self, who: int) -> None:
        """Whoever held it seems to be dead."""
        for rig in self.rigs:
            if rig is not self.rigs[who]:
                rig.dies()
        assert self.rigs[who].take()

    @rule(who=st.integers(0, WORKERS - 1))
    def poll(self, who: int) -> None:
        """It does not know yet that it is fenced."""
        rig = self.rigs[who]
        rig.provider._builds = [*self.builds.values()]
        with suppress(Fenced):
            rig.poll()

    @rule(who=st.integers(0, WORKERS - 1), late=st.booleans())
    def poll_whose_answer_is_lost(self, who: int, *, late: bool) -> None:
        rig = self.rigs[who]
        rig.provider._builds = [*self.builds.values()]
        begin = rig.ledger.transaction

        @contextmanager
        def cut(*accounts: str) -> Iterator[Any]:
            with begin(*accounts) as tx:
                yield tx
                if not late:
                    raise StateUnavailable("cut")
            raise StateUnavailable("cut")

        rig.ledger.transaction = cut  # type: ignore[method-assign]
        with suppress(StateUnavailable):
            rig.poll()
        rig.ledger.transaction = begin  # type: ignore[method-assign]
        rig.recorder.state_ok = True

    @rule(who=st.integers(0, WORKERS - 1))
    def scrape(self, who: int) -> None:
        """What anybody has shown nobody shows less of."""
        for key, vector in self.rigs[who].follow().items():
            total = vector[0] if len(vector) == 1 else sum(vector[:-1])
            assert total >= self.seen.get(key, 0.0)
            self.seen[key] = total

    @rule(who=st.integers(0, WORKERS - 1))
    def restart(self, who: int) -> None:
        self.rigs[who].leave()
        self.rigs[who].start()

    @rule()
    def images_are_forgotten(self) -> None:
        self.rigs[0].execute("DELETE FROM change")
        self.rigs[0].execute("UPDATE fleet SET forgotten = turn")

    @invariant()
    def nobody_knows_of_commits_to_come(self) -> None:
        ((turn,),) = self.rigs[0].rows("SELECT turn FROM fleet")
        assert all(rig.recorder.position <= turn for rig in self.rigs)


LIVES = settings(
    max_examples=40,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def test_any_life_of_several_workers_is_exact(tmp_path: Path, store: str) -> None:
    Life.folder = tmp_path
    run_state_machine_as_test(Life, settings=stores.examples(LIVES, store))


def test_tables_of_one_process_become_those_of_several_and_their_turns_go_on(
    tmp_path: Path, store: str
) -> None:
    import psycopg
    from psycopg import sql

    from exporter.ledger.postgres import schema

    name = postgres.schema_of(f"sqlite:///{tmp_path}/s.db")
    with psycopg.connect(postgres.shared().url, autocommit=True) as db:
        db.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
        db.execute(sql.SQL("SET search_path TO {}").format(sql.Identifier(name)))
        for statement in schema._STEPS[0].split(";"):
            if statement.strip():
                db.execute(statement.encode())
        db.execute("INSERT INTO cicd_exporter_meta VALUES ('format', '1'), ('oldest', '1')")
        db.execute("INSERT INTO account (name, samples) VALUES ('acme', 0)")
        db.execute("UPDATE owner SET turn = 41")

    rig = WorkerRig(tmp_path / "s.db", size=100)

    assert rig.take()
    rig.provider._builds = [done(build("1"))]
    rig.poll()
    assert rig.value(f.BUILDS) == 1
    ((turn,),) = rig.rows("SELECT turn FROM fleet")
    assert turn > 41
    with pytest.raises(StateUnavailable, match="owner"):  # which that format takes its turn of
        rig.rows("SELECT turn FROM owner")
    rig.leave()
