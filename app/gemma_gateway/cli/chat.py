"""``gemma-gateway chat``: talk to a running gateway in the terminal."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from gemma_gateway.cli import caller
from gemma_gateway.cli.command import CommandError, Commands, between
from gemma_gateway.cli.fetch import Reply, Unreached, post, read

PROMPT = "> "
SILENCE = 600.0  # seconds until a silent gateway is given up, as long as a call may take there
Ask = Callable[[list[dict[str, str]]], Iterator[str]]


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "chat",
        help="talk to a running gateway",
        description=(
            "Without a message it is a conversation: Ctrl-C stops an answer, Ctrl-D ends it. A "
            "message, here or on standard input, is answered, and that is all."
        ),
    )
    parser.add_argument("message", nargs="*", help="what to say")
    caller.add_arguments(parser)
    parser.add_argument("--model", help="(default: the first one that the gateway lists)")
    parser.add_argument("--system", default="", metavar="TEXT", help="system prompt")
    parser.add_argument(
        "--max-tokens", type=between(int, 1, 1_000_000), metavar="N", help="longest answer, tokens"
    )
    parser.set_defaults(run=_run)


def _run(parsed: argparse.Namespace) -> int:
    key = caller.api_key(parsed.url, parsed.key_file)
    model = parsed.model or _first_model(parsed.url, key)
    body: dict[str, Any] = {"model": model, "stream": True}
    if parsed.max_tokens:
        body["max_tokens"] = parsed.max_tokens
    conversation = Conversation(
        lambda messages: _stream(parsed.url, key, {**body, "messages": messages}),
        parsed.system,
    )
    once = " ".join(parsed.message)
    if not once and not sys.stdin.isatty():
        once = sys.stdin.read().strip()
        if not once:
            raise CommandError("standard input holds no message")
    if once:
        conversation.say(once)
        return 0
    with suppress(ImportError):
        import readline  # noqa: F401 - input() gets history and editing
    print(f"{model} at {parsed.url}. Ctrl-C stops an answer, Ctrl-D ends the conversation.")
    return _converse(conversation)


def _converse(conversation: Conversation) -> int:
    while True:
        try:
            said = input(PROMPT).strip()
        except EOFError:
            print()
            return 0
        if not said:
            continue
        try:
            conversation.say(said)
        except CommandError as error:
            print(f"gemma-gateway: {error}", file=sys.stderr)


class Conversation:
    """What was said so far, and who answers.

    Args:
        ask: gives the answer to a list of messages, piece by piece.
        system: system prompt; empty: none.
    """

    def __init__(self, ask: Ask, system: str = "") -> None:
        self._ask = ask
        self._messages = [{"role": "system", "content": system}] if system else []

    def say(self, text: str) -> None:
        """Print the answer as it comes. Ctrl-C stops it, and what was said until then counts.

        Raises:
            CommandError: there is none; nothing was said then.
        """
        messages = [*self._messages, {"role": "user", "content": text}]
        answer = ""
        try:
            for piece in self._ask(messages):
                answer += piece
                print(piece, end="", flush=True)
        except KeyboardInterrupt:
            answer = answer or "..."
        finally:
            print(flush=True)
        self._messages = [*messages, {"role": "assistant", "content": answer}]


def _first_model(url: str, key: str) -> str:
    reply = caller.reached(url, key, "/v1/models")
    if reply.status != 200:
        raise _refused(reply)
    with suppress(TypeError, LookupError):
        return str(reply.json()["data"][0]["id"])
    raise CommandError(f"{url} lists no models", status=1)


def _stream(url: str, key: str, body: dict[str, Any]) -> Iterator[str]:
    """The texts of a streamed answer.

    Raises:
        CommandError: it is refused, or ends with an error.
    """
    try:
        with post(f"{url}/v1/chat/completions", body, key, SILENCE) as reply:
            if reply.status != 200:
                raise _refused(read(reply))
            for line in reply:
                if line.startswith(b"data: {"):
                    yield _text(json.loads(line.removeprefix(b"data: ")))
    except Unreached as error:
        raise CommandError(f"no answer from {url} ({error})", status=1) from None


def _text(event: dict[str, Any]) -> str:
    """What an event says.

    Raises:
        CommandError: it tells of an error.
    """
    if error := event.get("error"):
        raise CommandError(error["message"], status=1)
    return "".join(choice["delta"].get("content") or "" for choice in event.get("choices", ()))


def _refused(reply: Reply) -> CommandError:
    if reply.status in (401, 403):
        return CommandError(caller.no_key(reply.status, reply.code), status=1)
    return CommandError(reply.message, status=1)
