"""Every number of the first poll is what really happened, for every integration."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from exporter.demo import World
from tests.tools.emulators.unified import EmulatorThread
from tests.tools.oracle import Oracle, assert_true
from tests.tools.stories import SYSTEMS, Author, Clock, config, numbered, stage
from tests.tools.system import Exposition, account, configure, once


class Play(NamedTuple):
    """A world, and what the exporter made of it."""

    world: World
    scrape: Exposition
    jobs: bool


@pytest.fixture(scope="module", params=[False, True], ids=["builds", "jobs"])
def first_poll(request, tmp_path_factory) -> Play:
    """One process polls all seven accounts once."""
    jobs: bool = request.param
    world = stage(turn=int(jobs), finish_date=jobs)
    with EmulatorThread(world) as emulator:
        done = once(config(tmp_path_factory.mktemp("once"), emulator.url, jobs=jobs))
    assert done.code == 0, done.log
    return Play(world, done.scrape, jobs)


@pytest.mark.parametrize("integration", SYSTEMS)
def test_the_first_poll_tells_the_truth(first_poll, integration):
    world = first_poll.world
    oracle = Oracle(world, integration, jobs=first_poll.jobs, ends=first_poll.jobs)
    oracle.look()

    assert_true(first_poll.scrape, oracle)


def test_a_run_from_a_fork_is_a_pull_requests_whatever_its_branch(first_poll):
    counted = first_poll.scrape.select("cicd_builds_total", account="forks", conclusion="passed")

    assert [key for key in counted if 'branch="pull_request"' in key] == list(counted)


BARE = ("azuredevops", "bitbucket", "circleci", "jenkins", "travisci")


def test_where_the_raw_objects_are_not_sent_the_single_build_and_the_jobs_tell(tmp_path):
    world = World(Clock())
    spans = {"passed": 60.0, "failed": 47.0, "cancelled": 8.0}
    for name in BARE:
        world.open(name, name, SYSTEMS[name].entry).behaviour.remote_data = False
        author = Author(name)
        builds = [
            author.build(world.clock() - 900, span=span, conclusion=word)
            for word, span in spans.items()
        ]
        world.add(name, SYSTEMS[name].entry, *numbered(name, builds))

    with EmulatorThread(world) as emulator:
        accounts = [account(name, name, emulator.url, [SYSTEMS[name].entry]) for name in BARE]
        scrape = once(configure(tmp_path, accounts)).scrape

    for name in BARE:
        label, duration = SYSTEMS[name].label, "cicd_build_duration_seconds_sum"
        assert spans == {
            word: scrape.total(duration, account=name, conclusion=word) for word in spans
        }
        queueless = 0 if name in {"bitbucket", "circleci", "travisci"} else 3
        missing = "cicd_exporter_missing_values_total"
        assert scrape.total(missing, provider=label, field="queue") == queueless
        assert scrape.total(missing, provider=label) == queueless
