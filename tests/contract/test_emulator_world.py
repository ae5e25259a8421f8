"""What the emulator tells is a function of its world's truth and clock."""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import yaml

from exporter import times
from exporter.demo import TOKEN, Run, Simulation, World, demo_accounts, running
from exporter.demo.integrations import INTEGRATIONS
from exporter.model import Ref, Status
from tests.tools import emulated
from tests.tools.emulated import BUILDS, ENTRIES, IDS, NOW, Clock, add, run, scope
from tests.tools.emulators.unified import recoverable_conclusion, recoverable_trigger

server = emulated.server
emulator = emulated.emulator
clock = emulated.clock
client = emulated.client

# --- the truth ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("after", "status", "times_told"),
    [(10, "queued", 1), (20, "in_progress", 2), (79, "in_progress", 2), (80, "completed", 3)],
)
def test_what_is_told_is_a_function_of_the_truth_and_the_clock(
    emulator, client, clock, after, status, times_told
):
    add(emulator, "github", run())
    clock.now = NOW + after

    item = client.unified("github", "builds/1")

    assert item["status"] == status
    told = [times.instant(item[name]) for name in ("created_at", "started_at", "completed_at")]
    assert told == [NOW + 10, NOW + 20, NOW + 80][:times_told] + [None] * (3 - times_told)
    assert (item["conclusion"] is None) == (status != "completed")


def test_what_is_not_created_yet_does_not_exist(emulator, client):
    add(emulator, "github", run())

    assert client.unified("github", "builds")["result"] == []
    assert client.get("/unified/ci-cd/builds/1", **scope("github")).status_code == 404


def test_a_later_attempt_takes_the_place_of_the_first_which_stays_true(emulator, client, clock):
    first = run(conclusion="failed")
    again = run(attempt=2, requested_at=NOW + 90, started_at=NOW + 95, completed_at=NOW + 99)
    add(emulator, "github", first, again)

    seen = []
    for after in (89, 90, 99):
        clock.now = NOW + after
        [item] = client.unified("github", "builds")["result"]
        seen.append((item["attempts"], item["status"], item["conclusion"]))

    assert seen == [(1, "completed", "failed"), (2, "queued", None), (2, "completed", "passed")]
    finished = emulator.world.finished("github")
    assert [(r.attempt, r.conclusion, r.queue) for r in finished] == [
        (1, "failed", 10),
        (2, "passed", None),
    ]
    assert [job.id for _, job in emulator.world.finished_jobs("github")] == ["17", "17"]


def test_a_removed_build_is_gone_but_stays_true(emulator, client, clock):
    add(emulator, "github", run(), run(number=2))
    emulator.world.remove("github", "acme/shop", "1")
    clock.now = NOW + 30

    assert [[item["id"] for item in client.unified("github", "builds")["result"]]] == [["2"]]
    assert client.get("/unified/ci-cd/builds/1", **scope("github")).status_code == 404
    assert [active.id for active in emulator.world.active("github")] == ["2"]
    assert len(emulator.world.finished("github", NOW + 80)) == 2


def test_jenkins_has_no_build_before_it_left_the_queue(emulator, client, clock):
    add(emulator, "jenkins", run(), run(number=2, started_at=None, conclusion="cancelled"))

    clock.now = NOW + 19
    assert list(client.walk("jenkins")) == [[]]
    clock.now = NOW + 80
    assert list(client.walk("jenkins")) == [["1"]]


# --- fields ------------------------------------------------------------------


def matrix(page: str) -> dict[str, dict[str, str]]:
    """From a documentation page: field -> integration -> supported or required."""
    titles = {integration.title: name for name, integration in INTEGRATIONS.items()}
    found: defaultdict[str, dict[str, str]] = defaultdict(dict)
    lines = [line.strip() for line in page.splitlines() if line.strip()]
    field = name = ""
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if match := re.fullmatch(r"([a-z_]+?)(?:string|integer)?(?: · .*)?", line):
            name = match[1]
        elif re.match(r"\d+ supported", line):
            field = name
        elif line in titles:
            found[field][titles[line]] = following
    return dict(found)


