"""``gemma-gateway serve``: its words, which are settings of this process."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from gemma_gateway.cli import configuration
from gemma_gateway.cli.command import Commands
from gemma_gateway.settings import SECTIONS, config
from gemma_gateway.settings.settings import DELIMITER, PREFIX
from gemma_gateway.settings.source import Source
from gemma_gateway.settings.yamlfile import ConfigError

# Option, its setting, and what it says.
OPTIONS = (
    ("--host", "host", "address to listen on"),
    ("--port", "port", "TCP port to listen on"),
    ("--model", "model", "model to serve in this process: a folder or a hub name"),
    (
        "--upstream",
        "upstreams",
        "base URL of an OpenAI-compatible server; may be repeated",
    ),
)


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "serve",
        help="run the gateway",
        description="The options win over the environment and the file; docs/settings.md lists all "
        "that can be set there.",
    )
    parser.add_argument("--config", type=Path, help="YAML file (default: gateway.yaml, if any)")
    for option, setting, words in OPTIONS:
        metavar = option.removeprefix("--").upper()
        parser.add_argument(option, dest=setting, action="append", metavar=metavar, help=words)
    parser.set_defaults(run=_run)


def _run(parsed: argparse.Namespace) -> int:
    from gemma_gateway.cli.serve import serve  # the web stack is only needed here

    given = {option: s for option, s, _ in OPTIONS if getattr(parsed, s) is not None}
    for setting in given.values():
        values = getattr(parsed, setting)
        _set(setting, ",".join(values) if setting == "upstreams" else values[-1])
    file = config.find(parsed.config)
    try:
        return serve(Source(lambda: configuration.load(file), file))
    except ConfigError as error:
        told = str(error)
        for option, setting in given.items():
            told = told.replace(f"environment: {_variable(setting)}:", f"{option}:")
        raise ConfigError(told) from None


def _set(setting: str, value: str) -> None:
    """As a variable of this process, so that a reload of the settings finds it again."""
    for section, part in SECTIONS.items():
        if setting in part.model_fields:
            os.environ.pop(f"{PREFIX}{section.upper()}{DELIMITER}{setting.upper()}", None)
    os.environ[_variable(setting)] = value


def _variable(setting: str) -> str:
    return f"{PREFIX}{setting.upper()}"
