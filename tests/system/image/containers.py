"""The exporter in a hardened container, with the settings that docs/DOCKER.md gives it."""

from __future__ import annotations

import json
import subprocess
import time
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from exporter.demo import Run, World
from tests.system.image.workshop import Workshop, told
from tests.tools.system import TOKEN_ENV, Exporter, account

HARDENED = (
    "--read-only",
    "--cap-drop=ALL",
    *("--security-opt", "no-new-privileges"),
    *("--memory", "256m"),
)
"""What operators are told to run it with."""
STRICT = (*HARDENED, "--read-only-tmpfs=false")
"""As in Kubernetes: podman's own /tmp, /run and /var/tmp are not there either."""
STATE = "/var/lib/cicd-exporter"
CONFIG = "/etc/cicd-exporter/config.yaml"
SECRET = "/run/secrets/unified"
REPO = "acme/shop"
"""What every account has."""
ANYBODY = "1000770000:0"
"""A user as OpenShift makes them up."""


class Setup:
    """A folder with what is mounted, and a volume for the state."""

    def __init__(self, workshop: Workshop, folder: Path) -> None:
        self.workshop = workshop
        self.volume = f"cicd-exporter-{uuid.uuid4().hex[:12]}"
        self.config = folder / "config.yaml"
        self.secret = folder / "secret"
        self.secret.write_text("demo\n")
        told(workshop.podman("volume", "create", self.volume))

    def configure(self, accounts: Iterable[Any]) -> None:
        """Write the configuration in place; the port is a free one."""
        web = {"listen_address": "127.0.0.1:0"}
        content = {"web": web, "polling": {"interval": "1s"}, "accounts": list(accounts)}
        self.config.write_text(json.dumps(content))  # JSON is YAML

    def remove(self) -> None:
        """Forget the state."""
        subprocess.run(
            self.workshop.podman("volume", "rm", "--force", self.volume),
            check=True,
            capture_output=True,
        )


def with_variable(name: str, url: str) -> Any:
    """An account whose token is in the environment."""
    return account(name, "github", url, [REPO])


def with_file(name: str, url: str) -> Any:
    """An account whose token is in a mounted file."""
    return account(name, "github", url, [REPO], token_file=SECRET)


def add(world: World, account: str, *numbers: int) -> None:
    """Builds that have just ended."""
    now = time.time()
    world.add(
        account,
        REPO,
        *(
            Run(
                id=f"{number}",
                number=number,
                created_at=now - 30,
                started_at=now - 20,
                completed_at=now - 10,
            )
            for number in numbers
        ),
    )


class Container(Exporter):
    """`run` as the image starts it: its own command, without a word more."""

    def __init__(self, setup: Setup, image: str, *options: str) -> None:
        super().__init__(setup.config)
        self._workshop = setup.workshop
        self.name = f"{setup.volume}-{uuid.uuid4().hex[:6]}"
        self._command = setup.workshop.run(
            *(f"--name={self.name}", "--network=host", *STRICT, *options),
            *(f"--env={TOKEN_ENV}=demo", f"--volume={setup.config}:{CONFIG}:ro"),
            *(f"--volume={setup.secret}:{SECRET}:ro", f"--volume={setup.volume}:{STATE}"),
            image,
        )

    def tell(self, signal: str) -> None:
        """Send a signal to the container's first process."""
        told(self._workshop.podman("kill", f"--signal={signal}", self.name))

    def execute(self, *command: str) -> str:
        """What another command in the container writes."""
        return told(self._workshop.podman("exec", self.name, *command))

    def stop(self, *, within: float = 10.0) -> int:
        """As `docker stop`: SIGTERM, and SIGKILL after `within` seconds; its exit code."""
        told(self._workshop.podman("stop", f"--time={within:.0f}", self.name))
        return self._ended(within)

    def kill(self) -> None:
        """End it, if it still runs."""
        if self.process.poll() is None:
            remove = self._workshop.podman("rm", "--force", "--time=0", self.name)
            subprocess.run(remove, check=False, capture_output=True)
        self._ended(10.0)
