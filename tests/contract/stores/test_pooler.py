"""A pooler gives each transaction to any of its sessions, and each session to anybody."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.metrics import families as f
from tests.tools import postgres, stores
from tests.tools.scripted import Rig, build, done

pytestmark = pytest.mark.parametrize("store", ["postgres"], indirect=True)


def test_several_exporters_share_the_sessions_of_a_pooler(
    tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has a schema of its own: what one sets for its transaction no other one sees."""
    with postgres.pooled(postgres.shared()) as url:
        monkeypatch.setattr(stores, "address", url)
        rigs = [Rig(tmp_path / f"{n}.db", size=100) for n in range(4)]
        for turn in range(1, 6):
            for n, rig in enumerate(rigs):
                rig.provider._builds += [done(build(f"{turn}-{k}")) for k in range(n + 1)]
                rig.poll()
        assert [rig.value(f.BUILDS) for rig in rigs] == [5, 10, 15, 20]
        for n, rig in enumerate(rigs):
            rig.restart()
            assert rig.value(f.BUILDS) == 5 * (n + 1)
            rig.crash()
