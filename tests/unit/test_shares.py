"""Who polls what: shares that are fair, sticky and leave nothing to nobody."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from exporter.fleet.shares import Wishes, wishes
from exporter.ledger.shared import Beat, Held, Worker, WorkerFacts

GROUPS = {bytes([n]): frozenset({f"account-{n}"}) for n in range(7)}
ALL = {name: "scripted" for names in GROUPS.values() for name in names}


def beat(held: dict[int, str], *workers: str, knows: dict[str, str] | None = None) -> Beat:
    """Workers that live, and who holds which of the groups."""
    facts = WorkerFacts(accounts=ALL if knows is None else knows)
    return Beat(
        {name: Worker(name, name, 0.0, facts) for name in workers},
        {f"account-{n}": Held(worker, 1) for n, worker in held.items()},
        0,
        None,
    )


def asked(
    now: Beat, worker: str, *, overdue: frozenset[bytes] = frozenset(), steady: bool = True
) -> Wishes:
    return wishes(GROUPS, now, worker, overdue=overdue, is_steady=steady)


def test_one_alone_takes_everything() -> None:
    assert sorted(asked(beat({}, "a"), "a").take) == sorted(GROUPS)


def test_each_takes_its_share_of_what_nobody_has_and_no_more() -> None:
    now = beat({0: "b", 1: "b"}, "a", "b")
    assert len(asked(now, "a").take) == 4
    assert len(asked(now, "b").take) == 2


def test_a_worker_that_knows_none_of_the_accounts_has_no_share_in_them() -> None:
    now = beat({}, "a")
    stranger = Worker("z", "z", 0.0, WorkerFacts(accounts={"another": "scripted"}))
    now = now._replace(workers={**now.workers, "z": stranger})
    assert len(asked(now, "a").take) == len(GROUPS)


def test_what_nobody_else_takes_is_taken_beyond_the_share() -> None:
    now = beat(dict.fromkeys(range(4), "a"), "a", "b")
    assert asked(now, "a") == Wishes([], None)
    assert asked(now, "a", overdue=frozenset({b"\x05"})).take == [b"\x05"]


def test_a_group_of_which_another_has_a_part_is_not_free() -> None:
    groups = {b"g": frozenset({"account-0", "account-1"})}
    now = beat({0: "b"}, "a", "b")
    assert wishes(groups, now, "a", overdue=frozenset(), is_steady=True).take == []


def test_a_group_that_has_grown_is_taken_again_by_who_has_it() -> None:
    groups = {b"g": frozenset({"account-0", "account-1"})}
    now = beat({0: "a"}, "a", "b")
    assert wishes(groups, now, "a", overdue=frozenset(), is_steady=True).take == [b"g"]


def test_what_is_within_the_share_and_one_is_kept() -> None:
    now = beat({**dict.fromkeys(range(5), "a"), 5: "b", 6: "b"}, "a", "b")
    assert asked(now, "a") == Wishes([], None)


def test_far_too_many_are_given_back_one_at_a_time_and_only_once_nothing_moves() -> None:
    now = beat({**dict.fromkeys(range(6), "a"), 6: "b"}, "a", "b")
    assert asked(now, "a").give_back in GROUPS
    assert asked(now, "a", steady=False).give_back is None
    free = beat(dict.fromkeys(range(6), "a"), "a", "b")
    assert asked(free, "a").give_back is None


@given(
    held=st.dictionaries(st.integers(0, 6), st.sampled_from("abc")),
    living=st.sets(st.sampled_from("abc"), min_size=1),
)
def test_any_fleet_comes_to_rest_with_every_group_held_and_nobody_far_above_its_share(
    held: dict[int, str], living: set[str]
) -> None:
    workers = sorted(living)
    held = {n: worker for n, worker in held.items() if worker in living}
    for _ in range(40):
        moved = False
        for worker in workers:
            now = beat(held, *workers)
            wanted = asked(now, worker)
            for name in wanted.take:
                assert name[0] not in held, "nothing is taken from one that lives"
                held[name[0]] = worker
                moved = True
            if wanted.give_back is not None:
                assert held.pop(wanted.give_back[0]) == worker
                moved = True
        if not moved:
            break
    else:
        raise AssertionError("they never come to rest")
    assert held.keys() == set(range(7))
    share = -(-7 // len(workers))
    assert max(list(held.values()).count(worker) for worker in workers) <= share + 1
