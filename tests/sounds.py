"""Sounds as clients send them: a tone in each format that OpenAI names."""

from __future__ import annotations

import io
import math
import wave
from array import array
from typing import Any

# Container and codec of each, as FFmpeg calls them, by the ending of OpenAI's list.
FORMATS = {
    "wav": ("wav", "pcm_s16le"),
    "mp3": ("mp3", "libmp3lame"),
    "mpga": ("mp3", "libmp3lame"),
    "flac": ("flac", "flac"),
    "ogg": ("ogg", "libopus"),
    "m4a": ("ipod", "aac"),
    "mp4": ("mp4", "aac"),
    "webm": ("webm", "libopus"),
}


def samples(seconds: float, rate: int = 16_000, channels: int = 1) -> bytes:
    """A tone of 440 Hz, 16 bits a sample."""
    wanted = array("h")
    for n in range(round(seconds * rate)):
        wanted.extend([round(9000 * math.sin(2 * math.pi * 440 * n / rate))] * channels)
    return wanted.tobytes()


def wav(seconds: float = 1.0, rate: int = 16_000, channels: int = 1, data: bytes = b"") -> bytes:
    """A WAV file of a tone, or of these samples."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(data or samples(seconds, rate, channels))
    return out.getvalue()


def encoded(ending: str, sound: bytes) -> bytes:
    """A WAV file in another format."""
    import av

    container, codec = FORMATS[ending]
    out = io.BytesIO()
    source: Any = av.open(io.BytesIO(sound), format="wav")
    target: Any = av.open(out, "w", format=container)
    with source, target:
        rate = 48_000 if codec == "libopus" else source.streams.audio[0].rate
        stream = target.add_stream(codec, rate=rate)
        resampler = av.AudioResampler(stream.format, stream.layout, rate)
        fifo: Any = av.AudioFifo()
        for frame in source.decode(audio=0):
            for part in resampler.resample(frame):
                fifo.write(part)
        for part in resampler.resample(None):
            fifo.write(part)
        size = stream.codec_context.frame_size or 1024
        while (frame := fifo.read(size, partial=True)) is not None:
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
    return out.getvalue()


def heard(sound: bytes) -> tuple[int, int, float]:
    """Channels, samples a second and seconds of a WAV file."""
    with wave.open(io.BytesIO(sound)) as file:
        rate = file.getframerate()
        return file.getnchannels(), rate, file.getnframes() / rate