@pytest.mark.parametrize(("seed", "resource"), [("builds-list", "builds"), ("jobs-get", "jobs")])
def test_fields_and_required_parameters_are_those_of_the_documentation(
    emulator, client, clock, shared: Path, seed, resource
):
    text = (shared / "seeds" / f"{seed}.txt").read_text()
    asked, _, told = text.partition("Response Body")
    method = seed.removeprefix(f"{resource}-")
    clock.now = NOW + 100
    documented, emulated = {}, {}
    for account, integration in INTEGRATIONS.items():
        if method not in integration.resources.get(resource, ()):
            continue
        add(emulator, account, run(account))
        documented[account] = (
            {name for name, row in matrix(asked).items() if row.get(account) == "required"},
            {name for name, row in matrix(told).items() if account in row},
        )
        build = IDS.get(account, "{}").format(1)
        path = f"builds/{build}" if resource == "builds" else "jobs/17"
        item = client.unified(account, path, build=build, truto_ignore_remote_data="true")
        emulated[account] = (set(integration.required.get((resource, method), ())), set(item))

    assert len(emulated) >= 5
    assert emulated == documented


def test_jenkins_lists_are_partial_unless_told_otherwise(emulator, client, clock):
    add(emulator, "jenkins", run(conclusion="partial"))
    clock.now = NOW + 100

    [partial] = client.unified("jenkins", "builds")["result"]
    emulator.world.accounts["jenkins"].behaviour.full_lists = True
    [full] = client.unified("jenkins", "builds")["result"]

    assert set(partial) == {"id", "number", "build", "name", "workflow", "remote_data"}
    assert "result" not in partial["remote_data"]
    assert full == client.unified("jenkins", "builds/1")
    assert (full["conclusion"], full["remote_data"]["result"]) == ("partial", "UNSTABLE")
    assert full["remote_data"]["timestamp"] == (NOW + 20) * 1000
    assert full["remote_data"]["duration"] == 60_000


def test_each_integration_hides_its_times_where_it_does(emulator, client, clock):
    clock.now = NOW + 100
    for account in ENTRIES:
        add(emulator, account, run(account, created_at=NOW + 10.25))
    build = IDS["bitbucket"].format(1)

    azure = client.unified("azuredevops", "builds/1")
    bitbucket = client.unified("bitbucket", f"builds/{build}")
    [step] = client.unified("bitbucket", "jobs", build=build)["result"]
    circleci = client.unified("circleci", "builds/1")
    [job] = client.unified("circleci", "jobs", build_id="1")["result"]
    travis = client.unified("travisci", "builds/1")
    [deploy] = client.unified("buddy", "jobs")["result"]

    assert azure["remote_data"]["queueTime"] == "2026-11-18T11:06:50.25Z"
    assert azure["branch"] == "refs/heads/main"
    assert azure["remote_data"]["definition"]["name"] == "CI"
    assert bitbucket["remote_data"]["completed_on"] == "2026-11-18T11:08:00.250000Z"
    assert bitbucket["remote_data"]["state"]["result"]["name"] == "SUCCESSFUL"
    assert bitbucket["remote_data"]["target"]["selector"] == {"type": "custom", "pattern": "CI"}
    assert step["started_at"] == "2026-11-18T11:07:00.250000Z"
    assert (circleci["status"], circleci["conclusion"]) == ("completed", "created")
    assert (job["conclusion"], job["completed_at"]) == ("passed", "2026-11-18T11:08:00Z")
    assert travis["remote_data"]["started_at"] == "2026-11-18T11:07:00Z"
    assert deploy["status"] == "SUCCESSFUL"
    assert deploy["remote_data"]["finish_date"] == "2026-11-18T11:08:00.250Z"


