"""Real speech, heard by real Whisper in real vLLM, through the official client."""

from __future__ import annotations

import json
import re
import urllib.request

import openai
import pytest

from tests import sounds
from tests.e2e.speech.conftest import MODEL, Speaker
from tests.process import KEY, OPERATOR_AUTH, Gateway

TEXT = "The train to London leaves from platform four."
HEARD = re.compile(r"train to London leaves from platform (four|4)")


@pytest.fixture(scope="module")
def clip(speak: Speaker) -> bytes:
    return speak(TEXT)


@pytest.fixture
def client(hearing: Gateway) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{hearing.url}/v1", api_key=KEY, max_retries=0, timeout=600)


@pytest.mark.parametrize("ending", sounds.FORMATS)
def test_speech_is_heard_in_each_format(client: openai.OpenAI, clip: bytes, ending: str) -> None:
    file = (f"speech.{ending}", sounds.encoded(ending, clip))
    heard = client.audio.transcriptions.create(model=MODEL, file=file, language="en")
    assert HEARD.search(heard.text), heard.text
    assert heard.usage is not None
    assert heard.usage.type == "duration"
    assert heard.usage.seconds >= 3


def test_segments_and_subtitles(client: openai.OpenAI, clip: bytes) -> None:
    file = ("speech.wav", clip)
    verbose = client.audio.transcriptions.create(
        model=MODEL, file=file, response_format="verbose_json", timestamp_granularities=["segment"]
    )
    assert HEARD.search(verbose.text), verbose.text
    assert verbose.language == "en"  # detected: nobody has said it
    assert verbose.segments
    assert 0 <= verbose.segments[0].start < verbose.segments[-1].end <= verbose.duration + 1
    srt = client.audio.transcriptions.create(model=MODEL, file=file, response_format="srt")
    assert re.match(r"1\n00:00:0\d,\d{3} --> 00:00:0\d,\d{3}\n\S", srt), srt
    plain = client.audio.transcriptions.create(model=MODEL, file=file, response_format="text")
    assert HEARD.search(plain), plain


def test_a_stream(client: openai.OpenAI, clip: bytes) -> None:
    deltas, done = [], ""
    with client.audio.transcriptions.create(
        model=MODEL, file=("a.wav", clip), language="en", stream=True
    ) as stream:
        for event in stream:
            if event.type == "transcript.text.delta":
                deltas.append(event.delta)
            elif event.type == "transcript.text.done":
                done = event.text
    assert len(deltas) > 3
    assert done == "".join(deltas).strip()
    assert HEARD.search(done), done


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # by OpenAI, not by us
def test_german_becomes_english(client: openai.OpenAI, speak: Speaker) -> None:
    file = ("de.wav", speak("Guten Morgen.", "de"))
    text = client.audio.translations.create(model=MODEL, file=file).text
    assert "morning" in text.lower(), text


def test_what_whisper_does_not_know_is_a_400(client: openai.OpenAI, clip: bytes) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.audio.transcriptions.create(model=MODEL, file=("a.wav", clip), language="xx")
    assert refused.value.param == "language"


def test_records_tell_the_seconds_and_the_tokens(
    hearing: Gateway, client: openai.OpenAI, clip: bytes
) -> None:
    reply = client.audio.transcriptions.with_raw_response.create(
        model=MODEL, file=("a.wav", clip), language="en"
    )
    request = urllib.request.Request(
        f"{hearing.url}/v1/monitoring/calls?limit=100", headers=OPERATOR_AUTH
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        rows = json.loads(answer.read())["data"]
    (row,) = [row for row in rows if row["request_id"] == reply.headers["x-request-id"]]
    assert row["route"] == "/v1/audio/transcriptions"
    assert 3 < row["audio_seconds"] < 10
    assert row["output_tokens"] > 5
    assert not row["usage_estimated"]


def test_the_start_says_how_to_ask_it(hearing: Gateway) -> None:
    said = hearing.text()
    assert "/v1/audio/transcriptions" in said
    assert "chat.completions" not in said


def test_a_speech_model_is_listed_as_what_it_is(hearing: Gateway, client: openai.OpenAI) -> None:
    (model,) = client.models.list().data
    assert model.id == MODEL
    assert model.model_extra is not None
    assert model.model_extra["input_modalities"] == ["audio"]
    assert model.model_extra["max_model_len"] == 448
