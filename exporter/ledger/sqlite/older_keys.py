"""The keys of states up to format 4, whose text held the start of a build.

`shop#7@1600000000` was the build 7 that began then, and `shop#7@` the one whose start was not
known. Jobs that keep their id when they run again were `12@1600000000`. The upgrade calls these
functions from SQL.
"""

from __future__ import annotations

import re
import sqlite3
from typing import Any

import msgspec

from exporter.ledger.sql.codec import compact
from exporter.model import BuildKey

_WITH_START = re.compile(r"(.+)@([1-9]\d{9})?", re.DOTALL | re.ASCII)
"""All times since 2005, and for a long time to come, have ten digits."""


def install(connection: sqlite3.Connection) -> None:
    """Define the SQL functions of the upgrade from format 4."""
    for function in (build_key, build_started, job_id, job_run, rekeyed):
        connection.create_function(function.__name__, 1, function, deterministic=True)


def build_key(text: Any) -> Any:
    """The column `key` of a build."""
    found = _split(text)
    return text if found is None else compact(found[1])


def build_started(text: Any) -> int:
    """The column `started` of a build: 0 where the start is not known."""
    found = _split(text)
    return 0 if found is None else int(found[2] or 0)


def job_id(text: Any) -> Any:
    """The column `job` of a job."""
    return build_key(text) if build_started(text) else text


def job_run(text: Any) -> int:
    """The column `run` of a job."""
    return build_started(text)


def rekeyed(encoded: Any) -> Any:
    """The column `build` of an unfinished build; one that cannot be read stays as it is."""
    try:
        build = msgspec.msgpack.decode(encoded, type=dict[str, Any])
        found = _split(build["key"])
        build["key"] = BuildKey(str(build_key(build["key"])), build_started(build["key"]) or None)
        for job in build.get("jobs", ()):
            if run := job_run(job["id"]):
                job["id"], job["run"] = str(job_id(job["id"])), run
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError):
        return encoded
    if build.pop("own_key", False) or found is not None:
        build["key_per_attempt"] = True
    return msgspec.msgpack.encode(build)


def _split(text: Any) -> re.Match[str] | None:
    return _WITH_START.fullmatch(text) if isinstance(text, str) else None
