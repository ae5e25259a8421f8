"""A whole scrape: every family, every label however hostile, and what is there from the start."""

from __future__ import annotations

import gzip
import re
import subprocess
from pathlib import Path
from typing import Any, get_args

import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as read_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as read_text

from exporter import __version__
from exporter.errors import Reason
from exporter.http import ApiStats, RateLimit
from exporter.metrics import families as f
from exporter.metrics.labels import clean
from exporter.outputs.prometheus import Exposition, Format, Health
from exporter.outputs.prometheus.packing import Packer, gzipped
from tests.tools.views import a_view, completed, learn, limit_for
from tests.unit.exposition import (
    FORMATS,
    HOSTILE,
    Polled,
    account_view,
    exposition,
    lively,
    ours,
    parsed,
    values,
)


@pytest.fixture(scope="module")
def hostile() -> Exposition:
    """Everything there is, and every free text in it is hostile."""
    return exposition(lively(*HOSTILE), [account_view(text) for text in HOSTILE])


def test_a_scrape_of_everything_has_every_family_with_samples(hostile: Exposition) -> None:
    shown = ours("text", hostile.text())

    of_a_fleet = {f.WORKERS, f.ACCOUNTS_UNHELD, f.CONFIG_AGREED}
    # by the configuration, the provider or a database
    asked_for = {f.LAST_INFO, f.TOKEN_EXPIRY, f.WEB_INFO, *of_a_fleet}
    assert {name for name, (_, _, samples) in shown.items() if samples} == {
        family.name.removesuffix("_total") for family in f.FAMILIES if family not in asked_for
    }


@pytest.mark.parametrize("form", FORMATS)
def test_each_family_has_one_head(hostile: Exposition, form: Format) -> None:
    types = re.findall(r"^# TYPE (\S+)", hostile.text(form).decode(), re.MULTILINE)
    total = "" if form == "openmetrics" else "_total"

    assert sorted(name for name in types if name.startswith("cicd_")) == sorted(
        family.name.removesuffix("_total") + (total if family.kind == "counter" else "")
        for family in f.FAMILIES
    )


@pytest.mark.parametrize("form", FORMATS)
def test_hostile_labels_are_written_and_read_back(hostile: Exposition, form: Format) -> None:
    read = ours(form, hostile.text(form))

    repos = {dict(labels)["repo"] for _, labels, _ in read["cicd_builds_active"][2]}
    assert repos == {clean(text) for text in HOSTILE}


@pytest.mark.parametrize("form", FORMATS)
def test_no_series_is_shown_twice(hostile: Exposition, form: Format) -> None:
    for _, _, samples in parsed(form, hostile.text(form)).values():
        names = [(name, labels) for name, labels, _ in samples.elements()]
        assert len(set(names)) == len(names)


def test_both_formats_say_the_same(hostile: Exposition) -> None:
    text, openmetrics = (ours(form, hostile.text(form)) for form in FORMATS)

    assert text == openmetrics


def test_no_sample_has_a_timestamp(hostile: Exposition) -> None:
    for form in FORMATS:
        read: Any = read_openmetrics if form == "openmetrics" else read_text
        families = read(hostile.text(form).decode())
        assert not any(s.timestamp for family in families for s in family.samples)


@pytest.mark.parametrize("form", FORMATS)
def test_buckets_rise_to_the_count(hostile: Exposition, form: Format) -> None:
    for family in f.FAMILIES:
        if family.kind != "histogram":
            continue
        series: dict[Any, dict[str, float]] = {}
        for name, labels, value in ours(form, hostile.text(form))[family.name][2]:
            own = {k: v for k, v in labels if k != "le"}
            part = dict(labels).get("le", name.removeprefix(family.name))
            series.setdefault(tuple(own.items()), {})[part] = float(value)
        for parts in series.values():
            total, _ = parts.pop("_count"), parts.pop("_sum")
            counts = [parts[le] for le in sorted(parts, key=float)]
            assert counts == sorted(counts)
            assert counts[-1] == parts["+Inf"] == total


def check(promtool: Path, text: bytes) -> subprocess.CompletedProcess[bytes]:
    command = [str(promtool), "check", "metrics"]
    return subprocess.run(command, input=text, capture_output=True, check=False)


def test_promtool_has_nothing_to_say(hostile: Exposition, promtool: Path) -> None:
    said = check(promtool, hostile.text())

    assert (said.returncode, said.stdout, said.stderr) == (0, b"", b"")


def test_promtool_has_nothing_to_say_about_a_young_exporter(promtool: Path) -> None:
    quiet = account_view(stats=ApiStats(), up=False, rejected=0, repos={})

    for views in ([], [quiet]):
        said = check(promtool, exposition(a_view(), views).text())
        assert (said.returncode, said.stdout, said.stderr) == (0, b"", b"")


@pytest.mark.parametrize("form", FORMATS)
def test_openmetrics_ends_with_its_mark_and_text_has_none(
    hostile: Exposition, form: Format
) -> None:
    text = hostile.text(form)

    assert text.endswith(b"\n# EOF\n") == (form == "openmetrics")
    assert text.count(b"\n# EOF\n") == (form == "openmetrics")


