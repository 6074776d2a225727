"""Subtitles of a transcript's segments.

Sources: W3C WebVTT; SubRip (.srt), as VideoLAN's wiki describes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from html import escape

from gemma_gateway.core.dialect import Json

MEDIA_TYPES = {"srt": b"application/x-subrip; charset=utf-8", "vtt": b"text/vtt; charset=utf-8"}


def srt(segments: Iterable[Json]) -> str:
    """A SubRip file.

    Args:
        segments: with ``start`` and ``end`` (seconds), and ``text``.
    """
    return "".join(
        f"{number}\n{_time(each['start'], ',')} --> {_time(each['end'], ',')}\n{_line(each)}\n\n"
        for number, each in enumerate(_shown(segments), 1)
    )


def vtt(segments: Iterable[Json]) -> str:
    """A WebVTT file; arguments as of ``srt``."""
    return "WEBVTT\n\n" + "".join(
        f"{_time(each['start'], '.')} --> {_time(each['end'], '.')}\n"
        f"{escape(_line(each), quote=False)}\n\n"
        for each in _shown(segments)
    )


WRITERS: dict[str, Callable[[Iterable[Json]], str]] = {"srt": srt, "vtt": vtt}


def _shown(segments: Iterable[Json]) -> list[Json]:
    return [each for each in segments if each["text"].strip()]


def _line(segment: Json) -> str:
    """The text in one line: a blank one would end the cue, and an arrow begin another."""
    return " ".join(segment["text"].split()).replace("-->", "→")


def _time(seconds: float, point: str) -> str:
    milliseconds = round(max(0.0, seconds) * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    whole, part = divmod(rest, 1000)
    return f"{hours:02}:{minutes:02}:{whole:02}{point}{part:03}"
