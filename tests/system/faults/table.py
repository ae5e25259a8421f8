"""The faults: what an API does to one customer, and what must be told of it."""

from __future__ import annotations

import gzip
import itertools
import json
import random
import time
import zlib
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from tests.system.faults.source import Misdeed, Run, stamp
from tests.tools.hostile import Reply, Request, drip, flood, hang_up, http, reset, stall

At = Literal["port", "expired", "foreign", "plain", "name", ""]
"""What else is done where the answer is not the matter."""
Effect = tuple[str, dict[str, str]]
"""A counter of ours that must have risen, and its labels, if not the account."""


class Fault(NamedTuple):
    """One row."""

    misdeed: Misdeed | None
    reason: str = ""
    """Of `api_errors_total`; none where the account stays up."""
    says: str = ""
    """What the account's error must say."""
    at: At = ""
    effect: Effect = ("", {})
    spans_lost: bool = False
    """Whether what ends meanwhile has no duration."""


HALF = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
ENDLESS = b"HTTP/1.1 200 OK\r\n\r\n"
LARGE = b"HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n"


def anomaly(kind: str) -> Effect:
    return "anomalies_total", {"kind": kind}


def missing(field: str) -> Effect:
    return "missing_values_total", {"field": field}


def unmapped(field: str) -> Effect:
    return "unmapped_values_total", {"field": field}


def always(reply: Reply) -> Misdeed:
    return lambda request, body: reply


def status(code: int, says: str = "no", **headers: str) -> Misdeed:
    return always(http(json.dumps({"message": says}), code, **headers))


def body(text: bytes | str, **headers: str) -> Misdeed:
    return always(http(text, 200, **headers))


def echo(code: int) -> Misdeed:
    """Tells the credential to whoever reads logs."""
    return lambda request, body: http(
        json.dumps({"message": f"no {request.headers.get('authorization')}"}), code
    )


def of_answer(change: Callable[[bytes], Reply]) -> Misdeed:
    return lambda request, body: change(body)


def of_list(change: Callable[[list[Run]], list[Any]]) -> Misdeed:
    """Lists other items than the true ones; a run by itself is told as it is."""

    def misdeed(request: Request, body: bytes) -> Reply:
        known = json.loads(body)
        if "workflow_runs" in known:
            known["workflow_runs"] = change(known["workflow_runs"])
        return http(json.dumps(known))

    return misdeed


def of_ended(**values: Any) -> Misdeed:
    """Tells this of all runs that have ended; a function is given the run."""

    def told(run: Run) -> Run:
        if run["conclusion"] is None:
            return run
        return run | {key: v(run) if callable(v) else v for key, v in values.items()}

    def misdeed(request: Request, body: bytes) -> Reply:
        known = json.loads(body)
        if not known:  # nobody has it, such as the jobs
            return http('{"message":"Not Found"}', 404)
        if "workflow_runs" in known:
            known["workflow_runs"] = list(map(told, known["workflow_runs"]))
        else:
            known = told(known)
        return http(json.dumps(known))

    return misdeed


def renamed(names: list[str]) -> Misdeed:
    """Runs have these names and branches, which are JSON text already."""

    def misdeed(request: Request, body: bytes) -> Reply:
        runs = json.loads(body).get("workflow_runs", [])
        named = itertools.pairwise(itertools.cycle(names))
        texts = [
            json.dumps(run | {"name": "@1", "head_branch": "@2"})
            .replace('"@1"', name)
            .replace('"@2"', branch)
            for run, (name, branch) in zip(runs, named, strict=False)
        ]
        page = f'{{"total_count": {len(runs)}, "workflow_runs": [{",".join(texts)}]}}'
        return http(page.encode("utf-8", "surrogatepass"))

    return misdeed


def shuffled(runs: list[Run]) -> list[Run]:
    twice = [*runs, *runs]
    random.Random(5).shuffle(twice)
    return twice


def hours(count: float) -> Callable[[Run], str]:
    """So long from now."""
    return lambda run: stamp(time.time() + 3600 * count)


def packed(data: bytes) -> bytes:
    return http(data, content_encoding="gzip")


