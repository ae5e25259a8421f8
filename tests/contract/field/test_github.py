"""What happened to GitHub's users over time, and what they had to see."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.responses import Response

from exporter.errors import Malformed, TryLater
from exporter.metrics import families as f
from exporter.providers import Matches, Query
from exporter.providers.github.workflows import Shelf
from exporter.sync.notes import RepoNotes
from tests.contract.providers.github import FORK, LATEST, RUNS, SHOP, WORKFLOWS, Desk, live
from tests.tools.emulators.github import Hub, iso, said, workflow
from tests.tools.scripted import DAY

HOUR = 3600.0


@pytest.fixture
def hub() -> Hub:
    hub = Hub()
    hub.repo("acme/shop")
    return hub


def workflows(desk: Desk) -> set[str]:
    """The `workflow` labels there are."""
    return {key.labels[3] for key, _ in desk.view.stored() if key.family == f.BUILDS.name}


def gone_over(desk: Desk) -> None:
    """The process is another one now, on the same state."""
    desk.native = desk.native.model_copy(deep=False)
    desk.memories = {repo.entry: RepoNotes() for repo in desk.found}


def deployed(hub: Hub, title: str, conclusion: str = "failure", **fields: Any) -> int:
    """A run of a workflow that gives its runs titles."""
    place = {"workflow_id": 78, "path": ".github/workflows/deploy.yml"}
    run = hub.begin(**{"ago": 600.0, **place, **fields})
    hub._attempts(run)[-1] |= {"name": title, "display_title": title}
    hub.end(run, conclusion)
    return run


# -- what a pipeline is called


@live
async def test_a_team_titles_its_deployments_and_three_in_a_row_fail(hub: Hub) -> None:
    """However they are titled they are one pipeline, and its streak is three."""
    hub.workflows["acme/shop"].append(workflow(78, "Deploy", "deploy.yml"))
    async with Desk(hub) as desk:
        for number in range(3):
            deployed(hub, f"Deploy 1.4.{number} to prod by @someone", ago=600.0 - number)
            await desk.polled()

        assert {"Deploy"} == workflows(desk)
        assert 3 == desk.gauge(f.STREAK, workflow="Deploy")
        assert 1 == hub.requests.count(WORKFLOWS)


@live
async def test_the_list_of_workflows_fails_while_builds_end(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They count under their file, the failure is told, and later ones get the name."""
    hub.workflows["acme/shop"].append(workflow(78, "Deploy", "deploy.yml"))
    hub.broken["/actions/workflows"] = said(502, "Server Error")
    async with Desk(hub) as desk:
        deployed(hub, "by @someone")
        page = await desk.source.page(SHOP, Query(0.0, 30))
        await desk.polled()
        assert ["workflows"] == [unread.part for unread in page.unread]
        assert {"deploy.yml"} == workflows(desk)

        hub.broken.clear()
        monkeypatch.setattr("exporter.providers.github.workflows._FOR_NOW", 0.0)
        deployed(hub, "by @another", ago=300.0)
        await desk.polled()
        assert 1 == desk.value(f.BUILDS, workflow="Deploy")
        assert 1 == desk.value(f.BUILDS, workflow="deploy.yml")


@pytest.mark.parametrize("status", [403, 404])
@live
async def test_a_token_may_read_runs_but_no_workflows(hub: Hub, status: int) -> None:
    """Pipelines are called after their files, and the list is not asked for at every poll."""
    hub.broken["/actions/workflows"] = said(status, "no")
    async with Desk(hub) as desk:
        for number in range(3):
            deployed(hub, f"number {number}", ago=600.0 - number)
            await desk.polled()

        assert {"deploy.yml"} == workflows(desk)
        assert 1 == hub.requests.count(WORKFLOWS)


