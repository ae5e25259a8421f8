"""The emulator speaks the unified API's real protocol, and never lies about its world."""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import yaml

from exporter import times
from exporter.demo import (
    TOKEN,
    EmulatorThread,
    Fault,
    JobRun,
    Life,
    Limits,
    Quota,
    Run,
    World,
    app,
    demo_accounts,
    running,
    serving,
    told_conclusion,
    told_trigger,
)
from exporter.demo.integrations import INTEGRATIONS
from exporter.demo.reader import PROVIDER_SECRET
from exporter.model import Ref, Status

NOW = 1_795_000_000.0
"""The world's time when a test begins."""

ENTRIES = {
    "github": "acme/shop",
    "azuredevops": "acme/shop",
    "bitbucket": "acme/shop",
    "circleci": "gh/acme/shop",
    "jenkins": "folder/shop",
    "travisci": "15022857",
    "buddy": "acme/shop/deploy",
}
BUILDS = [name for name in ENTRIES if name != "buddy"]
IDS = {"bitbucket": "{{1f0e2d3c-4b5a-6978-8796-a5b4c3d2e1{:02d}}}"}
"""Where an id is not just a number."""


class Clock:
    """A clock that a test moves."""

    now = NOW

    def __call__(self) -> float:
        return self.now


class Client:
    """An HTTP client with the right token and an account's scope."""

    def __init__(self, url: str) -> None:
        headers = {"Authorization": "Bearer demo"}
        self.http = httpx.Client(base_url=url, headers=headers, verify=False, trust_env=False)

    def get(self, path: str, **params: Any) -> httpx.Response:
        return self.http.get(path, params=params)

    def unified(self, account: str, path: str, **params: Any) -> Any:
        """The JSON body of a unified endpoint, with all scope parameters of the account."""
        answer = self.get(f"/unified/ci-cd/{path}", **scope(account), **params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def walk(self, account: str, **params: Any) -> Iterator[list[str]]:
        """The ids of each page of builds, to the end of the list."""
        cursor: str | None = ""
        while cursor is not None:
            page = self.unified(account, "builds", next_cursor=cursor, **params)
            yield [item["id"] for item in page["result"]]
            cursor = page.get("next_cursor") or None


def scope(account: str) -> dict[str, str]:
    """Every scope parameter of an account's one repo, under each of its names."""
    integration = INTEGRATIONS[account]
    parts = integration.parts(ENTRIES[account])
    aliases = {alias: parts[name] for alias, name in integration.aliases.items()}
    return {"integrated_account_id": account, **parts, **aliases}


def run(account: str = "github", number: int = 1, **fields: Any) -> Run:
    """A build that was created, started and ended 10, 20 and 80 seconds after `NOW`."""
    created = fields.pop("created_at", NOW + 10)
    jobs = (
        JobRun(id=f"{number}7", name="test", started_at=created + 10, completed_at=created + 70),
    )
    return Run(
        id=IDS.get(account, "{}").format(number),
        number=number,
        **{
            "created_at": created,
            "started_at": created + 10,
            "completed_at": created + 70,
            "workflow": "CI",
            "jobs": jobs,
        }
        | fields,
    )


@pytest.fixture(scope="module")
def server():
    with EmulatorThread(World(Clock())) as server:
        yield server


@pytest.fixture
def emulator(server):
    """An emulator with an account of each integration, named after it, at `NOW`."""
    server.world.clock.now = NOW
    server.world.page_size = 50
    server.world.accounts.clear()
    for integration, entry in ENTRIES.items():
        server.world.open(integration, integration, entry)
    server.faults.clear()
    server.journal.clear()
    return server


@pytest.fixture
def clock(emulator):
    return emulator.world.clock


@pytest.fixture(scope="module")
def client(server):
    client = Client(server.url)
    with client.http:
        yield client


def add(emulator: EmulatorThread, account: str, *runs: Run) -> None:
    emulator.world.add(account, ENTRIES[account], *runs)


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
    assert told_conclusion(account, truth) == expected
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
    assert told_trigger("travisci", run(trigger="web")) == "api"


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


# --- lists -------------------------------------------------------------------


@pytest.fixture
def seven(emulator, clock):
    """The GitHub account with builds 1 to 7, a second apart, on pages of three."""
    add(emulator, "github", *(run(number=n, created_at=NOW + n) for n in range(1, 8)))
    emulator.world.page_size = 3
    clock.now = NOW + 100
    return emulator.world.accounts["github"]


def test_lists_are_paged_newest_first(client, seven):
    assert list(client.walk("github")) == [["7", "6", "5"], ["4", "3", "2"], ["1"]]
    assert list(client.walk("github", limit=5)) == list(client.walk("github"))
    assert [len(page) for page in client.walk("github", limit=2)] == [2, 2, 2, 1]
    assert client.get("/unified/ci-cd/builds", **scope("github"), limit=0).status_code == 400


@pytest.mark.parametrize(
    ("end", "body"),
    [("null", {"next_cursor": None}), ("empty", {"next_cursor": ""}), ("absent", {})],
)
def test_a_list_ends_in_three_ways(client, seven, end, body):
    seven.behaviour.end = end
    seven.repos["acme/shop"].runs.clear()

    page = client.unified("github", "builds")

    assert page == {"result": [], "prev_cursor": None, "result_count": 0, **body}


def test_cursors_are_unsafe_in_urls_and_belong_to_one_list(client, seven):
    cursor = client.unified("github", "builds")["next_cursor"]

    assert re.search(r"[/+=&]", cursor)
    for wrong in ({"next_cursor": "c/3"}, {"next_cursor": cursor.replace("+", " ")}):
        answer = client.get("/unified/ci-cd/builds", **scope("github"), **wrong)
        assert answer.status_code == 400
    other = client.get(
        "/unified/ci-cd/builds", **scope("github"), next_cursor=cursor, conclusion="passed"
    )
    assert other.status_code == 400


def test_pages_may_be_empty_in_the_middle_and_at_the_start(client, seven):
    seven.behaviour.empty_pages = frozenset({0, 2})

    assert list(client.walk("github")) == [[], ["7", "6", "5"], [], ["4", "3", "2"], ["1"]]


def test_cursors_may_loop(client, seven):
    seven.behaviour.loop_page = 1

    walk = client.walk("github")

    assert [next(walk) for _ in range(4)] == [["7", "6", "5"]] + [["4", "3", "2"]] * 3


@pytest.mark.parametrize(
    ("paging", "second"), [("offset", ["5", "4", "3"]), ("keyset", ["4", "3", "2"])]
)
def test_a_new_build_shifts_pages_where_they_go_by_offset(emulator, client, seven, paging, second):
    seven.behaviour.paging = paging
    walk = client.walk("github")

    assert next(walk) == ["7", "6", "5"]
    add(emulator, "github", run(number=8, created_at=NOW + 8))
    assert next(walk) == second


def test_items_can_be_slimmed_and_keyed(client, seven):
    exclude = {"truto_exclude_fields[]": "id", "truto_exclude_fields[1]": "name,number"}
    slim = client.unified("github", "builds", **exclude)
    assert not {"id", "name", "number"} & set(slim["result"][0])
    assert "remote_data" in slim["result"][0]
    without = client.unified("github", "builds", truto_ignore_remote_data="true")
    assert "remote_data" not in without["result"][0]
    keyed = client.unified("github", "builds", truto_key_by="id")["result"]
    assert list(keyed) == ["7", "6", "5"]


def test_unsupported_filters_are_ignored_in_silence(emulator, client, seven):
    add(emulator, "github", run(number=9, created_at=NOW + 9, conclusion="failed"))
    after = {"created_at[gt]": "2030-01-01T00:00:00Z", "branch": "none", "started_at": "never"}

    assert len(client.unified("github", "builds", **after)["result"]) == 3
    failed = client.unified("github", "builds", conclusion="failed")["result"]
    assert [item["id"] for item in failed] == ["9"]


# --- the protocol ------------------------------------------------------------


@pytest.mark.parametrize(
    "header", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "demo"}]
)
@pytest.mark.parametrize("path", ["/ping", "/integrated-account", "/unified/ci-cd/builds", "/no"])
def test_nothing_is_told_without_the_token(emulator, header, path):
    answer = httpx.get(emulator.url + path, headers=header, trust_env=False)

    assert answer.status_code == 401
    assert set(answer.json()) == {"statusCode", "error", "message"}
    assert answer.json()["error"] == "Unauthorized"


