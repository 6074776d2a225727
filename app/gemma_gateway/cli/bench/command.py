"""``gemma-gateway bench``: how fast a gateway and its model answer, at several levels of load."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gemma_gateway.cli import caller
from gemma_gateway.cli.command import Commands, Number, between, require

LONGEST_LIST = 32
MOST_CALLERS = 4096
OWN_FIELDS = {"model", "messages", "max_tokens", "stream", "stream_options", "n"}


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "bench",
        help="measure a running gateway: response times, tokens a second, errors",
        description="Put load on a running gateway (or any OpenAI-compatible server) and measure: "
        "percentiles of response time, time to first token and time between tokens, tokens a "
        "second, errors by code. Ctrl-C ends it and keeps what was measured.",
    )
    caller.add_arguments(parser)
    levels = parser.add_mutually_exclusive_group()
    levels.add_argument(
        "--concurrency",
        type=_list(between(int, 1, MOST_CALLERS)),
        default=[1, 4, 16],
        metavar="N,N,...",
        help="concurrent callers, each making one call after another; one level each (1,4,16)",
    )
    levels.add_argument(
        "--rate",
        type=_list(between(float, 0.01, 10_000)),
        metavar="R,R,...",
        help=(
            "instead: calls a second at random times, whether or not earlier ones have "
            "ended; timed from when they were due"
        ),
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "--duration",
        type=between(float, 0.1, 86_400),
        default=15.0,
        metavar="SECONDS",
        help="how long each level starts new calls (%(default)s)",
    )
    length.add_argument(
        "--requests",
        type=between(int, 1, 10_000_000),
        help="instead: number of calls at each level",
    )
    parser.add_argument("--model", help="default: the first that the server lists")
    prompts = parser.add_mutually_exclusive_group()
    prompts.add_argument(
        "--prompt-tokens",
        type=between(int, 1, 1_000_000),
        default=64,
        metavar="N",
        help="random prompts of about this many tokens (%(default)s)",
    )
    prompts.add_argument(
        "--prompts",
        type=Path,
        metavar="FILE",
        help="instead: one prompt a line, or .jsonl with prompt or messages in each line",
    )
    parser.add_argument(
        "--max-tokens",
        type=between(int, 1, 1_000_000),
        default=64,
        help="longest answer (%(default)s)",
    )
    parser.add_argument(
        "--ignore-eos",
        action="store_true",
        help="answers of exactly --max-tokens tokens (a parameter that vLLM knows)",
    )
    parser.add_argument(
        "--body",
        type=_fields,
        default={},
        metavar="JSON",
        help='further fields of each call, such as \'{"temperature": 0, "top_p": 1}\'',
    )
    parser.add_argument(
        "--stream",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="streamed answers, or whole ones",
    )
    parser.add_argument(
        "--timeout",
        type=between(float, 0.1, 86_400),
        default=600.0,
        metavar="SECONDS",
        help="longest call (%(default)s)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of random prompts and times (%(default)s)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="folder for the result (bench-TIME in this folder)",
    )
    parser.set_defaults(run=_run)


def _run(parsed: argparse.Namespace) -> int:
    require("bench", "aiohttp", "numpy", "matplotlib", "tqdm")
    from gemma_gateway.cli.bench.session import run

    return run(parsed)


def _fields(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from None
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError("expected an object")
    if taken := OWN_FIELDS & found.keys():
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(taken))}: use the option of that name")
    return found


def _list(one: Callable[[str], Number]) -> Callable[[str], list[Number]]:
    def parse(text: str) -> list[Number]:
        parts = text.split(",")
        if len(parts) > LONGEST_LIST:
            raise argparse.ArgumentTypeError(f"more than {LONGEST_LIST} levels")
        return [one(part.strip()) for part in parts]

    return parse
