"""Speech on its whole way: from a client's form to an engine, and its text back."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from gemma_gateway.engines import factory
from gemma_gateway.engines.upstream.engine import UpstreamEngine
from gemma_gateway.settings import Settings
from tests import sounds
from tests.calls import MODEL, Json, events
from tests.loopback import Loopback
from tests.process import AUTH, KEY
from tests.road import Reply, Road

TRANSCRIBE, TRANSLATE = "/v1/audio/transcriptions", "/v1/audio/translations"
PATHS = pytest.mark.parametrize("path", [TRANSCRIBE, TRANSLATE])
SECOND = sounds.wav(1.0)
PIECES = ["Good", " morning", " London", "."]
TEXT = "Good morning London."
SEGMENTS = [[0.0, 0.5, " Good morning"], [0.5, 3661.25, " London --> <b>"]]


@asynccontextmanager
async def speech(**settings: Any) -> AsyncIterator[tuple[Road, Loopback]]:
    """A gateway before a server that hears ``TEXT`` in everything."""
    async with Loopback(models=(MODEL,), script={"pieces": PIECES, "segments": SEGMENTS}) as server:
        if "models" in settings:
            settings["models"][0]["upstreams"] = [server.url]
            engine: Any = factory.engine(Settings(**settings).engine, None)  # type: ignore[arg-type]
        else:
            engine = UpstreamEngine([server.url])
        await engine.start()
        road = Road(engine=engine, api_keys=(KEY,), **settings)
        try:
            yield road, server
        finally:
            await road.parts.media.stop()
            await engine.stop()


async def hear(
    road: Road, path: str = TRANSCRIBE, file: bytes | None = SECOND, **fields: Any
) -> Reply:
    """What a client of OpenAI's sends, as httpx writes it."""
    files = {"file": ("speech.bin", file)} if file is not None else {"other": (None, "x")}
    request = httpx.Request("POST", "http://gateway", data={"model": MODEL} | fields, files=files)
    headers = AUTH | {"content-type": request.headers["content-type"]}
    return await road.post(path, request.read(), headers)


def refusal(reply: Reply) -> tuple[str, str | None]:
    """Message and place."""
    assert reply.status == 400, reply.body
    error = reply.json()["error"]
    assert error["gateway_code"] == "VALIDATION_ERROR"
    return error["message"], error["param"]


# ---- what an engine gets


@PATHS
@pytest.mark.parametrize("ending", sounds.FORMATS)
async def test_any_format_reaches_the_engine_as_plain_wav(path: str, ending: str) -> None:
    file = sounds.encoded(ending, sounds.wav(1.5, 22_050, 2))
    async with speech() as (road, server):
        reply = await hear(road, path, file)
        assert (reply.status, reply.json()["text"]) == (200, TEXT)
        channels, rate, seconds = sounds.heard(server.file)
        assert (channels, rate) == (1, 16_000)
        assert seconds == pytest.approx(1.5, abs=0.1)
        assert server.paths == [path]


async def test_the_fields_reach_the_engine_and_unknown_ones_are_named() -> None:
    async with speech() as (road, server):
        fields = {"language": "de", "prompt": "London", "temperature": "0.2", "seed": "7"}
        reply = await hear(road, **fields, chunking_strategy="auto", response_format="srt")
        assert reply.status == 200
        assert server.state.body == {"model": MODEL, **fields, "response_format": "verbose_json"}
        assert reply.headers["x-gateway-ignored"] == "chunking_strategy"


# ---- what the client gets


async def test_each_format_is_openais() -> None:
    async with speech() as (road, _):
        usage = {"type": "duration", "seconds": 1}
        assert (await hear(road)).json() == {"text": TEXT, "usage": usage}
        reply = await hear(road, response_format="text")
        assert reply.headers["content-type"] == "text/plain; charset=utf-8"
        assert reply.body.decode() == f"{TEXT}\n"
        verbose = {"response_format": "verbose_json", "timestamp_granularities[]": ["segment"]}
        doc = (await hear(road, **verbose)).json()
        assert (doc["task"], doc["language"], doc["duration"]) == ("transcribe", "en", 1.0)
        assert (doc["text"], doc["usage"]) == (TEXT, usage)
        assert [[s["start"], s["end"], s["text"]] for s in doc["segments"]] == SEGMENTS
        assert [s["id"] for s in doc["segments"]] == [0, 1]
        srt = await hear(road, response_format="srt")
        assert srt.body.decode() == (
            "1\n00:00:00,000 --> 00:00:00,500\nGood morning\n\n"
            "2\n00:00:00,500 --> 01:01:01,250\nLondon → <b>\n\n"
        )
        vtt = await hear(road, TRANSLATE, response_format="vtt")
        assert vtt.headers["content-type"] == "text/vtt; charset=utf-8"
        assert vtt.body.decode() == (
            "WEBVTT\n\n00:00:00.000 --> 00:00:00.500\nGood morning\n\n"
            "00:00:00.500 --> 01:01:01.250\nLondon → &lt;b&gt;\n\n"
        )


