"""News of a build adds what the contract says, once."""

from __future__ import annotations

import re
import time

import pytest

from exporter.ledger.rows import AttemptKey, Findings, Vector
from exporter.metrics import families as f
from exporter.metrics import increments
from exporter.model import CONCLUSIONS, BuildKey, Job, Status, Unmapped
from tests.conftest import ROOT
from tests.tools.scripted import DAY, build
from tests.tools.views import PIPELINE, SHOWN, a_view, completed, job_done, learn, shown_gauges


def brought(findings: Findings) -> dict[str, float]:
    """What a findings adds, of histograms the sum, under `family label label`.

    The labels of the one pipeline are left out.
    """
    change = a_view().drafted(SHOWN, findings, now=1e9)
    found: dict[str, float] = {}
    for delta in change.series:
        labels = delta.series.labels
        own = labels[5:] if labels[:5] == PIPELINE else labels
        name = " ".join((delta.series.family, *own))
        if any(delta.vector):
            found[name] = delta.vector[0] if len(delta.vector) == 1 else delta.vector[-1]
    return found


@pytest.mark.parametrize(
    ("findings", "adds"),
    [
        pytest.param(
            completed(),
            {
                "cicd_builds_total push passed": 1,
                "cicd_build_duration_seconds passed": 20,
                "cicd_build_queue_seconds": 3,
            },
            id="a passed build",
        ),
        pytest.param(
            completed(attempt=2, conclusion="failed"),
            {
                "cicd_builds_total push failed": 1,
                "cicd_build_retries_total": 1,
                "cicd_build_duration_seconds failed": 20,
            },
            id="a retry has no queue time and misses none",
        ),
        pytest.param(
            completed(attempt=3, missed=2),
            {
                "cicd_builds_total push passed": 1,
                "cicd_build_retries_total": 1,
                "cicd_build_duration_seconds passed": 20,
                "cicd_exporter_missing_values_total scripted attempt": 2,
            },
            id="attempts that nobody saw",
        ),
        pytest.param(
            completed(started_at=None, conclusion="cancelled"),
            {
                "cicd_builds_total push cancelled": 1,
                "cicd_exporter_missing_values_total scripted duration": 1,
                "cicd_exporter_missing_values_total scripted queue": 1,
            },
            id="cancelled before it began",
        ),
        pytest.param(
            completed(conclusion="skipped"),
            {"cicd_builds_total push skipped": 1, "cicd_build_queue_seconds": 3},
            id="skipped has no duration and misses none",
        ),
        pytest.param(
            completed(conclusion="skipped", started_at=None, completed_at=None),
            {"cicd_builds_total push skipped": 1},
            id="skipped without times misses nothing",
        ),
        pytest.param(
            completed(conclusion=None),
            {
                "cicd_builds_total push other": 1,
                "cicd_build_duration_seconds other": 20,
                "cicd_build_queue_seconds": 3,
                "cicd_exporter_missing_values_total scripted conclusion": 1,
            },
            id="no conclusion",
        ),
        pytest.param(
            completed(conclusion="neutral", trigger="manual"),
            {
                "cicd_builds_total manual neutral": 1,
                "cicd_build_duration_seconds neutral": 20,
                "cicd_build_queue_seconds": 3,
            },
            id="documented native words keep their names",
        ),
        pytest.param(
            completed(
                conclusion="other",
                trigger="other",
                unmapped=(Unmapped("conclusion", "odd"), Unmapped("trigger", "strange")),
            ),
            {
                "cicd_builds_total other other": 1,
                "cicd_build_duration_seconds other": 20,
                "cicd_build_queue_seconds": 3,
                "cicd_exporter_unmapped_values_total scripted conclusion": 1,
                "cicd_exporter_unmapped_values_total scripted trigger": 1,
            },
            id="undocumented words",
        ),
        pytest.param(
            completed(started_at=130.0, created_at=140.0),
            {
                "cicd_builds_total push passed": 1,
                "cicd_exporter_anomalies_total scripted negative_duration": 1,
                "cicd_exporter_anomalies_total scripted negative_queue": 1,
            },
            id="negative spans",
        ),
        pytest.param(
            Findings(anomalies=["reopened", "reopened"], unmapped=[Unmapped("status", "odd")]),
            {
                "cicd_exporter_anomalies_total scripted reopened": 2,
                "cicd_exporter_unmapped_values_total scripted status": 1,
            },
            id="what the ledger noticed",
        ),
    ],
)
def test_a_completed_build_adds(findings: Findings, adds: dict[str, float]) -> None:
    assert brought(findings) == adds