@pytest.mark.parametrize(
    ("account", "path"),
    [
        (name, f"{resource}{'/1' if method == 'get' else ''}")
        for name in ENTRIES
        for resource, method in INTEGRATIONS[name].required
    ],
)
def test_required_parameters_are_asked_for_by_name(emulator, client, account, path):
    resource, _, single = path.partition("/")
    required = INTEGRATIONS[account].required[resource, "get" if single else "list"]
    given = {"integrated_account_id": account}

    for missing in required:
        others = {name: "1" for name in required if name != missing}
        answer = client.get(f"/unified/ci-cd/{path}", **given, **others, **{missing: ""})
        assert answer.status_code == 400
        insight = answer.json()["truto_error_insight"]["missing_required_query_parameters"]
        assert insight["value"] == [missing]


def test_a_jobs_list_can_want_another_name_for_the_build(emulator, client, clock):
    add(emulator, "github", run())
    clock.now = NOW + 100
    emulator.world.accounts["github"].behaviour.build_param = "run_id"

    refused = client.get("/unified/ci-cd/jobs", **scope("github"), build_id="1")

    assert refused.status_code == 400
    assert len(client.unified("github", "jobs", run_id="1")["result"]) == 1


@pytest.mark.parametrize(
    ("path", "params", "status", "remote"),
    [
        ("/unified/ci-cd/builds", {}, 400, False),
        ("/unified/ci-cd/builds", {"integrated_account_id": "nobody"}, 404, False),
        ("/unified/ci-cd/builds", scope("buddy"), 404, False),
        ("/unified/ci-cd/jobs", scope("jenkins"), 404, False),
        ("/unified/ci-cd/jobs/1", scope("azuredevops"), 404, False),
        ("/unified/ci-cd/builds", {**scope("github"), "repo_id": "other"}, 404, True),
        ("/unified/ci-cd/builds/9", scope("github"), 404, True),
        ("/unified/ci-cd/builds/9", {"integrated_account_id": "github"}, 404, True),
        ("/unified/ci-cd/jobs/9", scope("github"), 404, True),
        (
            "/unified/ci-cd/builds",
            {**scope("github"), "truto_response_format": "debug"},
            400,
            False,
        ),
        ("/integrated-account/nobody", {}, 404, False),
        ("/unified/hris/employees", {}, 404, False),
    ],
)
def test_refusals(emulator, client, path, params, status, remote):
    answer = client.get(path, **params)

    assert answer.status_code == status
    assert {"statusCode", "error", "message"} <= set(answer.json())
    assert ("truto_is_remote_error" in answer.json()) == remote


