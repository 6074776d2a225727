"""``gemma-gateway doctor``: what is wrong with this set-up, and what to do about it."""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import sys
from collections import Counter
from pathlib import Path

from gemma_gateway import __version__
from gemma_gateway.cli.command import CommandError, Commands
from gemma_gateway.cli.doctor.finding import Finding

COLOURS = {"ok": "32", "warning": "33", "problem": "31"}  # of ANSI terminals


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "doctor",
        help="find what is wrong with this setup, and how to fix it",
        description="Looks at settings, keys, term policy, files, port, clock, Redis, model "
        "servers or engine, and GPU, as 'gemma-gateway serve' would find them here. Changes "
        "nothing but a key in Redis that lives for a second. Exit status: 0 unless there is a "
        "problem.",
    )
    parser.add_argument("--config", type=Path, help="YAML file (default: gateway.yaml, if any)")
    parser.add_argument("--json", action="store_true", help="output for programs")
    parser.set_defaults(run=_run)


def _run(parsed: argparse.Namespace) -> int:
    from gemma_gateway.cli.doctor.examination import examine

    if parsed.config is not None and not parsed.config.is_file():
        raise CommandError(f"{parsed.config}: no such file")
    # What the parts would log is told as findings.
    logging.getLogger("gemma_gateway").addHandler(logging.NullHandler())
    findings = []
    for raw in examine(parsed.config):
        finding = raw.without_secrets()
        findings.append(finding)
        if not parsed.json:
            print(_line(finding), flush=True)
    count = Counter(finding.status for finding in findings)
    if parsed.json:
        print(json.dumps(_document(findings), indent=2))
    else:
        told = (_counted(count[kind], kind) for kind in ("problem", "warning"))
        print(f"\n{', '.join(told)}, {count['ok']} ok")
    return 1 if count["problem"] else 0


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _line(finding: Finding) -> str:
    status = f"{finding.status:8}"
    if sys.stdout.isatty() and "NO_COLOR" not in os.environ:
        status = f"\x1b[{COLOURS[finding.status]}m{status}\x1b[0m"
    line = f"{status} {finding.check:11}{finding.message}"
    return f"{line}\n{'':20}-> {finding.advice}" if finding.advice else line


def _document(findings: list[Finding]) -> dict[str, object]:
    rows = [
        {"check": f.check, "status": f.status, "message": f.message, "advice": f.advice}
        for f in findings
    ]
    return {
        "version": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "healthy": all(finding.status != "problem" for finding in findings),
        "findings": rows,
    }