@pytest.mark.parametrize(
    ("findings", "adds"),
    [
        pytest.param(
            job_done(),
            {
                "cicd_jobs_total test passed": 1,
                "cicd_job_duration_seconds test passed": 20,
                "cicd_job_queue_seconds test": 3,
            },
            id="a passed job",
        ),
        pytest.param(
            job_done(conclusion="skipped"), {"cicd_jobs_total test skipped": 1}, id="skipped"
        ),
        pytest.param(
            job_done(started_at=None), {"cicd_jobs_total test passed": 1}, id="without a start"
        ),
        pytest.param(
            job_done(started_at=130.0, created_at=140.0),
            {
                "cicd_jobs_total test passed": 1,
                "cicd_exporter_anomalies_total scripted negative_job_duration": 1,
                "cicd_exporter_anomalies_total scripted negative_job_queue": 1,
            },
            id="negative spans",
        ),
        pytest.param(
            job_done(conclusion=None, started_at=None, unmapped=(Unmapped("conclusion", "odd"),)),
            {
                "cicd_jobs_total test other": 1,
                "cicd_exporter_unmapped_values_total scripted job_conclusion": 1,
            },
            id="an undocumented word",
        ),
        pytest.param(
            job_done(build("1", attempt=2, started_at=200.0), attempt=2), {}, id="carried over"
        ),
    ],
)
def test_a_completed_job_adds(findings: Findings, adds: dict[str, float]) -> None:
    assert brought(findings) == adds


def test_the_table_has_every_kind_of_anomaly() -> None:
    modules = (ROOT / "exporter").rglob("*.py")
    source = "".join(module.read_text() for module in modules)
    noticed = re.findall(r'(?:anomalies\.append\(|_without\(\w+, latest, )"(\w+)"', source)
    spans = [f"negative_{job}{span}" for job in ("", "job_") for span in ("duration", "queue")]

    assert {*noticed, *spans} == set(f.ANOMALIES.zeros)


@pytest.mark.parametrize(
    ("seconds", "counts"),
    [(0, (1, 0, 0)), (10, (1, 0, 0)), (10.1, (0, 1, 0)), (60, (0, 1, 0)), (1e9, (0, 0, 1))],
)
def test_a_bound_includes_its_own_value(seconds: float, counts: Vector) -> None:
    assert increments.observation(seconds, (10.0, 60.0)) == (*counts, seconds)


def test_a_pipeline_starts_with_the_eight_named_conclusions_of_a_trigger_at_0() -> None:
    view = a_view()
    change = view.drafted(SHOWN, Findings(active=[build("1", trigger="cron")]), now=1e9)

    zeros = {d.series.labels[5:] for d in change.series if d.series.family == f.BUILDS.name}
    assert zeros == {("cron", conclusion) for conclusion in CONCLUSIONS}
    assert not any(any(d.vector) for d in change.series)


def test_a_partial_build_is_not_shown_before_it_is_known() -> None:
    partial = build("1", partial=True, jobs=(Job(id="1", name="t", status=Status.QUEUED),))
    view = a_view()
    learn(view, Findings(active=[build("2")]))

    learn(view, Findings(active=[partial]))

    assert shown_gauges(view, f.ACTIVE) == {(*PIPELINE, "in_progress"): 1.0}
    assert shown_gauges(view, f.JOBS_ACTIVE) == {}


def test_builds_and_jobs_older_than_the_open_age_leave_the_gauges() -> None:
    job = Job(id="1", name="t", status=Status.QUEUED)
    old = build("1", created_at=time.time() - 8 * DAY, started_at=time.time(), jobs=(job,))
    new = build("2", created_at=time.time() - 6 * DAY, jobs=(job,))
    view = a_view()

    learn(view, Findings(active=[old, new]))

    assert shown_gauges(view, f.ACTIVE) == {(*PIPELINE, "in_progress"): 1.0}
    assert shown_gauges(view, f.OLDEST_ACTIVE) == {(*PIPELINE, "in_progress"): new.created_at}
    assert shown_gauges(view, f.JOBS_ACTIVE) == {(*PIPELINE, "t", "queued"): 1.0}


def test_a_status_once_seen_goes_to_0_and_the_oldest_of_none_is_absent() -> None:
    view = a_view()
    learn(view, Findings(active=[build("1", status=Status.WAITING)]))

    view.learn(Findings(), closed=[AttemptKey(BuildKey("1"), 1)])

    assert shown_gauges(view, f.ACTIVE) == {(*PIPELINE, "waiting"): 0.0}
    assert shown_gauges(view, f.OLDEST_ACTIVE) == {}


def test_the_last_conclusion_is_1_and_the_other_named_ones_are_0() -> None:
    view = a_view()

    learn(view, completed(conclusion="neutral"))

    shown = {labels[-1]: value for labels, value in shown_gauges(view, f.LAST_CONCLUSION).items()}
    assert shown == {**dict.fromkeys(CONCLUSIONS, 0.0), "neutral": 1.0}
