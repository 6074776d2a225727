"""The command line: ``gemma-gateway COMMAND``; ``--help`` lists the commands."""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from gemma_gateway import __version__
from gemma_gateway.access import keys
from gemma_gateway.cli import evaluate, export, references, top
from gemma_gateway.cli.bench import command as bench
from gemma_gateway.cli.command import CommandError, Commands
from gemma_gateway.cli.doctor import command as doctor
from gemma_gateway.safety.policy import Policy
from gemma_gateway.settings import KeyEntry, Settings, config
from gemma_gateway.settings.source import Source
from gemma_gateway.settings.yamlfile import ConfigError, faults, field


def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    Returns:
        Exit status: 0 well, 1 failed, 2 the configuration or the command's words are wrong,
        130 interrupted.
    """
    try:
        parsed = _parser().parse_args(arguments)
        return int(parsed.run(parsed))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    except CommandError as error:
        print(f"gemma-gateway: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        return 130


class _Parser(argparse.ArgumentParser):
    """Takes no abbreviations: ``--key SECRET`` must not be read as ``--key-file``."""

    def __init__(self, **words: Any) -> None:
        super().__init__(**words, allow_abbrev=False)


def _parser() -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = _Parser(prog="gemma-gateway", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in COMMANDS:
        add(commands)
    return parser


def _add_serve(commands: Commands) -> None:
    serve = commands.add_parser("serve", help="run the gateway")
    serve.add_argument("--config", type=Path, help="YAML file (default: gateway.yaml, if any)")
    serve.set_defaults(run=_serve)


def _serve(parsed: argparse.Namespace) -> int:
    from gemma_gateway.cli.serve import serve  # the web stack is only needed here

    file = config.find(parsed.config)
    return serve(Source(lambda: _settings(file), file))


def _settings(file: Path | None) -> Settings:
    """Settings with which the gateway can run, as far as they can tell it.

    Raises:
        ConfigError: it can't.
    """
    settings = config.load(file)
    if wrong := config.told(references.faults(settings), file):
        raise ConfigError(wrong)
    Policy.load(settings.safety.policy_file)
    return settings


def _add_config(commands: Commands) -> None:
    configuration = commands.add_parser("config", help="work on a configuration file")
    actions = configuration.add_subparsers(required=True, metavar="ACTION")
    check = actions.add_parser("check", help="list every error by file, line and field")
    check.add_argument("file", type=Path)
    check.set_defaults(run=_check)


def _check(parsed: argparse.Namespace) -> int:
    settings = _settings(parsed.file)
    for line in config.told(references.doubts(settings), parsed.file).splitlines():
        print(f"warning: {line}", file=sys.stderr)
    for name in config.unknown_variables():
        print(f"warning: {name} is not a known setting", file=sys.stderr)
    print(f"{parsed.file}: valid")
    return 0


def _add_key(commands: Commands) -> None:
    key = commands.add_parser("key", help="work on API keys")
    actions = key.add_subparsers(required=True, metavar="ACTION")
    new = actions.add_parser("new", help="make a key and its entry for the YAML file")
    new.add_argument("--name", required=True)
    new.add_argument("--tier", default="default")
    new.add_argument(
        "--operator",
        action="store_true",
        help="with operator scope: it may see and manage what belongs to others",
    )
    new.set_defaults(run=_new_key)


def _new_key(parsed: argparse.Namespace) -> int:
    key = keys.generate_key()
    digest = hashlib.sha256(key.encode()).hexdigest()
    entry: dict[str, Any] = {"name": parsed.name, "tier": parsed.tier, "sha256": digest}
    if parsed.operator:
        entry["scopes"] = ["operator"]
    try:
        KeyEntry.model_validate(entry)
    except ValidationError as error:
        place, why = next(faults(error))
        raise ConfigError(f"--{field(place)}: {why}") from None
    print(f"key (shown once): {key}", file=sys.stderr)
    print(yaml.safe_dump([entry], sort_keys=False, allow_unicode=True), end="")
    return 0


# Each adds one command; those with a module of their own in this folder are named here: tool.add.
COMMANDS: tuple[Callable[[Commands], None], ...] = (
    _add_serve,
    _add_config,
    _add_key,
    export.add,
    bench.add,
    doctor.add,
    top.add,
    evaluate.add,
)
