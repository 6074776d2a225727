"""OpenAI's routes for speech: /v1/audio/transcriptions and /v1/audio/translations.

What an engine is asked stands in ``speech``. Answers come as vLLM's or as OpenAI's own; the formats
that OpenAI has beside JSON are made here.
"""

from __future__ import annotations

import re
from math import ceil
from typing import Any, Literal

import orjson
from pydantic import Field

from gemma_gateway.core.dialect import Json, Message, TextPart
from gemma_gateway.core.errors import Code
from gemma_gateway.core.form import FormDialect
from gemma_gateway.core.usage import Usage
from gemma_gateway.wire.multipart import plain
from gemma_gateway.wire.openai import openai, subtitles
from gemma_gateway.wire.openai.errors import OpenAIDialect
from gemma_gateway.wire.openai.openai import invalid
from gemma_gateway.wire.openai.transcription_stream import TranscriptionStream
from gemma_gateway.wire.request import Body

Format = Literal["json", "text", "srt", "vtt", "verbose_json"]
FORMATS: tuple[Format, ...] = ("json", "text", "srt", "vtt", "verbose_json")
STREAMED = ("json", "text")  # what may be asked for together with a stream
SWITCH = {"true": True, "1": True, "false": False, "0": False}
LISTS = {"timestamp_granularities": "timestamp_granularities[]"}
# ISO 639, with a region or script after it; which of them a model knows, its server says.
LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{2,8})?")
TEXT = b"text/plain; charset=utf-8"


class SpeechRequest(Body):
    file: bytes = Field(
        description="WAV, MP3, FLAC, Ogg, M4A, MP4 or WebM, told by its content",
        json_schema_extra={"format": "binary"},
    )
    prompt: str | None = Field(None, description="Words to expect, or what was said before")
    response_format: Format = "json"
    temperature: float | None = Field(None, ge=0, le=2)
    stream: bool = Field(False, description="Events transcript.text.delta and transcript.text.done")


class TranscriptionRequest(SpeechRequest):
    """OpenAI's transcription: speech to text in its own language."""

    language: str | None = Field(
        None, description="ISO 639-1, such as de; default: the model's guess"
    )
    timestamp_granularities: list[Literal["segment"]] | None = Field(
        None, description="With verbose_json: segment"
    )


class TranslationRequest(SpeechRequest):
    """OpenAI's translation: speech to English text."""

    language: str | None = Field(None, description="Of the speech; of vLLM, not of OpenAI")


