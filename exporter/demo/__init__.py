"""The demo: an emulator of the unified CI/CD API, and builds for it to report.

world = World()
world.open("acc", "github", "acme/shop")
world.add("acc", "acme/shop", Run(id="1", number=1, created_at=..., completed_at=...))
async with serving(routed(Emulator(world).answer)) as url:
...  # GET {url}/unified/ci-cd/builds?... with the token `demo`
"""

from exporter.demo.emulator import Emulator, Limits, routed
from exporter.demo.running import TOKEN, RunningDemo, running
from exporter.demo.serve import serving
from exporter.demo.simulation import TOKEN_ENV, Simulation, demo_accounts
from exporter.demo.world import Account, Behaviour, JobRun, Quota, Repo, Run, World

__all__ = [
    "TOKEN",
    "TOKEN_ENV",
    "Account",
    "Behaviour",
    "Emulator",
    "JobRun",
    "Limits",
    "Quota",
    "Repo",
    "Run",
    "RunningDemo",
    "Simulation",
    "World",
    "demo_accounts",
    "routed",
    "running",
    "serving",
]
