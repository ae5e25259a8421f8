"""How many small faults the tests find: a seeded sample of mutants of the code that decides.

    PYTHONPATH=. python scripts/mutants.py [--sample=200] [--seed=1] [--jobs=2] [ROOM...]

A mutant is the project with one change: a comparison turned round, a condition negated, a number
off by one, a word of a table replaced by its neighbour, a statement left out. It survives if the
tests of its room still pass, and is printed as FILE:LINE with the old and the new text. Whoever
reads the list decides whether a test is missing or both texts mean the same. Exit 1 if more than
a tenth survive.
"""

from __future__ import annotations

import argparse
import ast
import os
import queue
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
ROOMS = {
    "ledger": (
        "ledger/*.py ledger/sql/*.py ledger/sqlite/*.py",
        (
            "tests/unit/test_walk.py tests/unit/test_build_log_text.py"
            " tests/contract/field/test_polls.py tests/contract/stores"
        ),
    ),
    "sync": (
        "sync/*.py",
        (
            "tests/unit/test_walk.py tests/unit/test_watch.py tests/unit/test_hostile_pages.py"
            " tests/unit/test_times_to_come.py tests/unit/test_poller.py"
            " tests/contract/field/test_polls.py tests/contract/field/test_github.py"
            " tests/contract/field/test_gitlab.py tests/contract/field/test_jenkins.py"
            " tests/contract/field/test_azure_devops.py tests/contract/field/test_truto.py"
            " tests/contract/field/test_buddy_history.py"
        ),
    ),
    "cardinality": (
        "metrics/cardinality.py metrics/changes.py",
        (
            "tests/unit/test_cardinality.py tests/unit/test_series_view.py"
            " tests/unit/test_metrics_facts.py tests/unit/test_view.py"
            " tests/contract/stores/test_series_limit.py tests/contract/stores/test_zero_hold.py"
            " tests/contract/stores/test_two_workers.py"
        ),
    ),
    "vocabulary": (
        "model/vocabulary.py providers/*/vocabulary.py",
        "tests/contract/providers tests/unit/test_reference.py",
    ),
    "budgets": (
        "http/budget.py http/limits.py schedule/plan.py schedule/gates.py",
        (
            "tests/unit/test_plan.py tests/unit/test_gates.py tests/unit/test_poller.py"
            " tests/contract/test_fleet.py tests/system/client tests/system/test_budget_shared.py"
        ),
    ),
}
"""By name: which files are mutated, and what of the tests is to notice, the quickest first."""
TIMEOUT = 240.0
"""Seconds after which the tests of a mutant count as failed: it never ends."""
MOST_SURVIVORS = 0.1

_TURNED = {
    ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==",
    ast.Is: "is not", ast.IsNot: "is", ast.In: "not in", ast.NotIn: "in", ast.And: "or",
    ast.Or: "and", ast.Add: "-", ast.Sub: "+", ast.Mult: "+", ast.Div: "*", ast.BitAnd: "|",
    ast.BitOr: "&",
}  # fmt: skip


class Mutant(NamedTuple):
    """One change to one file."""

    room: str
    file: Path
    line: int
    before: str
    after: str
    source: str
    """All of the file, with the change."""


def changes(node: ast.AST, words: dict[str, str]) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    """Parts of a node and what may stand in their place."""
    match node:
        case ast.Constant(value=value):
            yield from ((node, text) for text in _neighbours(value, words))
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test):
            yield test, f"not ({ast.unparse(test)})"
        case ast.Return(value=ast.expr() as result):
            yield result, "None"
        case ast.AugAssign() | ast.Expr(value=ast.Call() | ast.Await()) | ast.Raise():
            yield node, "pass"
        case ast.expr():
            yield from ((node, text) for text in _turned(node))


def _turned(node: ast.expr) -> Iterator[str]:
    match node:
        case ast.Compare(left=left, ops=[compares], comparators=[right]):
            yield f"{ast.unparse(left)} {_TURNED[type(compares)]} {ast.unparse(right)}"
        case ast.BoolOp(op=joins, values=values):
            yield f" {_TURNED[type(joins)]} ".join(f"({ast.unparse(v)})" for v in values)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _TURNED:
            yield f"({ast.unparse(left)}) {_TURNED[type(op)]} ({ast.unparse(right)})"
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield ast.unparse(operand)


