"""``gemma-gateway completion``: the shell completes commands and options."""

from __future__ import annotations

import argparse

import shtab

from gemma_gateway.cli.command import Commands


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "completion",
        help="print a completion script for your shell",
        description=(
            'For bash, put eval "$(gemma-gateway completion bash)" into ~/.bashrc; for zsh, the '
            "same with zsh into ~/.zshrc, after compinit."
        ),
    )
    parser.add_argument("shell", choices=shtab.SUPPORTED_SHELLS)
    parser.set_defaults(run=_run)


def _run(parsed: argparse.Namespace) -> int:
    from gemma_gateway.cli.main import parser

    print(shtab.complete(parser(), parsed.shell))
    return 0
