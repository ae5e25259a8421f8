"""`check-config`: every fault of a configuration file."""

from __future__ import annotations

import argparse

from exporter.commands import Command, config_file, loaded, loaded_web, web_config


def _run(options: argparse.Namespace) -> int:
    config = loaded(options.config)
    loaded_web(options.web)
    print(f"{options.config}: {len(config.accounts)} account(s), no fault")
    return 0


COMMAND = Command(
    name="check-config",
    text="tell every fault of a configuration file",
    run=_run,
    arguments=(config_file, web_config),
    example="""\
$ cicd-exporter check-config --config.file=config.yaml
config.yaml:3:3: polling.intervall: unknown key (did you mean `interval`?)
config.yaml:9:12: accounts[0].repos: must not be empty""",
)