def _neighbours(value: object, words: dict[str, str]) -> Iterator[str]:
    match value:
        case bool():
            yield str(not value)
        case int() | float():
            yield repr(value + 1)
        case str() if value in words:
            yield repr(words[value])


def mutants(room: str, file: Path) -> Iterator[Mutant]:
    """All mutants of a file."""
    source = file.read_text()
    tree = ast.parse(source)
    texts = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)}
    told = sorted(text for text in texts if isinstance(text, str) and text.isidentifier())
    words = dict(zip(told, [*told[1:], *told[:1]], strict=True)) if room == "vocabulary" else {}
    left_out = {id(part) for node in ast.walk(tree) for part in _unread(node)}
    for node in ast.walk(tree):
        for part, text in changes(node, words) if id(node) not in left_out else ():
            changed = _replaced(source, part, text)
            if ast.unparse(part) != text:
                yield Mutant(room, file, part.lineno, ast.unparse(part), text, changed)


def _unread(node: ast.AST) -> Iterator[ast.AST]:
    """What the tests need not notice: annotations, docstrings, log lines, texts with values."""
    parts: list[ast.AST | None] = []
    match node:
        case ast.AnnAssign() | ast.arg():
            parts = [node.annotation]
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            parts = [node.returns, *node.decorator_list]
        case ast.Expr(value=ast.Constant()) | ast.JoinedStr():
            parts = [node]
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id="log")))):
            parts = [node]
    for part in parts:
        if part is not None:
            yield from ast.walk(part)


def _replaced(source: str, part: ast.expr | ast.stmt, text: str) -> str:
    lines = source.encode().splitlines(keepends=True)  # an offset counts bytes
    first, last = part.lineno - 1, (part.end_lineno or part.lineno) - 1
    head, tail = lines[first][: part.col_offset], lines[last][part.end_col_offset :]
    new = text if isinstance(part, ast.stmt) else f"({text})"
    return b"".join([*lines[:first], head + new.encode() + tail, *lines[last + 1 :]]).decode()


def sample(rooms: list[str], size: int, seed: int) -> list[Mutant]:
    """So many mutants, as many of each room as they have."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    found: list[Mutant] = []
    for room in rooms:
        files = sorted({f for g in ROOMS[room][0].split() for f in (ROOT / "exporter").glob(g)})
        every = [mutant for file in files for mutant in mutants(room, file)]
        found += chance.sample(every, min(size // len(rooms), len(every)))
    return found


def survives(mutant: Mutant, copy: Path) -> bool:
    """Whether the tests of its room pass in a copy of the project that has the change."""
    file = copy / mutant.file.relative_to(ROOT)
    file.write_text(mutant.source)
    tests = ROOMS[mutant.room][1].split()
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    environment = os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    process = subprocess.Popen(
        command, cwd=copy, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        return process.wait(TIMEOUT) == 0
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return False
    finally:
        file.write_text(mutant.file.read_text())


def main() -> int:
    """Try the sample; see above."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sample", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("rooms", nargs="*", choices=[*ROOMS, []], default=list(ROOMS))
    asked = parser.parse_args()
    chosen = sample(asked.rooms, asked.sample, asked.seed)
    copies: queue.SimpleQueue[Path] = queue.SimpleQueue()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(asked.jobs) as pool:
        listed = subprocess.run(
            [shutil.which("git") or "git", "ls-files", "-z"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        for number in range(asked.jobs):
            copy = Path(folder, str(number))
            for name in filter(None, listed.stdout.split("\0")):
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, copy / name)
            copies.put(copy)

        def outcome(mutant: Mutant) -> bool:
            copy = copies.get()
            try:
                return survives(mutant, copy)
            finally:
                copies.put(copy)

        alive: Counter[str] = Counter()
        for mutant, survived in zip(chosen, pool.map(outcome, chosen), strict=True):
            if survived:
                alive[mutant.room] += 1
                where = f"{mutant.file.relative_to(ROOT)}:{mutant.line}"
                print(f"{where}: {mutant.before!r} -> {mutant.after!r}", flush=True)
    for room, number in Counter(mutant.room for mutant in chosen).items():
        print(f"{room}: {number - alive[room]} of {number} found")
    print(f"all: {len(chosen) - alive.total()} of {len(chosen)} found")
    return int(alive.total() > MOST_SURVIVORS * len(chosen))


if __name__ == "__main__":
    sys.exit(main())