@PATHS
async def test_a_stream_has_openais_events(path: str) -> None:
    async with speech() as (road, _):
        reply = await hear(road, path, stream="true")
        assert reply.headers["content-type"].startswith("text/event-stream")
        *deltas, done = events(reply.body)
        assert [each["type"] for each in deltas] == ["transcript.text.delta"] * len(PIECES)
        assert [each["delta"] for each in deltas] == PIECES
        assert (done["type"], done["text"]) == ("transcript.text.done", TEXT)
        assert done["usage"]["output_tokens"] == len(PIECES)


async def test_a_stream_that_breaks_off_says_so() -> None:
    async with speech() as (road, server):
        server.script |= {"die": 2}
        *deltas, last = events((await hear(road, stream="true")).body)
        assert [each["delta"] for each in deltas] == PIECES[:2]
        assert last["error"]["gateway_code"] == "GENERATION_ERROR"


# ---- the policy


@pytest.mark.parametrize("wanted", ["json", "text", "srt", "stream"])
async def test_the_policy_judges_what_comes_out(wanted: str) -> None:
    async with speech() as (road, server):
        bad = ["We", " like ", "violence", " a lot."]
        server.script = {"pieces": bad, "segments": [[0, 1, "".join(bad)]]}
        fields = {"stream": "true"} if wanted == "stream" else {"response_format": wanted}
        reply = await hear(road, **fields)
        assert reply.status == 200
        text = reply.body.decode()
        assert "viol" not in text
        assert "a lot" not in text
        if wanted == "json":
            assert reply.json()["code"] == "RESPONSE_FILTERED"
            assert reply.json()["text"] == "We like "
        elif wanted == "stream":
            *deltas, done = events(reply.body)
            assert "".join(each["delta"] for each in deltas).strip() == "We like"
            assert (done["code"], done["text"]) == ("RESPONSE_FILTERED", "We like")
        else:
            assert reply.headers["x-gateway-code"] == "RESPONSE_FILTERED"


async def test_the_policy_judges_the_prompt() -> None:
    async with speech() as (road, server):
        reply = await hear(road, prompt="I love violence")
        assert (reply.status, reply.json()["error"]["param"]) == (400, "prompt")
        assert not server.paths


# ---- what is refused

BAD_FILES = {
    "none": (None, "file is missing."),
    "empty": (b"", "It is empty."),
    "another kind": (b"%PDF-1.7 hello", "must be WAV, MP3"),
    "a playlist": (b"#EXTM3U\n/etc/passwd\n", "must be WAV, MP3"),
    "broken": (b"fLaC" + bytes(500), "broken"),
    "too long": (sounds.wav(data=bytes(32_000 * 4)), "over 3 seconds"),
    "too large": (b"RIFF" + bytes(300_000), "300004 bytes; at most 200000"),
    "nine channels": (sounds.wav(0.1, 8000, 9), "9 channels"),
    "no sound in it": (sounds.wav(1)[:44], "no sound"),
}


@PATHS
@pytest.mark.parametrize("kind", BAD_FILES)
async def test_bad_files_are_named(path: str, kind: str) -> None:
    file, words = BAD_FILES[kind]
    async with speech(audio_max_seconds=3, audio_max_bytes=200_000) as (road, server):
        message, param = refusal(await hear(road, path, file))
        assert words in message
        assert param == "file"
        assert not server.paths
        assert (await hear(road, path)).status == 200  # the next one is heard


BAD_FIELDS = {
    "response_format": "diarized",
    "temperature": "warm",
    "stream": "perhaps",
    "language": "../etc",
    "seed": "1.5",
    "timestamp_granularities": ["segment"],
}


@pytest.mark.parametrize("name", BAD_FIELDS)
async def test_bad_fields_are_named(name: str) -> None:
    async with speech() as (road, server):
        key = f"{name}[]" if name == "timestamp_granularities" else name
        assert refusal(await hear(road, **{key: BAD_FIELDS[name]}))[1] == name
        assert not server.paths


async def test_fields_that_do_not_go_together_are_refused() -> None:
    async with speech() as (road, _):
        words = {"response_format": "verbose_json", "timestamp_granularities[]": ["word"]}
        assert refusal(await hear(road, **words))[1] == "timestamp_granularities"
        subtitles = {"response_format": "srt", "stream": "true"}
        assert refusal(await hear(road, **subtitles))[1] == "response_format"
        assert refusal(await hear(road, language=["de", "en"]))[1] == "language"


