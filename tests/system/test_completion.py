"""Real shells complete commands, flags and their values."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from functools import cache

import pytest

from exporter import cli
from tests.tools.commands import command

COMMANDS = ["backfill", "builds", "check-config", "completion", "config", "demo", "discover"]
COMMANDS += ["doctor", "metrics", "once", "run", "state"]

BASH = """
{script}
compopt() {{ :; }}  # bash has it only while it completes
COMP_WORDS=({words}) COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_cicd_exporter
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
ZSH = """
compdef() {{ :; }}
compset() {{ words[CURRENT]=${{words[CURRENT]#*=}} }}
compadd() {{ shift; print -l -- "$@" }}
_files() {{ print -l -- *(N) }}
_describe() {{ print -l -- "${{(@P)2}}" }}
{script}
words=({words}) CURRENT=${{#words}}
_cicd_exporter
"""


@cache
def script(shell: str) -> str:
    ended = command("completion", shell)
    assert (0, "") == (ended.code, ended.err)
    return ended.out


def completed(shell: str, *words: str) -> list[str]:
    """What the shell offers for the last word, in alphabetical order."""
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed (Debian: apt-get install {shell})")
    if shell == "fish":
        asked = f"{script(shell)}\ncomplete -C '{' '.join(words)}'"
        arguments = [program, "--no-config", "-c", asked]
    else:
        text = BASH if shell == "bash" else ZSH
        quoted = " ".join(f"'{word}'" for word in words)
        arguments = [program, *(["--norc"] if shell == "bash" else ["-f"]), "-c"]
        arguments.append(text.format(script=script(shell), words=quoted))
    ended = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=30)
    assert ended.stderr == ""
    separator = ":" if shell == "zsh" else "\t"
    found = {line.partition(separator)[0] for line in ended.stdout.splitlines()}
    last = words[-1].rpartition("=")[2] if shell == "zsh" else ""
    return sorted(word for word in found - {""} if word.startswith(last))


def flags(name: str) -> list[str]:
    (outline,) = (o for o in cli.parser().outlines() if o.path == name)
    return sorted(flag.name for flag in outline.flags)


def without_flags(words: Iterable[str]) -> list[str]:
    return [word for word in words if not word.startswith("-")]


SHELLS = pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])


@SHELLS
def test_commands_are_completed(shell) -> None:
    assert without_flags(completed(shell, "cicd-exporter", "")) == COMMANDS
    assert without_flags(completed(shell, "cicd-exporter", "state", "")) == [
        "copy",
        "info",
        "migrate",
        "verify",
    ]


@SHELLS
def test_the_flags_of_a_command_are_completed(shell) -> None:
    assert completed(shell, "cicd-exporter", "state", "info", "--") == flags("state info")
    assert completed(shell, "cicd-exporter", "run", "--web") == [
        flag for flag in flags("run") if flag.startswith("--web")
    ]


@SHELLS
def test_the_values_of_a_flag_are_completed(shell) -> None:
    words = ["cicd-exporter", "run", "--config.file", "state", "--log.level", ""]

    assert completed(shell, *words) == ["debug", "error", "info", "warn"]
    assert completed(shell, "cicd-exporter", "completion", "f") == ["fish"]


@SHELLS
def test_a_value_behind_an_equals_sign_is_completed(shell) -> None:
    # bash has `=` among COMP_WORDBREAKS, so that it comes as a word of its own
    words = ["--log.level", "=", "de"] if shell == "bash" else ["--log.level=de"]

    offered = completed(shell, "cicd-exporter", "run", *words)

    assert [word.removeprefix("--log.level=") for word in offered] == ["debug"]


@SHELLS
def test_the_name_of_a_file_is_completed(shell, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "acme.yaml").touch()

    assert completed(shell, "cicd-exporter", "doctor", "--config.file", "ac") == ["acme.yaml"]


def test_an_unknown_shell_is_refused() -> None:
    ended = command("completion", "zhs")

    assert (2, "") == (ended.code, ended.out)
    assert "must be one of bash, zsh, fish, got 'zhs' (did you mean zsh?)" in ended.err
