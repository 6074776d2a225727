"""Speech to text, by whichever way a model's server has: its own route, or turns of chat.

A speech model such as Whisper has OpenAI's route, and so has Gemma 3n in vLLM. Elsewhere a Gemma
that hears is asked in chat, half a minute at a time: that is what its audio encoder takes at once.
"""

from __future__ import annotations

import asyncio
import time
from array import array
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import replace
from operator import mul
from typing import Any

import orjson

from gemma_gateway.core.ask import collect
from gemma_gateway.core.engine import Engine, EngineFailed, EngineReply, EngineRequest, Tally
from gemma_gateway.core.sse import DONE, event
from gemma_gateway.engines.wrapper import WrapperEngine
from gemma_gateway.media.sound import RATE, SAMPLE, samples_of, wav
from gemma_gateway.pipeline.delivery import MISSING
from gemma_gateway.wire.openai import openai, speech
from gemma_gateway.wire.openai.transcription_stream import DELTA

REMEMBERED = 600.0  # seconds for which a model's server isn't asked for the route again
MOST_MODELS = 256  # remembered
PIECE_SECONDS = 30  # of Gemma 3n's and 4's audio encoders
QUIET_SECONDS = 5  # at the end of a piece, where it is cut at its quietest
FRAME = RATE // 10  # samples in which quiet is measured
MOST_ANSWER = 1024 * 1024  # bytes of the answer of one turn


class Speech(WrapperEngine):
    """Takes the calls that come with a sound; all others pass at once."""

    def __init__(self, inner: Engine) -> None:
        super().__init__(inner)
        self._missing: dict[str, float] = {}  # models whose server has no route, and until when

    def send(self, request: EngineRequest) -> Coroutine[Any, Any, EngineReply]:
        """See ``Engine``."""
        return self._hear(request) if request.attachment else self.inner.send(request)

    async def _hear(self, request: EngineRequest) -> EngineReply:
        if self._missing.get(request.model, 0.0) < time.monotonic():
            reply = await self._by_route(request)
            if reply.status not in MISSING:
                return reply
            await reply.abort()
            if len(self._missing) >= MOST_MODELS:
                self._missing.clear()
            self._missing[request.model] = time.monotonic() + REMEMBERED
        pieces = await asyncio.to_thread(split, request.attachment)
        turns = Turns(self.inner, request, pieces)
        return await turns.begin()

    async def _by_route(self, request: EngineRequest) -> EngineReply:
        kind, body = await asyncio.to_thread(speech.form, request.document, request.attachment)
        headers = {**request.headers, "content-type": kind}
        return await self.inner.send(replace(request, body=body, headers=headers, attachment=b""))


class Turns:
    """A sound in turns of chat, one after another; an ``EngineReply``.

    Args:
        engine: where they go.
        request: of the speech route.
        pieces: what is heard in each turn, as ``split`` gives it.
    """

    status = 200
    retry_after = ""

    def __init__(self, engine: Engine, request: EngineRequest, pieces: Sequence[bytes]) -> None:
        self._engine = engine
        self._request = request
        self._pieces = pieces
        self._reply: EngineReply | None = None
        self._tally = Tally()  # of the turn that was asked last
        self._prompt = self._generated = 0  # tokens of the turns that are over
        self.content_type = "text/event-stream" if request.stream else "application/json"

    async def begin(self) -> EngineReply:
        """Ask the first turn; the reply is this one, or the server's own where that says all."""
        whole = len(self._pieces) > 1 or not self._request.stream
        reply = await self._ask(self._pieces[0], whole=whole)
        if reply.status != self.status or not whole:
            self._request.tally.read = self._tally.read
            return reply
        self._request.tally.read = self._counts
        return self

    async def chunks(self) -> AsyncIterator[bytes]:
        """See ``EngineReply``."""
        said: list[dict[str, Any]] = []
        at = 0.0
        for number, piece in enumerate(self._pieces):
            reply = self._reply if number == 0 else await self._ask(piece, whole=True)
            assert reply is not None
            text = await self._text(reply)
            if self._request.stream and text:
                yield event({"type": DELTA, "delta": f" {text}" if number else text})
            seconds = len(piece) / (RATE * SAMPLE)
            said.append({"start": round(at, 3), "end": round(at + seconds, 3), "text": text})
            at += seconds
        prompt, generated = self._prompt, self._generated
        if self._request.stream:
            usage = {"prompt_tokens": prompt, "completion_tokens": generated}
            yield event({"choices": [], "usage": usage}) + DONE
            return
        text = " ".join(each["text"] for each in said if each["text"])
        tokens = {"type": "tokens", "input_tokens": prompt, "output_tokens": generated,
                  "total_tokens": prompt + generated}  # fmt: skip
        yield orjson.dumps({"text": text, "segments": said, "usage": tokens})

    async def _ask(self, piece: bytes, *, whole: bool) -> EngineReply:
        request = self._request
        document = speech.turn(request.document, wav(piece), request.path)
        if whole:
            document.pop("stream", None)
            document.pop("stream_options", None)
        document["model"] = request.model
        self._tally = Tally()
        reply = self._reply = await self._engine.send(
            replace(
                request,
                path=speech.CHAT,
                body=await asyncio.to_thread(request.write, document),
                document=document,
                stream=not whole,
                tally=self._tally,
                attachment=b"",
            )
        )
        request.tally.server = self._tally.server
        return reply

    async def _text(self, reply: EngineReply) -> str:
        """What a turn's answer says; its tokens are counted."""
        raw = await collect(reply, MOST_ANSWER)
        if reply.status != self.status:
            raise EngineFailed("died", f"a later turn was answered with status {reply.status}")
        try:
            document = orjson.loads(raw)
            text = document["choices"][0]["message"]["content"] or ""
            told = openai.read_usage(document)
            text = text.strip()
        except (ValueError, LookupError, TypeError, AttributeError):
            raise EngineFailed("died", "a turn's answer can't be read") from None
        prompt, generated = (told.prompt_tokens, told.completion_tokens) if told else (0, 0)
        self._prompt += prompt
        self._generated += generated
        self._tally = Tally()
        return str(text)

    def _counts(self) -> tuple[int, int]:
        prompt, generated = self._tally.read() if self._tally.read else (0, 0)
        return self._prompt + prompt, self._generated + generated

    def speaks(self) -> None:
        """See ``EngineReply``."""

    async def abort(self) -> None:
        """See ``EngineReply``."""
        if self._reply is not None:
            await self._reply.abort()

    def generated(self) -> int:
        """See ``EngineReply``."""
        return self._counts()[1]

    def prompt_tokens(self) -> int:
        """See ``EngineReply``."""
        return self._counts()[0]


def split(sound: bytes) -> list[bytes]:
    """The samples of a WAV file of ``media.sound``, in pieces of ``PIECE_SECONDS`` at most, cut
    where it is quiet."""
    samples, pieces = samples_of(sound), []
    most = PIECE_SECONDS * RATE * SAMPLE
    while len(samples) > most:
        cut = _quietest(samples[:most], most - QUIET_SECONDS * RATE * SAMPLE)
        pieces.append(samples[:cut])
        samples = samples[cut:]
    return [*pieces, samples]


def _quietest(samples: bytes, begin: int) -> int:
    """Where the quietest frame after ``begin`` has its middle, in bytes."""
    step = FRAME * SAMPLE
    loudness = []
    for start in range(begin, len(samples) - step + 1, step):
        frame = array("h", samples[start : start + step])
        loudness.append((sum(map(mul, frame, frame)), start))
    return min(loudness)[1] + step // 2
