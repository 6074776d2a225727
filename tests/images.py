"""Images for tests: real files by Pillow, and bombs made by hand."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

Json = dict[str, Any]
TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "GIF": "image/gif", "WEBP": "image/webp"}
GPS, ORIENTATION, MAKER = 0x8825, 0x0112, 0x010F
MARK = "SECRET-PLACE"


def picture(size: tuple[int, int] = (8, 4), mode: str = "RGB") -> Image.Image:
    """One whose corners differ: its left half is red, its right half blue, dark at the bottom."""
    found = Image.new("RGB", size, (200, 0, 0))
    found.paste((0, 0, 200), (size[0] // 2, 0, *size))
    found.paste((40, 40, 40), (0, size[1] - 1, *size))
    return found.convert(mode)


def file(kind: str = "PNG", size: tuple[int, int] = (8, 4), **how: Any) -> bytes:
    """A file of a kind."""
    out = io.BytesIO()
    picture(size).save(out, kind, **how)
    return out.getvalue()


def animated(kind: str = "GIF", frames: int = 2) -> bytes:
    """A file with several frames."""
    out = io.BytesIO()
    first, *rest = (Image.new("RGB", (8, 4), (n * 9 % 256, 0, n)) for n in range(frames))
    first.save(out, kind, save_all=True, append_images=rest, duration=100)
    return out.getvalue()


def photo(kind: str = "JPEG", orientation: int = 6, **how: Any) -> bytes:
    """As a phone makes it: turned, and with the place where it was taken."""
    exif = Image.Exif()
    exif[MAKER] = MARK
    exif[ORIENTATION] = orientation
    exif.get_ifd(GPS).update({1: "N", 2: (48.0, 8.0, 0.0), 3: "E", 4: (11.0, 34.0, 0.0)})
    return file(kind, (16, 8), exif=exif, **how)


def commented() -> bytes:
    """A PNG with a text in it."""
    info = PngInfo()
    info.add_text("Location", MARK)
    return file("PNG", pnginfo=info)


def chunk(name: bytes, data: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, *chunks: bytes, data: bytes = b"") -> bytes:
    """A PNG that claims a size, in grey."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(data))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + body + chunk(b"IEND", b"")


def text_bomb(size: int = 200 * 2**20) -> bytes:
    """A PNG of one pixel whose text unpacks to ``size`` bytes."""
    return png(1, 1, chunk(b"zTXt", b"a\0\0" + _zeros(size)), data=b"\0\0")


def profile_bomb(size: int = 200 * 2**20) -> bytes:
    """The same with a colour profile."""
    return png(1, 1, chunk(b"iCCP", b"a\0\0" + _zeros(size)), data=b"\0\0")


def _zeros(size: int) -> bytes:
    packer = zlib.compressobj(9)
    piece = bytes(2**20)
    return b"".join(packer.compress(piece) for _ in range(size // len(piece))) + packer.flush()


def coded(data: bytes) -> str:
    """In base64."""
    return base64.b64encode(data).decode()


def url(data: bytes, media_type: str = "image/png") -> str:
    """A data: URL."""
    return f"data:{media_type};base64,{coded(data)}"


def opened(data: bytes) -> Image.Image:
    """The picture in a file."""
    found = Image.open(io.BytesIO(data))
    found.load()
    return found


def heavy(side: int = 3000) -> bytes:
    """A small file whose picture takes a while to decode and write anew."""
    out = io.BytesIO()
    info = PngInfo()
    info.add_text("a", "b")
    Image.new("RGB", (side, side), (1, 2, 3)).save(out, "PNG", pnginfo=info)
    return out.getvalue()


def parts(data: str, media_type: str = "image/png") -> dict[str, Json]:
    """An image's part in each dialect.

    Args:
        data: base64; or a URL of another server.
    """
    remote = "://" in data
    link = data if remote else f"data:{media_type};base64,{data}"
    source = (
        {"type": "url", "url": data}
        if remote
        else {"type": "base64", "media_type": media_type, "data": data}
    )
    return {
        "chat": {"type": "image_url", "image_url": {"url": link}},
        "responses": {"type": "input_image", "image_url": link},
        "messages": {"type": "image", "source": source},
    }
