"""The rules for a faster clock are the same rules."""

from __future__ import annotations

import pytest
import yaml

from scripts import alerts as page
from tests.system.test_rules import FILES, RULES, promtool_says
from tests.tools.faster import SECONDS, expression, faster, numbers


@pytest.mark.parametrize(
    ("slow", "fast"),
    [
        ("increase(a_total[6h])", "increase(a_total[90000ms])"),
        ("sum_over_time(a:b:increase1h[7d:1h] offset 3d)",
         "sum_over_time(a:b:increase1h[2520000ms:15000ms] offset 1080000ms)"),
        ("max_over_time(up[1h30m]) == 0", "max_over_time(up[22500ms]) == 0"),
        ("time() - a > 14400", "time() - a > 60"),
        ("clamp_min(3 * a:b:p95_7d, 900)", "clamp_min(3 * a:b:p95_7d, 3.75)"),
        ("a >= 9.5 and b > 1.5 * c", "a >= 9.5 and b > 1.5 * c"),
        ('a{job="5m 900", b=~"\\"1h"} unless b', 'a{job="5m 900", b=~"\\"1h"} unless b'),
    ],
)  # fmt: skip
def test_all_spans_of_an_expression_become_shorter_and_nothing_else(slow, fast):
    assert expression(slow, 240) == fast


def test_a_group_is_evaluated_as_much_more_often_as_its_alerts_wait_less():
    alert = {"alert": "Late", "expr": "up == 0", "for": "10m"}
    group = {"name": "5m", "interval": "1m", "rules": [alert | {"annotations": {"summary": "5m"}}]}

    (fast,) = faster({"groups": [group]}, 240)["groups"]

    assert (fast["name"], fast["interval"]) == ("5m", "250ms")
    assert fast["rules"] == [
        {"alert": "Late", "expr": "up == 0", "for": "2500ms", "annotations": {"summary": "5m"}}
    ]


@pytest.mark.parametrize("text", ["soon", "5", "1m 30s"])
def test_what_is_no_duration_is_not_guessed_at(text):
    with pytest.raises(ValueError, match="no duration"):
        faster({"for": text}, 240)


def test_a_span_is_not_rounded():
    with pytest.raises(ValueError, match="whole number of milliseconds"):
        faster({"for": "1s"}, 240)


def test_the_plain_numbers_that_are_seconds_are_known():
    """A new one of `SECONDS` or more that is something else would be taken for a span."""
    used = set().union(*(numbers(rule["expr"]) for rule in RULES))

    spans = {60, 300, 900, 1800, 14400, 86400, 259200, 604800, 1209600}
    assert {n for n in used if n >= SECONDS} == spans
    assert max(n for n in used if n < SECONDS) < 20


def test_promtool_accepts_the_faster_rules(promtool, tmp_path):
    names = [file.name for file in FILES]
    for file in FILES:
        content = faster(yaml.safe_load(file.read_text()), 240)
        (tmp_path / file.name).write_text(yaml.safe_dump(content, sort_keys=False))

    said = promtool_says(promtool, "check", "rules", *(tmp_path / name for name in names))

    assert [f"{len(page.rules(file.stem))} rules found" for file in FILES] == [
        line.partition(": ")[2] for line in said.splitlines() if "SUCCESS" in line
    ]
