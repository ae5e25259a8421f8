"""`cicd_repo_info`: one series a repo that has a pipeline, with what is known of it now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from exporter.ledger.rows import Changes, Findings, Target
from exporter.metrics import families as f
from exporter.metrics.labels import RepoLabels, repo_labels
from exporter.outputs.prometheus import AccountView, Exposition, Health
from exporter.outputs.prometheus.text import Format
from exporter.view.series_view import SeriesView
from tests.tools.scripted import DAY, build
from tests.tools.views import SHOWN, ViewWithRows, a_view, completed, learn
from tests.unit.exposition import FORMATS, HOSTILE, Polled, account_view, parsed

ACME = {"provider": "scripted", "account": "acme"}


class Shown:
    """An exposition and all that it shows of repos."""

    def __init__(self, view: SeriesView, **polled: str | None) -> None:
        self.view = view
        self.account = account_view("acme", **ACME, repos={})
        self.polled(**{"acme/shop": None} | polled)
        self.exposition = Exposition(view, self._accounts, Health())

    def _accounts(self) -> list[AccountView]:
        return [self.account]

    def polled(self, **default_branches: str | None) -> None:
        """The polled repos, and their default branches as discovery knows them."""
        for entry, branch in default_branches.items():
            self.account.repos = {**self.account.repos, entry: Polled(1.0, 60.0, branch)}

    def __call__(self, form: Format = "text") -> list[dict[str, str]]:
        """The labels of each series, without those that are empty or of the account."""
        families = parsed(form, self.exposition.text(form))
        _, _, samples = families["cicd_repo_info"]
        assert {value for *_, value in samples} <= {"1.0"}
        hidden = {*ACME.items()}
        return [
            {name: value for name, value in labels if value and (name, value) not in hidden}
            for _, labels, _ in samples
        ]


def view_of(**values: Any) -> ViewWithRows:
    view = a_view()
    learn(view, completed(**values))
    return view


def with_rules(view: ViewWithRows, *rules: tuple[str, Mapping[str, str]]) -> None:
    """Go by another configuration of labels."""
    known = tuple(RepoLabels((glob,), dict(labels)) for glob, labels in rules)
    view.configure(msgspec.structs.replace(view.rules, repo_labels=known), {"acme": "scripted"})


@pytest.mark.parametrize("form", FORMATS)
def test_a_repo_has_its_page_and_its_default_branch(form: Format) -> None:
    shown = Shown(view_of(default_branch="main"))

    url = "https://ci.example/acme/shop"
    assert shown(form) == [{"repo": "acme/shop", "url": url, "default_branch": "main"}]


def test_several_pipelines_of_a_repo_are_one_and_it_goes_with_the_last_of_them() -> None:
    view = view_of()
    learn(view, completed(workflow="Release"))
    shown = Shown(view)
    (first, second) = view.pipelines

    assert len(shown()) == 1
    view.apply(Changes(forgotten=[first]))
    assert len(shown()) == 1
    view.apply(Changes(forgotten=[second]))
    assert shown() == []


def test_a_repo_without_a_pipeline_has_none_and_one_that_comes_has_one() -> None:
    view = a_view()
    shown = Shown(view)

    assert shown() == []
    learn(view, completed())
    assert [labels["repo"] for labels in shown()] == ["acme/shop"]


def test_it_has_the_label_of_builds_not_the_entry_that_is_polled() -> None:
    project = Target(7, "acme", "org/project", SHOWN.cursor)
    view = a_view()
    view.learn(Findings(active=[build("1", repo="org/project/api")]), project)
    shown = Shown(view, **{"org/project": "trunk"})

    url = "https://ci.example/org/project/api"
    assert shown() == [{"repo": "org/project/api", "url": url, "default_branch": "trunk"}]


def test_what_discovery_says_of_the_default_branch_wins_and_may_change() -> None:
    shown = Shown(view_of(default_branch="main"), **{"acme/shop": "trunk"})

    assert shown()[0]["default_branch"] == "trunk"
    shown.polled(**{"acme/shop": "develop"})
    shown.account.repos["acme/shop"].last_success = 2.0  # type: ignore[misc]  # it was polled
    assert shown()[0]["default_branch"] == "develop"


def test_builds_tell_the_default_branch_where_discovery_does_not_the_latest_wins() -> None:
    view = a_view()
    shown = Shown(view)
    for at, branch, default in ((1, "main", "main"), (3, "release/1", "release/1"), (2, "x", "y")):
        learn(view, completed(branch=branch, default_branch=default, completed_at=DAY * at))

    assert shown()[0]["default_branch"] == "release/1"


def test_the_configuration_gives_labels_and_a_reload_other_ones() -> None:
    view = view_of()
    shown = Shown(view)
    names = {"repo", "url"}

    with_rules(view, ("acme/s*", {"team": "shop"}), ("**", {"team": "all", "tier": "2"}))
    assert {k: v for k, v in shown()[0].items() if k not in names} == {
        "label_team": "shop",
        "label_tier": "2",
    }
    with_rules(view, ("other/*", {"team": "shop"}), ("**", {"owner": "we"}))
    assert {k: v for k, v in shown()[0].items() if k not in names} == {"label_owner": "we"}
    with_rules(view, ("nothing", {"squad": "x"}))
    assert shown()[0].keys() == names
    with_rules(view)
    assert shown()[0].keys() == names
    assert b"label_" not in shown.exposition.text()


def test_names_that_change_are_written_anew_where_all_are_empty() -> None:
    view = view_of()
    shown = Shown(view)
    with_rules(view, ("nothing", {"team": "x"}))
    assert b'label_team=""' in shown.exposition.text()

    with_rules(view, ("nothing", {"squad": "x"}))

    assert b"label_team" not in shown.exposition.text()


def test_of_several_rules_the_first_that_has_a_name_gives_its_value() -> None:
    rules = (
        RepoLabels(("acme/pay-*", "acme/bank"), {"team": "payments"}),
        RepoLabels(("acme/*",), {"team": "platform", "tier": "1"}),
        RepoLabels(("**",), {"tier": "9"}),
    )

    told = [repo_labels(repo, rules) for repo in ("acme/pay-api", "acme/x", "a/b/c")]

    assert told == [
        {"label_team": "payments", "label_tier": "1"},
        {"label_team": "platform", "label_tier": "1"},
        {"label_team": "", "label_tier": "9"},
    ]
    assert repo_labels("acme/x", ()) == {}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_break_nothing(form: Format, text: str) -> None:
    view = view_of(repo=text, branch=text, default_branch=text)
    with_rules(view, ("**", {"team": text}))
    shown = Shown(view)

    assert len(shown(form)) == 1


def test_an_address_that_is_longer_than_a_label_is_left_out_as_half_of_it_leads_nowhere() -> None:
    shown = Shown(view_of(repo="acme/" + "x" * 190))

    assert "url" not in shown()[0]


def test_an_account_that_is_configured_anew_has_other_pages() -> None:
    shown = Shown(view_of())
    shown()

    shown.account = account_view(
        "acme", **ACME, repos=shown.account.repos, page_of=lambda repo: f"https://other/{repo}"
    )

    assert shown()[0]["url"] == "https://other/acme/shop"


def test_the_address_of_the_pages_is_there_where_it_is_configured() -> None:
    health = Health()
    exposition = Exposition(a_view(), list, health)
    line = b'cicd_exporter_web_info{external_url="https://ops.example/ci"} 1.0\n'

    assert f"\n{f.WEB_INFO.name}{{".encode() not in exposition.text()
    health.external_url = "https://ops.example/ci/"
    assert line in exposition.text()