@live
async def test_a_workflow_is_renamed_while_it_runs_each_hour(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From then on the pipeline has the new name, whether or not the exporter was restarted."""
    async with Desk(hub) as desk:
        hub.end(hub.begin(ago=900.0))
        await desk.polled()
        hub.workflows["acme/shop"] = [workflow(77, "Build", "ci.yml")]
        monkeypatch.setattr("exporter.providers.github.workflows._TODAY", 0.0)
        hub.end(hub.begin(ago=600.0))
        await desk.polled()
        await desk.polled()

        assert {"CI", "Build"} == workflows(desk)
        assert (1, 1) == tuple(desk.value(f.BUILDS, workflow=name) for name in ("CI", "Build"))


@live
async def test_two_files_have_said_ci_for_years(hub: Hub) -> None:
    """The older one keeps the name: the one that always passes hides no failure of the other."""
    hub.workflows["acme/shop"] = [workflow(2, "CI", "b.yml"), workflow(1, "CI", "a.yml")]
    for number in range(6):
        path = f".github/workflows/{'ab'[number % 2]}.yml"
        run = hub.begin(ago=3000.0 - 100 * number, workflow_id=1 + number % 2, path=path)
        hub.end(run, "success" if number % 2 else "failure")
    async with Desk(hub) as desk:
        await desk.polled()

        assert 3 == desk.gauge(f.STREAK, workflow="CI")
        assert 0 == desk.gauge(f.STREAK, workflow="CI (b.yml)")


@live
async def test_a_monorepo_has_more_workflows_than_one_page(hub: Hub) -> None:
    """The last of them has its name too."""
    hub.workflows["acme/shop"] = [workflow(n, f"part {n}", f"{n}.yml") for n in range(230)]
    async with Desk(hub) as desk:
        deployed(hub, "a title", workflow_id=229)
        await desk.polled()

        assert {"part 229"} == workflows(desk)
        assert 3 == len([r for r in hub.requests if "/actions/workflows" in r])


# -- attempts that never ran


@pytest.mark.parametrize("seen", [(), ("held",), ("running",), ("held", "running")])
@live
async def test_a_contributor_s_run_waits_for_a_maintainer(hub: Hub, seen: tuple[str, ...]) -> None:
    """It ran once, whenever it was looked at and whatever was restarted meanwhile."""
    run = hub.begin(ago=3 * HOUR, event="pull_request", **FORK)
    hub.end(run, "action_required", after=0)
    async with Desk(hub) as desk:
        if "held" in seen:
            await desk.polled()
            assert 1 == desk.gauge(f.ACTIVE, status="waiting")
            gone_over(desk)
        hub.again(run, ago=600)
        if "running" in seen:
            await desk.polled()
            assert 1 == desk.gauge(f.ACTIVE, status="in_progress")
            gone_over(desk)
        hub.end(run, after=300)
        await desk.polled()
        await desk.polled()

        assert (1, 0) == (desk.value(f.BUILDS), desk.value(f.RETRIES))
        assert 0 == desk.value(f.MISSING, field="attempt")
        assert 300 == desk.seconds(f.BUILD_DURATION)
        assert 0 == desk.value(f.BUILD_QUEUE)  # the wait for a person is none for a machine


@live
async def test_a_run_is_held_twice_fails_and_is_run_again(hub: Hub) -> None:
    """Its fourth attempt is the first retry."""
    run = hub.begin(ago=3 * HOUR, event="pull_request", **FORK)
    hub.end(run, "action_required", after=0)
    hub.again(run, ago=2 * HOUR)
    hub.end(run, "action_required", after=0)
    hub.again(run, ago=HOUR)
    hub.end(run, "failure")
    hub.again(run, ago=600)
    hub.end(run, "success")
    async with Desk(hub) as desk:
        await desk.polled()

        assert (2, 1) == (desk.value(f.BUILDS), desk.value(f.RETRIES))
        assert 1 == desk.value(f.BUILDS, conclusion="failed")
        assert 0 == desk.value(f.MISSING, field="attempt")


@live
async def test_nobody_approves_and_the_run_is_cancelled(hub: Hub) -> None:
    """It waits, and is then one cancelled build that has no duration to be proud of."""
    run = hub.begin(ago=HOUR, event="pull_request", **FORK)
    hub.end(run, "action_required", after=0)
    async with Desk(hub) as desk:
        await desk.polled()
        hub.end(run, "cancelled", after=3000)
        await desk.polled()

        assert 1 == desk.value(f.BUILDS, conclusion="cancelled") == desk.value(f.BUILDS)
        assert 0 == desk.gauge(f.ACTIVE, status="waiting")


@live
async def test_an_earlier_attempt_answers_502_while_others_end(hub: Hub) -> None:
    """The others count at once, and both attempts once it answers."""
    rerun = hub.begin(ago=3000)
    hub.end(rerun, "failure")
    hub.again(rerun)
    hub.end(rerun)
    hub.end(hub.begin(ago=2000))
    hub.broken["/attempts/1"] = said(502, "Server Error")
    async with Desk(hub) as desk:
        await desk.polled()
        assert 1 == desk.value(f.BUILDS)
        hub.broken.clear()
        await desk.polled()
        await desk.polled()

        assert (3, 1) == (desk.value(f.BUILDS), desk.value(f.RETRIES))
        assert 0 == desk.value(f.MISSING, field="attempt")


@live
async def test_an_earlier_attempt_answers_502_for_hours_and_over_a_restart(hub: Hub) -> None:
    """It counts when it answers, although by then the run is no longer among what is new."""
    rerun = hub.begin(ago=3000)
    hub.end(rerun, "failure")
    hub.again(rerun)
    hub.end(rerun)
    hub.broken["/attempts/1"] = said(502, "Server Error")
    async with Desk(hub) as desk:
        await desk.polled()
        desk.rerun_window = 60.0
        touched(hub, rerun, ago=2000)
        gone_over(desk)
        hub.broken.clear()
        for _ in range(3):
            await desk.polled()

        assert (2, 1) == (desk.value(f.BUILDS), desk.value(f.RETRIES))
        assert 0 == desk.value(f.MISSING, field="attempt")


@live
async def test_a_re_run_whose_earlier_attempt_could_not_be_read_leaves_the_list(hub: Hub) -> None:
    """It is not counted by itself, or the earlier attempt would be taken for lost."""
    rerun = hub.begin(ago=3000)
    hub.end(rerun, "failure")
    hub.again(rerun)
    hub.broken["/attempts/1"] = said(502, "Server Error")
    async with Desk(hub) as desk:
        await desk.polled()
        (held,) = [b for builds in desk.view.active.values() for b in builds.values()]
        assert held.unfilled
        hub.end(rerun)
        with pytest.raises(TryLater, match="earlier attempts"):
            await desk.source.refresh(desk.found[0], held)

        hub.broken.clear()
        for _ in range(2):
            await desk.polled()
        assert (2, 1) == (desk.value(f.BUILDS), desk.value(f.RETRIES))
        assert 0 == desk.value(f.MISSING, field="attempt")


# -- times that move


def touched(hub: Hub, run: int, *, ago: float) -> None:
    """Its logs are deleted, so that its last change is new."""
    hub._attempts(run)[-1]["updated_at"] = iso(int(time.time() - ago))


def jobs(hub: Hub, run: int, *, lasts: float = 300.0) -> None:
    """One job that ran from the beginning of a run's latest attempt."""
    latest = hub._attempts(run)[-1]
    began = datetime.fromisoformat(latest["run_started_at"]).astimezone(UTC).timestamp()
    task = {"id": run, "name": "test", "status": "completed", "conclusion": "success"}
    times = {"created_at": iso(began), "started_at": iso(began), "completed_at": iso(began + lasts)}
    hub.jobs[run, latest["run_attempt"]] = [{**task, **times, "run_attempt": latest["run_attempt"]}]


def ran(hub: Hub, *, ago: float, lasts: float = 300.0) -> int:
    run = hub.begin(ago=ago)
    hub.end(run, after=lasts)
    jobs(hub, run, lasts=lasts)
    return run


@live
async def test_the_logs_of_old_runs_are_deleted_before_they_are_seen_first(hub: Hub) -> None:
    """Those of the past stay there, and that of today took as long as its jobs did."""
    for ago in (3 * DAY, 20 * DAY, 90 * DAY, 20 * HOUR):
        touched(hub, ran(hub, ago=ago), ago=HOUR)
    async with Desk(hub) as desk:
        await desk.polled()
        for _ in range(3):
            await desk.polled()

        assert (1, 300) == (desk.value(f.BUILDS), desk.seconds(f.BUILD_DURATION))
        asked = [r for r in hub.requests if "/jobs" in r]
        assert len(asked) == len(set(asked)) == 3  # no run goes on for 90 days


@live
async def test_the_logs_of_a_counted_run_are_deleted(hub: Hub) -> None:
    """Nothing happens, at no cost, and the failure after it stays the latest."""
    old = ran(hub, ago=5 * HOUR)
    hub.end(hub.begin(ago=HOUR), "failure")
    async with Desk(hub) as desk:
        await desk.polled()
        touched(hub, old, ago=60)
        await desk.polled(deep=True)

        assert (2, 330) == (desk.value(f.BUILDS), desk.seconds(f.BUILD_DURATION))
        assert 1 == desk.gauge(f.LAST_CONCLUSION, conclusion="failed")
        assert [] == [r for r in hub.requests if "/jobs" in r]


@pytest.mark.parametrize("status", [403, 404])
@live
async def test_nobody_can_tell_when_a_touched_run_ended(hub: Hub, status: int) -> None:
    """It counts without a duration."""
    touched(hub, ran(hub, ago=20 * HOUR), ago=HOUR)
    hub.broken["/jobs"] = said(status, "no")
    async with Desk(hub) as desk:
        await desk.polled()

        assert 1 == desk.value(f.BUILDS) == desk.value(f.MISSING, field="duration")
        assert 0 == desk.value(f.BUILD_DURATION)


@live
async def test_the_jobs_of_a_touched_run_answer_502_for_hours(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others count meanwhile; in the end it counts without a duration, not with a wrong one."""
    for rule in ("_FAIRLY_LONG", "_FIRST_PAUSE"):
        monkeypatch.setattr(f"exporter.sync.details.{rule}", 0.0)
    touched(hub, ran(hub, ago=20 * HOUR), ago=HOUR)
    ran(hub, ago=HOUR)
    hub.broken["/jobs"] = said(502, "Server Error")
    async with Desk(hub) as desk:
        for _ in range(9):
            await desk.polled()
        assert (1, 300) == (desk.value(f.BUILDS), desk.seconds(f.BUILD_DURATION))
        for _ in range(3):
            await desk.polled()

        assert (2, 300) == (desk.value(f.BUILDS), desk.seconds(f.BUILD_DURATION))
        assert 1 == desk.value(f.MISSING, field="duration")


@live
async def test_a_run_of_hours_is_watched_to_its_end(hub: Hub) -> None:
    """It was seen running a moment ago, so its end needs nobody's word."""
    run = hub.begin(ago=5 * HOUR)
    async with Desk(hub) as desk:
        await desk.polled()
        hub.end(run, after=5 * HOUR - 30)
        await desk.polled()

        assert 5 * HOUR - 30 == desk.seconds(f.BUILD_DURATION)
        assert [] == [r for r in hub.requests if "/jobs" in r]


@live
async def test_an_attempt_is_touched_after_the_next_one_began(hub: Hub) -> None:
    """It had ended before that."""
    run = ran(hub, ago=1000.0, lasts=100.0)
    hub.again(run, ago=500.0)
    hub.end(run, after=100.0)
    jobs(hub, run, lasts=100.0)
    hub._attempts(run)[0]["updated_at"] = iso(int(time.time() - 60))
    async with Desk(hub) as desk:
        await desk.polled()

        assert (2, 200) == (desk.value(f.BUILDS), desk.seconds(f.BUILD_DURATION))


# -- jobs


@live
async def test_a_re_run_is_cancelled_at_once(hub: Hub) -> None:
    """Its job of no seconds counts, and the green ones of before do not count again."""
    run = ran(hub, ago=3000.0)
    hub.end(run, "failure", after=310.0)
    hub.again(run, ago=600.0)
    hub.end(run, "cancelled", after=0.0)
    began = hub._attempts(run)[-1]["run_started_at"]
    again = {"status": "completed", "created_at": began, "run_attempt": 2}
    green = hub.jobs[run, 1][0]
    hub.jobs[run, 2] = [
        {**green, "id": 1, "created_at": began, "run_attempt": 2},
        {**again, "id": 2, "name": "lint", "conclusion": "cancelled"}
        | {"started_at": began, "completed_at": began},
    ]
    async with Desk(hub, jobs=True) as desk:
        await desk.polled()

        assert 1 == desk.value(f.JOBS, job_name="test")
        assert 1 == desk.value(f.JOBS, job_name="lint", conclusion="cancelled")


@live
async def test_a_matrix_is_too_large_for_a_page_of_jobs(hub: Hub) -> None:
    """GitHub answers 502 for a hundred of them and for fifty, so it is asked for less."""
    run = ran(hub, ago=600.0)
    one = hub.jobs[run, 1][0]
    hub.jobs[run, 1] = [{**one, "id": n, "name": f"test {n}"} for n in range(60)]
    hub.broken |= {f"jobs?per_page={size}": said(502, "Server Error") for size in (100, 50)}
    async with Desk(hub, jobs=True) as desk:
        await desk.polled()

        assert (1, 60) == (desk.value(f.BUILDS), desk.value(f.JOBS))


# -- lists and places


@live
async def test_a_list_of_runs_ends_with_a_refusal(hub: Hub) -> None:
    """What it listed counts, and that there is more is one gap."""
    for number in range(250):
        hub.end(hub.begin(ago=HOUR + number))
    hub.broken["&page=3"] = said(422, "pagination is limited for this resource")
    async with Desk(hub) as desk:
        for _ in range(3):
            await desk.polled()

        assert (200, 1) == (desk.value(f.BUILDS), desk.value(f.GAPS))


@live
async def test_a_list_of_runs_has_empty_pages_in_place_of_its_rest(hub: Hub) -> None:
    """That is a gap too, unlike a list that has shrunk while it was read."""
    async with Desk(hub) as desk:
        hub.end(hub.begin())
        for number, is_cut in ((2, False), (11, True)):
            empty = b'{"total_count": 1200, "workflow_runs": []}'
            hub.broken[f"&page={number}"] = Response(empty, media_type="application/json")
            page = f"{number}x100"
            found = await desk.source.page(SHOP, Query(0.0, 100, page))
            assert (is_cut, ()) == (found.cut_off, found.builds)


@live
async def test_a_repo_moves_out_of_reach(hub: Hub) -> None:
    """The error says what its entry wants."""
    hub.broken[RUNS] = said(
        301, "Moved Permanently", location="https://other.invalid/repositories/4"
    )
    async with Desk(hub) as desk:
        with pytest.raises(Malformed, match="new name") as told:
            await desk.polled()

        assert not told.value.account_wide


@live
async def test_a_token_sees_only_the_public_part_of_an_organization(hub: Hub) -> None:
    """What GitHub says of the rest is told, and nothing once it is found."""
    hub.repo("acme/site")
    hub.hidden["acme"] = 7
    async with Desk(hub, repos=["acme/*"]) as desk:
        assert ["acme/shop", "acme/site"] == await desk.discovered()
        assert "7" in await said_of(desk)
        hub.repo("acme/safe", private=True)
        assert "" == await said_of(desk)
        hub.told["x-github-sso"] = "partial-results; organizations=1234"
        assert "single sign-on" in await said_of(desk)


async def said_of(desk: Desk) -> str:
    """What is wrong with what a wildcard finds."""
    found = await desk.source.discover("acme/*")
    assert isinstance(found, Matches)
    return str(found.error or "")


@live
async def test_the_second_page_of_an_organization_fails(hub: Hub) -> None:
    """The repos of the first one are polled, and the failure is told."""
    for number in range(120):
        hub.repo(f"acme/r{number}")
    hub.broken["&page="] = said(502, "Server Error")
    async with Desk(hub, repos=["acme/*"]) as desk:
        assert 100 == len(await desk.discovered())
        assert "502" in await said_of(desk)


@live
async def test_an_idle_repo_costs_what_it_did(hub: Hub) -> None:
    """One request that is free, also right after a restart but for the names."""
    ran(hub, ago=HOUR)
    async with Desk(hub) as desk:
        await desk.polled()
        assert [LATEST] == await desk.polled()
        assert Shelf() != desk.source._cache.shelf("acme/shop")
