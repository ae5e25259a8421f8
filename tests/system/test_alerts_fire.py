"""A fault raises its own alert and no other in real Prometheus and Alertmanager, till it ends.

All of `rules/` is loaded there, for a clock that runs 240 times as fast: half an hour is 7.5
seconds. The exporter and the builds know nothing of that clock.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, quote_plus, urlencode

import msgspec
import pytest
import yaml

from exporter.demo import JobRun, Run, World
from exporter.metrics.families import PIPELINE
from scripts.alerts import RULES
from tests.tools.alerting import Inbox, advised, listening, managing
from tests.tools.emulators.unified import EmulatorThread
from tests.tools.faster import duration, faster
from tests.tools.monitoring import assert_ready, served
from tests.tools.system import Answer, Exporter, account, configure, eventually, get

FASTER = 240
MINUTE = duration("1m", FASTER)
HOUR = 3600 / FASTER
"""Seconds."""
REPO, OTHER, QUIET, WEB = "acme/shop", "acme/api", "acme/docs", "gh/initech/web"
APP, LIB, SHIP, MONO = "acme/app", "acme/lib", "acme/ship", "hooli/mono"
OF_ACME = (REPO, OTHER, QUIET, APP, LIB, SHIP)
WORKFLOWS = ("api", "docs", "lint", "unit", "web")
"""Of MONO."""
PAGES = "https://ops.example/ci"
"""Where people reach the exporter, as far as it knows."""
GRAFANA = "https://grafana.example"

Labels = dict[str, str]


# -- what is faulty


class Scene(NamedTuple):
    """A world, who looks at it, and what people are told."""

    world: World
    exporter: Exporter
    configured: Callable[[str], Path]
    """Writes the configuration, in which `initech` has this as its `token_file`."""
    tokens: Path
    """A folder with two of them, `old` and `new`."""
    api: str
    """Prometheus' URL."""
    inbox: Inbox
    since: float
    """When all was well, epoch seconds. Prometheus' first scrape is some seconds after its start,
    and until then it rightly misses the exporter."""

    def build(self, repo: str, **fields: Any) -> None:
        """One more build of a repo."""
        _build(self.world, repo.partition("/")[0], repo, **fields)

    def alerts(self, selector: str = "") -> dict[str, str]:
        """The alerts that there are now, with whether they are `pending` or `firing`."""
        found = query(self.api, f"ALERTS{{{selector}}}")
        return {labels["alertname"]: labels["alertstate"] for labels, _ in found}


class Fault(NamedTuple):
    """Something that people want to be told of."""

    begin: Callable[[Scene], None]
    end: Callable[[Scene], None]
    where: str
    """A selector of all alerts about what is faulty."""
    labels: Labels
    """Of the one alert that says it."""
    says: str
    board: str
    """The path of the dashboard's link."""
    builds: str | None = None
    """That of the link to builds."""
    build: str | None = None
    """The id of the build at whose page that arrives, if it is about one."""


def _expire_token(scene: Scene) -> None:
    (scene.tokens / "old").write_text("expired")


def _renew_token(scene: Scene) -> None:
    """Take another file and reload, upon which the account is tried at once.

    Otherwise it would be tried after a rest that doubles in real seconds.
    """
    scene.configured("new")
    scene.exporter.process.send_signal(signal.SIGHUP)


def _get_stuck(scene: Scene) -> None:
    """A build has been running for a little less than 4 hours, and goes on."""
    scene.build(OTHER, id=STUCK, ago=4 * HOUR - 2, completed_at=None)


def _cancel(scene: Scene) -> None:
    _end(scene, STUCK, OTHER)


def _end(scene: Scene, run_id: str, repo: str) -> None:
    """A build is cancelled."""
    (known,) = (run for run in scene.world.attempts("acme") if run.id == run_id)
    end = {"completed_at": time.time(), "conclusion": "cancelled", "held": None}
    scene.world.add("acme", repo, msgspec.structs.replace(known, **end))


