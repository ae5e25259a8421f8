"""What real Helm makes of the chart is valid, unprivileged and holds no secret.

Every value file of `ci/`, for every Kubernetes that the chart is for; with Helm 4, and, where the
time allows, with Helm 3.
"""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
from pathlib import Path

import certifi
import pytest
import yaml

from exporter.config import load
from scripts.chart import CHART
from tests.conftest import ROOT
from tests.tools import charts
from tests.tools.charts import CASES, HELMS, KUBERNETES, OPERATOR, Helm, HelmSays, Manifest
from tests.tools.commands import command

TOOLS = ROOT / "tests/tools/helm"
SECRET = "dummy"


@pytest.fixture(scope="module", params=CASES)
def case(request) -> Path:
    return CASES[request.param]


@pytest.fixture(scope="module")
def matrix(case: Path, helm: Helm) -> dict[tuple[str, str], list[Manifest]]:
    """What is made of a value file, by Helm and Kubernetes."""
    older = KUBERNETES if case == CASES["one-account"] else (KUBERNETES[0], KUBERNETES[-1])
    return {
        (version, kubernetes): helm.render(case, helm=version, kubernetes=kubernetes)
        for version, versions in zip(HELMS, (older, KUBERNETES), strict=True)
        for kubernetes in versions
    }


@pytest.fixture(scope="module")
def valid():
    """Raises for a manifest that a Kubernetes version does not take as it is."""
    utils = pytest.importorskip(
        "kubernetes_validate.utils", reason="scripts/test installs requirements-helm.txt"
    )
    # It reads all schemas of a version again for every object.
    utils.schema_contents = functools.cache(utils.schema_contents)
    return functools.partial(utils.validate, strict=True)


def distinct(matrix: dict[tuple[str, str], list[Manifest]], *, operator: bool) -> list[Manifest]:
    """The manifests of all renderings, each once, of the operator's kinds or of Kubernetes'."""
    seen = {
        json.dumps(manifest, sort_keys=True)
        for manifests in matrix.values()
        for manifest in manifests
        if (manifest["apiVersion"] in OPERATOR) == operator
    }
    return [json.loads(text) for text in sorted(seen)]


def test_both_helms_make_the_same_for_every_kubernetes(matrix):
    first = matrix[HELMS[0], KUBERNETES[0]]

    assert first
    assert [] == [where for where, manifests in matrix.items() if manifests != first]


def test_every_kubernetes_takes_every_manifest(matrix, valid):
    manifests = distinct(matrix, operator=False)

    assert manifests
    for kubernetes in KUBERNETES:
        assert {kubernetes} == {valid(manifest, kubernetes) for manifest in manifests}


def test_the_schemas_of_kubernetes_are_strict(helm, valid):
    manifest = charts.only(helm.render(CASES["one-account"]), "Service")

    for wrong in ({"type": 1}, {"tpye": "ClusterIP"}):
        with pytest.raises(Exception, match=r"type|tpye"):
            valid(manifest | {"spec": manifest["spec"] | wrong}, KUBERNETES[0])


def operator_says(manifests: list[Manifest]) -> list[str]:
    if not (TOOLS / "node_modules").is_dir() or shutil.which("node") is None:
        pytest.skip("the operator's schemas are not installed (scripts/test does, where npm is)")
    done = subprocess.run(
        ["node", TOOLS / "check.mjs"],
        input=json.dumps(manifests),
        capture_output=True,
        text=True,
        check=True,
    )
    return list(json.loads(done.stdout))


@pytest.fixture(scope="module")
def operated(helm) -> list[Manifest]:
    """All that is made for the Prometheus operator."""
    made = [m for file in CASES.values() for helms in HELMS for m in helm.render(file, helm=helms)]
    return [manifest for manifest in made if manifest["apiVersion"] in OPERATOR]


def test_the_prometheus_operator_takes_what_is_for_it(operated):
    assert {m["kind"] for m in operated} == {
        "ServiceMonitor",
        "PodMonitor",
        "PrometheusRule",
        "ScrapeConfig",
    }

    assert operator_says(operated) == []


def test_the_schemas_of_the_operator_find_what_is_wrong(operated):
    manifest = next(m for m in operated if m["kind"] == "ServiceMonitor")
    manifest = json.loads(json.dumps(manifest).replace('"30s"', '"30 s"'))

    (said,) = operator_says([manifest])
    assert "interval" in said


