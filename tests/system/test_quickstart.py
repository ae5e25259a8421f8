"""The quickstart: its files fit each other and the project, and an alert goes all the way."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from exporter.metrics.exemplars import LABEL
from exporter.metrics.families import PIPELINE
from scripts.alerts import RULES
from scripts.dashboards import FOLDER as DASHBOARDS
from tests.conftest import ROOT
from tests.system.test_rules import promtool_says
from tests.tools.alerting import advised
from tests.tools.faster import faster
from tests.tools.monitoring import assert_ready, free_address
from tests.tools.system import eventually, get

HERE = ROOT / "examples" / "quickstart"
COMPOSE = yaml.safe_load((HERE / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
FASTER = 120
"""So many times as fast is the clock of the rules and of Prometheus: 30 minutes are 15 seconds."""


def content(name: str) -> Any:
    return yaml.safe_load((HERE / name).read_text())


def mounts(service: str) -> dict[str, Path]:
    """What a container has of the project, by its place in there."""
    found = {}
    for mount in SERVICES[service].get("volumes", ()):
        source, target, mode = mount.split(":")
        assert mode == "ro", mount
        found[target] = (HERE / source).resolve()
    return found


# -- as files


def test_the_compose_file_is_one():
    checker = Path(sys.executable).parent / "check-jsonschema"
    done = subprocess.run(
        [checker, "--builtin-schema", "vendor.compose-spec", HERE / "compose.yaml"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_pinned_and_open_to_this_machine_only(service):
    told = SERVICES[service]
    image = told.get("image", "")

    assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+\.\d+", image) or told["build"] == "../.."
    assert all(re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port) for port in told["ports"])
    assert told["cap_drop"] == ["ALL"]
    assert told["security_opt"] == ["no-new-privileges"]


@pytest.mark.parametrize("service", SERVICES)
def test_what_is_mounted_is_there(service):
    assert all(source.exists() for source in mounts(service).values())


def test_rules_and_dashboards_are_those_of_the_project():
    assert mounts("prometheus")["/etc/prometheus/rules"] == RULES
    assert mounts("grafana")["/etc/grafana/boards"] == DASHBOARDS
    assert [] == list(HERE.rglob("*.json"))
    assert [] == [file for file in HERE.rglob("*.y*ml") if "\ngroups:" in file.read_text()]


def test_grafana_finds_prometheus_and_the_dashboards():
    (source,) = content("grafana/datasources/prometheus.yaml")["datasources"]
    (provider,) = content("grafana/dashboards/cicd.yaml")["providers"]
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]

    assert source["type"] == "prometheus"
    assert source["url"] == f"http://{address('prometheus')}"
    boards = mounts("grafana")[provider["options"]["path"]]
    assert (boards / Path(home).name).is_file()
    assert home == f"{provider['options']['path']}/{Path(home).name}"


def test_a_point_on_a_heat_map_leads_to_the_builds_of_its_pipeline():
    (source,) = content("grafana/datasources/prometheus.yaml")["datasources"]
    (link,) = source["jsonData"]["exemplarTraceIdDestinations"]
    root, _, query = link["url"].partition("?")

    assert "--enable-feature=exemplar-storage" in SERVICES["prometheus"]["command"]
    assert link["name"] == LABEL
    assert root == "http://127.0.0.1:10054/builds"
    asked = re.findall(r"(\w+)=\$\$\{__data\.fields\.(\w+):percentencode\}(?:&|$)", query)
    assert asked == [(label, label) for label in PIPELINE if label != "provider"]


def test_promtool_understands_prometheus_with_the_rules(promtool, tmp_path):
    for target, source in mounts("prometheus").items():
        (tmp_path / Path(target).relative_to("/etc/prometheus")).symlink_to(source)

    said = promtool_says(promtool, "check", "config", tmp_path / "prometheus.yml")

    assert "valid prometheus config" in said
    assert said.count(f"Checking {tmp_path}/rules/") == len(list(RULES.iterdir()))


def test_amtool_understands_alertmanager(amtool):
    done = subprocess.run(
        [amtool, "check-config", HERE / "alertmanager.yml"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_alertmanager_does_as_the_guide_advises():
    settings = content("alertmanager.yml")

    assert {key: settings[key] for key in advised()} == advised()


def address(service: str) -> str:
    """Where other containers find a service."""
    (port,) = SERVICES[service]["ports"]
    return f"{service}:{port.rpartition(':')[2]}"


# -- alive


class Stack(NamedTuple):
    """What runs of it: all but Grafana."""

    folder: Path
    addresses: dict[str, str]
    """Where each service is found in place of its address among containers."""

    def url(self, service: str) -> str:
        return f"http://{self.addresses[address(service)]}"

    def placed(self, text: str) -> str:
        """A text of the quickstart with the addresses of here."""
        for there, here in self.addresses.items():
            text = text.replace(there, here)
        return text

    @contextmanager
    def running(self, service: str, *program: str | Path) -> Iterator[subprocess.Popen[bytes]]:
        """A service as its container starts it, with files and data in the folder."""
        command = [
            re.sub(r"=/(etc/)?(prometheus|alertmanager)\b", rf"={self.folder}", part)
            for part in SERVICES[service]["command"]
        ]
        listen = f"--web.listen-address={self.addresses[address(service)]}"
        process = subprocess.Popen(
            [*program, *command, listen], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            eventually(lambda: assert_ready(self.url(service)))
            yield process
        finally:
            process.kill()
            process.wait()

    def alerts(self) -> dict[str, Any]:
        """One of each alert that Alertmanager has."""
        answer = get(self.url("alertmanager"), "/api/v2/alerts")
        return {alert["labels"]["alertname"]: alert for alert in json.loads(answer.body)}


@pytest.fixture
def stack(tmp_path) -> Stack:
    """Its files, for a clock that runs faster: intervals of Prometheus and spans of the rules."""
    services = ("exporter", "prometheus", "alertmanager")
    stack = Stack(tmp_path, {address(service): free_address() for service in services})
    settings = faster(content("prometheus.yml"), FASTER)
    (tmp_path / "prometheus.yml").write_text(stack.placed(json.dumps(settings)))
    (tmp_path / "alertmanager.yml").write_text((HERE / "alertmanager.yml").read_text())
    (tmp_path / "rules").mkdir()
    for file in RULES.glob("*.yaml"):
        rules = faster(yaml.safe_load(file.read_text()), FASTER)
        (tmp_path / "rules" / file.name).write_text(yaml.safe_dump(rules))
    return stack


def arrived(stack: Stack, alert: str) -> Callable[[], Any]:
    """A check that Alertmanager has an alert of this name; returns it."""

    def check() -> Any:
        assert alert in stack.alerts()
        return stack.alerts()[alert]

    return check


def test_alerts_about_the_demo_and_its_end_arrive_at_alertmanager(stack, prometheus, alertmanager):
    with ExitStack() as running:
        demo = running.enter_context(stack.running("exporter", sys.executable, "-m", "exporter"))
        running.enter_context(stack.running("alertmanager", alertmanager))
        running.enter_context(stack.running("prometheus", prometheus))

        broken = eventually(arrived(stack, "CicdDefaultBranchBroken"), every=0.5)
        told = broken["annotations"]
        pages = stack.url("exporter")
        build, runbook = (
            get(pages, told[name].removeprefix(pages)) for name in ("build_url", "runbook_url")
        )
        demo.kill()
        eventually(arrived(stack, "CicdExporterDown"), every=0.5)

    assert broken["labels"]["account"].startswith("demo-")
    assert build.status == 302, told["build_url"]
    assert build.headers["location"].startswith("http://127.0.0.1:")
    assert runbook.status == 200
    assert told["dashboard_url"].startswith("http://127.0.0.1:3000/d/cicd-workflow?var-provider=")
