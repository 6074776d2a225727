"""The first call of an engine, before any client's."""

from __future__ import annotations

import io
import json
import wave
from typing import Any

from gemma_gateway.core.engine import EngineRequest
from gemma_gateway.engines.local.asgi import AsgiApp, AsgiReply
from gemma_gateway.engines.local.work import Work

LONGEST_SILENCE = 120.0  # seconds
SPEECH_RATE = 16_000  # samples a second, of Whisper


async def chat(app: AsgiApp, engine: Any, model: str) -> None:
    """One token, so that the first client does not wait for what vLLM prepares at its first use
    (for the first schema it sorts the vocabulary while every stream stands still), and an engine
    that can't generate never counts as ready."""
    messages = [{"role": "user", "content": "Hello"}]
    body = {"model": model, "messages": messages, "max_tokens": 1, "logprobs": True}
    body["response_format"] = {"type": "json_object"}
    path = "/v1/chat/completions"
    await _first(app, engine, EngineRequest("warm-up", path, json.dumps(body).encode(), model))


async def speech(app: AsgiApp, engine: Any, model: str) -> None:
    """The same of a speech model: a second of silence."""
    silence = io.BytesIO()
    with wave.open(silence, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SPEECH_RATE)
        file.writeframes(bytes(2 * SPEECH_RATE))
    part = "--warm-up\r\ncontent-disposition: form-data; name="
    head = f'{part}"language"\r\n\r\nen\r\n{part}"file"; filename="silence.wav"\r\n\r\n'
    body = head.encode() + silence.getvalue() + b"\r\n--warm-up--\r\n"
    path, kind = "/v1/audio/transcriptions", "multipart/form-data; boundary=warm-up"
    request = EngineRequest("warm-up", path, body, model, headers={"content-type": kind})
    await _first(app, engine, request)


async def _first(app: AsgiApp, engine: Any, request: EngineRequest) -> None:
    """Have the first call answered; raises RuntimeError where the engine fails it."""
    reply = AsgiReply(app, request, Work(engine), LONGEST_SILENCE, LONGEST_SILENCE)
    await reply.begin()
    async for _ in reply.chunks():
        pass
    if reply.status >= 500:
        raise RuntimeError(f"the first generation failed with status {reply.status}")
