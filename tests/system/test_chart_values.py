"""What an operator sets in the values does what its comment says, in real Helm."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from exporter.cli import parser
from exporter.config import example
from scripts.chart import CHART, VALUES
from tests.conftest import ROOT
from tests.tools import charts
from tests.tools.charts import ACCOUNT, CASES, HELMS, HelmSays, Manifest, values

NAMES = ["on", "y", "no", "1e3", "0x10", "0o17", "1_000", "12:30", "~", "null", "2026-01-01", "1.0"]
NAMES += [
    ".5",
    "+1",
    "&a",
    "!x",
    "- x",
    "a: b",
    "a #b",
    "{{ .Values }}",
    "ünï/cödé",
    "'",
]
"""Texts that are something else in YAML, or to a template."""


def config(*accounts: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {"config": {"accounts": [{**ACCOUNT, **account} for account in accounts], **more}}


# --- the configuration ---


@pytest.mark.parametrize("version", HELMS)
def test_every_key_of_every_provider_reaches_the_exporter_as_it_was(version, helm):
    given = yaml.safe_load(example())
    made = helm.render(
        {"config": given, "extraEnvFrom": [{"secretRef": {"name": "t"}}]}, helm=version
    )

    assert given | {
        "state": {**given["state"], "url": "sqlite:///cicd-exporter.db"}
    } == yaml.safe_load(charts.configuration(made))


@pytest.mark.parametrize("version", HELMS)
def test_a_text_stays_a_text_and_a_number_a_number(version, helm, tmp_path):
    given = config(
        {"repos": NAMES},
        {"name": "other", "provider": "gitlab", "repos": [7, 10**6, 123456789012345], "url": None},
        metrics={"series_limit": 12_000_000, "queue_buckets": [0.05, 1e6, 86400]},
        polling={"reserve": 0.05},
    )
    file = tmp_path / "values.yaml"
    file.write_text(json.dumps(given))  # YAML with every text in quotes

    made = yaml.safe_load(charts.configuration(helm.render(file, helm=version)))

    assert made["accounts"] == given["config"]["accounts"]
    assert made["metrics"] == given["config"]["metrics"]
    assert made["polling"] == given["config"]["polling"]


def test_the_state_is_on_the_volume_unless_told_otherwise(helm):
    made = helm.render(values())
    url = yaml.safe_load(charts.configuration(made))["state"]["url"]
    mounts = {m["name"]: m["mountPath"] for m in charts.container(made)["volumeMounts"]}

    assert url.removeprefix("sqlite:///").startswith(f"{mounts['state']}/")
    assert charts.container(made)["workingDir"] == mounts["state"]


@pytest.mark.parametrize("case", CASES)
def test_the_exporter_knows_its_arguments(case, helm):
    made = charts.container(helm.render(CASES[case]))

    options = parser().parse_args(made["args"])
    assert options.listen == ("", made["ports"][0]["containerPort"])
    mounts = {m["name"]: m["mountPath"] for m in made["volumeMounts"]}
    assert options.config == f"{mounts['config']}/config.yaml"


def checksum(manifests: list[Manifest]) -> str | None:
    template = charts.only(manifests, "StatefulSet")["spec"]["template"]
    found: str | None = template["metadata"]["annotations"].get("checksum/config")
    return found


def test_a_changed_configuration_is_reloaded_or_replaces_the_pod_never_both(helm):
    changed = config({"jobs": True})
    reloading, replacing = helm.render(values()), helm.render(values(autoReload=False))

    assert "--config.enable-auto-reload" in charts.container(reloading)["args"]
    assert checksum(reloading) is None
    assert charts.pod(helm.render(changed)) == charts.pod(reloading)
    assert "--config.enable-auto-reload" not in charts.container(replacing)["args"]
    assert checksum(replacing) != checksum(helm.render(changed | {"autoReload": False}))


# --- secrets ---


def test_a_token_comes_from_the_key_of_a_secret(helm):
    made = helm.render(CASES["prometheus-operator"])

    (entry,) = charts.container(made)["env"]
    reference = {"name": "ci-tokens", "key": "azure", "optional": True}
    assert entry == {"name": "AZURE_DEVOPS_TOKEN", "valueFrom": {"secretKeyRef": reference}}


def test_a_token_file_is_mounted_whole_so_that_a_change_is_seen(helm):
    made = helm.render(CASES["token-files"])
    volumes = {volume["name"]: volume for volume in charts.pod(made)["volumes"]}

    mounts = [m for m in charts.container(made)["volumeMounts"] if m["name"].startswith("secret-")]
    assert ["/run/secrets/jenkins", "/run/secrets/gitlab"] == [m["mountPath"] for m in mounts]
    assert all(mount["readOnly"] and "subPath" not in mount for mount in mounts)
    assert [volumes[mount["name"]]["secret"] for mount in mounts] == [
        {"secretName": "jenkins-reader", "defaultMode": 0o440},
        {
            "secretName": "gitlab-reader",
            "optional": True,
            "items": [{"key": "value", "path": "token"}],
            "defaultMode": 0o440,
        },
    ]


# --- what is wrong, and how it is said ---

FAULTS = yaml.safe_load((ROOT / "tests/system/data/chart/faults.yaml").read_text())


@pytest.mark.parametrize("version", HELMS)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault["name"])
def test_a_faulty_value_is_told_with_its_place(fault, version, helm):
    with pytest.raises(HelmSays) as refused:
        helm.render(fault["values"], helm=version)

    lines = [line.strip(" -").removeprefix("at '': ") for line in str(refused.value).splitlines()]
    assert [line for line in lines if line.startswith(fault["says"])], lines


# --- one writer ---


def test_there_is_one_writer_and_no_value_makes_it_two(helm):
    spec = charts.only(helm.render(values()), "StatefulSet")["spec"]

    assert (spec["replicas"], spec["podManagementPolicy"]) == (1, "Parallel")
    assert spec["updateStrategy"] == {"type": "RollingUpdate"}
    below_fleet = VALUES.read_text().partition("\nfleet:")[2].partition("\n\n")[0]
    assert VALUES.read_text().count("replica") == below_fleet.count("replica")


def test_a_fleet_is_equal_pods_on_a_database_of_which_one_always_stays(helm):
    made = helm.render(CASES["fleet"])
    spec = charts.only(made, "Deployment")["spec"]

    assert spec["replicas"] == 3
    assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert charts.only(made, "PodDisruptionBudget")["spec"]["minAvailable"] == 1
    assert {"name": "state", "emptyDir": {}} in charts.pod(made)["volumes"]
    spread = charts.pod(made)["topologySpreadConstraints"]
    assert {one["topologyKey"] for one in spread} == {
        "topology.kubernetes.io/zone",
        "kubernetes.io/hostname",
    }
    assert not any(m["kind"] == "StatefulSet" for m in made)


def test_a_fleet_is_scraped_by_one_name_and_each_pod_for_what_is_its_own(helm):
    made = helm.render(CASES["fleet"])
    service = charts.only(made, "Service")["metadata"]
    config, monitor = (charts.only(made, k)["spec"] for k in ("ScrapeConfig", "PodMonitor"))

    (target,) = config["staticConfigs"]
    assert target["targets"] == [f"{service['name']}.{service['namespace']}.svc:10054"]
    assert (config["metricsPath"], config["scheme"]) == ("/metrics", "HTTP")
    assert [one["path"] for one in monitor["podMetricsEndpoints"]] == ["/metrics/worker"]


def test_what_a_claim_is_made_from_does_not_change_with_the_version(helm, tmp_path):
    """A StatefulSet refuses any change of it, and with it the upgrade."""
    newer = tmp_path / CHART.name
    shutil.copytree(CHART, newer)
    file = newer / "Chart.yaml"
    file.write_text(re.sub(r"(?m)^(version|appVersion): .*", r'\1: "9.9.9"', file.read_text()))

    old = charts.only(helm.render(values()), "StatefulSet")["spec"]
    new = charts.only(helm.render(values(commonLabels={"team": "ci"}), chart=newer), "StatefulSet")[
        "spec"
    ]
    for fixed in ("volumeClaimTemplates", "selector", "serviceName", "podManagementPolicy"):
        assert old[fixed] == new[fixed]
    assert old["template"] != new["template"]


@pytest.mark.parametrize(
    ("given", "volume", "claims"),
    [
        ({}, None, 1),
        ({"enabled": False}, {"name": "state", "emptyDir": {}}, 0),
        (
            {"existingClaim": "builds"},
            {"name": "state", "persistentVolumeClaim": {"claimName": "builds"}},
            0,
        ),
    ],
    ids=["claim of its own", "none", "claim of others"],
)
def test_the_state_has_one_volume(given, volume, claims, helm):
    made = helm.render(values(persistence=given))

    volumes = [v for v in charts.pod(made)["volumes"] if v["name"] == "state"]
    assert volumes == ([volume] if volume else [])
    spec = charts.only(made, "StatefulSet")["spec"]
    assert claims == len(spec.get("volumeClaimTemplates", []))


@pytest.mark.parametrize("release", ["ci", "a-release-with-the-longest-name-that-helm-will-take-x"])
def test_a_name_leaves_room_for_what_kubernetes_adds(release, helm):
    text = helm._call(
        "template",
        helm_version="v4",
        release_name=release,
        namespace="ci",
        chart=str(CHART),
        values=values(),
        kube_version="1.29.0",
    )
    made = charts.only([m for m in yaml.safe_load_all(text) if m], "StatefulSet")

    assert len(f"{made['metadata']['name']}-0123456789") <= 63
    assert all(len(str(label)) <= 63 for label in made["metadata"]["labels"].values())


# --- the network ---


@pytest.mark.parametrize("case", CASES)
def test_what_selects_the_pod_or_the_service_selects_it(case, helm):
    made = helm.render(CASES[case])
    of_pod = charts.workload(made)["spec"]["template"]["metadata"]["labels"]
    of_service = charts.only(made, "Service")["metadata"]["labels"]
    selecting = {
        "StatefulSet": lambda spec: (spec["selector"]["matchLabels"], of_pod),
        "Deployment": lambda spec: (spec["selector"]["matchLabels"], of_pod),
        "Service": lambda spec: (spec["selector"], of_pod),
        "ServiceMonitor": lambda spec: (spec["selector"]["matchLabels"], of_service),
        "PodMonitor": lambda spec: (spec["selector"]["matchLabels"], of_pod),
        "NetworkPolicy": lambda spec: (spec["podSelector"]["matchLabels"], of_pod),
        "PodDisruptionBudget": lambda spec: (spec["selector"]["matchLabels"], of_pod),
    }

    for manifest in made:
        if select := selecting.get(manifest["kind"]):
            selector, labels = select(manifest["spec"])
            assert selector
            assert selector.items() <= labels.items(), manifest["kind"]


def test_the_policy_lets_out_to_the_ports_of_the_accounts(helm):
    policy = charts.only(helm.render(CASES["network-policy"]), "NetworkPolicy")["spec"]
    dns, accounts, extra = policy["egress"]

    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert {53} == {port["port"] for port in dns["ports"]}
    assert {80, 443, 3128, 8080, 8443} == {port["port"] for port in accounts["ports"]}
    assert [8080] == [port["port"] for port in extra["ports"]]
    assert [{"port": "metrics", "protocol": "TCP"}] == policy["ingress"][0]["ports"]


def test_a_policy_without_peers_limits_the_ports_alone(helm):
    made = helm.render(values(networkPolicy={"enabled": True}))
    policy = charts.only(made, "NetworkPolicy")["spec"]

    assert [{"ports"}, {"ports"}] == [set(rule) for rule in policy["egress"]]
    assert [{"ports"}] == [set(rule) for rule in policy["ingress"]]


def probes(manifests: list[Manifest]) -> dict[str, Any]:
    made = charts.container(manifests)
    return {name: made[f"{name}Probe"] for name in ("startup", "liveness", "readiness")}


@pytest.mark.parametrize(
    ("web", "scheme"),
    [({}, "HTTP"), ({"secretName": "web"}, "HTTP"), ({"secretName": "web", "tls": True}, "HTTPS")],
    ids=["plain", "password", "TLS"],
)
def test_the_probes_ask_what_needs_no_password(web, scheme, helm):
    made = probes(helm.render(values(webConfig=web)))

    assert {name: probe["httpGet"] for name, probe in made.items()} == {
        "startup": {"path": "/-/ready", "port": "metrics", "scheme": scheme},
        "liveness": {"path": "/-/healthy", "port": "metrics", "scheme": scheme},
        "readiness": {"path": "/-/ready", "port": "metrics", "scheme": scheme},
    }


def test_where_only_certificates_are_let_in_the_probes_only_connect(helm):
    made = helm.render(CASES["web-config"])
    monitor = charts.only(made, "PodMonitor")["spec"]["podMetricsEndpoints"][0]

    assert all(probe["tcpSocket"] == {"port": "metrics"} for probe in probes(made).values())
    assert not any("httpGet" in probe for probe in probes(made).values())
    assert (monitor["scheme"], monitor["path"]) == ("https", "/metrics")
    assert {"basicAuth", "tlsConfig"} <= monitor.keys()
    assert "--web.config.file=/etc/cicd-exporter-web/web.yml" in charts.container(made)["args"]


def test_a_monitor_scrapes_where_the_configuration_says(helm):
    monitor = charts.only(helm.render(CASES["prometheus-operator"]), "ServiceMonitor")
    (endpoint,) = monitor["spec"]["endpoints"]

    assert monitor["metadata"]["namespace"] == "monitoring"
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert monitor["spec"]["namespaceSelector"] == {"matchNames": ["ci"]}
    assert endpoint["path"] == "/builds/metrics"
    assert endpoint["honorLabels"] is True
    assert monitor["spec"]["sampleLimit"] == 600000
