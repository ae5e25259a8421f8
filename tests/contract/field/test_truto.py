"""What happened over time to people with CI systems behind the unified API."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from exporter.demo import JobRun, Run, World
from exporter.metrics import families as f
from tests.contract.providers.test_circleci import total
from tests.contract.providers.truto import ACCOUNT, ENTRIES, truto
from tests.tools.emulators.rig import TOKEN, Station
from tests.tools.emulators.unified import Fault, Request, app
from tests.tools.stories import Author, Clock

BUILDS, JOBS = "/unified/ci-cd/builds", "/unified/ci-cd/jobs"


@dataclass
class Scene:
    """One repo behind the unified API, and an exporter that polls it."""

    integration: str
    path: Path
    keys: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.clock = Clock()
        self.world = World(self.clock, page_size=100)
        self.entry = ENTRIES[self.integration]
        self.world.open(ACCOUNT, self.integration, self.entry)
        self.author = Author(self.integration)
        emulated = app(self.world, token=TOKEN)
        emulated.state.requests = []
        self.faults, self.journal = emulated.state.faults, emulated.state.journal
        provider = truto(self.integration, token_env="T", **self.keys)
        self.rig = Station(provider, emulated, "", path=self.path / "state.db")

    def add(self, *runs: Run) -> None:
        self.world.add(ACCOUNT, self.entry, *runs)

    def began(self, age: float, **fields: Any) -> Run:
        """A build that was created some seconds ago."""
        made = self.author.build(self.clock.now - age, **fields)
        self.add(made)
        return made

    def polled(self) -> list[Request]:
        """A poll that looks at everything; the requests it took."""
        before = self.journal.total
        self.rig.polled(deep=True)
        return list(self.journal.requests()[before:])


Later = Callable[[Scene], None]


def goes_on(scene: Scene) -> None:
    """The exporter is not restarted."""


def restarts(scene: Scene) -> None:
    """The exporter is restarted."""
    scene.rig.restart()


MEANWHILE = pytest.mark.parametrize("meanwhile", [goes_on, restarts])


def of_jobs(paths: list[Request]) -> int:
    return sum(request.path == JOBS for request in paths)


def never(run: Run) -> Run:
    """A pipeline that gets no job and does not end."""
    return replace(run, started_at=None, completed_at=None, jobs=())


@MEANWHILE
def test_a_pipeline_that_gets_no_workflow_is_no_build_after_ten_minutes(
    tmp_path: Path, meanwhile: Later
) -> None:
    """Filters leave no workflow of a pipeline: it has no job, and never will."""
    scene = Scene("circleci", tmp_path)
    scene.began(3000)
    scene.add(never(scene.author.build(scene.clock.now - 60, jobs=())))
    scene.polled()
    assert 1 == scene.rig.gauge(f.ACTIVE, status="queued")

    scene.clock.now += 700
    for _ in range(4):
        meanwhile(scene)
        scene.polled()

    assert scene.rig.gauge(f.ACTIVE, status="queued") in (None, 0)
    assert 1 == scene.rig.value(f.BUILDS)
    assert 0 == of_jobs(scene.polled()) or meanwhile is restarts


@MEANWHILE
@pytest.mark.parametrize("watched", [True, False])
def test_a_pipeline_whose_configuration_is_wrong_is_an_error_once(
    tmp_path: Path, meanwhile: Later, watched: bool
) -> None:
    """Somebody breaks the configuration of a project."""
    scene = Scene("circleci", tmp_path)
    if watched:
        broken = never(scene.author.build(scene.clock.now - 10, jobs=()))
        scene.add(broken)
        scene.polled()
        scene.add(replace(broken, completed_at=scene.clock.now))
    else:
        scene.began(600, jobs=())
    scene.clock.now += 5
    for _ in range(3):
        scene.polled()
        meanwhile(scene)

    assert (1, 1) == (scene.rig.value(f.BUILDS), scene.rig.value(f.BUILDS, conclusion="error"))
    assert scene.rig.gauge(f.ACTIVE, status="queued") in (None, 0)


def test_a_pipeline_that_is_set_up_slowly_is_told_once_its_jobs_have_ended(tmp_path: Path) -> None:
    """The first job of a pipeline comes nine minutes after its creation."""
    scene = Scene("circleci", tmp_path)
    made = scene.author.build(scene.clock.now - 10, queue=550, span=60)
    scene.add(never(replace(made, jobs=())))
    scene.polled()
    scene.clock.now += 540
    scene.add(made)
    scene.polled()
    scene.clock.now += 100
    for _ in range(2):
        scene.polled()

    assert 1 == scene.rig.value(f.BUILDS, conclusion="passed") == scene.rig.value(f.BUILDS)
    assert 60 == total(scene.rig, f.BUILD_DURATION)


@pytest.mark.parametrize("size", [50, 25])
def test_jobs_that_cannot_be_listed_at_full_size_are_listed_in_parts(
    tmp_path: Path, size: int
) -> None:
    """The CI system fails to make a hundred jobs at once; a build has sixty."""
    scene = Scene("github", tmp_path, {"jobs": True})
    made = scene.author.build(scene.clock.now - 600)
    jobs = tuple(replace(made.jobs[0], id=f"9{n}", name=f"part {n}") for n in range(60))
    scene.add(replace(made, jobs=jobs))

    def is_large(request: Request) -> bool:
        return request.path == JOBS and int(request.params["limit"]) > size

    scene.faults.add(Fault(status=502, where=is_large))

    scene.polled()

    assert (1, 60) == (scene.rig.value(f.BUILDS), scene.rig.value(f.JOBS))
    assert not scene.rig.unread


def test_a_page_that_fails_in_the_middle_keeps_nothing_before_it_from_counting(
    tmp_path: Path,
) -> None:
    """The third page of a list fails, and answers at last."""
    scene = Scene("github", tmp_path)
    scene.began(5000)
    scene.polled()
    scene.world.page_size = 5
    for n in range(20):
        scene.began(4000 - n * 60)
    asked = 0

    def is_third(request: Request) -> bool:
        nonlocal asked
        asked += request.path == BUILDS
        return request.path == BUILDS and asked >= 3

    fault = scene.faults.add(Fault(status=500, where=is_third))
    scene.polled()
    assert 11 == scene.rig.value(f.BUILDS)
    scene.faults.remove(fault)
    scene.polled()

    assert (21, 0) == (scene.rig.value(f.BUILDS), scene.rig.value(f.GAPS))


@pytest.mark.parametrize("integration", ["github", "buddy"])
def test_a_cursor_that_fits_into_no_request_ends_the_list(tmp_path: Path, integration: str) -> None:
    """Each cursor holds all the cursors before it."""
    scene = Scene(integration, tmp_path)
    scene.began(600)

    def grown(body: Any) -> Any:
        return body | {"next_cursor": "c" * 70_000}

    scene.faults.add(Fault(edit=grown, where=lambda request: request.path in (BUILDS, JOBS)))

    for _ in range(2):
        scene.polled()

        assert scene.rig.value(f.JOBS if integration == "buddy" else f.BUILDS) > 0
        assert (1, {}) == (scene.rig.value(f.GAPS), scene.rig.unread)


@MEANWHILE
def test_a_restart_under_the_old_id_is_active_again_until_it_ends_once_more(
    tmp_path: Path, meanwhile: Later
) -> None:
    """Travis CI runs a failed build again, and it fails; its API tells of no attempts."""
    scene = Scene("travisci", tmp_path)
    made = scene.began(900, conclusion="failed", overrides={"attempts": None})
    scene.polled()
    now = scene.clock.now
    ended = scene.rig.gauge(f.LAST_COMPLETED, branch="main")
    scene.add(replace(made, started_at=now + 10, completed_at=now + 70, jobs=()))
    scene.clock.now = now + 30
    meanwhile(scene)
    scene.polled()
    assert 1 == scene.rig.gauge(f.ACTIVE, status="in_progress")

    scene.clock.now = now + 100
    meanwhile(scene)
    scene.polled()

    assert scene.rig.gauge(f.ACTIVE, status="in_progress") in (None, 0)
    assert (now + 70, 1) == (scene.rig.gauge(f.LAST_COMPLETED), scene.rig.value(f.BUILDS))
    assert ended != now + 70
    assert 1 == scene.rig.value(f.ANOMALIES, kind="ended_again")


def test_a_job_of_a_later_stage_waits_from_the_end_of_the_stage_before(tmp_path: Path) -> None:
    """A build of Travis CI has a stage of 600 s and a deployment 20 s later."""
    scene = Scene("travisci", tmp_path, {"jobs": True})
    made = scene.author.build(scene.clock.now - 1800, queue=10, span=690)
    began = made.created_at + 10
    raw = {"stage": {"name": "Test", "number": 1}}, {"stage": {"name": "Deploy", "number": 2}}
    spans = (began, began + 600), (began + 620, began + 690)
    jobs = tuple(
        JobRun(
            id=f"77{n}",
            name=f"job {n}",
            created_at=made.created_at,
            started_at=since,
            completed_at=until,
            overrides={"remote_data": stage},
        )
        for n, (stage, (since, until)) in enumerate(zip(raw, spans, strict=True))
    )
    scene.add(replace(made, jobs=jobs))

    scene.polled()

    queues = {
        key.labels[-1]: vector[-1]
        for key, vector in scene.rig.view.stored()
        if key.family == f.JOB_QUEUE.name
    }
    assert {"job 0": 10, "job 1": 20} == queues


def test_a_build_whose_id_is_a_place_of_the_path_spoils_no_other(tmp_path: Path) -> None:
    """A mapping of the environment makes nonsense of an id."""
    scene = Scene("jenkins", tmp_path)
    scene.began(900)
    scene.began(600, overrides={"id": ".."})

    scene.polled()

    assert (1, {}) == (scene.rig.value(f.BUILDS), scene.rig.unread)
    assert not any(scene.rig.view.active.values())
    assert all(request.path.startswith(BUILDS) for request in scene.journal.requests())


def test_a_wildcard_finds_what_can_be_read_of_a_broken_list(tmp_path: Path) -> None:
    """The second page of an owner's repos fails for good."""
    scene = Scene("github", tmp_path, {"repos": ["acme/*"]})
    scene.world.page_size = 1
    scene.world.open(ACCOUNT, "github", "acme/shop", "acme/api")

    def is_second(request: Request) -> bool:
        return request.path.endswith("/repos") and "next_cursor" in request.params

    scene.faults.add(Fault(status=500, where=is_second))
    scene.polled()

    assert 1 == len(scene.rig.entries)


