"""``gemma-gateway config check``, and the settings that the gateway can run with."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gemma_gateway.cli import references
from gemma_gateway.cli.command import CommandError, Commands
from gemma_gateway.safety.policy import Policy
from gemma_gateway.settings import Settings, config
from gemma_gateway.settings.yamlfile import ConfigError, YamlFile

if TYPE_CHECKING:
    from gemma_gateway.presets.library import Library


def add(commands: Commands) -> None:
    """Add the command."""
    configuration = commands.add_parser("config", help="check a configuration file")
    actions = configuration.add_subparsers(required=True, metavar="ACTION")
    check = actions.add_parser(
        "check",
        help="list every error of a configuration, policy or presets file by file, line and field",
    )
    check.add_argument(
        "file", type=Path, nargs="?", help="(default: the one that serve would take)"
    )
    check.set_defaults(run=_check)


def load(file: Path | None) -> Settings:
    """Settings with which the gateway can run, as far as they can tell it.

    Args:
        file: see ``settings.config.load``.

    Raises:
        ConfigError: it can't.
    """
    settings = config.load(file)
    if wrong := config.told(references.faults(settings), file):
        raise ConfigError(wrong)
    Policy.load(settings.safety.policy_file)
    _library().load(settings.prompts.prompts_file)
    return settings


def _library() -> type[Library]:
    from gemma_gateway.presets.library import Library  # its template and schema engines: 0.2 s

    return Library


def _check(parsed: argparse.Namespace) -> int:
    file = config.find(parsed.file)
    if file is None:
        raise CommandError(f"there is no {config.DEFAULT_FILE} here: name a file")
    if is_policy(file):
        Policy.load(file)
    elif is_presets(file):
        _library().load(file)
    else:
        settings = load(file)
        for line in config.told(references.doubts(settings), file).splitlines():
            print(f"warning: {line}", file=sys.stderr)
        for name in config.unknown_variables():
            print(f"warning: {config.unknown(name)}", file=sys.stderr)
        for line in config.given_way(file):
            print(f"warning: {line}", file=sys.stderr)
    print(f"{file}: valid")
    return 0


def is_policy(file: Path) -> bool:
    """Whether a file is a term policy, not a configuration."""
    values = YamlFile(file).values
    return isinstance(values, dict) and set(values) == {"categories"}


def is_presets(file: Path) -> bool:
    """Whether a file has prompt presets, and no configuration."""
    values = YamlFile(file).values
    if not isinstance(values, dict) or set(values) != {"prompts"}:
        return False
    return isinstance(values["prompts"], list)  # else it is the section of the settings
