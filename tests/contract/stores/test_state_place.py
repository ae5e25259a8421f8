"""Where the state file may live: not on a network file system."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.errors import StateRefused
from exporter.ledger.sqlite import mounts
from tests.tools.scripted import Rig

TABLE = r"""
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro
30 27 8:1 / /data rw,noatime - xfs /dev/sda1 rw
31 30 0:40 /exports/ci /data/shared rw,relatime shared:7 master:3 - nfs4 nas:/exports rw,vers=4.2
32 31 8:17 / /data/shared/local rw - ext4 /dev/sdb1 rw
33 27 0:41 / /mnt/two\040words rw - cifs //nas/ci rw,vers=3.1.1
34 27 0:42 / /home/ann/far rw,nosuid - fuse.sshfs ann@far: rw,user_id=1000
35 27 0:43 / /auto rw - autofs systemd-1 rw,fd=29
36 35 0:44 / /auto rw - nfs nas:/auto rw,vers=3
37 27 0:45 / /over rw - nfs nas:/over rw
38 37 8:33 / /over rw - ext4 /dev/sdc1 rw
39 27 0:46 /state.db /srv/state.db rw - 9p host rw,trans=virtio
40 27 0:47 / /k8s rw - ceph mon:/ rw
this line is none
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/state.db", "ext4"),
        ("/var/lib/state.db", "ext4"),
        ("/data/state.db", "xfs"),
        ("/data/shared/state.db", "nfs4"),
        ("/data/sharedless/state.db", "xfs"),
        ("/data/shared/local/state.db", "ext4"),
        ("/mnt/two words/state.db", "cifs"),
        ("/home/ann/far/a/b/state.db", "fuse.sshfs"),
        ("/auto/state.db", "nfs"),
        ("/over/state.db", "ext4"),
        ("/srv/state.db", "9p"),
        ("/srv/state.db-wal", "ext4"),
    ],
)
def test_the_deepest_mount_tells_the_file_system(path: str, kind: str) -> None:
    assert mounts.file_system(TABLE, path) == kind


def test_an_empty_table_tells_nothing() -> None:
    assert mounts.file_system("", "/state.db") is None


def mounted(folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `folder` seem to be a file system of this kind."""
    table = folder.parent / f"{folder.name}.mountinfo"
    point = str(folder.resolve()).replace(" ", r"\040")
    table.write_text(f"1 0 8:1 / / rw - ext4 /dev/vda rw\n2 1 0:9 / {point} rw - {kind} nas: rw\n")
    monkeypatch.setattr(mounts, "_TABLE", table)


@pytest.mark.parametrize("kind", sorted(mounts.NETWORK))
def test_a_state_on_a_network_file_system_is_refused(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "far away"
    folder.mkdir()
    mounted(folder, kind, monkeypatch)
    link = tmp_path / "near"
    link.symlink_to(folder)

    for path in (folder / "s.db", link / "s.db"):
        with pytest.raises(StateRefused) as refused:
            Rig(path)
        said = str(refused.value)
        assert f"state file {path} is on a network file system ({kind})" in said
        assert "let state.url name a local disk" in said
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("kind", ["ext4", "tmpfs", "overlay", "zfs"])
def test_a_state_on_a_local_file_system_is_opened(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounted(tmp_path, kind, monkeypatch)

    Rig(tmp_path / "s.db").crash()


def test_where_nothing_tells_of_mounts_the_state_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mounts, "_TABLE", tmp_path / "absent")

    Rig(tmp_path / "s.db").crash()
