"""``gemma-gateway export``: everything that a running gateway keeps, as one JSON document."""

from __future__ import annotations

import argparse
import http.client
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from gemma_gateway.cli import caller
from gemma_gateway.cli.command import CommandError, Commands

PATH = "/v1/monitoring/export"
SILENCE_SECONDS = 60.0  # longest wait for the next bytes
PIECE = 64 * 1024  # bytes
TELL_EVERY = 0.25  # seconds between two lines of progress
END = 64  # last bytes of the document, which say whether it is all there is


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "export",
        help="write all records, sums, usage and alerts of a running gateway as JSON",
        description=(
            "Needs a key with operator scope. Exit status: 0 complete, 1 failed or "
            "incomplete (the store was unavailable), 2 invalid arguments."
        ),
    )
    caller.add_arguments(parser)
    parser.add_argument(
        "--out", type=Path, help="file to write, whole or not at all (default: standard output)"
    )
    parser.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> int:
    """Fetch and write the document.

    Raises:
        CommandError: nobody there, not allowed, broken off, or the file can't be written.
    """
    key = caller.api_key(parsed.url, parsed.key_file)
    with _answer(parsed.url, key) as reply:
        if parsed.out is None:
            end = _copy(reply, sys.stdout.buffer)
            sys.stdout.buffer.flush()
        else:
            end = _save(reply, parsed.out)
    if end.endswith(b'"degraded":true}\n'):
        print(
            "gemma-gateway: incomplete: the gateway's store is unavailable, so this is only what "
            "the gateway that answered has seen",
            file=sys.stderr,
        )
        return 1
    return 0


@contextmanager
def _answer(url: str, key: str) -> Iterator[http.client.HTTPResponse]:
    """The gateway's good answer. It is asked directly: no redirect gets to see the key."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.netloc, timeout=SILENCE_SECONDS)
    headers = {"accept": "application/json"}
    if key:
        headers["authorization"] = f"Bearer {key}"
    try:
        try:
            connection.request("GET", parts.path + PATH, headers=headers)
            reply = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise CommandError(f"{url} doesn't answer: {error or 'no answer'}", 1) from None
        if reply.status != 200:
            raise CommandError(_refusal(url, reply), 1)
        yield reply
    finally:
        connection.close()


def _refusal(url: str, reply: http.client.HTTPResponse) -> str:
    code = ""
    with suppress(ValueError, KeyError, TypeError, OSError, http.client.HTTPException):
        code = str(json.loads(reply.read(PIECE))["error"]["gateway_code"])[:64]
    if reply.status in (401, 403) and code:
        return caller.no_key(reply.status, code)
    if 300 <= reply.status < 400:
        return f"{url} redirects (status {reply.status}): name the gateway itself"
    return f"{url} is not a gateway that can export: status {reply.status} {code}".rstrip()


def _copy(reply: http.client.HTTPResponse, out: BinaryIO) -> bytes:
    """Copy the answer; its last bytes.

    Raises:
        CommandError: it broke off, or ``out`` takes no more.
    """
    progress, end = _Progress(), b""
    try:
        while data := _read(reply):
            out.write(data)
            end = (end + data)[-END:]
            progress.add(len(data))
    except OSError as error:
        raise CommandError(f"the document can't be written: {error.strerror or error}", 1) from None
    finally:
        progress.close()
    return end


def _read(reply: http.client.HTTPResponse) -> bytes:
    try:
        data = reply.read1(PIECE)
        if not data and not reply.isclosed():  # the connection ended before the document
            raise http.client.IncompleteRead(b"")
        return data
    except (OSError, http.client.HTTPException) as error:
        raise CommandError(f"the answer broke off: {error or type(error).__name__}", 1) from None


def _save(reply: http.client.HTTPResponse, path: Path) -> bytes:
    """Write into a file beside ``path``, readable by its owner alone, and then put it there."""
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise CommandError(f"{path} can't be written: {error.strerror}") from None
    draft = Path(name)
    try:
        with open(handle, "wb") as out:
            end = _copy(reply, out)
            out.flush()
            os.fsync(out.fileno())
        draft.replace(path)
    except OSError as error:
        raise CommandError(f"{path} can't be written: {error.strerror}", 1) from None
    finally:
        draft.unlink(missing_ok=True)
    return end


class _Progress:
    """Bytes so far, on a terminal only."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()
        self._bytes = 0
        self._next = 0.0

    def add(self, number: int) -> None:
        self._bytes += number
        if self._shown and time.monotonic() >= self._next:
            self._next = time.monotonic() + TELL_EVERY
            print(f"\r{self._bytes / 1e6:,.1f} MB", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        if self._shown:
            print(f"\r{self._bytes / 1e6:,.1f} MB", file=sys.stderr)