def _break_main(scene: Scene) -> None:
    """What is cancelled, skipped or neutral, or waits afterwards, neither heals nor hides it."""
    scene.build(REPO, id=CULPRIT, conclusion="failed")
    for conclusion in ("failed", "failed", "cancelled", "skipped", "neutral"):
        scene.build(REPO, conclusion=conclusion)
    scene.build(REPO, id="held", completed_at=None, held=(0, time.time() + 24 * HOUR))


def _repair_main(scene: Scene) -> None:
    scene.build(REPO)


def _break_develop(scene: Scene) -> None:
    """A default branch that is called otherwise; there main is a branch like others."""
    scene.build(APP, conclusion="failed", branch="develop", id=DEVELOPED)
    for _ in range(2):
        scene.build(APP, conclusion="failed")


def _repair_develop(scene: Scene) -> None:
    scene.build(APP, branch="develop")


def _break_release(scene: Scene) -> None:
    """Three failures of a side branch, with one in between that somebody cancelled."""
    scene.build(LIB, conclusion="failed", branch="release/1", id=RELEASED)
    for conclusion in ("failed", "cancelled", "failed", "skipped"):
        scene.build(LIB, conclusion=conclusion, branch="release/1")


def _repair_release(scene: Scene) -> None:
    scene.build(LIB, branch="release/1")


def _hold(scene: Scene) -> None:
    """A deployment has been waiting for an approval for a little less than a day, and goes on."""
    held = (time.time() - 24 * HOUR, time.time() + 24 * HOUR)
    scene.build(SHIP, id=HELD, workflow="Deploy", ago=24 * HOUR - 2, completed_at=None, held=held)


def _refuse(scene: Scene) -> None:
    _end(scene, HELD, SHIP)


def _break_many(scene: Scene) -> None:
    for workflow in WORKFLOWS:
        scene.build(MONO, workflow=workflow, conclusion="failed")


def _repair_many(scene: Scene) -> None:
    for workflow in WORKFLOWS:
        scene.build(MONO, workflow=workflow)


STUCK, CULPRIT, DEVELOPED, RELEASED, HELD = "9001", "9002", "9003", "9004", "9005"
"""Ids of builds."""


def _board(name: str, repo: str, workflow: str, branch: str) -> str:
    """The link to a dashboard with a pipeline of `acme`."""
    labels = ("github", "acme", repo, workflow, branch)
    pairs = zip(PIPELINE, labels, strict=True)
    return f"/d/cicd-{name}?" + urlencode({f"var-{label}": value for label, value in pairs})


def _go(repo: str, branch: str) -> str:
    """The link to the first failed build of a pipeline of `acme`."""
    labels = {"account": "acme", "repo": repo, "workflow": "CI", "branch": branch}
    return "/go?" + urlencode(labels | {"build": "first_failed"})


