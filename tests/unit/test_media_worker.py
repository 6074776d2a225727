"""What a worker says to the gateway, and what it says back."""

from __future__ import annotations

import io
import subprocess
import sys

import msgspec
import pytest

from gemma_gateway.media import worker
from gemma_gateway.media.bounds import Bounds
from gemma_gateway.media.check import OUTCOMES, Outcome
from gemma_gateway.media.message import Answer, Question
from gemma_gateway.settings import MediaSettings
from tests.images import coded, file, opened, photo

BOUNDS = Bounds.of(MediaSettings())


def told(*questions: tuple[bytes, bool]) -> list[tuple[Answer, bytes]]:
    """What a worker answers to files, each plain or in base64; first that it is ready."""
    asked, out = io.BytesIO(), io.BytesIO()
    for data, base64 in questions:
        head = msgspec.json.encode(Question("image", len(data), base64))
        asked.write(len(head).to_bytes(4, "big") + head + data)
    asked.seek(0)
    worker.serve(BOUNDS, asked, out)
    out.seek(0)
    found = []
    while length := out.read(4):
        answer = msgspec.json.decode(out.read(int.from_bytes(length, "big")), type=Answer)
        found.append((answer, out.read(answer.size)))
    return found


def test_it_says_that_it_is_ready_and_answers_in_order() -> None:
    plain = file()
    ready, base64, itself, bad, again = told(
        (coded(plain).encode(), True), (plain, False), (b"?", False), (plain, False)
    )
    assert ready == (Answer("ok"), b"")
    assert base64 == (Answer("ok", "image/png"), b"")  # as it came
    assert itself == again
    assert itself == (
        Answer("ok", "image/png", size=len(coded(plain))),
        coded(plain).encode(),
    )
    assert bad[0].outcome == "type"
    assert bad[0].text.startswith("Images are taken as PNG, JPEG, GIF and WebP")


@pytest.mark.parametrize("base64", [True, False])
def test_a_cleaned_image_comes_in_base64(base64: bool) -> None:
    data = coded(photo()).encode() if base64 else photo()
    _, (answer, back) = told((data, base64))
    assert (answer.outcome, answer.media_type) == ("cleaned", "image/jpeg")
    assert opened(worker.binascii.a2b_base64(back, strict_mode=True)).size == (8, 16)


def test_an_answer_with_another_outcome_is_none() -> None:
    """Outcomes are labels of a metric: a worker that was taken over makes no new ones."""
    assert "ok" in OUTCOMES
    for outcome in ("", "hello", 7):
        with pytest.raises(msgspec.ValidationError):
            msgspec.json.decode(msgspec.json.encode({"outcome": outcome}), type=Answer)
    assert {Answer(each).outcome for each in msgspec.inspect.type_info(Outcome).values} == OUTCOMES


def test_the_gateway_itself_loads_no_decoder() -> None:
    """``media.stage`` and all that it needs leave Pillow to the workers."""
    program = (
        "import sys, gemma_gateway.main as m; print(*map(sys.modules.get, ('PIL', 'aiohttp')))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout.split() == [b"None", b"None"]
