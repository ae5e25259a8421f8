"""Two containers of the image on one database, as compose.fleet.yaml runs them."""

from __future__ import annotations

import json
from functools import partial

import yaml

from exporter.demo import World
from tests.conftest import ROOT
from tests.system.image.containers import SECRET, Container, Setup, with_file, with_variable
from tests.system.test_fleet import assert_all_polled, assert_polls
from tests.tools import postgres
from tests.tools.system import eventually

COMPOSE = yaml.safe_load((ROOT / "compose.fleet.yaml").read_text())


def test_the_exporters_of_the_compose_file_are_hardened_and_have_one_name() -> None:
    exporters = [s for name, s in COMPOSE["services"].items() if name.startswith("exporter-")]

    assert len(exporters) == 2
    for service in exporters:
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges"]
        assert service["networks"]["scrape"] == {"aliases": ["cicd-exporter"]}
    assert len({service["hostname"] for service in exporters}) == 2


def test_two_containers_share_a_database_and_one_goes_on_alone(
    setup: Setup, image: str, world: World, url: str
) -> None:
    with postgres.cluster() as cluster:
        content = {
            "web": {"listen_address": "127.0.0.1:0"},
            "state": {"url": cluster.url, "password_file": SECRET},
            "fleet": {"lease": "5s"},
            "polling": {"interval": "1s"},
            "metrics": {"zero_hold": 0},
            "accounts": [with_variable("variable", url), with_file("file", url)],
        }
        setup.config.write_text(json.dumps(content))
        with Container(setup, image) as one, Container(setup, image) as other:
            eventually(lambda: assert_all_polled([one, other]), within=60)

            def assert_counted(container: Container) -> None:
                shown = container.scrape()
                assert shown.value("cicd_exporter_workers") == 2
                for account in ("variable", "file"):
                    assert shown.total("cicd_builds_total", account=account) >= 3

            for container in (one, other):
                eventually(partial(assert_counted, container), within=60)
            before = other.scrape().select("cicd_builds_total")
            one.kill()
            eventually(lambda: assert_polls(other, 2), within=60)
            assert other.scrape().select("cicd_builds_total") == before
            assert other.stop() == 0