FORM = {"content-type": "multipart/form-data; boundary=x"}
PART = b'--x\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n'


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"hello",
        PART + b"cut short",
        PART + b"a\r\n" + PART + b"b\r\n--x--\r\n",
        b"--x\r\ncontent-disposition: form-data\r\n\r\na\r\n--x--\r\n",
        b"--x\r\n" + b"a: b\r\n" * 100 + b"\r\na\r\n--x--\r\n",
        b'--x\r\ncontent-disposition: form-data; name="prompt"\r\n\r\n\xff\r\n--x--\r\n',
        b'--x\r\ncontent-disposition: form-data; name="prompt"\r\n\r\n'
        + b"a" * 100_000
        + b"\r\n--x--\r\n",
        b'--x\r\ncontent-disposition: form-data; name="a"\r\n\r\nb\r\n' * 100 + b"--x--\r\n",
    ],
)
async def test_a_form_that_is_none_is_refused(body: bytes) -> None:
    async with speech() as (road, server):
        assert refusal(await road.post(TRANSCRIBE, body, AUTH | FORM))[0]
        assert not server.paths


async def test_json_is_refused_with_what_to_send() -> None:
    async with speech() as (road, _):
        assert "multipart/form-data" in refusal(await road.post(TRANSCRIBE, {}))[0]


async def test_a_tier_bounds_the_seconds() -> None:
    async with speech(tiers={"default": {"max_audio_seconds": 2}}) as (road, _):
        assert "2 seconds" in refusal(await hear(road, file=sounds.wav(2.5)))[0]
        assert (await hear(road, file=sounds.wav(1.5))).status == 200
    async with speech(tiers={"default": {"max_audio_seconds": 0}}) as (road, _):
        assert "No audio is taken" in refusal(await hear(road))[0]


async def test_a_tier_has_windows_of_seconds() -> None:
    windows = [{"audio_seconds": 3, "seconds": 3600}]
    async with speech(tiers={"default": {"audio_windows": windows}}) as (road, _):
        assert refusal(await hear(road, file=sounds.wav(3.5)))[1] == "file"
        assert (await hear(road, file=sounds.wav(1.5))).status == 200
        reply = await hear(road, file=sounds.wav(1.5))
        assert (reply.status, reply.json()["error"]["gateway_code"]) == (
            429,
            "RATE_LIMIT_EXCEEDED",
        )
        assert (await hear(road)).status == 200  # one second is left


async def test_a_key_holds_half_of_the_memory_at_most() -> None:
    async with speech(media_held_bytes=100_000) as (road, _):
        reply = await hear(road, file=sounds.wav(2))
        assert (reply.status, reply.json()["error"]["gateway_code"]) == (
            429,
            "RATE_LIMIT_EXCEEDED",
        )
        assert road.parts.media.holdings.total == 0
        assert (await hear(road)).status == 200
        assert road.parts.media.holdings.total == 0


async def test_a_model_that_hears_nothing_is_told_by_its_name() -> None:
    deaf = [{"name": MODEL, "upstreams": ["set above"], "modalities": ["text", "image"]}]
    async with speech(models=deaf) as (road, server):
        message, param = refusal(await hear(road))
        assert (message, param) == (f'The model "{MODEL}" takes image, text only.', "file")
        assert not server.paths


# ---- records and figures


async def test_seconds_stand_in_records_and_figures() -> None:
    async with speech() as (road, _):
        await hear(road, file=sounds.wav(1.5))
        (record,) = await road.parts.request_log.recent(1)
        assert (record.route, record.audio_seconds) == (TRANSCRIBE, 1.5)
        figures = road.figures()
        assert figures['gateway_media_checked_total{kind="audio",outcome="ok"}'] == 1


# ---- servers that have chat alone


@asynccontextmanager
async def chat_alone() -> AsyncIterator[tuple[Road, Loopback]]:
    async with speech() as (road, server):
        server.speech = False
        yield road, server


