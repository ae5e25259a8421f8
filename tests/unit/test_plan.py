"""How often a repo is worth a poll, and what a budget makes of the demands of all."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.http import Budget, PublishedLimit, RequestCount, RequestRate, TokenBucket
from exporter.schedule import plan
from exporter.schedule.budget_group import BudgetGroup
from exporter.schedule.plan import Costs, Demand, Plan, planned
from exporter.sync.activity import Activity, Span, busy_interval, habitual_interval, idle_interval

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
SPAN = Span(MINUTE, 15 * MINUTE)
FIXED = Span(MINUTE, MINUTE)


def busy(wanted: float) -> Demand:
    return Demand(wanted, max(wanted, MINUTE), 15 * MINUTE)


demands = st.lists(
    st.floats(30, 900).map(busy) | st.just(Demand(60, 900, 900)), min_size=1, max_size=60
)


# -- one repo


def test_an_idle_repo_backs_off_step_by_step_to_the_longest_interval():
    at = 0.0
    steps: list[float] = []
    while not steps or steps[-1] < SPAN.longest:
        steps.append(idle_interval(SPAN, idle_for=at, gap=math.inf))
        at += steps[-1]
    assert steps[:5] == [MINUTE] * 5
    assert steps == sorted(steps)
    assert all(later <= 1.25 * earlier for earlier, later in itertools.pairwise(steps))
    assert len(steps) < 30
    assert at < 2 * HOUR


def test_a_repo_that_moves_has_the_configured_interval_at_once():
    assert idle_interval(SPAN, idle_for=0.0, gap=math.inf) == MINUTE


def test_a_repo_with_a_build_every_ten_minutes_is_never_idle_between_them():
    assert idle_interval(SPAN, idle_for=20 * MINUTE, gap=10 * MINUTE) == MINUTE


def test_a_repo_that_was_busy_by_day_backs_off_at_night():
    activity = Activity()
    activity.note((str(n), n * 600.0) for n in range(20))
    night = 20 * 600.0 + 15 * HOUR
    silence, gap = activity.idle_for(night), activity.mean_gap(night)
    assert idle_interval(SPAN, idle_for=silence, gap=gap) == SPAN.longest


def test_by_habit_a_repo_has_60_polls_in_its_silence_and_20_between_two_builds():
    assert habitual_interval(SPAN, idle_for=60 * 5 * MINUTE, gap=0.0) == 5 * MINUTE
    assert habitual_interval(SPAN, idle_for=0.0, gap=20 * 5 * MINUTE) == 5 * MINUTE


@given(st.floats(0, 30 * DAY), st.floats(0, 30 * DAY))
def test_no_interval_leaves_its_bounds(silence, gap):
    assert SPAN.interval <= idle_interval(SPAN, idle_for=silence, gap=gap) <= SPAN.longest
    assert idle_interval(FIXED, idle_for=silence, gap=gap) == FIXED.interval


@given(st.floats(0, 2 * DAY))
def test_an_unfinished_build_at_most_doubles_the_rate_and_never_lowers_it(age):
    interval = busy_interval(SPAN, age=age)
    if age > DAY:
        assert interval is None
    else:
        assert interval is not None
        assert MINUTE / 2 <= interval <= MINUTE
    assert busy_interval(FIXED, age=age) in (None, MINUTE)


def test_an_activity_keeps_the_latest_builds_only_whatever_the_order():
    activity = Activity()
    for n in (5, 1, 9, 3, 7, 2, 8, 4, 6, 0, 10, 11):
        activity.note([(str(n), float(n))])
    activity.note([("11", 11.0)])
    assert sorted(activity.begun.values()) == [4, 5, 6, 7, 8, 9, 10, 11]
    assert activity.mean_gap(12.0) == 1.0
    assert activity.idle_for(12.0) == 1.0


def test_nothing_is_made_of_a_single_build():
    activity = Activity()
    assert activity.idle_for(5.0) == math.inf
    activity.note([("1", 1.0)])
    assert activity.mean_gap(5.0) == math.inf


# -- all of them


@given(demands)
def test_with_means_enough_every_repo_has_what_it_is_worth(all_demands):
    plenty = planned(all_demands, math.inf)
    assert [plenty.interval(demand) for demand in all_demands] == [w.ample for w in all_demands]


@given(demands, st.floats(1e-4, 10))
def test_no_plan_needs_more_than_there_is_and_none_starves_a_repo(all_demands, polls):
    made = planned(all_demands, polls)
    intervals = [made.interval(demand) for demand in all_demands]
    assert sum(1 / interval for interval in intervals) <= polls * 1.001
    assert all(math.isfinite(interval) for interval in intervals)
    assert all(i >= demand.ample - 1e-6 for i, demand in zip(intervals, all_demands, strict=True))


@given(demands, st.floats(1e-4, 10))
def test_who_brings_more_news_is_polled_no_less_often(all_demands, polls):
    made = planned(all_demands, polls)
    by_worth = sorted(all_demands, key=lambda demand: (demand.scarce, demand.ample))
    intervals = [made.interval(demand) for demand in by_worth]
    if made.is_short:
        assert intervals == sorted(intervals)


def test_a_short_budget_is_used_up_and_idle_repos_stay_below_twice_their_longest():
    all_demands = [Demand(60, 60, 900)] * 15 + [Demand(900, 900, 900)] * 285
    made = planned(all_demands, 800 / HOUR)
    intervals = [made.interval(demand) for demand in all_demands]
    assert 0.95 * 800 / HOUR < sum(1 / interval for interval in intervals) <= 800 / HOUR
    assert max(intervals) < 30 * MINUTE
    assert intervals[0] < 5 * MINUTE


def test_what_is_short_beyond_that_is_shared_by_all():
    made = planned([Demand(60, 60, 900)] * 1000, 0.1)
    assert made.interval(Demand(60, 60, 900)) == pytest.approx(10_000)


def test_a_budget_that_is_just_enough_is_not_short():
    assert not planned([Demand(4, 4, 900)] * 8, 2.0).is_short
    assert planned([Demand(4, 4, 900)] * 8, 1.9).is_short


# -- what polls cost


def test_idle_polls_that_count_for_nothing_are_not_held_back_by_that_limit(monkeypatch):
    monkeypatch.setattr(plan, "monotonic", lambda: 1000.0)
    costs = Costs()
    for _ in range(1000):
        costs.note(RequestCount(sent=1, counted=0), news=False)
    assert costs.polls(RequestRate(sent=10.0, counted=0.01)) == pytest.approx(9.9, rel=0.01)


def test_the_price_of_news_is_left_out_of_what_idle_polls_may_spend(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(plan, "monotonic", lambda: now[0])
    costs = Costs()
    for _ in range(90):  # three requests beyond an idle poll's, every ten seconds
        now[0] += 10
        costs.note(RequestCount(sent=4, counted=4), news=True)
    assert costs.polls(RequestRate(sent=1.0)) == pytest.approx(
        0.99 - 0.3 * (1 - 1 / math.e), rel=0.05
    )
    now[0] += HOUR
    assert costs.polls(RequestRate(sent=1.0)) == pytest.approx(0.99, rel=0.02)


def test_news_never_takes_all(monkeypatch):
    monkeypatch.setattr(plan, "monotonic", lambda: 1000.0)
    costs = Costs()
    costs.note(RequestCount(sent=10_000, counted=10_000), news=True)
    assert costs.polls(RequestRate(sent=1.0)) == pytest.approx(0.2)


def test_accounts_that_share_a_budget_have_one_plan():
    budget = Budget([TokenBucket(PublishedLimit(60, HOUR), reserve=0.0)])
    group = BudgetGroup(budget)
    assert not group.is_exhausted
    one, other = ([Demand(60, 60, 900)] * 30 for _ in range(2))
    members: dict[str, Callable[[], list[Demand]]] = {"one": lambda: one, "other": lambda: other}
    for name, demands in members.items():
        group.join(name, demands)
    assert group.plan.is_short
    assert group.is_exhausted
    assert sum(2 / group.plan.interval(demand) for demand in one) <= budget.headroom().sent
    group.leave("one", members["other"])
    assert list(group._members) == ["one", "other"]
    group.leave("one", members["one"])
    assert list(group._members) == ["other"]


def test_no_plan_is_a_plan():
    assert Plan().interval(Demand(1, 2, 3)) == 1