class SpeechDialect(OpenAIDialect, FormDialect):
    """What both routes share.

    Attributes:
        task: as a verbose answer calls it.
    """

    task: str
    fields = frozenset(
        {"model", "language", "prompt", "response_format", "temperature", "seed", "stream"}
    )
    streams = charged = True

    def document(self, fields: list[tuple[str, str]]) -> Json:
        """See FormDialect."""
        body: Json = {}
        for name, value in fields:
            key = name.removesuffix("[]") if name.removesuffix("[]") in LISTS else name
            if key in LISTS:
                body.setdefault(key, []).append(value)
            elif key in body:
                raise invalid("A form has this field once.", plain(key))
            else:
                body[key] = value
        _read_values(body)
        return body

    def messages(self, body: Json) -> list[Message]:
        """The prompt is all that is said; what the sound says is judged in the answer."""
        texts = []
        if body.get("prompt"):
            texts.append(TextPart(body, "prompt", "prompt", "prompt", spoken=True))
        return [Message("prompt", "user", texts)]

    def ask_usage(self, body: Json) -> bool:
        """Streams are always asked for it, see ``speech.form``."""
        del body
        return False

    def shape(self, answer: Json, asked: Json, seconds: float) -> Json:
        """See FormDialect. The duration is that of the sound that was sent, whatever the engine
        says; words without times, as of vLLM, are left out."""
        if answer["text"].__class__ is not str:
            raise TypeError("text")
        usage = answer.get("usage")
        if not (isinstance(usage, dict) and usage.get("type")):
            usage = {"type": "duration", "seconds": ceil(seconds)}
        shaped: Json = {"text": answer["text"].strip(), "usage": usage}
        if asked["response_format"] in STREAMED:
            return shaped
        head = {
            "task": self.task,
            "language": answer.get("language") or asked.get("language") or "",
            "duration": round(seconds, 3),
        }
        segments = [_segment(each, number) for number, each in enumerate(answer["segments"])]
        return {**head, "text": shaped["text"], "segments": segments, "usage": usage}

    def answer(self, doc: Json) -> list[TextPart]:
        """The text, and its parts, which say it again."""
        parts = [TextPart(doc, "text", "text", "text")]
        for number, segment in enumerate(doc.get("segments") or ()):
            parts.append(TextPart(segment, "text", f"segments.{number}.text", "segments"))
        return parts

    def refuse(self, doc: Json, part: TextPart) -> None:
        """The text was cut already; nothing else may say it."""
        if "segments" in doc:
            segments = doc["segments"]
            if part.channel == "segments":
                doc["text"] = " ".join(each["text"].strip() for each in segments if each["text"])
            doc["segments"] = []
        doc["code"] = Code.RESPONSE_FILTERED.name

    def usage(self, doc: Json) -> Usage | None:
        """Tokens, of engines that count them."""
        usage = doc["usage"]
        if usage.get("type") != "tokens":
            return None
        told = {"prompt_tokens": usage.get("input_tokens"),
                "completion_tokens": usage.get("output_tokens")}  # fmt: skip
        return openai.read_usage({"usage": told})

    def render(self, answer: Json, asked: Json) -> tuple[bytes, bytes]:
        """See FormDialect."""
        wanted = asked["response_format"]
        if wanted in ("json", "verbose_json"):
            return b"application/json", orjson.dumps(answer)
        if wanted == "text":
            return TEXT, (answer["text"] + "\n").encode()
        return subtitles.MEDIA_TYPES[wanted], subtitles.WRITERS[wanted](answer["segments"]).encode()

    def stream(self, hide_usage: bool) -> TranscriptionStream:
        del hide_usage
        return TranscriptionStream()


class Transcriptions(SpeechDialect):
    """The dialect of /v1/audio/transcriptions."""

    name = operation = "transcription"
    path = "/v1/audio/transcriptions"
    task = "transcribe"
    request_model = TranscriptionRequest
    fields = SpeechDialect.fields | {"timestamp_granularities"}


class Translations(SpeechDialect):
    """The dialect of /v1/audio/translations."""

    name = operation = "translation"
    path = "/v1/audio/translations"
    task = "translate"
    request_model = TranslationRequest


def _read_values(body: Json) -> None:
    """Texts of a form to values, in place.

    Raises:
        GatewayError: VALIDATION_ERROR with ``param`` naming the field.
    """
    for name in [name for name, value in body.items() if value == ""]:
        del body[name]  # what clients send for nothing
    for name, read in (("temperature", float), ("seed", int)):
        if name in body:
            try:
                body[name] = read(body[name])
            except ValueError:
                raise invalid(f"{name} must be a number.", name) from None
    if "stream" in body:
        if body["stream"].lower() not in SWITCH:
            raise invalid("stream must be true or false.", "stream")
        body["stream"] = SWITCH[body["stream"].lower()]
    language = body.get("language")
    if language is not None and not LANGUAGE.fullmatch(language):
        raise invalid("language must be a code such as en or pt (ISO 639-1).", "language")
    wanted = body.setdefault("response_format", "json")
    if wanted not in FORMATS:
        raise invalid(f"response_format must be {' or '.join(FORMATS)}.", "response_format")
    if body.get("stream") and wanted not in STREAMED:
        raise invalid(
            f"A stream tells text alone: ask for json, or for {wanted} without stream.",
            "response_format",
        )
    _check_times(body.get("timestamp_granularities"), wanted)


def _check_times(granularities: list[str] | None, wanted: str) -> None:
    name = "timestamp_granularities"
    for each in granularities or ():
        if each == "word":
            raise invalid("Times of words are not known here: ask for those of segments.", name)
        if each != "segment":
            raise invalid(f"{name} may hold segment.", name)
        if wanted != "verbose_json":
            raise invalid(f"{name} go with response_format verbose_json.", name)


def _segment(told: Any, number: int) -> Json:
    """A segment of a verbose answer; raises as ``shape`` where it is none."""
    if told["text"].__class__ is not str:
        raise TypeError("text of a segment")
    return {**told, "id": number, "start": float(told["start"]), "end": float(told["end"])}