def test_process_and_platform_are_shown_too(hostile: Exposition) -> None:
    for form in FORMATS:
        assert {"python_info", "process_resident_memory_bytes"} <= parsed(
            form, hostile.text(form)
        ).keys()


@pytest.mark.parametrize("form", FORMATS)
def test_an_answer_is_as_long_as_it_says(hostile: Exposition, form: Format) -> None:
    for packed in (False, True):
        answer = hostile.answer(form, packed=packed)
        assert sum(len(piece) for batch in answer.batches for piece in batch) == answer.size


@pytest.mark.parametrize("form", FORMATS)
def test_a_packed_answer_is_the_same(hostile: Exposition, form: Format) -> None:
    for _ in hostile.steps(form, packed=True):
        pass
    ((body,),) = hostile.answer(form, packed=True).batches

    assert ours(form, gzip.decompress(body)) == ours(form, hostile.text(form))


# --- what the exporter shows of itself ---


def test_zeros_are_there_before_the_first_event() -> None:
    quiet = account_view(stats=ApiStats(), up=False, rejected=0, repos={})
    shown = exposition(a_view(), [quiet, account_view(account="other", provider="jenkins")])

    acme = ("github", "acme")
    errors = values(shown, f.API_ERRORS)
    assert dict.fromkeys(get_args(Reason), 0.0) == {
        labels[2]: value for labels, value in errors.items() if labels[:2] == acme
    }
    for family in (f.MISSING, f.UNMAPPED, f.ANOMALIES):
        words = [(provider, w) for provider in ("github", "jenkins") for w in family.zeros]
        assert dict.fromkeys(words, 0.0) == values(shown, family)
    assert {acme: 0.0, ("jenkins", "other"): 0.0} == values(shown, f.GAPS)
    assert 0.0 == values(shown, f.REJECTED)[acme] == values(shown, f.ACCOUNT_UP)[acme]


def test_what_was_counted_takes_the_place_of_the_zeros() -> None:
    view = lively("x")
    learn(view, completed(3, conclusion=None))

    shown = exposition(view, [account_view(provider="scripted")])

    assert values(shown, f.MISSING)["scripted", "conclusion"] == 1.0
    assert values(shown, f.MISSING)["scripted", "attempt"] == 3.0
    assert values(shown, f.API_ERRORS)["scripted", "acme", "timeout"] == 2.0


def test_an_account_shows_what_it_knows_and_nothing_else() -> None:
    stats = ApiStats()
    stats.rate_limits[""] = RateLimit(limit=None, remaining=7.0, reset_at=None)
    shown = exposition(a_view(), [account_view(stats=stats, budget_exhausted=True)])

    assert values(shown, f.RATE_REMAINING) == {("github", "acme", ""): 7.0}
    for family in (f.RATE_LIMIT, f.RATE_RESET, f.CLOCK_SKEW):
        assert values(shown, family) == {}
    assert values(shown, f.BUDGET_EXHAUSTED) == {("github", "acme"): 1.0}
    assert values(shown, f.LAST_SUCCESS) == {
        ("github", "acme", "acme"): 1.7e9,
        ("github", "acme", "acme/2"): 0.0,
    }


def test_the_process_shows_its_health() -> None:
    health = Health(state_ok=False, reload_ok=False, reload_time=1.7e9, revision="a\nb")
    shown = exposition(a_view(), [], health)

    assert values(shown, f.STATE_OK) == values(shown, f.RELOAD_OK) == {(): 0.0}
    assert values(shown, f.RELOAD_TIME) == {(): 1.7e9}
    ((version, revision, python),) = values(shown, f.BUILD_INFO)
    assert (version, revision, python[:2]) == (__version__, "a\ufffdb", "3.")


def test_the_limit_and_what_it_dropped_are_shown() -> None:
    limit = limit_for(completed())
    view = a_view(limit)
    learn(view, completed())
    learn(view, completed(repo="acme/other"))

    shown = exposition(view)

    assert values(shown, f.SERIES_LIMIT) == {(): limit}
    assert values(shown, f.SERIES_DROPPED)[f.BUILDS.name,] == 1.0


def test_the_repos_are_those_that_are_polled_now() -> None:
    views = [account_view("acme"), account_view("other")]
    shown = exposition(a_view(), views)
    shown.text()

    first = views[0].repos
    assert isinstance(first, dict)
    del first["acme/2"]
    first["acme"].last_success = 1.8e9
    first["new"] = Polled(0.0, 30.0)
    views.pop()

    assert values(shown, f.LAST_SUCCESS) == {
        ("github", "acme", "acme"): 1.8e9,
        ("github", "acme", "new"): 0.0,
    }
    assert values(shown, f.POLL_INTERVAL)["github", "acme", "new"] == 30.0


def test_the_command_line_tool_can_read_what_is_packed(tmp_path: Path) -> None:
    text = b"".join(b'cicd_builds_total{n="%d"} 1.0\n' % n for n in range(5000))
    packer = Packer()

    file = gzipped(packer.pack(text[at : at + 1000]) for at in range(0, len(text), 1000))

    done = subprocess.run(["gzip", "-dc"], input=file, capture_output=True, check=True)
    assert done.stdout == text
    assert len(file) < len(text) / 5
