"""A build is the one it was, whatever an API stops telling of it."""

from __future__ import annotations

import time

from exporter.metrics import families as f
from exporter.model import Status
from exporter.providers.travis import Travis
from tests.tools.emulators.rig import Station
from tests.tools.emulators.travis import World

SHOP = "acme/shop"


def test_travis_builds_that_lose_their_times_for_a_while_are_counted_once() -> None:
    """Restarts have the same id, but a build without times is no restart."""
    world = World(repos={SHOP: {}})
    old = world.ran(SHOP, time.time() - 300, 20, "passed")
    running = world.build(SHOP, time.time() - 60)
    running.turns("started", time.time() - 50)
    provider = Travis.model_validate({"name": "acme", "provider": "travis", "repos": [SHOP]})
    rig = Station(provider, world.app(), "")
    rig.polled()
    assert rig.value(f.BUILDS) == 1

    running.turns("passed", time.time() - 10)
    known = [(each, each.begun, each.ended) for each in (old, running)]
    for each in (old, running):
        each.begun = each.ended = None
        assert each.state == "passed"
    rig.polled()
    assert rig.value(f.BUILDS) == 2
    assert rig.gauge(f.ACTIVE, status=Status.IN_PROGRESS) == 0

    for each, begun, ended in known:
        each.begun, each.ended = begun, ended
    rig.polled()
    assert rig.value(f.BUILDS) == 2
    assert rig.value(f.BUILD_DURATION) == 2
    rig.crash()
