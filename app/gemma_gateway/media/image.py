"""Images: told by their content, fully decoded, and cleaned of what isn't the picture.

This runs in a worker alone (``media.worker``): a decoder of other people's files may take any time
and memory, or die of one.
"""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Callable
from typing import Any

from PIL import GifImagePlugin, Image, ImageOps, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from gemma_gateway.media.bounds import Bounds
from gemma_gateway.media.check import Checked, MediaType, Refused

TAKEN = "PNG, JPEG, GIF and WebP"
FORMATS: dict[str, MediaType] = {
    "PNG": "image/png",
    "JPEG": "image/jpeg",
    "GIF": "image/gif",
    "WEBP": "image/webp",
}
# Beginnings of the files that clients send most often; those of ``FORMATS`` by Pillow's name.
BEGINNINGS = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"BM", "BMP"),
    (b"%PDF", "PDF"),
    (b"\0\0\x01\0", "ICO"),
)
BRANDS = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIF"}
ORIENTATION = 0x0112  # tag of EXIF; 1: as it is
# What a file may hold beside the picture and its colours; anything else is metadata.
PNG_CHUNKS = frozenset(
    {
        *(b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP"),
        *(b"sBIT", b"bKGD", b"hIST", b"pHYs", b"sPLT", b"cICP", b"mDCV", b"cLLI"),
        *(b"acTL", b"fcTL", b"fdAT"),
    }
)
WEBP_CHUNKS = frozenset({b"VP8 ", b"VP8L", b"ALPH", b"ICCP", b"ANIM", b"ANMF"})
WEBP_METADATA = 0x0C  # bits of VP8X: there are EXIF data, XMP
JPEG_SEGMENTS = (("APP0", b"JFIF\0"), ("APP2", b"ICC_PROFILE\0"), ("APP14", b"Adobe"))
KEPT = ("transparency",)  # of what Pillow knows of a picture beside its pixels
MOST_GROWTH = 4  # times its bytes that a picture may have once it is written anew

Plugins = (GifImagePlugin, JpegImagePlugin, PngImagePlugin, WebPImagePlugin)  # no other decodes


def check(data: bytes, bounds: Bounds) -> Checked:
    """Look at an image.

    Args:
        data: the file.

    Raises:
        Refused: it is none that an engine may be given.
    """
    if not data:
        raise Refused("empty", "The image is empty.")
    if len(data) > bounds.image_bytes:
        raise Refused(
            "bytes",
            f"An image has at most {bounds.image_bytes:,} bytes (image_max_bytes); this one has "
            f"{len(data):,}.",
        )
    kind = name_of(data)
    if kind not in FORMATS:
        raise Refused("type", f"Images are taken as {TAKEN}; this is {kind or 'none of them'}.")
    Image.MAX_IMAGE_PIXELS = bounds.image_pixels
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return _decoded(data, kind, bounds)
    except Refused:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise _too_many(bounds) from None
    except MemoryError:
        raise Refused("memory", "The image takes too much memory to be decoded.") from None
    except Exception:  # of any kind: Pillow's readers raise whatever their file makes them
        raise Refused("broken", "The image can't be decoded: it is broken or cut short.") from None


def name_of(data: bytes) -> str:
    """What a file is by its beginning; empty where nothing is known of it."""
    for beginning, name in BEGINNINGS:
        if data.startswith(beginning):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp":
        return BRANDS.get(data[8:12], "")
    text = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<svg" in text:
        return "SVG"
    return "HTML" if text.startswith((b"<!doctype html", b"<html")) else ""


def _decoded(data: bytes, kind: str, bounds: Bounds) -> Checked:
    with Image.open(io.BytesIO(data), formats=(kind,)) as picture:
        if min(picture.size) < 1:
            raise Refused("empty", "The image has no pixels.")
        if picture.width * picture.height > bounds.image_pixels:
            raise _too_many(bounds)
        # A JPEG with further pictures behind it (MPO), such as a preview, is one picture.
        if kind != "JPEG" and _has_frame(picture, bounds.image_frames):
            raise Refused("frames", _animated(bounds.image_frames))
        picture.load()
        if kind != "JPEG":
            for number in range(1, bounds.image_frames):
                if not _has_frame(picture, number):
                    break
                picture.load()
        if not bounds.image_clean:
            return Checked(FORMATS[kind])
        picture.seek(0)
        return _cleaned(picture, data, kind)


def _has_frame(picture: Any, number: int) -> bool:
    try:
        picture.seek(number)
    except EOFError:
        return False
    return True


def _too_many(bounds: Bounds) -> Refused:
    return Refused(
        "pixels",
        f"An image has at most {bounds.image_pixels:,} pixels, width times height "
        "(image_max_pixels).",
    )


def _animated(most: int) -> str:
    if most == 1:
        return "Animated images are not taken: send one frame."
    return f"An animated image has at most {most} frames (image_max_frames)."


def _cleaned(picture: Any, data: bytes, kind: str) -> Checked:
    """The picture as it is to be seen, and nothing else; as it is where that is all it holds."""
    try:
        turn = picture.getexif().get(ORIENTATION, 1)
    except Exception:  # EXIF data that can't be read says nothing, and is removed
        turn = 1
    turned = turn in range(2, 9)
    if not turned:
        if not _holds_more(picture, data, kind):
            return Checked(FORMATS[kind])
        if kind in BARE:
            return Checked(FORMATS[kind], BARE[kind](data))
    picture.load()
    how: dict[str, Any] = {}
    if kind == "JPEG":  # as finely as it was
        how = {"qtables": picture.quantization}
        if (sampling := JpegImagePlugin.get_sampling(picture)) >= 0:
            how["subsampling"] = sampling
    elif kind == "WEBP" and picture.mode == "RGB":  # its own encoder takes no large picture
        kind, how = "JPEG", {"quality": 85}
    else:
        kind, how = "PNG", {"compress_level": 1}
    if picture.info.get("icc_profile"):
        how["icc_profile"] = picture.info["icc_profile"]
    if turned:
        ImageOps.exif_transpose(picture, in_place=True)
    picture.info = {name: picture.info[name] for name in KEPT if name in picture.info}
    out = io.BytesIO()
    picture.save(out, kind, **how)
    if out.tell() > MOST_GROWTH * len(data) + 64 * 1024:
        raise Refused("bytes", "The image is too large once it is turned, or freed of metadata.")
    return Checked(FORMATS[kind], out.getvalue())


def _holds_more(picture: Any, data: bytes, kind: str) -> bool:
    """Whether the file holds more than its picture and colours: EXIF, XMP, texts, previews, or
    something behind its end."""
    if kind in BARE:
        return BARE[kind](data) != data
    if kind == "JPEG":
        return not data.endswith(b"\xff\xd9") or any(
            not any(name == known and part.startswith(start) for known, start in JPEG_SEGMENTS)
            for name, part in picture.applist
        )
    extension = picture.info.get("extension", (b"NETSCAPE2.0",))[0]
    return not data.endswith(b";") or "comment" in picture.info or extension != b"NETSCAPE2.0"


def _bare_png(data: bytes) -> bytes:
    """A PNG's chunks that make the picture, up to its end."""
    parts, at = [data[:8]], 8
    while at + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if name in PNG_CHUNKS:
            parts.append(data[at:end])
        if name == b"IEND":
            break
        at = end
    return b"".join(parts)


def _bare_webp(data: bytes) -> bytes:
    """The same of a WebP, whose head no longer announces the others."""
    parts: list[bytes] = []
    at = 12
    while at + 8 <= len(data):
        name, length = struct.unpack_from("<4sI", data, at)
        end = at + 8 + length + length % 2
        if name == b"VP8X":
            parts += (data[at : at + 8], bytes([data[at + 8] & ~WEBP_METADATA]), data[at + 9 : end])
        elif name in WEBP_CHUNKS:
            parts.append(data[at:end])
        at = end
    body = b"WEBP" + b"".join(parts)
    return b"RIFF" + struct.pack("<I", len(body)) + body


# How a file is freed of all else where the picture itself can stay byte for byte.
BARE: dict[str, Callable[[bytes], bytes]] = {"PNG": _bare_png, "WEBP": _bare_webp}