@pytest.mark.parametrize("account", BUILDS)
@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("passed", {}),
        ("failed", {}),
        ("cancelled", {}),
        ("error", {"azuredevops": "failed", "jenkins": "failed"}),
        ("timeout", {"azuredevops": "cancelled", "jenkins": "cancelled", "travisci": "error"}),
    ],
)
def test_every_conclusion_is_told_in_a_native_word(emulator, client, clock, account, word, told):
    add(emulator, account, run(account, conclusion=word))
    clock.now = NOW + 100
    [truth] = emulator.world.finished(account)

    item = client.unified(account, f"builds/{truth.id}")

    expected = told.get(account, word)
    assert recoverable_conclusion(account, truth) == expected
    if "conclusion" in item and account != "circleci" and expected != "error":
        assert item["conclusion"] == expected


def test_what_the_api_has_no_word_for_is_told_raw(emulator, client, clock):
    clock.now = NOW + 100
    add(emulator, "github", run(conclusion="error"), run(number=2, conclusion="neutral"))
    add(emulator, "travisci", run(conclusion="error"))
    add(emulator, "jenkins", run(conclusion="partial", raw_conclusion="UNSTABLE"))
    add(emulator, "circleci", run(trigger="web"), run(number=2, raw_trigger="unheard-of"))

    assert [item["conclusion"] for item in client.unified("github", "builds")["result"]] == [
        "neutral",
        "startup_failure",
    ]
    assert client.unified("travisci", "builds/1")["conclusion"] == "errored"
    assert client.unified("jenkins", "builds/1")["conclusion"] == "UNSTABLE"
    triggers = [item["trigger"] for item in client.unified("circleci", "builds")["result"]]
    assert triggers == ["unheard-of", "web"]
    assert recoverable_trigger("travisci", run(trigger="web")) == "api"


def test_a_held_run_waits_in_the_words_of_its_system(emulator, client, clock):
    held: Any = {"held": (NOW + 10, NOW + 15)}
    add(emulator, "github", run(**held), run(number=2, raw_status="action_required", **held))
    add(emulator, "bitbucket", run("bitbucket", **held))
    clock.now = NOW + 12

    approval, waiting = client.unified("github", "builds")["result"]
    [paused] = client.unified("bitbucket", "builds")["result"]

    assert waiting["status"] == "waiting"
    assert (approval["status"], approval["conclusion"]) == ("completed", "action_required")
    assert paused["remote_data"]["state"]["stage"] == {"name": "PAUSED"}
    assert {r.status(clock.now) for r in emulator.world.active("github")} == {Status.WAITING}
    clock.now = NOW + 16
    assert client.unified("github", "builds/2")["status"] == "queued"


def test_github_is_as_vague_about_starts_as_it_really_is(emulator, client, clock):
    emulator.world.accounts["github"].behaviour.start_is_creation = True
    add(emulator, "github", run(touched_at=NOW + 99))

    clock.now = NOW + 12
    [job] = client.unified("github", "jobs", build_id="1")["result"]
    assert (job["status"], job["started_at"]) == ("queued", job["created_at"])
    clock.now = NOW + 100
    item = client.unified("github", "builds/1")
    assert item["started_at"] == item["created_at"]
    assert times.instant(item["completed_at"]) == NOW + 99


@pytest.mark.parametrize(
    ("account", "fields", "where", "told"),
    [
        ("azuredevops", {"ref": Ref.PULL_REQUEST}, "branch", "refs/pull/1/merge"),
        ("azuredevops", {"ref": Ref.TAG, "branch": "v1"}, "branch", "refs/tags/v1"),
        ("bitbucket", {"ref": Ref.TAG, "branch": "v1"}, "branch", None),
        ("circleci", {"ref": Ref.TAG, "branch": "v1"}, "branch", None),
        ("travisci", {"ref": Ref.TAG, "branch": "v1"}, "remote_data.tag.name", "v1"),
        (
            "github",
            {"head_repo": "fork/shop"},
            "remote_data.head_repository.full_name",
            "fork/shop",
        ),
        ("github", {"overrides": {"number": "no"}}, "number", "no"),
    ],
)
def test_refs_and_overrides(emulator, client, clock, account, fields, where, told):
    add(emulator, account, run(account, **fields))
    clock.now = NOW + 100

    [item] = client.unified(account, "builds")["result"]
    for name in where.split("."):
        item = item[name]

    assert item == told


