"""What engines are asked for a transcript: a form for a speech model's own route, or a turn of chat
for a Gemma that hears.
"""

from __future__ import annotations

from base64 import b64encode

from gemma_gateway.core.dialect import Json
from gemma_gateway.wire import multipart

CHAT = "/v1/chat/completions"
TRANSLATIONS = "/v1/audio/translations"
# What a server is asked for instead of formats that it may not know.
ENGINE_FORMATS = {"text": "json", "srt": "verbose_json", "vtt": "verbose_json"}
TURN_TOKENS = 1024  # of the text of one turn at most: half a minute of fast speech has some 200
# Google's advice for Gemma 3n (ai.google.dev/gemma/docs/capabilities/audio), shortened.
TRANSCRIBE = (
    "Transcribe this speech{language} word for word. Only output the transcription, with no "
    "newlines. Write numbers in digits."
)
TRANSLATE = (
    "Translate this speech{language} into English. Only output the translation, with no newlines."
)
CONTEXT = " These words may help: {prompt}"


def form(document: Json, sound: bytes) -> tuple[str, bytes]:
    """A request to a speech route, as (content type, body).

    Args:
        document: a request as ``SpeechDialect.document`` makes it.
        sound: a WAV file.
    """
    wanted = document["response_format"]
    sent = {**document, "response_format": ENGINE_FORMATS.get(wanted, wanted)}
    fields: list[tuple[str, str]] = []
    for name, value in sent.items():
        if isinstance(value, list):
            fields += [(f"{name}[]", str(each)) for each in value]
        elif value is not None:
            text = str(value).lower() if isinstance(value, bool) else str(value)
            fields.append((name, text))
    if document.get("stream"):
        fields.append(("stream_include_usage", "true"))  # vLLM's; others don't read it
    return multipart.write(fields, sound, "speech.wav")


def turn(document: Json, sound: bytes, path: str) -> Json:
    """The same as a chat completion.

    Args:
        document: as of ``form``.
        sound: as of ``form``.
        path: of the speech route.
    """
    language = document.get("language")
    words = TRANSLATE if path == TRANSLATIONS else TRANSCRIBE
    words = words.format(language=f" (language: {language})" if language else "")
    if prompt := document.get("prompt"):
        words += CONTEXT.format(prompt=prompt)
    audio = {"data": b64encode(sound).decode(), "format": "wav"}
    content = [
        {"type": "input_audio", "input_audio": audio},
        {"type": "text", "text": words},
    ]
    asked: Json = {"messages": [{"role": "user", "content": content}]}
    asked |= {"temperature": document.get("temperature", 0), "max_tokens": TURN_TOKENS}
    asked |= {name: document[name] for name in ("model", "seed") if name in document}
    if document.get("stream"):
        asked |= {"stream": True, "stream_options": {"include_usage": True}}
    return asked
