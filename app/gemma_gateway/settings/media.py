"""The ``media`` section: what images and sounds a request may hold, and where they may lie."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from gemma_gateway.settings.fields import Commas, Seconds, Strict
from gemma_gateway.settings.url_patterns import url_patterns


class MediaSettings(Strict):
    """What images and sounds a request may hold, and where they may lie (docs/media.md)."""

    media_urls: Annotated[Commas, AfterValidator(url_patterns)] = Field(
        (),
        description="Where images may be fetched from, such as https://images.example.com/public/* "
        "or https://*.example.com/* (extra media); empty: only images in the request are taken",
    )
    media_allow_private_urls: bool = Field(
        False,
        description="Fetch from private addresses, too: for an image host inside the operator's "
        "own network",
    )
    media_fetch_timeout: Seconds = Field(
        10.0, gt=0, description="Longest fetch of one image, redirects and all, seconds"
    )
    media_held_bytes: int = Field(
        256 * 1024 * 1024,
        ge=1024,
        description="Bytes of fetched images and decoded sounds that calls in flight in one "
        "process may hold together, half of them those of one key; in memory they are about four "
        "times as many",
    )
    media_workers: int = Field(
        1,
        ge=1,
        le=64,
        description="Processes that check images and sounds, started when they are needed",
    )
    media_timeout: Seconds = Field(
        30.0, gt=0, description="Longest check of one image or sound, seconds"
    )
    image_max_bytes: int = Field(5 * 1024 * 1024, ge=1024, description="Largest image file, bytes")
    image_max_pixels: int = Field(
        25_000_000,
        ge=1,
        le=400_000_000,
        description="Largest image, width times height; a worker takes up to 16 bytes of memory "
        "for each",
    )
    image_max_frames: int = Field(
        1, ge=1, le=1000, description="Frames of an animated image; a model sees the first"
    )
    image_clean: bool = Field(
        True,
        description="Turn images as their EXIF data say, and remove all metadata, such as where a "
        "photo was taken",
    )
    audio_max_bytes: int = Field(
        25 * 1024 * 1024,
        ge=1024,
        description="Largest audio file, bytes; the bodies of /v1/audio/* may be as large, others "
        "are bounded by max_body_bytes",
    )
    audio_max_seconds: int = Field(
        600, ge=1, le=7200, description="Longest sound; vLLM's own bound is 600 seconds"
    )
