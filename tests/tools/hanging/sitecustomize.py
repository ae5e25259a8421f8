"""A disk that does not answer, for a process that finds this folder first in PYTHONPATH.

Whoever opens the file that `HANGS` names waits for as long as there is another one beside it with
`.hangs` at its end, and leaves one with `.asked`: like a disk of the network whose server is gone,
which a test cannot mount without being root.
"""

import os
import time
from pathlib import Path

_open = os.open
_FILE = os.environ.get("HANGS", "")


def _opened(path, *args, **keys):
    while _FILE and path == _FILE and Path(f"{_FILE}.hangs").exists():
        Path(f"{_FILE}.asked").touch()
        time.sleep(0.02)
    return _open(path, *args, **keys)


os.open = _opened
