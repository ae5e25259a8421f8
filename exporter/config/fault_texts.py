"""What pydantic and PyYAML object to, in the operator's language."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from exporter.messages import SECRET_KEY, unknown_word
from exporter.redaction import shown

_QUOTE = " (put it in quotes)"
_PYDANTIC: Mapping[str, str] = {
    "missing": "required key is missing",
    "string_type": "must be text{got}{quote}",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "has a form that is not allowed{got} (must match {pattern})",
    "int_type": "must be a whole number{got}",
    "int_parsing": "must be a whole number{got}",
    "int_from_float": "must be a whole number{got}",
    "int_parsing_size": "is too large a number",
    "float_type": "must be a number{got}",
    "float_parsing": "must be a number{got}",
    "finite_number": "must be a finite number{got}",
    "bool_type": "must be true or false{got}",
    "bool_parsing": "must be true or false{got}",
    "list_type": "must be a list{got} (write `[a, b]` or one `- item` a line)",
    "tuple_type": "must be a list{got} (write `[a, b]` or one `- item` a line)",
    "dict_type": "must be a mapping{got} (write `key: value` lines)",
    "model_type": "must be a mapping{got} (write `key: value` lines)",
    "model_attributes_type": "must be a mapping{got} (write `key: value` lines)",
    "greater_than": "must be greater than {gt}{got}",
    "greater_than_equal": "must be at least {ge}{got}",
    "less_than": "must be less than {lt}{got}",
    "less_than_equal": "must be at most {le}{got}",
    "too_short": "must not be empty",
    "too_long": "must have at most {max_length} entries",
    "value_error": "{error}",
    "assertion_error": "{error}",
    "none_required": "must be left out{got}",
}
"""By pydantic's error type: https://docs.pydantic.dev/latest/errors/validation_errors/"""


def pydantic_fault(error: Mapping[str, Any]) -> str:
    """One error of pydantic in the operator's language; unknown keys are told by the caller."""
    value, context = error["input"], error.get("ctx", {})
    if error["type"] in ("literal_error", "enum"):
        known = re.findall(r"'([^']*)'", str(context["expected"]))
        return unknown_word(value, known)
    template = _PYDANTIC.get(error["type"], "is not valid{got}")
    secret = any(isinstance(part, str) and SECRET_KEY.search(part) for part in error["loc"])
    filled = template.format_map(
        {
            **{key: _number(item) for key, item in context.items()},
            "got": "" if secret else f", got {shown(value)}",
            "quote": _QUOTE if isinstance(value, int | float) else "",
        }
    )
    if isinstance(value, str):  # a validator's own text quotes it as it is
        filled = filled.replace(repr(value), shown(value))
    return filled


def _number(item: Any) -> Any:
    return int(item) if isinstance(item, float) and item.is_integer() else item


_SYNTAX: tuple[tuple[str, str], ...] = (
    (r"character '\\t'", "a tab (indent with spaces)"),
    (r"character '[@`%]' that cannot start", "a value cannot begin like this (put it in quotes)"),
    (
        r"expected alphabetic or numeric character",
        "a value that begins with `*` or `&` must be quoted",
    ),
    (r"undefined alias", "no anchor of this name (put a value that begins with `*` in quotes)"),
    (r"duplicate anchor", "this anchor name is taken"),
    (r"found unexpected end of stream", "a quote is opened here and not closed"),
    (r"unknown escape character", "unknown escape in \"...\" (use 'single quotes')"),
    (r"escape sequence", "unfinished escape in \"...\" (use 'single quotes')"),
    (
        r"mapping values are not allowed",
        "a `:` cannot stand here (check indentation and quotes, here and above)",
    ),
    (r"sequence entries are not allowed", "a list item cannot stand here (check the indentation)"),
    (r"could not find expected ':'", "neither `key: value` nor `- item` (is a `:` missing?)"),
    (
        r"expected <block end>|expected '<document start>'|unindent",
        "does not fit the lines above (check the indentation)",
    ),
    (r"expected ',' or '\]'", "a `[` list lacks a comma or its `]`"),
    (r"expected ',' or '\}'", "a `{` mapping lacks a comma or its `}`"),
    (r"found another document", "a second document begins here (write one, without `---`)"),
    (r"expected the node content", "a value is missing (is a bracket not closed?)"),
    (r"undefined tag handle", "a YAML tag is not allowed (remove the word with the `!`)"),
    (r"nested too deeply", "nested too deeply"),
    (r"too many values", "more values than any configuration needs"),
)
"""By what PyYAML calls the problem."""

_AT_ITS_BEGINNING = re.compile(r"unexpected end of stream|could not find expected ':'")


def syntax_fault(error: yaml.MarkedYAMLError) -> tuple[str, yaml.Mark | None]:
    """What is wrong with the YAML, and where.

    PyYAML's own text is not passed on: it quotes the file, and what it quotes may be secret.
    """
    problem = error.problem or ""
    mark = error.problem_mark or error.context_mark
    if error.context_mark is not None and _AT_ITS_BEGINNING.search(problem):
        mark = error.context_mark
    for pattern, words in _SYNTAX:
        if re.search(pattern, problem):
            return words, mark
    return "is not YAML (check quotes, brackets and indentation)", mark