def test_only_reading_is_allowed(emulator, client):
    assert client.http.post("/integrated-account", json={}).status_code == 405
    assert client.get("/ping").status_code == 200


def test_an_account_in_trouble_says_so_everywhere(emulator, client):
    account = emulator.world.accounts["github"]
    account.status, account.last_error = "needs_reauth", "token revoked"

    answer = client.get("/unified/ci-cd/builds", **scope("github"))
    assert (answer.status_code, answer.json()["truto_is_remote_error"]) == (401, True)
    assert client.get("/integrated-account/github").json()["last_error"] == "token revoked"
    listed = client.get("/integrated-account", status="active", tenant_id="ignored").json()
    assert {item["id"] for item in listed["result"]} == ENTRIES.keys() - {"github"}
    account.status, account.is_blocked = "active", True
    assert client.get("/unified/ci-cd/builds", **scope("github")).status_code == 503
    told = client.get("/integrated-account/github/capabilities", type="unified").json()
    assert told["account"]["is_blocked"]
    methods = {item["resource"]: item["methods"] for item in told["unified"]}
    assert methods["jobs"] == ["list", "get"]


def test_ids_survive_in_paths_however_they_are_spelled(emulator, client, clock):
    add(emulator, "circleci", msgspec.structs.replace(run(), id="gh/acme/shop/12"))
    add(emulator, "bitbucket", run("bitbucket"))
    clock.now = NOW + 100

    for path in ("gh/acme/shop/12", "gh%2Facme%2Fshop%2F12"):
        assert client.unified("circleci", f"builds/{path}")["id"] == "gh/acme/shop/12"
    uuid = IDS["bitbucket"].format(1)
    encoded = uuid.replace("{", "%7B").replace("}", "%7D")
    assert client.unified("bitbucket", f"builds/{encoded}")["id"] == uuid
    assert client.unified("bitbucket", "jobs/17", build=uuid)["build"] == uuid
    wrong = client.get("/unified/ci-cd/jobs/17", **scope("bitbucket"), build="{other}")
    assert wrong.status_code == 404


