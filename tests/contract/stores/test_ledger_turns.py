"""Steps of the ledger take turns: one that has begun ends, one that waits can be called off."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from exporter.metrics import families as f
from tests.tools.scripted import Rig, build, done

pytestmark = pytest.mark.usefixtures("store")


class Disk:
    """A disk that answers when it is told to."""

    def __init__(self, rig: Rig) -> None:
        self.begun, self.go = threading.Event(), threading.Event()
        self._run = rig.recorder._run
        rig.recorder._run = self.slow  # type: ignore[method-assign]

    async def slow(self, step: Callable[[], Any]) -> Any:
        def late() -> Any:
            self.begun.set()
            assert self.go.wait(10)
            return step()

        return await self._run(late)


def on(tmp_path: Path, work: Callable[[Rig, Disk], Awaitable[None]]) -> None:
    rig = Rig(tmp_path / "s.db")
    rig.provider._builds = [done(build("1"))]
    rig.poll()
    assert rig.value(f.BUILDS) == 1
    disk = Disk(rig)
    rig.run(lambda: work(rig, disk))
    rig.crash()


def recording(rig: Rig, key: str) -> asyncio.Task[Any]:
    """A step that counts another build."""
    (target,) = rig.view.targets.values()
    step = rig.recorder.record(target, [done(build(key))], cursor=target.cursor)
    return asyncio.create_task(step)


def test_a_step_that_has_begun_is_finished_although_its_poll_is_cancelled(tmp_path: Path) -> None:
    async def work(rig: Rig, disk: Disk) -> None:
        step = recording(rig, "2")
        await asyncio.to_thread(disk.begun.wait)
        step.cancel()
        await asyncio.sleep(0)
        assert not step.done()
        disk.go.set()
        await asyncio.wait([step])
        assert step.cancelled()
        assert rig.value(f.BUILDS) == 2

    on(tmp_path, work)


def test_a_step_that_waits_for_its_turn_does_not_hold_up_a_stop(tmp_path: Path) -> None:
    async def work(rig: Rig, disk: Disk) -> None:
        first = recording(rig, "2")
        await asyncio.to_thread(disk.begun.wait)
        waiting = [recording(rig, str(n)) for n in range(3, 100)]
        await asyncio.sleep(0.01)
        for step in waiting:
            step.cancel()
        await asyncio.wait(waiting)
        assert not first.done()
        disk.go.set()
        await first
        await recording(rig, "100")
        assert rig.value(f.BUILDS) == 3

    on(tmp_path, work)