def test_nothing_is_privileged(matrix):
    """The restricted profile of the Pod Security Standards, and no rights in the cluster."""
    for manifests in matrix.values():
        assert not {m["kind"] for m in manifests} & {"Role", "ClusterRole", "RoleBinding"}
        spec = charts.pod(manifests)
        container = charts.container(manifests)
        own, of_pod = container["securityContext"], spec["securityContext"]
        assert spec["automountServiceAccountToken"] is False
        assert not any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC"))
        assert "initContainers" not in spec
        assert True in (own.get("runAsNonRoot"), of_pod.get("runAsNonRoot"))
        assert 0 not in (own.get("runAsUser"), of_pod.get("runAsUser"))
        assert {"type": "RuntimeDefault"} == of_pod["seccompProfile"]
        assert own["allowPrivilegeEscalation"] is False
        assert own["privileged"] is False
        assert own["readOnlyRootFilesystem"] is True
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert not any("hostPort" in port for port in container["ports"])
        known = {"configMap", "secret", "persistentVolumeClaim", "emptyDir"}
        assert {key for v in spec["volumes"] for key in v} - {"name"} <= known


def test_a_secret_is_only_referred_to(case, matrix):
    accounts = yaml.safe_load(case.read_text())["config"]["accounts"]
    variables = {account.get("token_env") for account in accounts} - {None}
    for manifests in matrix.values():
        maps = [manifest for manifest in manifests if manifest["kind"] == "ConfigMap"]
        assert maps
        assert not any("binaryData" in manifest for manifest in maps)
        config = yaml.safe_load(charts.configuration(manifests))
        secrets = {"token", "password", "secret", "private_key"}
        assert not {key for account in config["accounts"] for key in account} & secrets
        for entry in charts.container(manifests).get("env", []):
            if entry["name"] in variables:
                assert entry.keys() == {"name", "valueFrom"}
                assert entry["valueFrom"].keys() == {"secretKeyRef"}
        assert all(
            "data" not in m and "stringData" not in m for m in manifests if m["kind"] == "Secret"
        )


def test_the_exporter_takes_the_configuration(case, helm, tmp_path, monkeypatch):
    manifests = helm.render(case)
    mounted = {mount["mountPath"] for mount in charts.container(manifests)["volumeMounts"]}
    text = charts.configuration(manifests)
    for path in mounted:  # where the pod has its files, this machine has none
        text = text.replace(f" {path}/", f" {tmp_path}{path}/")
    file = tmp_path / "config.yaml"
    file.write_text(text)
    if secret := yaml.safe_load(text)["state"].get("password_file"):
        Path(secret).parent.mkdir(parents=True)
        Path(secret).write_text(SECRET)
    for account in yaml.safe_load(text)["accounts"]:
        if name := account.get("token_env"):
            monkeypatch.setenv(name, SECRET)
        for key in ("token_file", "ca_file"):
            if key in account:
                Path(account[key]).parent.mkdir(parents=True, exist_ok=True)
                Path(account[key]).write_text(certifi.contents() if key == "ca_file" else SECRET)

    ended = command("check-config", f"--config.file={file}")
    assert ended.code == 0, ended.err
    given = yaml.safe_load(case.read_text())["config"]["accounts"]
    assert [a["name"] for a in given] == [account.name for account in load(str(file)).accounts]


@pytest.mark.parametrize("version", HELMS)
def test_helm_lint_finds_nothing(version, case, helm):
    found = helm.lint(version, case)

    assert found["passed"]
    assert ["icon is recommended"] == [message["message"] for message in found["messages"]]


@pytest.mark.parametrize("version", HELMS)
def test_helm_lint_finds_nothing_in_the_bare_chart(version, helm):
    assert helm.lint(version)["passed"]


@pytest.mark.parametrize("version", HELMS)
def test_a_kubernetes_that_is_too_old_is_refused(version, helm):
    with pytest.raises(HelmSays, match=r"kubeVersion: >=1\.29\.0-0"):
        helm.render(CASES["one-account"], helm=version, kubernetes="1.28")


@pytest.mark.parametrize("version", HELMS)
def test_a_packaged_chart_makes_the_same(version, helm, tmp_path):
    archive = helm.package(tmp_path, helm=version)

    for file in CASES.values():
        made = helm.render(file, helm=version, chart=archive)
        assert made == helm.render(file, helm=version)
    assert archive.name.startswith(f"{CHART.name}-")
