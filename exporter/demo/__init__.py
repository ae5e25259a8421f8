"""The embedded default: a small, faithful emulator of the unified CI/CD API.

It serves `cicd-exporter demo`, and it is the truth-knowing double of the test suite:

    world = World()
    world.open("acc", "github", "acme/shop")
    world.add("acc", "acme/shop", Run(id="1", number=1, created_at=..., completed_at=...))
    with EmulatorThread(world) as emulator:
        ...  # GET {emulator.url}/unified/ci-cd/builds?... with the token `demo`
        emulator.faults.add(Fault(status=502, times=1))
        assert emulator.journal.count("/unified/ci-cd/builds") == 1
"""

from exporter.demo.emulator import Limits, app
from exporter.demo.faults import Fault, Faults, Gate, Journal, Request
from exporter.demo.life import TOKEN_ENV, Life, demo_accounts
from exporter.demo.serve import EmulatorThread, serving
from exporter.demo.stage import TOKEN, Stage, running
from exporter.demo.words import told_conclusion, told_trigger
from exporter.demo.world import (
    CANNOT_TELL,
    Account,
    Behaviour,
    JobRun,
    Quota,
    Repo,
    Run,
    World,
)

__all__ = [
    "CANNOT_TELL",
    "TOKEN",
    "TOKEN_ENV",
    "Account",
    "Behaviour",
    "EmulatorThread",
    "Fault",
    "Faults",
    "Gate",
    "JobRun",
    "Journal",
    "Life",
    "Limits",
    "Quota",
    "Repo",
    "Request",
    "Run",
    "Stage",
    "World",
    "app",
    "demo_accounts",
    "running",
    "serving",
    "told_conclusion",
    "told_trigger",
]
