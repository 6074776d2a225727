"""What the calls of a benchmark ask: random words, or a file of the operator's own."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from gemma_gateway.cli.command import CommandError

MAX_FILE_BYTES = 64 * 1024 * 1024
# Short, harmless, and one token each (with the space before it) in Gemma's vocabulary.
_TEXT = (
    "time year people way day man thing woman life child world school state family student group "
    "country hand part place case week company system program question work night point home water "
    "room mother area money story fact month lot right study book eye job word business issue side "
    "kind head house service friend father power hour game line end member law car city name team "
    "minute idea body information back parent face others level office door health person art "
    "history party result change morning reason research girl guy moment air teacher force order"
)
WORDS = _TEXT.split()

Messages = list[dict[str, Any]]


def synthetic(tokens: int, seed: int) -> Iterator[Messages]:
    """Endless prompts of random words, each different from its first word on, so that an engine's
    prefix cache doesn't answer instead of the model.

    Args:
        tokens: words in each; the engine's own count, with the chat template, is reported.
        seed: the same seed gives the same prompts.
    """
    choose = random.Random(seed)  # noqa: S311 - nothing secret
    while True:
        yield [{"role": "user", "content": " ".join(choose.choices(WORDS, k=tokens))}]


def from_file(path: Path) -> Iterator[Messages]:
    """The prompts of a file, again and again: a ``.jsonl`` file holds one object a line with
    ``prompt`` (text) or ``messages`` (as in a chat call); any other file one text a line.

    Raises:
        CommandError: the file can't be read, holds nothing, or a line is wrong.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise CommandError(f"{path}: larger than {MAX_FILE_BYTES} bytes")
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise CommandError(f"{path}: not UTF-8") from None
    parse = _object if path.suffix == ".jsonl" else _text
    prompts = [parse(line, f"{path}:{n}") for n, line in enumerate(lines, 1) if line.strip()]
    if not prompts:
        raise CommandError(f"{path}: it contains no prompt")
    return itertools.cycle(prompts)


def _text(line: str, where: str) -> Messages:
    del where
    return [{"role": "user", "content": line}]


def _object(line: str, where: str) -> Messages:
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise CommandError(f"{where}: not JSON: {error}") from None
    if isinstance(found, dict):
        prompt, messages = found.get("prompt"), found.get("messages")
        if isinstance(prompt, str) and prompt:
            return _text(prompt, where)
        if isinstance(messages, list) and messages and all(isinstance(m, dict) for m in messages):
            return messages
    raise CommandError(f'{where}: an object with "prompt" (text) or "messages" (list) expected')
