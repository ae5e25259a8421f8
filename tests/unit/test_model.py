"""What builds and jobs say of themselves, and what is made of native words and times."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from exporter.model import CONCLUSIONS, TRIGGERS, Build, BuildKey, Job, Ref, Status
from exporter.model.summary import filled_by, summary, worst
from exporter.model.vocabulary import Words, by_word, resolve_state, unchanged

WORDS = Words(
    status=by_word({Status.QUEUED: "ready", Status.IN_PROGRESS: "busy", Status.COMPLETED: "over"}),
    conclusion=by_word({"passed": "fine", "failed": "bad"}) | unchanged("odd"),
    awaiting=frozenset({"asks"}),
)
NATIVE = st.sampled_from([None, "ready", "busy", "over", "fine", "bad", "odd", "asks", "new"])
TIMES = st.none() | st.floats(1e9, 2e9)
RESULTS = st.none() | st.sampled_from([*CONCLUSIONS, "other", "odd"])
JOBS = st.lists(
    st.builds(
        Job,
        id=st.just("1"),
        name=st.just("test"),
        status=st.sampled_from(Status),
        conclusion=RESULTS,
        started_at=TIMES,
        completed_at=TIMES,
    )
)
BUILD = Build(key=BuildKey("1"), repo="acme/shop", status=Status.COMPLETED)


@given(NATIVE, NATIVE, TIMES, TIMES)
def test_a_state_has_no_start_while_it_is_queued_and_no_end_until_it_is_completed(
    status: str | None, conclusion: str | None, started: float | None, ended: float | None
) -> None:
    state = resolve_state(WORDS, status, conclusion, started=started, ended=ended)

    is_over = state.status is Status.COMPLETED
    assert state.started_at == (None if state.status is Status.QUEUED else started)
    assert state.completed_at == (ended if is_over else None)
    assert is_over or state.conclusion is None
    build = replace(BUILD, **state.fields())
    assert state.fields() == {field: getattr(build, field) for field in state.fields()}


@given(st.lists(RESULTS))
def test_the_conclusion_of_parts_does_not_depend_on_their_order(results: list[str | None]) -> None:
    found = worst(results)

    assert found == worst(reversed(results)) == worst([*results, "retried"])
    assert found is None or found in results
    assert worst([*results, "failed"]) == "failed"
    assert (found == "skipped") == ({*results} - {"retried"} == {"skipped"})


@given(JOBS)
def test_a_summary_spans_all_jobs_and_fills_only_what_is_missing(jobs: Sequence[Job]) -> None:
    said = summary(jobs)
    starts = [job.started_at for job in jobs if job.started_at is not None]
    ends = [job.completed_at for job in jobs if job.completed_at is not None]

    assert all(said.started is not None and said.started <= at for at in starts)
    assert all(said.ended is not None and said.ended >= at for at in ends)
    assert (said.started is None, said.ended is None) == (not starts, not ends)
    full = filled_by(BUILD, said)
    assert (full.started_at, full.completed_at, full.conclusion) == said
    known = replace(BUILD, started_at=1.0, completed_at=2.0, conclusion="odd")
    assert filled_by(known, said) == known


@pytest.mark.parametrize("trigger", TRIGGERS)
@pytest.mark.parametrize("ref", Ref)
def test_a_push_to_a_pull_request_is_a_merge_request(ref: Ref, trigger: str) -> None:
    is_push = ref is Ref.PULL_REQUEST and trigger == "push"
    expected = "merge_request" if is_push else trigger

    assert replace(BUILD, ref=ref, trigger=trigger).trigger == expected
    assert replace(replace(BUILD, trigger=trigger), ref=ref).trigger == expected
