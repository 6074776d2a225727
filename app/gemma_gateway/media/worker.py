"""The process behind ``media.workers``: files in, what they are out, one at a time.

A message is four bytes with the length of its head, the head as JSON, and as many further bytes as
the head's ``size`` says. It ends with its standard input. What it says is no more than bytes and
JSON, so that a file which takes over the decoder has not taken over the gateway.
"""

from __future__ import annotations

import binascii
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import msgspec

from gemma_gateway.media import image, sound
from gemma_gateway.media.bounds import Bounds
from gemma_gateway.media.check import Checked, Refused
from gemma_gateway.media.message import Answer, Question

# How each kind of media is checked.
KINDS: dict[str, Callable[[bytes, Bounds], Checked]] = {
    "image": image.check,
    "audio": sound.check,
}
NICENESS = 5  # a caller waits for it, and the event loop must not


def main() -> None:
    """Run as a child process; the only argument is ``Bounds`` as JSON."""
    bounds = msgspec.json.decode(sys.argv[1], type=Bounds)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    _confine(bounds.address_space)
    with os.fdopen(os.dup(1), "wb") as out:
        os.dup2(2, 1)  # what libraries print must not look like an answer
        serve(bounds, sys.stdin.buffer, out)


def serve(bounds: Bounds, questions: BinaryIO, out: BinaryIO) -> None:
    """Say that it is ready, and answer each question until there are no more."""
    _write(out, Answer("ok"), b"")
    while length := questions.read(4):
        question = msgspec.json.decode(questions.read(int.from_bytes(length, "big")), type=Question)
        answer, data = _answer(question, questions.read(question.size), bounds)
        _write(out, answer, data)


def _answer(question: Question, data: bytes, bounds: Bounds) -> tuple[Answer, bytes]:
    try:
        if question.base64:
            data = _plain(data)
        checked = KINDS[question.kind](data, bounds)
    except Refused as refused:
        return Answer(refused.outcome, text=refused.text), b""
    answer = Answer("ok", checked.media_type, seconds=checked.seconds)
    if checked.data is not None:
        # A sound is always made anew: of what was heard nothing is missing.
        answer.outcome = "ok" if checked.seconds else "cleaned"
        data = checked.data
    elif question.base64:
        return answer, b""
    if not question.plain:
        data = binascii.b2a_base64(data, newline=False)
    answer.size = len(data)
    return answer, data


def _plain(data: bytes) -> bytes:
    try:
        return binascii.a2b_base64(data, strict_mode=True)
    except ValueError:
        raise Refused(
            "base64", "The data is not base64: letters, digits, + and /, and = at the end alone."
        ) from None


def _write(out: BinaryIO, answer: Answer, data: bytes) -> None:
    head = msgspec.json.encode(answer)
    out.write(len(head).to_bytes(4, "big") + head)
    out.write(data)
    out.flush()


def _confine(address_space: int) -> None:
    """Let it have no more memory than a picture takes, start nothing, leave no core file, and end
    before all others where memory runs out."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    try:
        import resource
    except ImportError:  # not a POSIX system
        return
    for limit, most in (
        (resource.RLIMIT_AS, address_space),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
    ):
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(limit, (most, most))


if __name__ == "__main__":
    main()