def test_debug_answers_hold_secrets_of_the_ci_system(emulator, client, clock):
    add(emulator, "github", run())
    clock.now = NOW + 100

    plain = client.unified("github", "jobs/17")
    told = client.unified("github", "jobs/17", truto_response_format="debug")

    assert told["result"] == plain
    assert PROVIDER_SECRET in str(told["debug"]["requestOptions"])
    assert told["debug"]["data"] == plain["remote_data"]


def test_jobs_that_do_not_exist_yet_are_not_listed(emulator, client, clock):
    jobs = (JobRun(id="1", name="build"), JobRun(id="2", name="test", created_at=NOW + 30))
    add(emulator, "github", run(jobs=jobs))

    clock.now = NOW + 29
    assert len(client.unified("github", "jobs", build_id="1")["result"]) == 1
    clock.now = NOW + 30
    assert len(client.unified("github", "jobs", build="1", build_id="1")["result"]) == 2


@pytest.mark.parametrize(
    ("account", "resource", "names"),
    [
        ("github", "repos", ["acme/api", "acme/shop"]),
        ("github", "organizations", ["acme"]),
        ("bitbucket", "repos", ["acme/api", "acme/shop"]),
        ("bitbucket", "workspaces", ["acme"]),
        ("azuredevops", "workspaces", ["acme"]),
        ("azuredevops", "workflow", ["CI"]),
        ("jenkins", "workflow", ["acme/api", "folder/shop"]),
        ("travisci", "repos", ["15022857", "acme/api"]),
        ("buddy", "workspaces", ["acme"]),
    ],
)
def test_discovery(emulator, client, account, resource, names):
    entry = "acme/api/deploy" if account == "buddy" else "acme/api"
    emulator.world.add(account, entry, run(account))
    emulator.world.accounts[account].repos[entry].status = "inactive"

    query = {"integrated_account_id": account, "workspace_id": "acme", "limit": 2}
    found = client.get(f"/unified/ci-cd/{resource}", **query).json()["result"]

    plain = account in {"github", "bitbucket"} and resource == "repos"
    told = [f"{item['owner']}/{item['name']}" if plain else item["id"] for item in found]
    if resource == "workflow" and account == "azuredevops":
        told = [item["name"] for item in found]
    assert sorted(told) == names
    if resource == "repos":
        status = {item["name"]: item["status"] for item in found}
        assert sorted(status.values()) == ["active", "inactive"]
        assert {item["default_branch"] for item in found} == {"main"}


# --- trouble -----------------------------------------------------------------


def test_limits_are_those_of_the_platform(clock):
    world = World(clock)
    for name in ("a", "b"):
        world.open(name, "github", "acme/shop")
    with EmulatorThread(world, limits=Limits(per_token=80)) as emulator:
        client = Client(emulator.url)
        with client.http:
            query = {"owner": "acme", "repo_id": "shop"}

            def ask(account):
                return client.get("/unified/ci-cd/builds", integrated_account_id=account, **query)

            first = [ask("a").status_code for _ in range(51)]
            assert first == [200] * 50 + [429]
            second = [ask("b") for _ in range(30)]
            assert [answer.status_code for answer in second] == [200] * 29 + [429]
            assert second[-1].headers["retry-after"] == "10"
            assert set(second[-1].json()) == {"statusCode", "error", "message"}
            clock.now += 10
            assert ask("a").status_code == 200


