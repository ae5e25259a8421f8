"""What docs/DOCKER.md and compose.yaml tell operators to do is what the other tests do."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from tests.system.image.containers import CONFIG, HARDENED, STATE, Container
from tests.system.image.workshop import told

PAGE = (ROOT / "docs" / "DOCKER.md").read_text()
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICE = COMPOSE["services"]["cicd-exporter"]


def blocks(language: str) -> list[str]:
    """The page's code blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def told_to_run(words: str, folder: Path) -> list[str]:
    """The arguments of the one `docker run` that has these words, with `folder` as the current."""
    (block,) = (block for block in blocks("sh") if "docker run" in block and words in block)
    docker, run, *arguments = shlex.split(block.replace("\\\n", " ").replace("$PWD", f"{folder}"))
    assert ("docker", "run") == (docker, run)
    return arguments


def test_the_documented_check_of_the_documented_configuration_passes(
    workshop, image, can_run, tmp_path, monkeypatch
) -> None:
    (example,) = blocks("yaml")
    (tmp_path / "config.yaml").write_text(example)
    monkeypatch.setenv("GITHUB_TOKEN", "demo")
    arguments = told_to_run("check-config", tmp_path)
    arguments[arguments.index("cicd-exporter")] = image

    done = subprocess.run(
        workshop.run("--network=none", *arguments), capture_output=True, text=True, check=False
    )

    assert 0 == done.returncode, done.stderr


def test_the_documented_container_is_as_hardened_as_the_tested_one(tmp_path) -> None:
    arguments = told_to_run("--detach", tmp_path)

    assert " ".join(HARDENED) in " ".join(arguments)
    assert f"{tmp_path}/config.yaml:{CONFIG}:ro" in arguments
    assert f"cicd-exporter:{STATE}" in arguments
    assert "cicd-exporter" == arguments[-1]


@pytest.mark.parametrize("file", ["compose.yaml", "compose.fleet.yaml"])
def test_the_compose_file_is_one(file: str) -> None:
    told(
        [
            *(str(Path(sys.executable).parent / "check-jsonschema"), "--builtin-schema"),
            *("vendor.compose-spec", str(ROOT / file)),
        ]
    )


def test_compose_hardens_as_the_page_does() -> None:
    hardened = [
        "--read-only" if SERVICE["read_only"] else "",
        *(f"--cap-drop={capability}" for capability in SERVICE["cap_drop"]),
        *(word for option in SERVICE["security_opt"] for word in ("--security-opt", option)),
        *("--memory", SERVICE["mem_limit"]),
    ]

    assert [*HARDENED] == hardened
    assert [f"./config.yaml:{CONFIG}:ro", f"state:{STATE}"] == SERVICE["volumes"]
    assert COMPOSE["secrets"].keys() == set(SERVICE["secrets"])


def test_the_health_check_of_compose_tells_whether_it_answers(setup, image) -> None:
    _, *check = SERVICE["healthcheck"]["test"]
    with Container(setup, image) as container:
        at, nobody = container.url.rpartition(":")[2], "9"
        container.execute(*(word.replace("10054", at) for word in check))
        with pytest.raises(AssertionError, match="refused"):
            container.execute(*(word.replace("10054", nobody) for word in check))