def _sparse(size: int) -> bytes:
    """Packed 130 to 1: less than what is taken for a bomb."""
    chance = random.Random(1)
    piece = b"".join(b" " * 995 + chance.randbytes(4) for _ in range(1000))
    return gzip.compress(piece * (size // len(piece) + 1), 9)


def _many(item: bytes) -> bytes:
    """Millions of the same thing, packed to less than half a megabyte."""
    noise = random.Random(2).randbytes(200_000).hex().encode()
    runs = b",".join([item] * 4_000_000)
    return gzip.compress(b'{"x":"%s","workflow_runs":[%s]}' % (noise, runs), 9)


POISON = [
    r'"line\nbreak\r\n \u0000\u001b[31m quote\" back\\slash \\n"',
    r'"\ud800 half \",le=\"1\"} 7\n# EOF\n' + "\u202e\N{PILE OF POO} \udcff bytes" + '"',
    json.dumps("é" * 10_000),
    json.dumps("e" + "\u0301\u0316" * 5_000),
]

GARBAGE: list[Any] = [7, None, {}, [], "run", {"id": None}, {"id": [1]}]

FAULTS: dict[str, Fault] = {
    # the network
    "port closed": Fault(None, "connect", "ConnectionRefused", at="port"),
    "unknown host": Fault(None, "dns", "cannot be resolved", at="name"),
    "hangs up": Fault(always(hang_up()), "connect", "broke off"),
    "reset": Fault(always(reset(HALF)), "connect", "broke off"),
    "half a body": Fault(always(hang_up(HALF)), "connect", "broke off"),
    "half a chunk": Fault(always(hang_up(CHUNKED + b"99\r\n{")), "connect", "broke off"),
    "no HTTP": Fault(always(hang_up(b"SSH-2.0-x\r\n")), "connect", "broke off"),
    "endless header": Fault(always(flood(b"HTTP/1.1 200 OK\r\nx: ", b"y" * 9999)), "connect", ""),
    "silence": Fault(always(stall()), "timeout", "no whole answer in time"),
    "slow header": Fault(always(drip(b"HTTP/1.1 200 OK\r\nx: ", every=0.1)), "timeout", "in time"),
    "slow body": Fault(always(drip(ENDLESS + b"{", every=0.1)), "timeout", "in time"),
    # TLS
    "expired": Fault(None, "tls", "ca_file", at="expired"),
    "other host": Fault(None, "tls", "ca_file", at="foreign"),
    "no TLS": Fault(None, "tls", "check the scheme of url", at="plain"),
    # statuses
    "401": Fault(echo(401), "unauthorized", "check the token"),
    "403": Fault(
        status(403, "Resource not accessible", x_accepted_github_permissions="actions=read"),
        "forbidden",
        "actions=read",
    ),
    "403 by limit": Fault(
        status(403, "You have exceeded a secondary rate limit", retry_after="2"),
        "rate_limited",
        "rate limit",
    ),
    "429": Fault(status(429, retry_after="2"), "rate_limited", "rate limit"),
    "404": Fault(status(404), "not_found", "not there, or not for this token"),
    "410": Fault(status(410), "not_found", "a newer exporter is needed"),
    "400": Fault(status(400, "bad parameter"), "bad_shape", "bad parameter"),
    "500": Fault(echo(500), "server", "500"),
    "502 page": Fault(always(http("<html>", 502, content_type="text/html")), "server", "502"),
    "503": Fault(status(503, "maintenance", retry_after="1"), "server", "maintenance"),
    "504": Fault(status(504), "timeout", "504"),
    "moved": Fault(status(301, location="http://foreign.invalid/"), "redirect", "foreign.invalid"),
    "signs in": Fault(status(302, location="/login"), "unauthorized", "a page for signing in"),
    "moves on and on": Fault(
        lambda request, body: http("", 308, location=request.target.replace("?", "x?")),
        "redirect",
        "308",
    ),
    # bodies
    "page": Fault(body("<!doctype html>", content_type="text/html"), "unauthorized", "a web page"),
    "errors": Fault(body('{"errors":[{"message":"Wrong project"}]}'), "bad_shape", "Wrong project"),
    "list": Fault(body("[]"), "bad_shape", "Expected `object`"),
    "null": Fault(body("null"), "bad_shape", "null"),
    "nothing": Fault(body(""), "bad_json", "empty"),
    "no content": Fault(always(http("", 204)), "bad_shape", ""),
    "no JSON": Fault(body("{'a': 1}"), "bad_json", "not JSON"),
    "half JSON": Fault(of_answer(lambda body: http(body[:-9])), "bad_json", "not JSON"),
    "NaN": Fault(body('{"workflow_runs":[NaN]}'), "bad_json", "not JSON"),
    "UTF-16": Fault(of_answer(lambda b: http(b.decode().encode("utf-16"))), "bad_json", "not JSON"),
    "deep": Fault(body('{"workflow_runs":' + "[" * 200_000), "bad_json", "RecursionError"),
    "half a gzip": Fault(
        of_answer(lambda body: packed(gzip.compress(body)[:-9])), "bad_encoding", "cut off"
    ),
    "no gzip": Fault(of_answer(packed), "bad_encoding", "broken"),
    "deflate": Fault(
        of_answer(lambda body: http(zlib.compress(body), content_encoding="deflate")),
        "bad_encoding",
        "only gzip",
    ),
    "bomb": Fault(body(gzip.compress(bytes(99_999_999)), content_encoding="gzip"), "too_large", ""),
    "small bomb": Fault(body(_sparse(70_000_000), content_encoding="gzip"), "too_large", "MiB"),
    "many small things": Fault(body(_many(b"0"), content_encoding="gzip"), "too_large", "values"),
    "many empty things": Fault(body(_many(b"{}"), content_encoding="gzip"), "too_large", "values"),
    "more runs than asked for": Fault(
        of_list(lambda runs: [{"id": n} for n in range(20_000)]), "too_large", "2000 items"
    ),
    "flood": Fault(always(flood(ENDLESS, b" " * 99_999)), "too_large", "MiB"),
    "large body": Fault(always(flood(LARGE, b" " * 99_999)), "too_large", "MiB"),
    # lists
    "endless list": Fault(
        of_answer(lambda b: http(json.dumps(json.loads(b) | {"total_count": 10**9}))),
        effect=("api_errors_total", {"account": "endless list", "reason": "bad_shape"}),
    ),
    "empty list": Fault(of_list(lambda runs: [])),
    "twice, in any order": Fault(of_list(shuffled)),
    # items
    "garbage": Fault(of_list(lambda runs: GARBAGE + runs), effect=("rejected_items_total", {})),
    "huge number": Fault(
        of_answer(lambda b: http(b.replace(b'[{"id": ', b'[{"id": ' + b"9" * 5000))),
        effect=("rejected_items_total", {}),
    ),
    "unknown words": Fault(
        of_ended(conclusion="splendid", event="whim"),
        effect=unmapped("conclusion"),
    ),
    "changed their mind": Fault(
        of_ended(conclusion="failure"), effect=anomaly("conclusion_changed")
    ),
    "reopened": Fault(
        of_ended(status="in_progress", conclusion=None),
        effect=anomaly("reopened"),
    ),
    "ends before it starts": Fault(
        of_ended(updated_at=hours(-1)),
        effect=anomaly("negative_duration"),
        spans_lost=True,
    ),
    "ends in two hours": Fault(
        of_ended(updated_at=hours(2)),
        effect=anomaly("future_time"),
        spans_lost=True,
    ),
    "zero dates": Fault(
        of_ended(run_started_at="0001-01-01T00:00:00Z", created_at=0),
        effect=missing("duration"),
        spans_lost=True,
    ),
    "null and missing": Fault(
        of_ended(run_started_at=None, name=None, head_branch=7, run_number="x", event={}),
        effect=missing("duration"),
        spans_lost=True,
    ),
    "other times": Fault(
        of_ended(
            run_started_at=lambda run: run["run_started_at"].rstrip("Z"),
            updated_at=lambda run: run["updated_at"].replace("Z", ".000000000+0000"),
        )
    ),
    "poison": Fault(renamed(POISON)),
}
