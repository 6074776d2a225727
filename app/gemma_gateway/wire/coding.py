"""Content codings of request bodies: which are taken, and how one is undone within a bound.

Sources: RFC 9110, 8.4 (the field, and gzip's other name), RFC 1950 to 1952 (deflate, gzip), RFC
8878 and 9659 (zstd), RFC 7932 (br).
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import Any, Protocol

from gemma_gateway.core.errors import Code, GatewayError

zstd: Any = None
with suppress(ImportError):  # a Python may be built without it
    zstd = import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
brotli: Any = None
with suppress(ImportError):  # the extra br
    brotli = import_module("brotli")

MAX_PARTS = 64  # gzip's members, zstd's frames: one body may be several in a row
WINDOW_LOG = 23  # 8 MiB, the largest window of the coding "zstd": RFC 9659, 3
TRUNCATED = "The body ends before its content coding does."


class Decompressor(Protocol):
    """Undoes one part; zlib's and zstd's have this in common."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def _inflate(data: bytes) -> Decompressor:
    """RFC 1950's header, or none: some clients leave it out (RFC 9110, 8.4.1.2)."""
    wrapped = data[0] & 15 == 8 and int.from_bytes(data[:2]) % 31 == 0
    return zlib.decompressobj(zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS)


def _gunzip(data: bytes) -> Decompressor:
    return zlib.decompressobj(16 + zlib.MAX_WBITS)


def _unzstd(data: bytes) -> Decompressor:
    found: Decompressor = zstd.ZstdDecompressor(
        options={zstd.DecompressionParameter.window_log_max: WINDOW_LOG}
    )
    return found


class _Unbrotli:
    """Its data has no parts: what follows the end is an error."""

    unused_data = b""

    def __init__(self, data: bytes) -> None:
        self._made = brotli.Decompressor()

    @property
    def eof(self) -> bool:
        return bool(self._made.is_finished())

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """One buffer (32 kB) more than asked for, at most."""
        return bytes(self._made.process(data, output_buffer_limit=max_length))


CODINGS: dict[str, Callable[[bytes], Decompressor]] = {"gzip": _gunzip, "deflate": _inflate}
BROKEN: tuple[type[Exception], ...] = (zlib.error,)
if zstd is not None:
    CODINGS["zstd"] = _unzstd
    BROKEN = (*BROKEN, zstd.ZstdError)
if brotli is not None:
    CODINGS["br"] = _Unbrotli
    BROKEN = (*BROKEN, brotli.error)
TAKEN = ", ".join(CODINGS)


def read(field: bytes) -> str:
    """The coding that a ``content-encoding`` names; empty: none.

    Raises:
        GatewayError: UNSUPPORTED_ENCODING: it is not known here, or there are several.
    """
    words = [word.strip() for word in field.decode("latin-1").lower().split(",")]
    names = [word.removeprefix("x-") if word == "x-gzip" else word for word in words if word]
    names = [name for name in names if name != "identity"]
    if len(names) > 1 or not CODINGS.keys() >= set(names):
        raise GatewayError(
            Code.UNSUPPORTED_ENCODING,
            f"Send the body without 'content-encoding', or with one of {TAKEN}.",
            headers={"accept-encoding": TAKEN},
        )
    return "".join(names)


def decode(body: bytes, coding: str, most: int) -> bytes:
    """Undo a coding.

    Args:
        coding: what ``read`` gave; not empty.
        most: bytes that may come of it; no more than these are ever held.

    Raises:
        GatewayError: VALIDATION_ERROR: it is cut short or is not what its coding says;
            REQUEST_TOO_LARGE.
    """
    made, whole = CODINGS[coding], bytearray()
    for _ in range(MAX_PARTS):
        if not body:
            raise _wrong(TRUNCATED)
        part = made(body)
        try:
            whole += part.decompress(body, most - len(whole) + 1)
        except BROKEN:
            more = ", or its window is over 8 MiB" if coding == "zstd" else ""
            raise _wrong(f"The body is not valid {coding} data{more}.") from None
        if len(whole) > most:
            raise GatewayError(
                Code.REQUEST_TOO_LARGE, f"The request body is over {most} bytes once decoded."
            )
        if not part.eof:
            raise _wrong(TRUNCATED)
        body = part.unused_data
        if not body:
            return bytes(whole)
    raise _wrong(f"The body consists of more than {MAX_PARTS} {coding} parts.")


def _wrong(message: str) -> GatewayError:
    return GatewayError(Code.VALIDATION_ERROR, message)
