"""Who asks for a reload, and what they are told."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from exporter.daemon import Reloads, reload
from exporter.demo import serving
from exporter.errors import ConfigError, ExporterError, StateUnavailable
from exporter.web import application
from tests.system.web import Stub
from tests.tools import reloading
from tests.tools.reloading import Inside, Stage, assert_counted, eventually, run

stage = reloading.stage


def test_a_file_that_changes_is_loaded_by_itself(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reload, "_SETTLED", 0.08)
    versions = stage.folder / "..1", stage.folder / "..2"
    for version, names in zip(versions, (["one"], ["one", "two"]), strict=True):
        version.mkdir()
        stage.write(*names)
        stage.file.rename(version / "config.yaml")
    # As Kubernetes mounts a ConfigMap: another version is another target of a link.
    link = stage.folder / "..data"
    link.symlink_to(versions[0].name)
    stage.file.symlink_to("..data/config.yaml")

    async def work(inside: Inside) -> None:
        loads: list[list[str] | ConfigError] = []
        monkeypatch.setattr(inside.reloads, "reload", noted(inside.reloads.reload, loads))
        inside.assembly.timers.every(0.02, inside.reloads.look, "look")

        def assert_loaded(number: int) -> None:
            assert len(loads) == number

        await eventually(lambda: assert_loaded(1))  # it may have changed during the start
        (stage.folder / "..new").symlink_to(versions[1].name)
        (stage.folder / "..new").replace(link)
        await eventually(lambda: assert_loaded(2))

        sound = stage.file.read_bytes()
        with stage.file.open("wb") as file:  # slowly, in place
            for start in range(0, len(sound), 100):
                file.write(sound[start : start + 100])
                file.flush()
                await asyncio.sleep(0.001)
        await eventually(lambda: assert_loaded(3))

        secret = stage.folder / "secret"
        stage.write("three", stage.account("two", token_file=str(secret)))  # the link is gone
        await eventually(lambda: assert_loaded(5))  # tried again, as the secret may be there
        secret.write_text("demo")
        await eventually(lambda: assert_counted(inside, two=2, three=2))
        await asyncio.sleep(0.2)
        after = [load for load in loads[3:] if not isinstance(load, ConfigError)]
        assert loads[:3] == [[], ["+account two"], []]
        assert after == [["-account one", "+account three", "~account two: ..."]]

    run(stage, work)


def noted(
    reload: Callable[[], Awaitable[list[str]]], results: list[list[str] | ConfigError]
) -> Callable[[], Awaitable[list[str]]]:
    """`reload`, with its results kept."""

    async def noting() -> list[str]:
        try:
            results.append([re.sub(": .*", ": ...", line) for line in await reload()])
        except ConfigError as error:
            results.append(error)
            raise
        return []

    return noting


class Slow:
    """Takes a configuration over when told to."""

    def __init__(self) -> None:
        self.gate = asyncio.Semaphore(0)
        self.begun = asyncio.Semaphore(0)
        self.count = 0
        self.at_once = 0

    def reloaded(self, error: str | None = None) -> None:
        """Nobody looks."""

    async def apply(self, wanted: Any) -> Any:
        self.count += 1
        self.at_once += 1
        assert self.at_once == 1, "two reloads at once"
        self.begun.release()
        await self.gate.acquire()
        self.at_once -= 1
        return SimpleNamespace(changes=[f"reload {self.count}"], postponed=[])


def test_who_asks_during_a_reload_shares_the_next_one(stage: Stage) -> None:
    stage.write("one")

    async def main() -> None:
        slow: Any = Slow()
        reloads = Reloads(slow, str(stage.file))
        first = asyncio.create_task(reloads.reload())
        await slow.begun.acquire()
        others = [asyncio.create_task(reloads.reload()) for _ in range(100)]
        await asyncio.sleep(0)
        others[0].cancel()  # its own affair
        slow.gate.release()
        slow.gate.release()
        assert await first == ["reload 1"]
        assert await asyncio.gather(*others[1:]) == [["reload 2"]] * 99
        assert slow.count == 2

        await slow.begun.acquire()
        last = asyncio.create_task(reloads.reload())
        await slow.begun.acquire()
        reloads.signalled()
        await reloads.close()
        for refused in (last, reloads.reload()):
            with pytest.raises(ExporterError, match="stopping"):
                await refused
        reloads.signalled()
        assert len(asyncio.all_tasks()) == 1
        assert slow.count == 3

    asyncio.run(main())


@pytest.mark.parametrize(
    ("outcome", "status", "text"),
    [
        ([], 200, "nothing has changed"),
        (["+account a", "-account b"], 200, "+account a\n-account b"),
        (ConfigError(["f:1:1: a: bad", "f:2:1: b: bad"]), 400, "f:1:1: a: bad\nf:2:1: b: bad"),
        (StateUnavailable("the disk is full"), 500, "the disk is full"),
    ],
)
def test_who_reloads_over_http_is_told_how_it_ended(
    outcome: list[str] | ExporterError, status: int, text: str
) -> None:
    async def reload() -> list[str]:
        if isinstance(outcome, ExporterError):
            raise outcome
        return outcome

    lead = "failed to reload config: " if status >= 400 else ""
    assert ask(reload) == [(status, f"{lead}{text}\n")] * 2


def test_nobody_reloads_over_http_unless_that_is_enabled() -> None:
    assert ask(None) == [(403, "Lifecycle API is not enabled.\n")] * 2


def ask(reload: Callable[[], Awaitable[list[str]]] | None) -> list[tuple[int, str]]:
    """Status and text of a POST and of a PUT to `/-/reload`; nothing else is allowed."""

    async def main() -> list[tuple[int, str]]:
        app = application(Stub(), telemetry_path="/metrics", reload=reload)
        async with serving(app) as url, httpx.AsyncClient(trust_env=False) as client:
            path = f"{url}/-/reload"
            answers = [await client.request(method, path) for method in ("POST", "PUT")]
            assert (await client.get(path)).status_code == 405
            return [(answer.status_code, answer.text) for answer in answers]

    return asyncio.run(main())
