"""What changes is in the next scrape: by age, by release, by being forgotten, by its build."""

from __future__ import annotations

from itertools import zip_longest
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as read_openmetrics,
)

from exporter.ledger.rows import Findings
from exporter.metrics import families as f
from exporter.model import Job, Status
from exporter.outputs import prometheus as module
from exporter.outputs.prometheus import Format
from exporter.outputs.prometheus.packing import Packer
from tests.tools.scripted import DAY, build
from tests.tools.views import PIPELINE, a_view, completed, job_done, learn, limit_for
from tests.unit.exposition import FORMATS, account_view, exposition, values

NOW = 1.7e9


def test_builds_and_jobs_leave_the_gauges_one_by_one_as_they_grow_old() -> None:
    now = NOW
    view = a_view()  # forgets what is older than seven days
    shown = exposition(view, clock=lambda: now)
    job = Job(id="1", name="t", status=Status.QUEUED, created_at=NOW + 2)
    running = [
        build("1", created_at=NOW + 1),
        build("2", created_at=NOW + 3, jobs=(job,)),
        build("3", created_at=NOW + 1, workflow="other"),
    ]
    learn(view, Findings(active=running))
    told = []

    for after in (0, 1.5, 2.5, 3.5):
        now = NOW + 7 * DAY + after
        active = values(shown, f.ACTIVE)
        builds = (
            active[*PIPELINE, "in_progress"],
            active[*PIPELINE[:3], "other", "main", "in_progress"],
        )
        oldest = values(shown, f.OLDEST_ACTIVE).get((*PIPELINE, "in_progress"))
        told.append((*builds, values(shown, f.JOBS_ACTIVE)[*PIPELINE, "t", "queued"], oldest))

    assert told == [
        (2.0, 1.0, 1.0, NOW + 1),
        (1.0, 0.0, 1.0, NOW + 3),
        (1.0, 0.0, 0.0, NOW + 3),
        (0.0, 0.0, 0.0, None),
    ]


def test_what_is_forgotten_is_gone_at_once_and_its_place_is_given_away() -> None:
    view = a_view()
    shown = exposition(view)
    for number in range(3):
        learn(view, completed(repo=f"acme/{number}"))
        learn(view, job_done(build("1", repo=f"acme/{number}")))
    before = shown.text()

    view.forget([(*PIPELINE[:2], "acme/1", *PIPELINE[3:])])
    without = shown.text()
    learn(view, completed(repo="acme/3"))
    learn(view, job_done(build("1", repo="acme/3")))
    after = shown.text()

    assert b"acme/1" in before
    assert b"acme/1" not in without
    assert without.count(b"acme/0") == before.count(b"acme/0") == after.count(b"acme/3")
    assert len(view.of_pipelines.groups) == len(view.of_jobs.groups) == 3


def test_nothing_is_written_again_that_has_not_changed() -> None:
    view = a_view()
    shown = exposition(view, [account_view()])
    for number in range(50):
        learn(view, completed(repo=f"acme/{number}"))
    shown.text()

    assert len(list(shown.steps("text"))) == 0
    learn(view, completed(repo="acme/7"))
    assert len(list(shown.steps("text"))) == 1


def test_only_what_has_changed_is_packed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    class Weighing(Packer):
        def pack(self, text: bytes) -> Any:
            sizes.append(len(text))
            return super().pack(text)

    monkeypatch.setattr(module, "Packer", Weighing)
    view = a_view()
    shown = exposition(view)
    for number in range(1000):
        learn(view, completed(repo=f"acme/{number}"))
    scrape(shown)
    whole = sum(sizes)
    sizes.clear()

    learn(view, completed(repo="acme/7"))
    scrape(shown)

    assert sum(sizes) < whole / 3


def scrape(shown: module.Exposition, form: Format = "text") -> None:
    for _ in shown.steps(form, packed=True):
        pass
    shown.answer(form, packed=True)


@pytest.mark.parametrize("form", FORMATS)
def test_two_scrapes_may_take_turns(form: Format) -> None:
    view = a_view()
    shown = exposition(view)
    for number in range(200):
        learn(view, completed(repo=f"acme/{number}"))

    one, two = shown.steps(form), shown.steps(form, packed=True)
    for _ in range(3):
        next(one)
    learn(view, completed(repo="acme/3"))
    for _ in zip_longest(one, two):
        pass

    batches = shown.answer(form).batches
    kept = b"".join(piece for batch in batches for piece in batch)
    fresh = exposition(view).text(form)
    builds = [x for x in fresh.splitlines() if x.startswith(b"cicd_build")]
    assert [x for x in kept.splitlines() if x.startswith(b"cicd_build")] == builds


def test_a_format_that_nobody_asks_for_any_more_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr(module, "monotonic", lambda: now)
    view = a_view()
    learn(view, completed())
    shown = exposition(view)
    shown.text("text")
    shown.text("openmetrics")
    assert len(view.of_pipelines._trackers) == 2

    now = 1000.0
    shown.text("openmetrics")

    assert len(view.of_pipelines._trackers) == 1
    assert shown.text("text").count(b"cicd_builds_total{") == 8


# --- exemplars ---


