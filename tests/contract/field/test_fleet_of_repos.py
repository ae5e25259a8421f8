"""A hundred repos of one account, of which some go wrong, and an API that falls silent."""

from __future__ import annotations

import itertools
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import pytest
from starlette.responses import RedirectResponse, Response

from benchmarks.api_cost import AGE, REPOS, SCENES, Scene, azure_devops_of
from tests.tools.serving import ServerThread
from tests.tools.system import TOKEN_ENV, Exporter, Exposition, configure, eventually

HOUR = 3600.0
UP = "cicd_exporter_account_up"
POLLED = "cicd_exporter_poll_last_success_timestamp_seconds"
SYSTEMS: dict[str, tuple[str, Callable[[], Scene]]] = {
    word: (word, scene)
    for word, scene in SCENES.values()
    if word != "azure_devops"  # there one request is for a whole project, so each has its own
} | {"azure_devops": ("azure_devops", lambda: azure_devops_of(REPOS))}


class Fault(NamedTuple):
    """How the API answers whatever it is asked about a repo, and what the repo's error names."""

    answer: Callable[[], Response]
    error: str


FAULTS = {
    "redirected": Fault(
        lambda: RedirectResponse("https://elsewhere.invalid/moved", 301), "elsewhere.invalid"
    ),
    "forbidden": Fault(lambda: Response('{"message": "no"}', 403), "403"),
    "gone": Fault(lambda: Response('{"message": "not found"}', 404), "404"),
    "failing": Fault(lambda: Response("", 500), "500"),
    "signing in": Fault(
        lambda: RedirectResponse("https://login.invalid/sign-in?return_to=x", 302), "signing in"
    ),
    "page": Fault(lambda: Response("<html>Sign in", 200, media_type="text/html"), "web page"),
    "garbage": Fault(
        lambda: Response('{"builds": [{', 200, media_type="application/json"), "the answer"
    ),
}


class Front:
    """Stands before an API: it answers for some repos as it is told, or nothing to anybody."""

    def __init__(self) -> None:
        self.faults: dict[str, Fault] = {}
        """By the last part of a repo's name."""
        self.is_silent = False

    def before(self, app: Any) -> Any:
        async def answer(scope: Any, receive: Any, send: Any) -> None:
            asked = unquote(f"{scope['raw_path'].decode()}?{scope['query_string'].decode()}")
            names = [f"r{n}" for n in re.findall(r"\b[rp](\d+)\b", asked)]
            fault = next((self.faults[n] for n in names if n in self.faults), None)
            if self.is_silent:
                while (await receive())["type"] != "http.disconnect":
                    pass
            else:
                await (app if fault is None else fault.answer())(scope, receive, send)

        return answer


class Fleet:
    """A hundred repos of one system, polled by a process."""

    def __init__(self, scene: Scene, front: Front, exporter: Exporter) -> None:
        self.scene, self.front, self._exporter = scene, front, exporter

    def scrape(self) -> Exposition:
        return self._exporter.scrape()

    def errors(self) -> dict[str, str]:
        """The errors of the repos that have one, by the last part of a repo's name."""
        [account] = self._exporter.status()["accounts"]
        told = {repo["repo"]: repo["error"] for repo in account["repos"]}
        assert len(told) == REPOS
        return {repo.rpartition("/")[2]: error for repo, error in told.items() if error}

    def assert_told(self) -> None:
        """Those that are wrong are shown with what is wrong; all others are polled as before."""

        def assert_errors() -> None:
            errors = self.errors()
            assert errors.keys() == self.front.faults.keys()
            for name, fault in self.front.faults.items():
                assert fault.error in errors[name]

        eventually(assert_errors, within=60, every=0.2)
        self.assert_fresh()
        assert_errors()

    def assert_fresh(self) -> None:
        """All repos but those that are wrong are polled again."""
        wrong = self.front.faults.keys()
        begun = time.time()

        def assert_polled() -> None:
            polls = self.scrape().select(POLLED)
            fresh = {key for key, at in polls.items() if at > begun}
            assert len(fresh) == REPOS - len(wrong)
            assert not any(f'/{name}"' in key for name in wrong for key in fresh)

        eventually(assert_polled, within=60, every=0.2)

    @contextmanager
    def always_up(self) -> Iterator[None]:
        """The account is up in each sample after the first one."""
        samples: list[float] = []
        is_over = threading.Event()

        def sample() -> None:
            while not is_over.wait(0.1):
                samples.append(self.scrape().value(UP))

        sampler = threading.Thread(target=sample)
        sampler.start()
        try:
            yield
        finally:
            is_over.set()
            sampler.join()
        since_up = list(itertools.dropwhile(lambda up: not up, samples))
        assert len(since_up) > 3
        assert all(since_up), self._exporter.log


@contextmanager
def polled(word: str, folder: Path, *, wrong: dict[str, Fault], **polling: Any) -> Iterator[Fleet]:
    """A hundred repos of a system, of which some are wrong from the start."""
    kind, made = SYSTEMS[word]
    scene, front = made(), Front()
    front.faults |= wrong
    for n in range(REPOS):
        scene.build(n, 2 * HOUR)
    scene.app.add_middleware(front.before)
    with ServerThread(scene.app) as server:
        account = {
            "name": "acme",
            "provider": kind,
            "url": server.url + scene.prefix,
            "token_env": TOKEN_ENV,
            "repos": list(scene.entries),
            **scene.keys,
        }
        intervals = {"interval": "2s", "max_interval": "2s"}
        file = configure(folder, [account], polling={**intervals, **polling})
        with Exporter(file) as exporter:
            yield Fleet(scene, front, exporter)
            assert "Traceback" not in exporter.log


@pytest.mark.parametrize("word", SYSTEMS)
def test_repos_that_are_wrong_from_the_start_are_wrong_alone(tmp_path: Path, word: str) -> None:
    """A few of a hundred repos are wrong from the first poll on, each in its own way."""
    wrong = {f"r{10 * n}": fault for n, fault in enumerate(FAULTS.values(), 1)}
    with polled(word, tmp_path, wrong=wrong) as fleet, fleet.always_up():
        fleet.assert_told()


@pytest.mark.parametrize("word", ["gitlab"])
def test_a_repo_that_goes_wrong_goes_wrong_alone(tmp_path: Path, word: str) -> None:
    """All is well for a while; then one repo after the other goes wrong, each in its own way."""
    with polled(word, tmp_path, wrong={}) as fleet:
        fleet.assert_fresh()
        with fleet.always_up():
            for n, fault in enumerate(FAULTS.values(), 1):
                fleet.front.faults[f"r{10 * n}"] = fault
                fleet.scene.build(10 * n, AGE)
                fleet.assert_told()


def test_an_api_that_falls_silent_is_down_soon(tmp_path: Path) -> None:
    """A hundred repos are polled until their API takes every request and answers none."""
    with polled("github", tmp_path, wrong={}, timeout="2s") as fleet:
        fleet.assert_fresh()

        def assert_up(up: int) -> None:
            assert fleet.scrape().value(UP) == up

        assert_up(1)
        fleet.front.is_silent = True
        eventually(lambda: assert_up(0), within=30, every=0.2)

        fleet.front.is_silent = False
        eventually(lambda: assert_up(1), within=60, every=0.2)
        fleet.assert_fresh()