FAULTS = {
    "an expired token": Fault(
        begin=_expire_token,
        end=_renew_token,
        where='account="initech"',
        labels={
            "alertname": "CicdExporterAuthFailing",
            "severity": "warning",
            "provider": "circleci",
            "account": "initech",
        },
        says="circleci refuses the token of account initech: it has expired, ",
        board="/d/cicd-exporter?var-provider=circleci&var-account=initech",
    ),
    "five pipelines that break at once": Fault(
        begin=_break_many,
        end=_repair_many,
        where='account="hooli", repo=""',
        labels={
            "alertname": "CicdManyPipelinesBroken",
            "severity": "warning",
            "provider": "github",
            "account": "hooli",
        },
        says="5 pipelines of github account hooli turned red within 15 minutes, ",
        board="/d/cicd-fleet?var-provider=github&var-account=hooli",
        builds="/builds?account=hooli&conclusion=failed",
    ),
    "a side branch that fails time after time": Fault(
        begin=_break_release,
        end=_repair_release,
        where=f'repo="{LIB}"',
        labels={
            "alertname": "CicdBuildConsecutiveFailures",
            "severity": "warning",
            "provider": "github",
            "account": "acme",
            "repo": LIB,
            "workflow": "CI",
            "branch": "release/1",
            "label_team": "web",
        },
        says=f"3 builds in a row of {LIB}, workflow CI, branch release/1 (github account acme) ",
        board=_board("workflow", LIB, "CI", "release/1"),
        builds=_go(LIB, "release/1"),
        build=RELEASED,
    ),
    "a deployment that waits": Fault(
        begin=_hold,
        end=_refuse,
        where=f'repo="{SHIP}"',
        labels={
            "alertname": "CicdDeploymentWaiting",
            "severity": "warning",
            "provider": "github",
            "account": "acme",
            "repo": SHIP,
            "workflow": "Deploy",
            "branch": "main",
            "status": "waiting",
            "label_team": "web",
        },
        says=f"A build of {SHIP}, workflow Deploy, branch main (github account acme) was created ",
        board=_board("queue", SHIP, "Deploy", "main"),
        builds=f"/repo?account=acme&repo={quote_plus(SHIP)}",
    ),
    "a broken main branch": Fault(
        begin=_break_main,
        end=_repair_main,
        where=f'repo="{REPO}"',
        labels={
            "alertname": "CicdDefaultBranchBroken",
            "severity": "warning",
            "provider": "github",
            "account": "acme",
            "repo": REPO,
            "workflow": "CI",
            "branch": "main",
            "label_team": "payments",
        },
        says=f"{REPO}, workflow CI, branch main (github account acme) has failed 3 times and has ",
        board=_board("workflow", REPO, "CI", "main"),
        builds=_go(REPO, "main"),
        build=CULPRIT,
    ),
    "a broken default branch of another name": Fault(
        begin=_break_develop,
        end=_repair_develop,
        where=f'repo="{APP}"',
        labels={
            "alertname": "CicdDefaultBranchBroken",
            "severity": "warning",
            "provider": "github",
            "account": "acme",
            "repo": APP,
            "workflow": "CI",
            "branch": "develop",
            "label_team": "web",
        },
        says=f"{APP}, workflow CI, branch develop (github account acme) has failed once and has ",
        board=_board("workflow", APP, "CI", "develop"),
        builds=_go(APP, "develop"),
        build=DEVELOPED,
    ),
    "a stuck build": Fault(
        begin=_get_stuck,
        end=_cancel,
        where=f'repo="{OTHER}"',
        labels={
            "alertname": "CicdBuildStuck",
            "severity": "warning",
            "provider": "github",
            "account": "acme",
            "repo": OTHER,
            "workflow": "CI",
            "branch": "main",
            "status": "in_progress",
            "label_team": "web",
        },
        says=f"A build of {OTHER}, workflow CI, branch main (github account acme) was created 1m ",
        board=_board("queue", OTHER, "CI", "main"),
        builds=f"/repo?account=acme&repo={quote_plus(OTHER)}",
    ),
}
"""In the order in which their alerts fire, as all begin at once."""


def _build(world: World, account: str, repo: str, *, ago: float = 5, **fields: Any) -> None:
    """One more build, created `ago` seconds ago, that was over 3 seconds later.

    `fields` of the `Run` may say otherwise.
    """
    number = len(world.attempts(account)) + 1
    begun = int(time.time() - ago)
    ended = fields.get("completed_at", begun + 3)
    conclusion = fields.get("conclusion", "passed")
    job = JobRun(
        id=f"{number}0",
        name="test",
        started_at=begun + 1,
        completed_at=ended,
        conclusion=conclusion,
    )
    known = {"id": str(number), "workflow": "CI", "started_at": begun + 1, "completed_at": ended}
    run = Run(number=number, created_at=begun, jobs=(job,), **(known | fields))
    world.add(account, repo, run)


# -- Alertmanager and Prometheus