def test_an_override_can_leave_a_field_out(emulator, client, clock):
    add(emulator, "github", run(overrides={"id": msgspec.UNSET}))
    clock.now = NOW + 100

    assert "id" not in client.unified("github", "builds")["result"][0]


# --- the demo's builds -------------------------------------------------------


def test_the_demo_follows_from_seed_and_clock_alone():
    def live(*steps: float, seed: int = 1) -> list[list[Run]]:
        clock = Clock()
        world = World(clock)
        simulation = Simulation(world, seed=seed)
        for step in steps:
            clock.now += step
            simulation.step()
        return [world.attempts(account) for account in world.accounts]

    assert live(60) == live(1, 20, 0.5, 38.5)
    assert live(60) != live(60, seed=2)


def test_the_demo_has_a_past_goes_on_and_stays_small():
    clock = Clock()
    world = World(clock)
    simulation = Simulation(world)
    past = {account: len(world.finished(account)) for account in world.accounts}

    clock.now += 3600
    simulation.step()

    for account in demo_accounts():
        known = world.accounts[account["integrated_account_id"]]
        finished = world.finished(known.id)
        assert 8 < past[known.id] < 40
        assert list(known.repos) == account["repos"]
        assert len(finished) > past[known.id] + 100
        assert max(len(repo.runs) for repo in known.repos.values()) <= 300
        assert {"passed", "failed"} < {truth.conclusion for truth in finished}
        tries = {truth.attempt for truth in finished}
        assert tries == ({1, 2} if known.integration in {"github", "travisci"} else {1})
    assert any(world.active(account, clock.now + 9) for account in world.accounts)


def test_in_the_demo_a_run_starts_and_ends_with_its_jobs():
    world = World(Clock())
    Simulation(world)

    for account in world.accounts:
        for truth in world.attempts(account):
            if truth.jobs and truth.duration is not None:
                assert truth.jobs[0].started_at == truth.started_at
                assert truth.jobs[-1].completed_at == truth.completed_at
                assert truth.jobs[-1].conclusion == truth.conclusion


def test_in_the_demo_a_default_branch_is_broken_for_an_hour_and_stays_so():
    clock = Clock()
    world = World(clock)
    simulation = Simulation(world)
    broke = clock.now - 3600
    clock.now += 1800
    simulation.step()
    (github,) = (a["integrated_account_id"] for a in demo_accounts() if a["name"] == "demo-github")

    deploys = [
        run
        for attempts in world.accounts[github].repos["acme/shop"].runs.values()
        for run in attempts.values()
        if (run.workflow, run.branch) == ("Deploy", "main") and run.created_at >= broke
    ]

    assert any(run.created_at < clock.now - 1800 for run in deploys)
    assert {"failed"} < {run.conclusion for run in deploys}, "others neither heal nor hide it"
    assert "passed" not in {run.conclusion for run in deploys}
    assert all(run.jobs[-1].conclusion == run.conclusion for run in deploys)


def test_the_demo_comes_with_its_configuration():
    async def main() -> None:
        async with running() as stage, httpx.AsyncClient(verify=False, trust_env=False) as http:
            config = yaml.safe_load(stage.configuration("/folder", "http://127.0.0.1:10054"))
            assert config["accounts"] == demo_accounts(stage.url)
            assert config["state"]["url"] == "sqlite:////folder/cicd-exporter.db"
            assert config["web"] == {"external_url": "http://127.0.0.1:10054"}
            headers = {"Authorization": f"Bearer {TOKEN}"}
            listed = await http.get(f"{stage.url}/integrated-account", headers=headers)
            wanted = {account["integrated_account_id"] for account in config["accounts"]}
            assert {account["id"] for account in listed.json()["result"]} == wanted

    asyncio.run(main())
