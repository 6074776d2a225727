"""One request, plainly: no proxy, no redirect, no cookie."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

MAX_BYTES = 32 * 1024 * 1024


class Unreached(Exception):
    """Nobody answered; the text says why."""


@dataclass(frozen=True)
class Reply:
    """An answer.

    Args:
        date: what the server's clock said, seconds since the epoch; None where it didn't say.
    """

    status: int
    body: bytes
    date: float | None

    def json(self) -> Any:
        """The body's document; None where it is no JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    @property
    def code(self) -> str:
        """Of an error body: its code; else ``HTTP 502`` and the like."""
        document = self.json()
        error = document.get("error") if isinstance(document, dict) else None
        code = error.get("gateway_code") if isinstance(error, dict) else None
        return code[:64] if isinstance(code, str) else f"HTTP {self.status}"

    @property
    def message(self) -> str:
        """Of an error body: its message; else the same as ``code``."""
        document = self.json()
        error = document.get("error") if isinstance(document, dict) else None
        message = error.get("message") if isinstance(error, dict) else None
        return message[:1000] if isinstance(message, str) else self.code


def get(url: str, key: str = "", timeout: float = 5.0) -> Reply:
    """Ask.

    Args:
        url: http or https.
        key: sent as Bearer; empty: none.
        timeout: longest silence, seconds.

    Raises:
        Unreached: no connection, no answer in time, or one that is no HTTP.
    """
    with _answer(url, key, timeout) as reply:
        return read(reply)


@contextmanager
def post(
    url: str, document: Any, key: str = "", timeout: float = 5.0
) -> Iterator[http.client.HTTPResponse]:
    """Send a JSON document; the answer, which may be read line by line. Otherwise as :func:`get`;
    what fails while it is read is an ``Unreached``, too."""
    with _answer(url, key, timeout, json.dumps(document).encode()) as reply:
        yield reply


def read(reply: http.client.HTTPResponse) -> Reply:
    """The whole of an answer."""
    return Reply(reply.status, reply.read(MAX_BYTES), _date(reply.getheader("date")))


@contextmanager
def _answer(
    url: str, key: str, timeout: float, body: bytes | None = None
) -> Iterator[http.client.HTTPResponse]:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    headers = {"accept": "*/*"}
    if body is not None:
        headers["content-type"] = "application/json"
    if key:
        headers["authorization"] = f"Bearer {key}"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection: http.client.HTTPConnection | None = None
    try:
        connection = kind(parts.netloc.rpartition("@")[2], timeout=timeout)
        connection.request("GET" if body is None else "POST", path, body, headers)
        yield connection.getresponse()
    except ssl.SSLError as error:
        raise Unreached(f"TLS: {error.reason or error}") from None
    except TimeoutError:
        raise Unreached(f"no answer within {timeout:g} s") from None
    except OSError as error:
        raise Unreached(error.strerror or str(error)) from None
    except (http.client.HTTPException, ValueError) as error:
        raise Unreached(f"not an HTTP server ({type(error).__name__})") from None
    finally:
        if connection is not None:
            connection.close()


def _date(header: str | None) -> float | None:
    try:
        return parsedate_to_datetime(header).timestamp() if header else None
    except ValueError:
        return None