def _manager_settings(webhook: str) -> Any:
    route = {
        "receiver": "inbox",
        "group_by": ["..."],  # each alert by itself
        "group_wait": "0s",
        "group_interval": MINUTE,
        "repeat_interval": "1h",
    }
    receiver = {"name": "inbox", "webhook_configs": [{"url": webhook, "send_resolved": True}]}
    return {"route": route, "receivers": [receiver], "inhibit_rules": advised()["inhibit_rules"]}


def query(url: str, text: str) -> list[tuple[Labels, float]]:
    """The labels and values of an instant query."""
    answer = get(url, f"/api/v1/query?query={quote(text)}")
    return [(row["metric"], float(row["value"][1])) for row in _data(answer)["result"]]


def _data(answer: Answer) -> Any:
    assert answer.status == 200, answer.body
    return json.loads(answer.body)["data"]


def _groups(url: str) -> dict[str, datetime]:
    """When each group of rules was last evaluated; each rule without an error."""
    groups = _data(get(url, "/api/v1/rules"))["groups"]
    faults = [rule for group in groups for rule in group["rules"] if rule["health"] != "ok"]
    assert faults == []
    return {group["name"]: datetime.fromisoformat(group["lastEvaluation"]) for group in groups}


def _assert_calm(scene: Scene) -> None:
    """All is seen as it is, and rules that saw it have found nothing, not even for a moment."""
    assert _data(get(scene.api, "/api/v1/alertmanagers"))["activeAlertmanagers"]
    up = query(scene.api, "cicd_exporter_account_up == 1")
    assert {"acme", "initech", "hooli"} == {labels["account"] for labels, _ in up}
    passed = query(scene.api, 'cicd_build_last_conclusion{branch="main", conclusion="passed"} == 1')
    assert {*OF_ACME, MONO, WEB} == {labels["repo"] for labels, _ in passed}
    defaults = query(scene.api, "repo:cicd_repo:default_branch")
    assert (APP, "develop") in {(labels["repo"], labels["branch"]) for labels, _ in defaults}
    seen = datetime.now().astimezone()
    eventually(lambda: _assert_evaluated(scene.api, since=seen))
    assert scene.alerts() == {}


def _assert_evaluated(url: str, *, since: datetime) -> None:
    assert min(_groups(url).values()) > since


# -- the story