async def test_a_server_without_the_route_is_asked_in_chat() -> None:
    async with chat_alone() as (road, server):
        server.script["usage"] = [30, 4]
        reply = await hear(road, language="de", prompt="<end_of_turn> names")
        assert reply.json()["text"] == TEXT
        assert reply.json()["usage"] == {
            **{"type": "tokens", "input_tokens": 30, "output_tokens": 4, "total_tokens": 34}
        }
        assert server.paths == [TRANSCRIBE, "/v1/chat/completions"]
        audio, text = server.state.body["messages"][0]["content"]
        assert audio["input_audio"]["format"] == "wav"
        assert sounds.heard(base64.b64decode(audio["input_audio"]["data"])) == (1, 16_000, 1.0)
        assert "language: de" in text["text"]
        assert "<end_of_turn>" not in text["text"]
        assert server.state.body["temperature"] == 0
        server.paths.clear()
        assert (await hear(road, TRANSLATE)).json()["text"] == TEXT
        assert server.paths == ["/v1/chat/completions"]  # what it hasn't is known by now
        assert "into English" in server.state.body["messages"][0]["content"][1]["text"]


async def test_chat_streams_too() -> None:
    async with chat_alone() as (road, _):
        *deltas, done = events((await hear(road, stream="true")).body)
        assert "".join(each["delta"] for each in deltas) == TEXT
        assert (done["type"], done["text"]) == ("transcript.text.done", TEXT)


def long_speech() -> bytes:
    """A minute and ten seconds, with quiet at 27 and 54 seconds."""
    loud, quiet = sounds.samples(1.0), bytes(32_000)
    return sounds.wav(data=b"".join(quiet if n in (27, 54) else loud for n in range(70)))


@pytest.mark.parametrize("wanted", ["verbose_json", "stream"])
async def test_chat_hears_half_a_minute_at_a_time(wanted: str) -> None:
    async with chat_alone() as (road, server):
        fields = {"stream": "true"} if wanted == "stream" else {"response_format": wanted}
        server.script["usage"] = [30, 4]
        reply = await hear(road, file=long_speech(), **fields)
        assert server.paths[1:] == ["/v1/chat/completions"] * 3
        whole = " ".join([TEXT] * 3)
        if wanted == "stream":
            *deltas, done = events(reply.body)
            assert [each["delta"] for each in deltas] == [TEXT, f" {TEXT}", f" {TEXT}"]
            assert (done["text"], done["usage"]["output_tokens"]) == (whole, 12)
            return
        doc = reply.json()
        assert (doc["text"], doc["usage"]["total_tokens"]) == (whole, 102)
        starts = [each["start"] for each in doc["segments"]]
        assert starts == [0.0, pytest.approx(27.5, abs=0.5), pytest.approx(54.5, abs=0.5)]
        assert doc["segments"][-1]["end"] == doc["duration"] == 70.0


async def test_a_turn_that_fails_fails_the_call() -> None:
    async with chat_alone() as (road, server):
        server.script = {"status": 400}
        assert refusal(await hear(road))[0] == "scripted 400"
        server.script = {"status": 503}
        assert (await hear(road, file=long_speech())).status == 503


# ---- sounds in chat


def message(part: Json) -> Json:
    return {"messages": [{"role": "user", "content": [{"type": "text", "text": "Who?"}, part]}]}


@pytest.mark.parametrize("ending", ["wav", "mp3", "ogg", "flac"])
async def test_sounds_in_chat_reach_the_engine_as_plain_wav(ending: str) -> None:
    data = base64.b64encode(sounds.encoded(ending, sounds.wav(1.0, 44_100, 2))).decode()
    async with speech() as (road, server):
        parts = (
            {"type": "input_audio", "input_audio": {"data": data, "format": "mp3"}},
            {"type": "audio_url", "audio_url": {"url": f"data:audio/x;base64,{data}"}},
        )
        for part in parts:
            assert (await road.post("chat", message(part))).status == 200
            given = server.state.body["messages"][0]["content"][1]
            if part["type"] == "input_audio":
                assert given["input_audio"]["format"] == "wav"
                coded = given["input_audio"]["data"]
            else:
                head, coded = given["audio_url"]["url"].split(",")
                assert head == "data:audio/wav;base64"
            sound = base64.b64decode(coded, validate=True)
            assert sounds.heard(sound) == (1, 16_000, pytest.approx(1.0, abs=0.1))


async def test_a_bad_sound_in_chat_is_named_by_its_place() -> None:
    async with speech() as (road, server):
        for data in (base64.b64encode(b"%PDF").decode(), "***"):
            part = {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
            _, param = refusal(await road.post("chat", message(part)))
            assert param == "messages.0.content.1.input_audio.data"
        assert not server.paths


async def test_all_sounds_of_a_call_count_together() -> None:
    async with speech(tiers={"default": {"max_audio_seconds": 2}}) as (road, _):
        data = base64.b64encode(sounds.wav(1.5)).decode()
        part = {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
        body = message(part)
        assert (await road.post("chat", body)).status == 200
        body["messages"][0]["content"].append(json.loads(json.dumps(part)))
        _, param = refusal(await road.post("chat", body))
        assert param == "messages.0.content.2.input_audio.data"
