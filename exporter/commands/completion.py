"""`completion`: what a shell completes, made from the parser itself."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping

from exporter.arguments import Flag, Outline, Parser
from exporter.commands import Command

_NAME = "cicd-exporter"
_FILE = "FILE"
"""What a value is called that is the name of a file."""


def _run(options: argparse.Namespace) -> int:
    parser: Parser = options.parser
    sys.stdout.write(_SHELLS[options.shell](list(parser.outlines())))
    return 0


def _steps(outlines: Iterable[Outline]) -> Iterator[tuple[str, str]]:
    """`path/word` of each command, and the path that it leads to."""
    for outline in outlines:
        before, _, word = outline.path.rpartition(" ")
        if word:
            yield f"{before}/{word}", outline.path


def _quoted(text: str) -> str:
    """One word for bash and zsh."""
    return "'" + text.replace("'", "'\\''") + "'"


# -- bash


def _bash(outlines: list[Outline]) -> str:
    steps = "\n".join(
        f"            {_quoted(s)}) path={_quoted(p)} ;;" for s, p in _steps(outlines)
    )
    values = "\n".join(
        f"        {_quoted(f'{outline.path} {flag.name}')}) {_bash_value(flag)}; return ;;"
        for outline in outlines
        for flag in outline.flags
        if flag.value
    )
    words = "\n".join(
        f"        {_quoted(outline.path)}) known={_quoted(_words(outline))} ;;"
        for outline in outlines
    )
    return f"""\
# bash completion for {_NAME}: source <({_NAME} completion bash)
_cicd_exporter() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} flag=${{COMP_WORDS[COMP_CWORD - 1]}}
    local path= known= i
    # bash takes `=` for a word of its own
    if [[ $current == = ]]; then
        current=
    elif [[ $flag == = ]]; then
        flag=${{COMP_WORDS[COMP_CWORD - 2]}}
    fi
    for ((i = 1; i < COMP_CWORD; i++)); do
        case "$path/${{COMP_WORDS[i]}}" in
{steps}
        esac
    done
    COMPREPLY=()
    case "$path $flag" in
{values}
    esac
    case "$path" in
{words}
    esac
    COMPREPLY=($(compgen -W "$known" -- "$current"))
}}
complete -F _cicd_exporter {_NAME}
"""


def _bash_value(flag: Flag) -> str:
    if flag.value == _FILE:
        return 'compopt -o filenames; COMPREPLY=($(compgen -f -- "$current"))'
    if flag.choices:
        return f'COMPREPLY=($(compgen -W {_quoted(" ".join(flag.choices))} -- "$current"))'
    return ":"


def _words(outline: Outline) -> str:
    return " ".join([*(word for word, _ in outline.words), *(flag.name for flag in outline.flags)])


# -- zsh


def _zsh(outlines: list[Outline]) -> str:
    steps = "\n".join(f"      {_quoted(s)}) at={_quoted(p)} ;;" for s, p in _steps(outlines))
    values = "\n".join(
        f"    {_quoted(f'{outline.path} {flag.name}')}) {_zsh_value(flag)}; return ;;"
        for outline in outlines
        for flag in outline.flags
        if flag.value
    )
    words = "\n".join(
        f"    {_quoted(outline.path)}) known=({_zsh_words(outline)}) ;;" for outline in outlines
    )
    return f"""\
#compdef {_NAME}
# zsh completion for {_NAME}: {_NAME} completion zsh > "${{fpath[1]}}/_{_NAME}"
_cicd_exporter() {{
  local at= flag=$words[CURRENT-1] i
  local -a known
  for ((i = 2; i < CURRENT; i++)); do
    case "$at/$words[i]" in
{steps}
    esac
  done
  if [[ $words[CURRENT] == --*=* ]]; then
    flag=${{words[CURRENT]%%=*}}
    compset -P '*='
  fi
  case "$at $flag" in
{values}
  esac
  case "$at" in
{words}
  esac
  _describe {_quoted(_NAME)} known
}}
if [[ $funcstack[1] == _{_NAME} ]]; then
  _cicd_exporter "$@"
else
  compdef _cicd_exporter {_NAME}
fi
"""


def _zsh_value(flag: Flag) -> str:
    if flag.value == _FILE:
        return "_files"
    return f"compadd -- {' '.join(map(_quoted, flag.choices))}" if flag.choices else ":"


def _zsh_words(outline: Outline) -> str:
    pairs = [*outline.words, *((flag.name, flag.text) for flag in outline.flags)]
    return " ".join(_quoted(f"{word}:{text}") for word, text in pairs)


# -- fish


def _fish(outlines: list[Outline]) -> str:
    steps = "\n".join(
        f"            case {_fished(step)}\n                set at {_fished(path)}"
        for step, path in _steps(outlines)
    )
    lines = "\n".join(line for outline in outlines for line in _fish_lines(outline))
    return f"""\
# fish completion for {_NAME}: {_NAME} completion fish | source
function __cicd_exporter_at
    set -l at ''
    for word in (commandline -opc)[2..-1]
        switch "$at/$word"
{steps}
        end
    end
    test "$at" = "$argv[1]"
end
complete -c {_NAME} -f
{lines}
"""


def _fish_lines(outline: Outline) -> Iterator[str]:
    start = f"complete -c {_NAME} -n {_fished(f'__cicd_exporter_at {_fished(outline.path)}')}"
    for word, text in outline.words:
        yield f"{start} -a {_fished(word)} -d {_fished(text)}"
    for flag in outline.flags:
        value = ""
        if flag.value:
            value = " -r -F" if flag.value == _FILE else " -x"
            value += f" -a {_fished(' '.join(flag.choices))}" if flag.choices else ""
        yield f"{start} -l {flag.name.removeprefix('--')}{value} -d {_fished(flag.text)}"


def _fished(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


_SHELLS: Mapping[str, Callable[[list[Outline]], str]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}


def _shell(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", metavar="SHELL", choices=tuple(_SHELLS), help="the shell")


COMMAND = Command(
    name="completion",
    text="print what a shell needs to complete commands and flags",
    run=_run,
    arguments=(_shell,),
    about="""\
For the shells bash, zsh and fish:

    source <(cicd-exporter completion bash)                      # in ~/.bashrc
    cicd-exporter completion zsh > "${fpath[1]}/_cicd-exporter"  # once
    cicd-exporter completion fish | source                       # in config.fish""",
    example="""\
$ source <(cicd-exporter completion bash)
$ cicd-exporter state <TAB><TAB>
info    verify""",
)
