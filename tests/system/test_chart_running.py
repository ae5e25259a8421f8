"""The exporter runs with what the chart gives it, and sees an upgrade as a cluster brings it."""

from __future__ import annotations

from pathlib import Path

from tests.tools import charts
from tests.tools.charts import Manifest, values
from tests.tools.system import Exporter, eventually

STATE = "/var/lib/cicd-exporter/"


def mount(manifests: list[Manifest], folder: Path, version: str) -> Path:
    """The configuration as a kubelet mounts a ConfigMap: all files change in one step."""
    (folder / version).mkdir(parents=True)
    text = charts.configuration(manifests).replace(STATE, f"{folder}/")
    (folder / version / "config.yaml").write_text(text)
    (folder / "..new").symlink_to(version)
    (folder / "..new").replace(folder / "..data")
    file = folder / "config.yaml"
    if not file.is_symlink():
        file.symlink_to("..data/config.yaml")
    return file


def test_an_upgrade_reaches_the_running_exporter(helm, tmp_path):
    def rendered(account, **sections):
        given = values()
        url = "http://127.0.0.1:9"  # nobody listens there
        given["config"]["accounts"][0] |= {"name": account, "url": url}
        given["config"] |= sections
        return helm.render(given)

    first = rendered("old")
    container = charts.container(first)
    own = ("run", "--config.file=", "--web.listen-address=")
    flags = [argument for argument in container["args"] if not argument.startswith(own)]
    probes = {made["httpGet"]["path"] for name, made in container.items() if "Probe" in name}
    file = mount(first, tmp_path, "..1")

    with Exporter(file, *flags, "--config.auto-reload-interval=0.1s") as exporter:

        def told_of(account):
            labels = {"provider": "jenkins", "account": account}
            assert exporter.scrape().value("cicd_exporter_account_up", **labels) == 0

        def answers():
            assert {200} == {exporter.get(path).status for path in probes}

        eventually(answers)
        mount(rendered("new"), tmp_path, "..2")
        # The log says so of the first look too, which finds nothing new.
        eventually(lambda: told_of("new"))
        faulty = {"interval": "2h", "max_interval": "1h"}  # what no schema can see
        mount(rendered("faulty", polling=faulty), tmp_path, "..3")
        exporter.logged("the old configuration stays")

        answers()
        scrape = exporter.scrape()
        assert scrape.value("cicd_exporter_config_last_reload_successful") == 0
        told_of("new")
        assert len(scrape.select("cicd_exporter_account_up")) == 1
        assert exporter.stop() == 0
