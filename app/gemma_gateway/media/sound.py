"""Sounds: told by their content, decoded, and made what every model here hears: one channel of 16
bits at 16 kHz, as a plain WAV file.

vLLM decodes less and resamples chat's audio only with packages that most machines lack. This runs
in a worker alone (``media.worker``), like ``media.image``.
"""

from __future__ import annotations

import io
import wave
from collections.abc import Iterator
from typing import Any

from gemma_gateway.media.bounds import Bounds
from gemma_gateway.media.check import Checked, Refused

RATE = 16_000  # samples a second, of Whisper and of Gemma's audio encoders
SAMPLE = 2  # bytes
TAKEN = "WAV, MP3, FLAC, Ogg, M4A, MP4 or WebM"
CHANNELS = 8  # most; they become one
RATES = range(4_000, 192_001)  # samples a second of what is sent
MOST_PACKETS_BROKEN = 0.5  # share; players skip a few, too, such as a tag at the end of an MP3
# FFmpeg's name of a container, by its beginning. No other is opened: some formats are lists of
# addresses and files to be read.
_BEGINNINGS = ((b"fLaC", "flac"), (b"OggS", "ogg"), (b"\x1aE\xdf\xa3", "matroska"), (b"ID3", "mp3"))


def check(data: bytes, bounds: Bounds) -> Checked:
    """Look at a sound, and decode it.

    Args:
        data: the file.

    Raises:
        Refused: it is none that an engine may be given.
    """
    if not data:
        raise Refused("empty", "The audio is empty.")
    if len(data) > bounds.audio_bytes:
        raise Refused(
            "bytes", f"The audio has {len(data)} bytes; at most {bounds.audio_bytes} are taken."
        )
    form = _form(data)
    if form is None:
        raise Refused("type", f"The audio must be {TAKEN}; by its content it is none of them.")
    try:
        import av
    except ImportError:
        raise Refused(
            "unable", "This server can't decode audio: its extra 'media' is not installed."
        ) from None
    try:
        with av.open(io.BytesIO(data), format=form) as container:
            samples = _samples(container, bounds.audio_seconds)
    except MemoryError:
        raise Refused("memory", "The audio takes too much memory to be decoded.") from None
    except (av.FFmpegError, ValueError, EOFError):
        raise Refused("broken", "The audio is broken.") from None
    if not samples:
        raise Refused("empty", "There is no sound in the audio.")
    return Checked("audio/wav", wav(samples), seconds=len(samples) / (SAMPLE * RATE))


def wav(samples: bytes | bytearray) -> bytes:
    """A WAV file of one channel at ``RATE``.

    Args:
        samples: 16 bits each, little-endian.
    """
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(SAMPLE)
        file.setframerate(RATE)
        file.writeframes(samples)
    return out.getvalue()


def samples_of(sound: bytes) -> bytes:
    """What ``wav`` was given."""
    with wave.open(io.BytesIO(sound)) as file:
        return bytes(file.readframes(file.getnframes()))


def _form(data: bytes) -> str | None:
    for beginning, name in _BEGINNINGS:
        if data.startswith(beginning):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return "wav"
    if data[4:8] == b"ftyp":
        return "mov"
    # A frame of MPEG audio: eleven bits, and a layer (ISO/IEC 11172-3, 2.4.1.3).
    if len(data) > 1 and data[0] == 0xFF and data[1] & 0xE0 == 0xE0 and data[1] & 0x06:
        return "mp3"
    return None


def _samples(container: Any, most_seconds: int) -> bytearray:
    """All of the first sound in a container, as ``wav`` takes it."""
    import av

    streams = container.streams.audio
    if not streams:
        raise Refused("type", "There is no sound in the file.")
    stream = streams[0]
    context = stream.codec_context
    context.thread_count = 1  # a worker may start no others
    if context.sample_rate not in RATES or not 1 <= context.channels <= CHANNELS:
        raise Refused(
            "rate",
            f"The audio has {context.channels} channels of {context.sample_rate} Hz; at most "
            f"{CHANNELS} of {RATES[0]} to {RATES[-1]} Hz are taken.",
        )
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
    samples, most = bytearray(), most_seconds * RATE * SAMPLE
    for frame in _frames(container, stream):
        for part in resampler.resample(frame):
            # A plane may be longer than what is in it.
            samples += memoryview(part.planes[0])[: part.samples * SAMPLE]
        if len(samples) > most:
            raise Refused("seconds", f"The audio is over {most_seconds} seconds long.")
    for part in resampler.resample(None):
        samples += memoryview(part.planes[0])[: part.samples * SAMPLE]
    return samples


def _frames(container: Any, stream: Any) -> Iterator[Any]:
    """What can be decoded; raises Refused where that is too little."""
    import av

    packets = broken = 0
    for packet in container.demux(stream):
        packets += 1
        try:
            yield from packet.decode()
        except av.error.InvalidDataError:
            broken += 1
    if broken > MOST_PACKETS_BROKEN * packets:
        raise Refused("broken", "The audio is broken.")
