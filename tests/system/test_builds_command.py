"""`cicd-exporter builds`: the build log at a terminal, beside a running exporter too."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from exporter.demo import World
from exporter.ledger import Ledger, LedgerConfig
from exporter.ledger.sqlite.ledger import open_ledger
from tests.tools.build_logs import MAIN, WHOLE, a_build, record
from tests.tools.commands import command
from tests.tools.emulated import run
from tests.tools.emulators.unified import EmulatorThread
from tests.tools.system import Exporter, account, configure, eventually

ELSEWHERE = ("gitlab", "zenith", "zenith/site", "", "main")


@pytest.fixture
def ledger(tmp_path: Path) -> Any:
    url = f"sqlite:///{tmp_path}/state.db"
    with contextlib.closing(open_ledger(url, LedgerConfig(1e12, 86400.0))) as opened:
        yield opened


@pytest.fixture
def config(tmp_path: Path) -> str:
    file = configure(tmp_path, [account("acme", "github", "http://127.0.0.1:1", ["acme/shop"])])
    return f"--config.file={file}"


def rows(out: str) -> list[dict[str, str]]:
    """The lines of the table by their heads."""
    head, *lines = out.splitlines()
    starts = [i for i, c in enumerate(head) if c != " " and (i == 0 or head[i - 1] == " ")]
    cuts = list(zip(starts, [*starts[1:], None], strict=True))
    return [{head[a:b].strip(): line[a:b].strip() for a, b in cuts} for line in lines]


def test_the_newest_builds_are_printed_with_commit_author_and_link(
    ledger: Ledger, config: str
) -> None:
    record(ledger, ("7", WHOLE), ("8", a_build(ELSEWHERE, 2000.0, ref=None)))

    ended = command("builds", config)

    assert (ended.code, ended.err) == (0, "")
    assert rows(ended.out) == [
        {
            "COMPLETED": "1970-01-01T00:33:20Z",
            "CONCLUSION": "passed",
            "REPO": "zenith/site",
            "WORKFLOW": "-",
            "BRANCH": "main",
            "BUILD": "-",
            "TOOK": "-",
            "COMMIT": "-",
            "BY": "-",
            "TITLE": "-",
            "LINK": "-",
        },
        {
            "COMPLETED": "1970-01-01T00:01:51Z",
            "CONCLUSION": "failed",
            "REPO": "acme/shop",
            "WORKFLOW": "CI",
            "BRANCH": "feature/ä",
            "BUILD": "#7/2",
            "TOOK": "10s",
            "COMMIT": "c0ffeec0",
            "BY": "octo",
            "TITLE": "Mend the parser",
            "LINK": "https://ci.example/7",
        },
    ]


@pytest.mark.parametrize(
    ("flags", "found"),
    [
        ([], [4, 3, 2, 1]),
        (["--limit=2"], [4, 3]),
        (["--account=zenith"], [4]),
        (["--repo=acme/shop"], [3, 2, 1]),
        (["--workflow=CI", "--branch=main"], [2, 1]),
        (["--branch=topic/x"], [3]),
        (["--conclusion=failed"], [2]),
        (["--since=1970-01-01T00:33:20Z"], [4, 3, 2]),
        (["--since=48h"], []),
    ],
)
def test_builds_are_chosen_by_flags(
    ledger: Ledger, config: str, flags: list[str], found: list[int]
) -> None:
    record(
        ledger,
        ("1", a_build(MAIN, 1000.0, number=1)),
        ("2", a_build(MAIN, 2000.0, "failed", number=2)),
        ("3", a_build((*MAIN[:4], "other"), 3000.0, number=3, ref="topic/x")),
        ("4", a_build(ELSEWHERE, 4000.0, number=4)),
    )

    ended = command("builds", config, "--format=json", *flags)

    assert [build["number"] for build in json.loads(ended.out)["builds"]] == found


def test_no_text_of_others_moves_the_terminal(ledger: Ledger, config: str) -> None:
    poison = "\x1b]0;owned\x07\x1b[2J\u202e\u2028\x9b31m end"
    build = msgspec.structs.replace(WHOLE, title=poison, triggered_by=poison, workflow=poison)
    record(ledger, ("7", build))

    for form in ("table", "json"):
        out = command("builds", config, f"--format={form}").out
        assert "end" in out
        assert out.replace("\n", "").isprintable()


def test_beside_a_running_exporter_it_says_what_is_served(tmp_path: Path) -> None:
    with EmulatorThread(World()) as emulator:
        emulator.world.open("acme", "github", "acme/shop")
        ended = [run(number=n, created_at=time.time() - 100 * n) for n in range(1, 6)]
        emulator.world.add("acme", "acme/shop", *ended)
        keys = [account("acme", "github", emulator.url, ["acme/shop"])]
        web = {"external_url": "https://ops.example/tools/cicd"}
        file = configure(tmp_path, keys, web=web)
        with Exporter(file) as exporter:

            def logged() -> Any:
                told = json.loads(exporter.get("/tools/cicd/builds.json?limit=3").body)
                assert told["builds"]
                return told

            told = eventually(logged)
            said = command("builds", f"--config.file={file}", "--format=json", "--limit=3")

    assert said.code == 0
    assert [build["number"] for build in told["builds"]] == [1, 2, 3]
    assert json.loads(said.out)["builds"] == told["builds"]


def test_where_nothing_is_kept_that_is_said(tmp_path: Path) -> None:
    keys = [account("acme", "github", "http://127.0.0.1:1", ["acme/shop"])]
    file = configure(tmp_path, keys, state={"url": "memory:"})

    said = command("builds", f"--config.file={file}")
    data = command("builds", f"--config.file={file}", "--format=json")

    assert said.out == "state.url is memory: nothing is kept\n"
    assert json.loads(data.out) == {"builds": [], "next_cursor": None}


def test_a_state_that_is_not_there_is_a_failure_in_one_line(config: str) -> None:
    ended = command("builds", config)

    assert ended.code == 1
    assert ended.err.startswith("cicd-exporter: state file ")
    assert ended.err.count("\n") == 1