def test_the_ci_systems_own_quota_is_told_and_enforced(emulator, client, clock):
    emulator.world.accounts["github"].behaviour.quota = Quota(
        limit=110, remaining=1, reset_at=NOW + 60
    )

    def ask():
        return client.get("/unified/ci-cd/builds", **scope("github"))

    good, refused = ask(), ask()
    assert good.headers["ratelimit-limit"] == "110;w=3600"
    assert (good.headers["ratelimit-remaining"], good.headers["ratelimit-reset"]) == ("0", "61")
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "61")
    assert "rate_limit_error" in refused.json()["truto_error_insight"]
    clock.now = NOW + 60
    assert ask().headers["ratelimit-remaining"] == "109"


def test_faults_hit_whom_they_are_meant_for_and_no_longer_than_wanted(emulator, client):
    def ask(account="github"):
        return client.get("/unified/ci-cd/builds", **scope(account))

    emulator.faults.add(Fault(status=502, body="<html>", content_type="text/html", times=1))
    bad = ask()
    assert (bad.status_code, bad.text, bad.headers["content-type"]) == (502, "<html>", "text/html")
    assert ask().status_code == 200

    fault = emulator.faults.needs_reauth("github")
    assert ask().json()["truto_is_remote_error"]
    assert ask("jenkins").status_code == 200
    assert client.get("/integrated-account/github").status_code == 200
    emulator.faults.remove(fault)
    emulator.faults.blocked("github")
    assert ask().status_code == 503
    emulator.faults.clear()

    emulator.faults.add(Fault(edit=lambda body: body | {"result": {}}, content_type="text/plain"))
    assert (ask().json()["result"], ask().headers["content-type"]) == ({}, "text/plain")
    emulator.faults.clear()
    emulator.faults.add(Fault(body=[1], where="/unified/ci-cd/builds"))
    emulator.faults.add(
        Fault(status=429, headers={"Retry-After": "7"}, where=lambda r: "x" in r.path)
    )
    assert ask().json() == [1]
    assert client.get("/x").headers["retry-after"] == "7"


def test_every_request_is_written_down(emulator, client, clock):
    client.get("/unified/ci-cd/builds/a%2Fb", integrated_account_id="github", next_cursor="c/2+=&x")
    client.get("/integrated-account/jenkins")

    first, second = emulator.journal.requests()
    assert (first.method, first.path, first.status) == ("GET", "/unified/ci-cd/builds/a/b", 404)
    assert first.raw_path.endswith("/a%2Fb")
    assert first.query == [("integrated_account_id", "github"), ("next_cursor", "c/2+=&x")]
    assert (first.account, second.account, second.at) == ("github", "jenkins", NOW)
    assert emulator.journal.count("/unified/") == 1
    assert emulator.journal.total == 2


def test_answers_carry_the_worlds_date(client, emulator):
    assert client.get("/ping").headers["date"] == "Wed, 18 Nov 2026 11:06:40 GMT"


def test_a_request_hangs_until_its_fault_is_removed_or_the_server_stops():
    async def main() -> list[int]:
        starlette = app(World())
        faults, journal = starlette.state.faults, starlette.state.journal
        async with httpx.AsyncClient(verify=False, trust_env=False) as http:
            async with serving(starlette) as url:
                headers = {"Authorization": "Bearer demo"}
                hung = faults.hang(where="/ping")
                first = asyncio.create_task(http.get(f"{url}/ping", headers=headers))
                await journal.arrived(1, "/ping")
                assert not first.done()
                faults.remove(hung)
                status = (await first).status_code
                faults.hang()
                second = asyncio.create_task(http.get(f"{url}/ping", headers=headers))
                await journal.arrived(2)
            return [status, (await second).status_code]

    assert asyncio.run(main()) == [200, 200]


def test_a_taken_port_is_an_error_not_a_hang(server):
    port = int(server.url.rpartition(":")[2])

    with pytest.raises(OSError, match="in use"), EmulatorThread(port=port):
        pass


def test_a_test_can_wait_for_requests(emulator, client):
    with pytest.raises(TimeoutError):
        emulator.journal.wait(1, timeout=0.01)
    client.get("/ping")
    emulator.journal.wait(1, lambda request: request.status == 200)


