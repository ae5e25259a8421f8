"""The demo runs in the image as examples/quickstart/compose.yaml starts it."""

from __future__ import annotations

import yaml

from tests.conftest import ROOT
from tests.system.image.containers import Container
from tests.tools.system import eventually

SERVICE = yaml.safe_load((ROOT / "examples/quickstart/compose.yaml").read_text())["services"][
    "exporter"
]


class Demo(Container):
    """The service, on a port of the host that is free."""

    def __init__(self, setup, image: str) -> None:
        super().__init__(setup, image)
        self._command = setup.workshop.run(
            *(f"--name={self.name}", "--network=host"),
            *(["--read-only", "--read-only-tmpfs=false"] if SERVICE["read_only"] else []),
            *(f"--tmpfs={folder}" for folder in SERVICE["tmpfs"]),
            *(f"--cap-drop={capability}" for capability in SERVICE["cap_drop"]),
            *(f"--security-opt={option}" for option in SERVICE["security_opt"]),
            *("--memory", SERVICE["mem_limit"]),
            image,
            *SERVICE["command"],
            "--web.listen-address=127.0.0.1:0",
        )


def test_the_demo_serves_builds_from_a_container_that_is_as_hardened(setup, image) -> None:
    with Demo(setup, image) as demo:
        scrape = eventually(demo.polled)
        assert scrape.total("cicd_build_last_conclusion") > 0
