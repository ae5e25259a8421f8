"""The image at work: hardened as operators are told to run it, scraped, told to stop."""

from __future__ import annotations

import itertools
import subprocess
import time

import pytest

from exporter import __version__
from tests.system.image.containers import (
    ANYBODY,
    CONFIG,
    HARDENED,
    REPO,
    SECRET,
    STATE,
    STRICT,
    Container,
    add,
    with_variable,
)
from tests.system.image.workshop import REVISION
from tests.tools.system import TOKEN_ENV, eventually

NUMBERS = itertools.count(4)
"""Of builds that are new to everybody."""
KILLED_AFTER = 10.0
"""Seconds that Docker gives a container to stop."""


@pytest.mark.parametrize("user", [(), ("--user", ANYBODY)], ids=["own-user", "any-user"])
def test_a_restart_keeps_what_was_counted_and_counts_what_was_built(
    setup, image, world, user
) -> None:
    with Container(setup, image, *user) as container:
        before = eventually(container.polled)
        assert 0 == stopped(container)
    add(world, "variable", next(NUMBERS))
    add(world, "file", next(NUMBERS), next(NUMBERS))
    with Container(setup, image, *user) as container:
        after = eventually(container.polled)
        assert 0 == stopped(container)

    now = after.counters()
    assert {} == {key: seen for key, seen in before.counters().items() if now[key] < seen}
    for account, built in (("variable", 1), ("file", 2)):
        counted = before.total("cicd_builds_total", account=account)
        assert counted >= 3
        assert counted + built == after.total("cicd_builds_total", account=account)
    assert [1.0, 1.0, 1.0] == [*after.select("cicd_exporter_(account_up|state_ok)").values()]


def test_sighup_reads_the_configuration_again(setup, image, world, url) -> None:
    with Container(setup, image) as container:
        eventually(container.polled)
        world.open("more", "github", REPO)
        setup.configure([with_variable("more", url)])
        container.tell("HUP")

        def reloaded() -> None:
            up = container.scrape().select("cicd_exporter_account_up", account="more")
            assert [1.0] == [*up.values()]

        eventually(reloaded)
        assert 0 == stopped(container)


def test_it_says_what_it_was_built_from(setup, image) -> None:
    with Container(setup, image) as container:
        info = container.scrape().select(
            "cicd_exporter_build_info", version=__version__, revision=REVISION
        )

    assert [1.0] == [*info.values()]


def test_without_a_configuration_it_says_what_is_missing(workshop, image, can_run) -> None:
    done = subprocess.run(
        workshop.run(*HARDENED, "--network=none", image),
        capture_output=True,
        text=True,
        check=False,
    )

    assert 2 == done.returncode
    assert CONFIG in done.stderr
    assert 1 == len(done.stderr.splitlines())


def test_with_a_state_folder_of_somebody_else_it_says_who_must_write_where(setup, image) -> None:
    elsewhere = setup.config.parent / "state"
    elsewhere.mkdir(mode=0o755)
    mounts = f"--volume={setup.config}:{CONFIG}:ro", f"--volume={elsewhere}:{STATE}"
    tokens = f"--env={TOKEN_ENV}=demo", f"--volume={setup.secret}:{SECRET}:ro"

    done = subprocess.run(
        setup.workshop.run(*STRICT, "--network=none", *mounts, *tokens, image),
        capture_output=True,
        text=True,
        check=False,
    )

    assert 1 == done.returncode
    assert f"user 65532 must be able to write into {STATE}" in done.stderr


def stopped(container: Container) -> int:
    """The exit code; it was not for SIGKILL that it ended."""
    begun = time.monotonic()
    code = container.stop(within=KILLED_AFTER)
    assert time.monotonic() - begun < KILLED_AFTER
    return code