def exemplars(shown: module.Exposition, family: f.Family) -> dict[str, tuple[Any, ...]]:
    """By the bound of the bucket, of a counter by nothing: the labels, the value and the time."""
    return {
        sample.labels.get("le", ""): (
            sample.exemplar.labels,
            sample.exemplar.value,
            float(sample.exemplar.timestamp),
        )
        for known in read_openmetrics(shown.text("openmetrics").decode())
        for sample in known.samples
        if sample.exemplar and sample.name in (f"{family.name}_bucket", family.name)
    }


def lasting(seconds: float, at: float, **told: Any) -> Findings:
    return completed(created_at=at - seconds, started_at=at - seconds, completed_at=at, **told)


def test_a_bucket_names_the_latest_build_that_fell_into_it() -> None:
    view = a_view()  # buckets up to 10, 60 seconds and more
    shown = exposition(view)

    learn(view, lasting(5, 2e9, number=7))
    learn(view, lasting(70, 2e9, number=8))
    learn(view, lasting(6, 2e9 + 2, number=9))
    learn(view, lasting(4, 2e9 + 1, number=5))

    assert exemplars(shown, f.BUILD_DURATION) == {
        "10.0": ({"build": "9", "id": "1"}, 6.0, 2e9 + 2),
        "+Inf": ({"build": "8", "id": "1"}, 70.0, 2e9),
    }


def test_a_job_names_its_build() -> None:
    view = a_view()
    learn(view, job_done(build("1", number=42)))

    shown, names = exposition(view), {"build": "42", "id": "1"}
    assert exemplars(shown, f.JOB_DURATION) == {"60.0": (names, 20.0, 123.0)}
    assert exemplars(shown, f.JOBS) == {"": (names, 1.0, 123.0)}


def test_a_counter_names_the_latest_build_that_it_counted() -> None:
    view = a_view()
    shown = exposition(view)
    for number, at in ((7, 2e9), (9, 2e9 + 2), (5, 2e9 + 1)):
        learn(view, lasting(5, at, number=number, native_id=f"run-{number}"))

    assert exemplars(shown, f.BUILDS) == {"": ({"build": "9", "id": "run-9"}, 1.0, 2e9 + 2)}
    assert b"# {" not in shown.text("text")


def test_an_id_that_is_too_long_beside_the_number_is_left_out() -> None:
    view = a_view()
    learn(view, completed(number=7, native_id="x" * 120))
    assert exemplars(exposition(view), f.BUILDS) == {
        "": ({"build": "7", "id": "x" * 120}, 1.0, 123.0)
    }
    learn(view, completed(number=8, native_id="x" * 121, completed_at=124.0))

    assert exemplars(exposition(view), f.BUILDS) == {"": ({"build": "8"}, 1.0, 124.0)}


def test_queue_times_have_no_exemplars_and_the_classic_text_has_none() -> None:
    view = a_view()
    learn(view, completed(number=3))
    shown = exposition(view)

    assert exemplars(shown, f.BUILD_QUEUE) == {}
    assert b'{build="3",id="1"}' in shown.text("openmetrics")
    assert b'build="3"' not in shown.text("text")


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ({"number": 0, "native_id": "0"}, "0"),
        ({"native_id": "a-b"}, "a-b"),
        ({}, "1"),
        ({"native_id": "a\nb"}, "a\ufffdb"),
        ({"native_id": "é" * 90 + "x" * 20}, "é" * 90 + "x" * 20),
        ({"native_id": "x" * 123}, "x" * 123),
        ({"native_id": "x" * 124}, None),
        ({"native_id": "x" * 10_000}, None),
    ],
    ids=["number", "id", "key", "cleaned", "characters", "longest", "longer", "long"],
)
def test_a_build_is_counted_whether_or_not_its_name_is_short_enough(
    told: dict[str, Any], name: str | None
) -> None:
    view = a_view()
    shown = exposition(view)
    learn(view, completed(**told))

    assert values(shown, f.BUILDS)[*PIPELINE, "push", "passed"] == 1
    known = [labels for labels, _, _ in exemplars(shown, f.BUILD_DURATION).values()]
    assert known == ([] if name is None else [{"build": name}])


def test_an_exemplar_is_escaped() -> None:
    view = a_view()
    learn(view, completed(native_id='a"b\\'))

    assert rb'# {build="a\"b\\"} 20.0 123.0' in exposition(view).text("openmetrics")


def test_an_exemplar_waits_with_its_observation() -> None:
    now = 0.0
    view = a_view(zero_hold=60.0, clock=lambda: now)
    shown = exposition(view)
    learn(view, completed(number=1))
    assert exemplars(shown, f.BUILD_DURATION) == exemplars(shown, f.BUILDS) == {}

    view.scraped(1.0)
    now = 60.0
    view.release(view.due())

    assert exemplars(shown, f.BUILD_DURATION) == {"60.0": ({"build": "1"}, 20.0, 123.0)}
    assert exemplars(shown, f.BUILDS) == {"": ({"build": "1"}, 1.0, 123.0)}


def test_folded_observations_keep_their_exemplars() -> None:
    there = [completed(branch="x"), completed(branch="main")]
    view = a_view(limit_for(*there))
    shown = exposition(view)
    for findings in there:
        learn(view, findings)

    learn(view, lasting(5, 2e9, branch="release/1", number=99))

    assert ({"build": "99", "id": "1"}, 5.0, 2e9) in exemplars(shown, f.BUILD_DURATION).values()