@pytest.fixture(scope="module")
def scene(
    prometheus: Path, alertmanager: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    """A fleet without a fault, with what is close to one, as Prometheus sees it."""
    folder = tmp_path_factory.mktemp("alerts")
    world = World()
    world.open("acme", "github", *OF_ACME).repos[APP].default_branch = "develop"
    world.open("initech", "circleci", WEB)
    world.open("hooli", "github", MONO)
    for name, repo in (*(("acme", repo) for repo in OF_ACME), ("initech", WEB)):
        for ago in (20, 15, 10):
            _build(world, name, repo, ago=ago)
    for workflow in WORKFLOWS:
        _build(world, "hooli", MONO, ago=10, workflow=workflow)
    _build(world, "acme", APP, ago=10, branch="develop")
    _build(world, "acme", QUIET, branch="develop", conclusion="failed")
    held = (time.time() - 5 * HOUR, time.time() + 24 * HOUR)  # by a person who is asked
    _build(world, "acme", QUIET, ago=5 * HOUR + 2, completed_at=None, held=held)
    for name in ("old", "new"):
        (folder / name).write_text("demo")
    with ExitStack() as stack:
        url = stack.enter_context(EmulatorThread(world)).url

        def configured(token: str) -> Path:
            return configure(
                folder / "exporter",
                [
                    account("acme", "github", url, ["acme/*"]),
                    account("hooli", "github", url, [MONO]),
                    account("initech", "circleci", url, [WEB], token_file=str(folder / token)),
                ],
                polling={"interval": 0.5, "max_interval": 0.5},
                metrics={"zero_hold": 0.5},
                web={"external_url": PAGES},
                labels=[
                    {"repos": [REPO], "labels": {"team": "payments"}},
                    {"repos": ["acme/*"], "labels": {"team": "web"}},
                ],
            )

        exporter = stack.enter_context(Exporter(configured("old")))
        inbox, webhook = stack.enter_context(listening())
        manager = stack.enter_context(
            managing(alertmanager, folder / "manager", _manager_settings(webhook))
        )
        eventually(exporter.polled)
        there = _rules(folder / "prometheus")
        api = stack.enter_context(served(prometheus, there, **_settings(exporter, manager)))
        scene = Scene(world, exporter, configured, folder, api, inbox, since=0)
        eventually(lambda: assert_ready(api))
        eventually(lambda: _assert_calm(scene))
        yield scene._replace(since=time.time())


def _rules(folder: Path) -> Path:
    """The folder, with the faster rules."""
    folder.mkdir()
    for file in RULES.glob("*.yaml"):
        content = faster(yaml.safe_load(file.read_text()), FASTER)
        (folder / file.name).write_text(yaml.safe_dump(content))
    return folder


def _settings(exporter: Exporter, manager: str) -> Any:
    target = exporter.url.removeprefix("http://")
    return {
        "global": {
            "scrape_interval": MINUTE,
            "scrape_timeout": MINUTE,
            "external_labels": {"grafana_url": GRAFANA},
        },
        "rule_files": ["*.yaml"],
        "scrape_configs": [{"job_name": "ci", "static_configs": [{"targets": [target]}]}],
        "alerting": {
            "alertmanagers": [{"static_configs": [{"targets": [manager]}]}],
            "alert_relabel_configs": [{"action": "labeldrop", "regex": "grafana_url"}],
        },
    }


@pytest.fixture(scope="module")
def spoilt(scene: Scene) -> Scene:
    """The scene after all faults have begun at once, each where no other one is."""
    for fault in FAULTS.values():
        fault.begin(scene)
    return scene


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_fault_raises_its_own_alert_alone_and_its_end_resolves_it(spoilt, fault):
    name, repo = fault.labels["alertname"], fault.labels.get("repo")

    told = spoilt.inbox.awaited(name, "firing", repo)

    assert told["labels"] == fault.labels | {"job": "ci"}
    assert told["annotations"]["description"].startswith(fault.says)
    _assert_links(spoilt, fault, told["annotations"])
    assert spoilt.alerts(fault.where) == {name: "firing"}  # and none is pending
    assert spoilt.inbox.about(name, "resolved", repo) == []

    fault.end(spoilt)

    told = spoilt.inbox.awaited(name, "resolved", repo)
    assert told["labels"] == fault.labels | {"job": "ci"}
    assert spoilt.alerts(fault.where) == {}


def _assert_links(scene: Scene, fault: Fault, told: Labels) -> None:
    """All of an alert are right, and that to a build arrives there."""
    builds = told["build_url"].removeprefix(PAGES) if fault.builds else None
    name, repo = fault.labels["alertname"], fault.labels.get("repo")
    assert told["runbook_url"] == f"{PAGES}/docs/runbooks/{name}"
    assert told["dashboard_url"] == GRAFANA + fault.board
    assert builds == fault.builds
    if fault.build is not None:
        found = get(scene.exporter.url, f"/ci{builds}")
        page = f"https://github.com/{repo}/actions/runs/{fault.build}"
        assert (found.status, found.headers["location"]) == (302, page)


def test_no_other_alert_has_fired_and_no_rule_has_failed(spoilt):
    names = {fault.labels["alertname"] for fault in FAULTS.values()}
    past = round((time.time() - spoilt.since) * 1000)
    fired = query(spoilt.api, f'max_over_time(ALERTS{{alertstate="firing"}}[{past}ms])')

    assert {labels["alertname"] for labels, _ in fired} <= names
    assert spoilt.alerts().keys() <= names
    assert spoilt.inbox.names(since=spoilt.since) <= names
    assert _groups(spoilt.api)
