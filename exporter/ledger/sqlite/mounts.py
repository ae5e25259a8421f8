"""Where a file lives: SQLite's locks and its log cannot be trusted on a network file system."""

from __future__ import annotations

import os
import re
from pathlib import Path

NETWORK = frozenset(
    {"9p", "afs", "cifs", "davfs", "glusterfs", "ncpfs", "nfs", "nfs4", "smb3", "smbfs"}
    | {"fuse.davfs2", "fuse.gcsfuse", "fuse.glusterfs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs"}
)
"""Types of file systems where two machines may hold one lock, or an fsync may mean nothing.

"WAL does not work over a network filesystem" (SQLite, "Write-Ahead Logging").
"""

_TABLE = Path("/proc/self/mountinfo")
_ESCAPE = re.compile(r"\\([0-7]{3})")


def network(path: Path) -> str | None:
    """The type of the network file system that `path` lives on; None if it is a local one.

    Only Linux tells; elsewhere every one is taken for local.
    """
    try:
        table = _TABLE.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return None
    kind = file_system(table, os.path.realpath(path))
    return kind if kind in NETWORK else None


def file_system(table: str, path: str) -> str | None:
    """The type of the file system of an absolute `path`, as a `mountinfo` table tells it.

    A line is `ID PARENT MAJOR:MINOR ROOT MOUNT_POINT OPTIONS [FIELDS] - TYPE SOURCE OPTIONS`
    (proc_pid_mountinfo(5)); the deepest mount point counts, and of two equal ones the later.
    """
    found, depth = None, 0
    for line in table.splitlines():
        place, _, what = line.partition(" - ")
        fields, kinds = place.split(" "), what.split(" ")
        if len(fields) < 6 or not kinds[0]:
            continue
        point = _ESCAPE.sub(lambda escape: chr(int(escape[1], 8)), fields[4]).rstrip("/")
        if len(point) >= depth and f"{path}/".startswith(f"{point}/"):
            found, depth = kinds[0], len(point)
    return found
