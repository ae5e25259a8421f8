"""The database commits, and its connection ends before it can say so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.errors import StateUnavailable
from exporter.metrics import families as f
from tests.tools import postgres, stores
from tests.tools.postgres import Proxy
from tests.tools.scripted import Rig, build, done

pytestmark = pytest.mark.parametrize("store", ["postgres"], indirect=True)


@pytest.fixture
def proxy(store: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    server = postgres.shared()
    made = Proxy(server.port)
    made.start()
    monkeypatch.setattr(stores, "address", server.url.replace(str(server.port), str(made.port)))
    yield made
    made.close()


def test_a_commit_that_nobody_heard_of_is_noticed_counted_once_and_shown(
    tmp_path: Path, proxy: Proxy
) -> None:
    rig = Rig(tmp_path / "s.db", size=100)
    rig.poll()
    began = [build(str(n)) for n in range(10)]
    for n, one in enumerate(began):
        rig.provider._builds = [*map(done, began[:n]), one]
        rig.poll()
        rig.provider._builds = [*map(done, began[: n + 1])]
        proxy.armed.set()
        with pytest.raises(StateUnavailable, match="cannot be written"):
            rig.poll()

        rig.poll()

        assert rig.value(f.BUILDS) == rig.value(f.BUILD_DURATION) == n + 1
        assert not any(rig.view.active.values())
    assert proxy.cut == len(began)
    before = dict(rig.view.stored())
    rig.restart()
    assert before == dict(rig.view.stored())
    rig.crash()


def test_a_commit_that_the_database_never_saw_is_made_again(tmp_path: Path, proxy: Proxy) -> None:
    rig = Rig(tmp_path / "s.db", size=100)
    rig.provider._builds = [done(build("1"))]
    rig.poll()
    postgres.shared().stop()
    rig.provider._builds += [done(build("2"))]
    with pytest.raises(StateUnavailable):
        rig.poll()
    postgres.shared().start()

    rig.poll()

    assert rig.value(f.BUILDS) == 2
    rig.crash()