# --- the official client -----------------------------------------------------


def test_the_official_client_reads_it_all(emulator, clock):
    sdk = pytest.importorskip(
        "truto_python_sdk", reason="pip install --no-deps --ignore-requires-python truto-python-sdk"
    )
    aiohttp = pytest.importorskip("aiohttp")
    numbers = range(1, 6)
    for account in ENTRIES:
        add(emulator, account, *(run(account, n, created_at=NOW + n) for n in numbers))
    emulator.world.page_size = 2
    clock.now = NOW + 100

    async def main() -> None:
        api = sdk.TrutoApi(token="demo", base_url=emulator.url)
        accounts = await api.integrated_accounts.list(status="active").to_array()
        assert {account["integration"]["name"] for account in accounts} == ENTRIES.keys()

        for account in BUILDS:
            ids = [IDS.get(account, "{}").format(n) for n in reversed(numbers)]
            listing = api.unified_api.list("ci-cd", "builds", scope(account))
            assert [item["id"] for item in await listing.to_array()] == ids
            one = await api.unified_api.get("ci-cd", "builds", ids[0], scope(account))
            assert one["id"] == ids[0]
            if "jobs" in INTEGRATIONS[account].resources:
                query = scope(account) | {"build_id": ids[0], "build": ids[0]}
                jobs = await api.unified_api.list("ci-cd", "jobs", query).to_array()
                assert [job["id"] for job in jobs] == ["57"]
        for account in ENTRIES:
            if "get" in INTEGRATIONS[account].resources.get("jobs", ()):
                query = scope(account) | {"build": IDS.get(account, "{}").format(5)}
                assert (await api.unified_api.get("ci-cd", "jobs", "57", query))["id"] == "57"

        # It gives up at an empty page; a client of ours must not.
        emulator.world.accounts["github"].behaviour.empty_pages = frozenset({1})
        listing = api.unified_api.list("ci-cd", "builds", scope("github"))
        assert [item["id"] for item in await listing.to_array()] == ["5", "4"]

        stranger = sdk.TrutoApi(token="wrong", base_url=emulator.url)
        with pytest.raises(aiohttp.ClientResponseError) as error:
            await stranger.integrated_accounts.list().to_array()
        assert error.value.status == 401

    asyncio.run(main())


# --- the demo's life ---------------------------------------------------------


def test_life_follows_from_seed_and_clock_alone():
    def live(*steps: float, seed: int = 1) -> list[list[Run]]:
        clock = Clock()
        world = World(clock)
        life = Life(world, seed=seed)
        for step in steps:
            clock.now += step
            life.step()
        return [world.attempts(account) for account in world.accounts]

    assert live(60) == live(1, 20, 0.5, 38.5)
    assert live(60) != live(60, seed=2)


def test_life_has_a_past_goes_on_and_stays_small():
    clock = Clock()
    world = World(clock)
    life = Life(world)
    past = {account: len(world.finished(account)) for account in world.accounts}

    clock.now += 3600
    life.step()

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


def test_in_life_a_run_starts_and_ends_with_its_jobs():
    world = World(Clock())
    Life(world)

    for account in world.accounts:
        for truth in world.attempts(account):
            if truth.jobs and truth.duration is not None:
                assert truth.jobs[0].started_at == truth.started_at
                assert truth.jobs[-1].completed_at == truth.completed_at
                assert truth.jobs[-1].conclusion == truth.conclusion


def test_the_demo_comes_with_its_configuration():
    async def main() -> None:
        async with running() as stage, httpx.AsyncClient(verify=False, trust_env=False) as http:
            config = yaml.safe_load(stage.configuration("/folder"))
            assert config["accounts"] == demo_accounts(stage.url)
            assert config["state"]["url"] == "sqlite:////folder/cicd-exporter.db"
            headers = {"Authorization": f"Bearer {TOKEN}"}
            listed = await http.get(f"{stage.url}/integrated-account", headers=headers)
            wanted = {account["integrated_account_id"] for account in config["accounts"]}
            assert {account["id"] for account in listed.json()["result"]} == wanted

    asyncio.run(main())
