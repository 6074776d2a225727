"""``gemma-gateway evaluate``: how good a model's answers to a set of questions are."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from gemma_gateway.cli import caller
from gemma_gateway.cli.command import Commands
from gemma_gateway.quality.scores import NAMES

DESCRIPTION = """\
Score answers to a set of questions, one JSON object a line:

  {"prompt": "...", "reference": "a right answer", "context": "what the answer should rest on"}

messages (a list of {"role", "content"}) may stand for prompt; reference and context may be absent.
A row may bring its own answer; else the model is asked. Rows may hold labels, such as {"relevance":
1}: then the report tells how well each score ranks good (1) above bad (0) answers. What is done is
kept row by row: Ctrl-C loses nothing, and --resume goes on. docs/quality.md says what each score
measures and how far it can be trusted."""


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "evaluate",
        help="score a model's answers to a set of questions, and compare two models",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("set", type=Path, metavar="set.jsonl", help="the questions")
    caller.add_arguments(parser)
    parser.add_argument("--model", help="who answers; default: the first that the server lists")
    parser.add_argument(
        "--against",
        metavar="MODEL",
        help="answers every row, too: the report compares it with the first answers, in pairs",
    )
    parser.add_argument(
        "--judge",
        metavar="MODEL",
        help="whose likelihoods and further answers scores are made of; default: as --model",
    )
    parser.add_argument(
        "--scores",
        type=_scores,
        default=NAMES,
        metavar="NAME,...",
        help=f"which ones ({','.join(NAMES)})",
    )
    parser.add_argument(
        "--samples",
        type=_whole(0, 8),
        default=4,
        metavar="N",
        help="further answers for accuracy where a row has neither reference nor context (4)",
    )
    parser.add_argument("--policy", type=Path, metavar="FILE", help="term policy (the built-in)")
    parser.add_argument(
        "--max-tokens", type=_whole(1, 1_000_000), default=256, help="longest answer (%(default)s)"
    )
    parser.add_argument("--temperature", type=_temperature, default=0.0, help="of answers (0)")
    parser.add_argument(
        "--concurrency", type=_whole(1, 64), default=4, metavar="N", help="rows at once (4)"
    )
    parser.add_argument(
        "--embeddings",
        default="",
        metavar="MODEL",
        help="sentence-embedding model: folder or hub name (all-MiniLM-L6-v2 of the extra quality)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("evaluation"),
        metavar="FOLDER",
        help="for rows.jsonl, report.json and report.html (%(default)s)",
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on with the rows that --out doesn't have yet"
    )
    parser.set_defaults(run=_run)


def _run(parsed: argparse.Namespace) -> int:
    from gemma_gateway.cli.evaluate.session import run

    return run(parsed)


def _scores(text: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split(","))
    for name in names:
        if name not in NAMES:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(NAMES)}")
    return tuple(name for name in NAMES if name in names)


def _whole(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text} is not between {least} and {most}")
        return value

    return parse


def _temperature(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from None
    if not 0 <= value <= 2:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 2")
    return value
