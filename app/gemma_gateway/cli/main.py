"""The command line: ``gemma-gateway COMMAND``; ``--help`` lists the commands."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

from gemma_gateway import __version__
from gemma_gateway.cli import (
    chat,
    completion,
    configuration,
    evaluate,
    export,
    key,
    parse_calls,
    run,
    top,
    version,
)
from gemma_gateway.cli.bench import command as bench
from gemma_gateway.cli.command import CommandError, Commands
from gemma_gateway.cli.doctor import command as doctor
from gemma_gateway.settings import hint
from gemma_gateway.settings.yamlfile import ConfigError

DESCRIPTION = "Serve Gemma to many: keys, limits, content rules and metrics in front of vLLM."
EXAMPLES = """examples:
  gemma-gateway serve --model google/gemma-3-4b-it --port 9000
  gemma-gateway serve --upstream http://127.0.0.1:11434/v1
  gemma-gateway chat "Why is the sea salty?"
  gemma-gateway doctor

'gemma-gateway COMMAND --help' describes a command; docs/tools.md has more on each.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    Returns:
        Exit status: 0 well, 1 failed, 2 the configuration or the command's words are wrong,
        130 interrupted.
    """
    try:
        parsed = parser().parse_args(arguments)
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

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """As argparse does since Python 3.14: a misspelt command is met with the right one."""
        if action.choices is not None and value not in action.choices:
            known = [str(choice) for choice in action.choices]
            told = f"{value!r} is none of {', '.join(known)}{hint.meant(str(value), known)}"
            raise argparse.ArgumentError(action, told)


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    found: argparse.ArgumentParser = _Parser(
        prog="gemma-gateway",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    found.add_argument("--version", action="version", version=f"gemma-gateway {__version__}")
    commands = found.add_subparsers(required=True, metavar="COMMAND")
    for add in COMMANDS:
        add(commands)
    return found


# Each adds one command.
COMMANDS: tuple[Callable[[Commands], None], ...] = (
    run.add,
    chat.add,
    configuration.add,
    key.add,
    doctor.add,
    top.add,
    bench.add,
    evaluate.add,
    export.add,
    parse_calls.add,
    version.add,
    completion.add,
)
