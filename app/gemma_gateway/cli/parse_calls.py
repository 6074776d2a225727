"""``gemma-gateway parse-calls``: the tool calls in an answer, as clients get them."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from gemma_gateway.cli.command import CommandError, Commands

MOST_BYTES = 16 * 1024 * 1024  # of an answer, and of the tools


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "parse-calls",
        help="find the tool calls in an answer",
        description="Reads a model's answer on standard input and prints its tool calls, a JSON "
        "list in the form of OpenAI's API. What doesn't fit a tool's schema is told on standard "
        "error.",
    )
    parser.add_argument(
        "--tools",
        required=True,
        type=Path,
        metavar="FILE",
        help="JSON with the tools that the model was shown: a list, in the form of OpenAI's or "
        "Anthropic's API",
    )
    parser.set_defaults(run=_run)


def _run(parsed: argparse.Namespace) -> int:
    from gemma_gateway.toolcalls.parser import parse
    from gemma_gateway.toolcalls.tool import read_tools

    tools = read_tools(_declared(parsed.tools))
    if not tools:
        raise CommandError(f"{parsed.tools} holds no tool: a tool is an object with a name")
    answer = sys.stdin.buffer.read(MOST_BYTES + 1)
    if len(answer) > MOST_BYTES:
        raise CommandError(f"the answer has more than {MOST_BYTES} bytes", status=1)
    calls, _ = parse(answer.decode("utf-8", "replace"), tools)
    told = []
    for number, call in enumerate(calls):
        function = {"name": call.name, "arguments": call.arguments_json()}
        told.append({"id": f"call_{number}", "type": "function", "function": function})
        for fault in call.faults:
            print(f"call_{number} ({call.name}): {fault}", file=sys.stderr)
    print(json.dumps(told, ensure_ascii=False, indent=2))
    return 0


def _declared(path: Path) -> list[Any]:
    """The tools of a file; ``{"tools": [...]}`` holds them, too."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise CommandError(f"{path} has more than {MOST_BYTES} bytes")
        document = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise CommandError(f"{path} can't be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise CommandError(f"{path} is no JSON: {error}") from None
    if isinstance(document, dict):
        document = document.get("tools", [document])
    if not isinstance(document, list):
        raise CommandError(f"{path} must hold a list of tools")
    return document