def test_a_group_of_a_merge_queue_is_no_branch_of_its_own(tmp_path: Path) -> None:
    """A repo gets a merge queue, whose branches are made for one build each."""
    scene = Scene("travisci", tmp_path)
    scene.began(900, branch="gh-readonly-queue/main/pr-7-0123456789abcdef")

    scene.polled()

    assert 1 == scene.rig.value(f.BUILDS, branch="merge_queue")


@pytest.mark.parametrize("place", [0, 1, 3])
def test_a_number_that_is_an_error_keeps_no_later_build_from_counting(
    tmp_path: Path, place: int
) -> None:
    """Jenkins' lists have no times, so that the number tells what is new; one of them is a time."""
    scene = Scene("jenkins", tmp_path)
    for age in (900, 800, 700):
        scene.began(age)

    def spoilt(body: Any) -> Any:
        odd = body["result"][-1] | {"id": "1767323045", "build": "1767323045"}
        listed = [*body["result"]]
        listed.insert(place + len(listed) - 3, odd | {"number": "1767323045"})
        return body | {"result": listed}

    scene.faults.add(Fault(edit=spoilt, where=lambda request: request.path == BUILDS))
    scene.polled()
    before = scene.rig.value(f.BUILDS)
    for age in (300, 200):
        scene.began(age)
        scene.polled()

    assert (3, 5) == (before, scene.rig.value(f.BUILDS))
