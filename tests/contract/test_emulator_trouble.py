"""The emulator's troubles are the platform's: limits, quotas, faults and hanging requests."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing

import pytest

from exporter.demo import Limits, Quota, World
from tests.tools import emulated
from tests.tools.emulated import NOW, Client, scope
from tests.tools.emulators.unified import EmulatorThread, Fault

server = emulated.server
emulator = emulated.emulator
clock = emulated.clock
client = emulated.client


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
    with ThreadPoolExecutor() as pool, ExitStack() as stack:
        with EmulatorThread() as emulator:
            client = Client(emulator.url)
            stack.enter_context(closing(client.http))
            hung = emulator.faults.hang(where="/ping")
            first = pool.submit(client.get, "/ping")
            emulator.journal.wait(1, "/ping")
            assert not first.done()
            emulator.faults.remove(hung)
            assert first.result().status_code == 200
            emulator.faults.hang()
            second = pool.submit(client.get, "/ping")
            emulator.journal.wait(2)
        assert second.result().status_code == 200


def test_a_taken_port_is_an_error_not_a_hang(server):
    port = int(server.url.rpartition(":")[2])

    with pytest.raises(OSError, match="in use"), EmulatorThread(port=port):
        pass


def test_a_test_can_wait_for_requests(emulator, client):
    with pytest.raises(TimeoutError):
        emulator.journal.wait(1, timeout=0.01)
    client.get("/ping")
    emulator.journal.wait(1, lambda request: request.status == 200)
