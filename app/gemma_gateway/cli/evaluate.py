"""``gemma-gateway evaluate``: how good a model's answers to a set of questions are."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

from gemma_gateway.cli import caller
from gemma_gateway.cli.command import CommandError, Commands
from gemma_gateway.quality.evaluate.errors import EvaluationError, KeyRefused, Unusable
from gemma_gateway.quality.evaluate.options import Options
from gemma_gateway.quality.scores import NAMES

DESCRIPTION = """\
Score answers to a set of questions, one JSON object a line:

  {"prompt": "...", "reference": "a right answer", "context": "what the answer should rest on"}

messages (a list of {"role", "content"}) may replace prompt; reference and context are optional.
A row may hold its own answer; otherwise the model is asked. Rows may hold labels, such as
{"relevance": 1}: then the report shows how well each score ranks good (1) above bad (0) answers.
Results are saved row by row: Ctrl-C loses nothing, and --resume continues. docs/quality.md says
what each score measures and how far it can be trusted."""


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
    parser.add_argument(
        "--model", help="model that answers; default: the first that the server lists"
    )
    parser.add_argument(
        "--against",
        metavar="MODEL",
        help=(
            "model that answers every row, too: the report compares it with the first "
            "answers, in pairs"
        ),
    )
    parser.add_argument(
        "--judge",
        metavar="MODEL",
        help=(
            "model whose likelihoods and further answers the scores are made of; default: as "
            "--model"
        ),
    )
    parser.add_argument(
        "--scores",
        type=_scores,
        default=NAMES,
        metavar="NAME,...",
        help=f"which scores ({','.join(NAMES)})",
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
    parser.add_argument(
        "--temperature", type=_temperature, default=0.0, help="temperature of the answers (0)"
    )
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
        help="folder for rows.jsonl, report.json and report.html (%(default)s)",
    )
    parser.add_argument(
        "--resume", action="store_true", help="continue with the rows that --out doesn't have yet"
    )
    parser.set_defaults(run=_run)


def _run(parsed: argparse.Namespace) -> int:
    try:
        return _evaluate(parsed)
    except KeyRefused as refused:
        raise CommandError(caller.no_key(refused.status, refused.code), 1) from None
    except EvaluationError as error:
        raise CommandError(str(error), 2 if isinstance(error, Unusable) else 1) from None


def _evaluate(parsed: argparse.Namespace) -> int:
    """Evaluate a set and write the report.

    Returns:
        0, or 130 after Ctrl-C, or 1 when no row could be scored.

    Raises:
        CommandError: there is no key to be had where one is named.
        ConfigError: the policy can't be used.
        EvaluationError: the set, the folder or the server can't be used.
    """
    from gemma_gateway.quality.evaluate import rows
    from gemma_gateway.quality.evaluate.session import Session

    # What the pool of servers logs is told here in other words.
    logging.getLogger("gemma_gateway").addHandler(logging.NullHandler())
    # Every option is an argument of the same name.
    options = Options(**{field.name: getattr(parsed, field.name) for field in fields(Options)})
    questions = rows.read(options.set)
    session = Session(options, questions, caller.api_key(parsed.url, parsed.key_file))
    if lacking := session.lacking:
        print(
            f"gemma-gateway: no {' and no '.join(lacking)}: the extra 'quality' is not installed "
            "(pip install 'gemma-gateway[quality]'); --scores says what else is wanted",
            file=sys.stderr,
        )
    interrupted = False
    try:
        asyncio.run(session.work())
    except KeyboardInterrupt:
        interrupted = True
    finally:
        session.close()
    if not session.begun:
        return 130  # nothing was done, and what --out holds stays as it is
    report = session.report(interrupted)
    report.write(options.out)
    print(report.text())
    print(f"\nreport: {options.out / 'report.html'}", file=sys.stderr)
    if interrupted:
        print("interrupted; --resume goes on", file=sys.stderr)
        return 130
    return 0 if report.scored else 1


def _scores(text: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split(","))
    for name in names:
        if name not in NAMES:
            raise argparse.ArgumentTypeError(f"{name!r} is not one of {', '.join(NAMES)}")
    return tuple(name for name in NAMES if name in names)


def _whole(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text} is not between {least} and {most}")
        return value

    return parse


def _temperature(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not 0 <= value <= 2:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 2")
    return value
