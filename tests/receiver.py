"""A webhook receiver on a loopback port, in a thread of its own, that answers as told.

It checks each signature as the documentation tells receivers to (docs/alerts.md).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

TOLERANCE = 300  # seconds


@dataclass(frozen=True)
class Note:
    """One request, with the status that it was answered with."""

    path: str
    headers: dict[str, str]
    body: bytes
    status: int
    time: float

    @property
    def doc(self) -> Any:
        return json.loads(self.body)


class Receiver:
    """The server; listens while inside ``with``.

    Args:
        secret: what requests must be signed with; empty: they must not be signed.

    Attributes:
        answers: statuses of the next answers; then ``status``.
        wait: seconds before each answer.
    """

    def __init__(self, secret: str = "") -> None:
        self.secret = secret
        self.answers: deque[int] = deque()
        self.status = 200
        self.wait = 0.0
        self._notes: list[Note] = []
        self._lock = threading.Lock()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver._take(self)

            do_GET = do_POST

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}/hook?x=1"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def notes(self) -> list[Note]:
        """All requests so far."""
        with self._lock:
            return list(self._notes)

    def told(self) -> Counter[tuple[str, str]]:
        """How often which state of which rule was taken (answered with 2xx)."""
        return Counter((n.doc["rule"], n.doc["state"]) for n in self.notes() if n.status < 300)

    def wait_for(self, condition: Callable[[], bool], seconds: float = 60) -> None:
        """Wait until the condition holds."""
        end = time.monotonic() + seconds
        while not condition():
            seen = [(n.path, n.status, n.body) for n in self.notes()]
            assert time.monotonic() < end, f"it did not happen; notes: {seen}"
            time.sleep(0.02)

    def _take(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in request.headers.items()}
        time.sleep(self.wait)
        with self._lock:
            status = self.answers.popleft() if self.answers else self.status
            if not self.trusts(headers.get("x-gateway-signature", ""), body):
                status = 401
            self._notes.append(Note(request.path, headers, body, status, time.time()))
        request.send_response(status)
        if 300 <= status < 400:
            request.send_header("location", "/elsewhere")
        request.send_header("content-length", "2")
        request.end_headers()
        request.wfile.write(b"ok")

    def trusts(self, signature: str, body: bytes) -> bool:
        """Whether the body is the gateway's, and new."""
        if not self.secret:
            return not signature
        parts = dict(part.split("=", 1) for part in signature.split(",") if "=" in part)
        signed = parts.get("t", "").encode() + b"." + body
        mac = hmac.new(self.secret.encode(), signed, hashlib.sha256).hexdigest()
        ours = hmac.compare_digest(mac.encode(), parts.get("v1", "").encode())
        return ours and abs(time.time() - int(parts["t"])) < TOLERANCE
