"""A limit that an API named holds over the end of the process, however that comes."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import pytest

from exporter.demo import World
from exporter.http import Budget, RateLimit
from exporter.http.stored import Limits, StoredLimits, Window
from exporter.ledger.polling import AccountPolling
from exporter.ledger.sqlite import inspection
from exporter.recorder.budgets import Budgets
from tests.tools.emulators.unified import EmulatorThread, Fault
from tests.tools.scripted import Rig
from tests.tools.system import Exporter, account, configure, eventually

REPO = "acme/shop"
HOUR = 3600.0


def stored(path: Path) -> list[tuple[bytes, float]]:
    """Whose limits are in a state that is in use, and when they are over."""
    with inspection._reading(path) as (db, *_):
        return db.execute("SELECT credential, until FROM budget").fetchall()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Retry-After": "12"}, 429),
        (
            {"X-RateLimit-Limit": "100", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "12"},
            200,
        ),
    ],
    ids=["refused", "exhausted"],
)
def test_no_request_goes_out_before_a_limit_is_over_although_the_process_was_killed(
    tmp_path: Path, headers: dict[str, str], status: int
) -> None:
    world, state = World(), tmp_path / "state.db"
    world.open("github", "github", REPO)
    with EmulatorThread(world) as emulator:
        file = configure(
            tmp_path, [account("github", "github", emulator.url, [REPO])], polling={"interval": 1}
        )
        emulator.faults.add(
            Fault(status=None if status == 200 else status, headers=headers, times=1)
        )
        with Exporter(file) as exporter:

            def assert_stored() -> None:
                assert stored(state)

            eventually(assert_stored)
            exporter.kill()
        ((_, until),) = stored(state)
        assert until > time.time()
        before = emulator.journal.total

        with Exporter(file) as exporter:
            assert exporter.scrape().value("cicd_exporter_budget_exhausted") == 1
            assert time.time() < until  # else the machine is too slow to tell anything
            eventually(exporter.polled, within=60)

        first = emulator.journal.requests()[before]
        assert first.at >= until - 1  # the emulator's clock has whole seconds
        assert b"demo" not in state.read_bytes()


@pytest.mark.parametrize("status", [429, 503, 403])
def test_a_killed_process_leaves_an_api_alone_for_as_long_as_it_asked(
    tmp_path: Path, status: int
) -> None:
    world, state = World(), tmp_path / "state.db"
    for name in ("asks", "fine"):
        world.open(name, "github", REPO)
    with EmulatorThread(world) as emulator:

        def requests(name: str) -> int:
            return sum(request.account == name for request in emulator.journal.requests())

        def assert_stored() -> None:
            with inspection._reading(state) as (db, *_):
                limits = db.execute("SELECT until FROM budget").fetchall()
                rows = db.execute("SELECT polling FROM account_polling").fetchall()
            backoff = [msgspec.msgpack.decode(row, type=AccountPolling) for (row,) in rows]
            ends = [until for (until,) in limits] + [row.backoff_until for row in backoff]
            assert max(ends, default=0.0) > time.time() + 60

        def assert_asked(name: str, times: int) -> None:
            assert requests(name) >= times

        accounts = [account(name, "github", emulator.url, [REPO]) for name in ("asks", "fine")]
        file = configure(tmp_path, accounts, polling={"interval": 0.2, "max_interval": 0.2})
        fault = Fault(
            status=status,
            headers={"Retry-After": "120"},
            account="asks",
            where="/unified/",
            times=1,
        )
        emulator.faults.add(fault)
        with Exporter(file) as exporter:
            eventually(assert_stored)
            exporter.kill()
        before, others = requests("asks"), requests("fine")

        with Exporter(file) as exporter:
            eventually(lambda: assert_asked("fine", others + 10))  # many rounds later
            told = {account["name"]: account for account in exporter.status()["accounts"]}
            assert exporter.stop() == 0

        assert requests("asks") == before
        assert fault.hits == 1
        assert told["asks"]["state"] == ("backing_off" if status == 503 else "limited")
        assert told["fine"]["state"] == "up"


def test_what_is_stored_leads_to_no_credential_and_is_of_one_budget_only() -> None:
    noted: list[None] = []
    budgets = Budgets((), lambda: noted.append(None))
    one, other = Budget(), Budget()
    budgets.adopt(b"one", one)
    budgets.adopt(b"other", other)
    one.block(120)

    ((credential, limits),) = budgets.changes()

    assert len(noted) == 1
    assert b"one" not in credential
    again = Budgets([StoredLimits(credential, limits)], lambda: None)
    fresh, stranger = Budget(), Budget()
    again.adopt(b"one", fresh)
    again.adopt(b"other", stranger)
    assert fresh.delay() == pytest.approx(120, abs=5)
    assert stranger.delay() == 0
    fresh.block(180)
    assert [row.credential for row in again.changes()] == [credential]  # it is replaced
    assert again.changes() == []


@pytest.mark.parametrize("ahead", [2 * HOUR, 365 * 24 * HOUR])
def test_a_clock_that_was_put_back_keeps_nobody_waiting_for_more_than_an_hour(ahead: float) -> None:
    far = time.time() + ahead
    budget = Budget()
    budget.restore(Limits(far, {"core": Window(100.0, 0.0, far)}))

    assert budget.delay() == pytest.approx(HOUR, abs=5)
    other = Budget()
    other.restore(Limits(None, {"core": Window(100.0, 0.0, far)}))
    assert other.delay() == pytest.approx(HOUR, abs=5)


@pytest.mark.parametrize("back", [HOUR, 365 * 24 * HOUR])
def test_a_clock_that_was_put_back_keeps_nobody_waiting_longer_than_was_told(
    monkeypatch: pytest.MonkeyPatch, back: float
) -> None:
    told = Budget()
    told.block(120)
    limits = told.limits()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now - back)

    budget = Budget()
    budget.restore(limits)

    assert budget.delay() == pytest.approx(120, abs=5)


def test_what_is_over_is_over() -> None:
    past = time.time() - 1
    budget = Budget()
    budget.restore(Limits(past, {"core": Window(100.0, 0.0, past)}))

    assert budget.delay() == 0
    assert budget.limits() == Limits()


def test_a_window_that_still_has_room_is_no_news() -> None:
    budget = Budget(reserve=0.1)
    noted: list[None] = []
    budget.closed = lambda: noted.append(None)
    now = time.time()
    for remaining in (90.0, 50.0, 15.0):
        budget.observe("core", RateLimit(100.0, remaining, now + 60), now)
    assert noted == []

    budget.observe("core", RateLimit(100.0, 10.0, now + 60), now)
    budget.observe("core", RateLimit(100.0, 9.0, now + 60), now)

    assert len(noted) == 1
    assert budget.limits().windows["core"].remaining == 9


def test_rows_that_are_over_go(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "s.db")
    now = time.time()
    rows = [StoredLimits(b"past", Limits(now - 1)), StoredLimits(b"new", Limits(now + 60))]
    with rig.ledger.transaction() as tx:
        tx.save_limits(rows[:1], now=now - 100)
    assert rig.ledger.load().limits == rows[:1]

    with rig.ledger.transaction() as tx:
        tx.save_limits(rows, now=now)

    assert rig.ledger.load().limits == rows[1:]
    rig.crash()
