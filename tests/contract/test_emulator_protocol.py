"""The emulator speaks the unified API's real protocol, and the official client reads it."""

from __future__ import annotations

import asyncio
import re

import httpx
import msgspec
import pytest

from exporter.demo import JobRun
from exporter.demo.integrations import INTEGRATIONS
from exporter.demo.reader import PROVIDER_SECRET
from tests.tools import emulated
from tests.tools.emulated import BUILDS, ENTRIES, IDS, NOW, add, run, scope

server = emulated.server
emulator = emulated.emulator
clock = emulated.clock
client = emulated.client

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
