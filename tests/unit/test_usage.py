"""Wrong usage is one line that says what was probably meant; the reference is what there is."""

from __future__ import annotations

import io
import json
import sys

import pytest

from exporter import cli, manual
from exporter.commands import Progress
from exporter.metrics import families
from exporter.metrics import reference as metrics
from exporter.metrics.worker_families import WORKER_FAMILIES
from tests.conftest import ROOT
from tests.tools.commands import command

PATHS = [outline.path for outline in cli.parser().outlines()]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ("rnu", "must be one of run, "),
        ("rnu", "got 'rnu' (did you mean run?)"),
        ("chekc-config --config.file=x", "got 'chekc-config' (did you mean check-config?)"),
        (
            "state verfy",
            "must be one of info, verify, migrate, copy, got 'verfy' (did you mean verify?)",
        ),
        ("config shema", "must be one of schema, got 'shema' (did you mean schema?)"),
        ("run --confg.file=x", "unknown flag --confg.file (did you mean --config.file?)"),
        ("run --config-file x", "unknown flag --config-file (did you mean --config.file?)"),
        ("run --config.file=x --web.enable-lifecyle", "(did you mean --web.enable-lifecycle?)"),
        ("doctor --fromat=json", "unknown flag --fromat (did you mean --format?)"),
        ("once --config.file=x --zzz", "unknown flag --zzz (see --help)"),
        ("--verison", "unknown flag --verison (did you mean --version?)"),
        ("state --hlep", "unknown flag --hlep (did you mean --help?)"),
        ("doctor --config.file=x --format=jsn", "got 'jsn' (did you mean json?)"),
        ("once --config.file=x --log.level=warning", "got 'warning' (did you mean warn?)"),
        ("once --config.file=x --log.format=xml", "must be one of logfmt, json, got 'xml'"),
        ("doctor --config.file=x --sample=0", "'0' is not a number from 1 to 10000"),
        ("doctor --config.file=x --sample=٣", "'٣' is not a number from 1 to 10000"),
        ("run more --config.file=x", "unexpected argument 'more'"),
        ("run --config.file", "argument --config.file: expected one argument"),
        ("state", "the following arguments are required: COMMAND"),
        ("completion", "the following arguments are required: SHELL"),
    ],
)
def test_wrong_usage_is_told_with_what_was_meant(args, said) -> None:
    ended = command(*args.split())

    last = ended.err.splitlines()[-1]
    assert (2, "") == (ended.code, ended.out)
    assert last.startswith("cicd-exporter")
    assert said in last


@pytest.mark.parametrize("path", PATHS)
def test_every_command_explains_itself(path) -> None:
    ended = command(*path.split(), "--help")

    assert (0, "") == (ended.code, ended.err)
    assert ended.out.startswith(f"usage: cicd-exporter {path}".strip())


def test_every_flag_and_word_has_its_meaning() -> None:
    silent = [
        f"{outline.path} {name}"
        for outline in cli.parser().outlines()
        for name, text in (*outline.words, *((flag.name, flag.text) for flag in outline.flags))
        if not text or "%" in text
    ]

    assert silent == []


# --- progress ---


@pytest.mark.parametrize(
    ("is_terminal", "shown"),
    [
        (True, "\r\x1b[K[0/2] acme: asking\r\x1b[K[1/2] beta: a b\r\x1b[K"),
        (False, ""),
    ],
)
def test_progress_is_one_line_and_only_on_a_terminal(is_terminal, shown, monkeypatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: is_terminal)
    monkeypatch.setattr(sys, "stderr", stream)

    progress = Progress(2)
    progress.tell("acme: asking")
    progress.done()
    progress.tell("beta: a\x1b\nb")
    progress.end()

    assert shown == stream.getvalue()


# --- the references ---


def test_the_reference_of_metrics_is_printed() -> None:
    ended = command("metrics")

    assert (0, metrics.reference(), "") == ended


def test_the_reference_of_metrics_is_data_too() -> None:
    ended = command("metrics", "--format=json")

    data = json.loads(ended.out)
    assert (0, "") == (ended.code, ended.err)
    names = [family.name for family in (*families.FAMILIES, *WORKER_FAMILIES)]
    assert names == [m["name"] for m in data["metrics"]]
    assert {label for m in data["metrics"] for label in m["labels"]} == {
        label["name"] for label in data["labels"]
    }
    duration = next(m for m in data["metrics"] if m["name"] == "cicd_build_duration_seconds")
    assert ("histogram", "duration", True) == tuple(
        duration[key] for key in ("type", "buckets", "persists")
    )


def test_the_reference_of_commands_is_current() -> None:
    remedy = "python -m exporter.manual > docs/COMMANDS.md"

    page = (ROOT / "docs" / "COMMANDS.md").read_text()

    assert page == manual.manual(), f"make it anew: {remedy}"


def test_the_reference_of_commands_shows_each_with_an_example() -> None:
    assert [command.name for command in cli.COMMANDS if not command.example] == []
