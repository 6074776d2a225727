"""What the commands of ``gemma-gateway`` have in common.

A tool is a module with ``add(commands)``, which adds its parser and sets the parser's default
``run``: a function of the parsed words that returns the exit status. Heavy imports belong into
``run``, so that no command pays for another.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable
from typing import TypeAlias, TypeVar

# What ``argparse.ArgumentParser.add_subparsers`` returns; generic for type checkers only.
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

Number = TypeVar("Number", int, float)


class CommandError(Exception):
    """A command can't do its work; the text says why and what to do, for a person.

    Args:
        message: one or a few plain sentences.
        status: exit status; 2: the command's words are wrong, 1: anything else.
    """

    def __init__(self, message: str, status: int = 2) -> None:
        super().__init__(message)
        self.status = status


def between(kind: type[Number], least: Number, most: Number) -> Callable[[str], Number]:
    """A type for ``add_argument``: a number from ``least`` to ``most``."""

    def parse(text: str) -> Number:
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text} is not between {least} and {most}")
        return value

    return parse


def require(extra: str, *modules: str) -> None:
    """Make sure that a command's own packages are installed.

    Args:
        extra: name of the extra in pyproject.toml that brings them.
        modules: what the command imports.

    Raises:
        CommandError: one is missing; the text holds the line that installs it.
    """
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError:
            raise CommandError(
                f"this command needs {module}, which the core install leaves out. Install it with\n"
                f"  {sys.executable} -m pip install 'gemma-gateway[{extra}]'",
                status=1,
            ) from None
