"""The whole product with OpenAI's Whisper, and somebody who speaks."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import absent
from tests.e2e.conftest import need
from tests.e2e.speech import whisper
from tests.process import OPERATOR, Gateway

MODEL = "whisper-base"
Speaker = Callable[..., bytes]


@pytest.fixture(scope="package")
def speak(tmp_path_factory: pytest.TempPathFactory) -> Speaker:
    """Says a text, as a WAV file."""
    program = shutil.which("espeak-ng") or absent("no espeak-ng here (Debian: espeak-ng)")
    folder = tmp_path_factory.mktemp("speech")

    def say(text: str, voice: str = "en-us") -> bytes:
        file = folder / "said.wav"
        command = [program, "-v", voice, "-s", "140", "-w", str(file), text]
        subprocess.run(command, check=True, timeout=60)
        return file.read_bytes()

    return say


@pytest.fixture(scope="package")
def hearing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Embedded Valkey, real vLLM, real Whisper."""
    need("vllm", "no engine in process (make setup)")
    for package in whisper.PARTS:
        need(package, "no weights of Whisper (make test-deps)")
    folder = tmp_path_factory.mktemp("hearing")
    whisper.build(folder / MODEL)
    settings: dict[str, str | Path | int] = {"model": folder / MODEL, "operator_keys": OPERATOR}
    settings["idle_timeout"] = 300  # calls that wait for a busy machine
    with Gateway(folder, wait=600, **settings) as process:
        yield process
        assert process.stop() == 0, process.text()[-4000:]
