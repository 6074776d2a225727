"""Who looks on while a gateway is under fire: its memory, its loop, and another caller's stream."""

from __future__ import annotations

import http.client
import json
import threading
import time
from types import TracebackType
from typing import Self

from tests.fuzz.requests import TURN
from tests.process import KEY, Gateway

MODEL = "bystander"  # on an engine of its own: it is the gateway that must not keep it waiting
PAGE = 4096  # bytes
PACE = 0.02  # seconds between the stream's events
WORDS = [f" word{n}" for n in range(200)]
MB = 2**20


class Bystander(threading.Thread):
    """Another caller, whose streams have to come whole, one after the other.

    Attributes:
        streams: those that came whole.
        broken: what was wrong with the first one that didn't.
        gaps: seconds between events.
    """

    def __init__(self, port: int, key: str) -> None:
        super().__init__(daemon=True)
        self.streams = 0
        self.broken = ""
        self.gaps: list[float] = []
        self._port = port
        self._key = key
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.is_set() and not self.broken:
            try:
                self._listen()
            except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
                self.broken = repr(error)

    def stop(self) -> None:
        """Hear the stream out, and listen no more."""
        self._over.set()
        self.join(60)

    def _listen(self) -> None:
        script = {"pieces": WORDS, "delay": PACE}
        body = {"model": MODEL, "messages": TURN, "stream": True, "max_tokens": 1000}
        body["loopback"] = script
        link = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        headers = {"authorization": f"Bearer {self._key}", "content-type": "application/json"}
        link.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        reply = link.getresponse()
        heard, last, line = [], 0.0, b""
        while line := reply.readline():
            if not line.startswith(b"data: {"):
                continue
            now = time.monotonic()
            if heard:
                self.gaps.append(now - last)
            last = now
            event = json.loads(line[6:])
            if "choices" not in event:
                raise ValueError(str(event)[:500])
            choices = event["choices"]
            heard.append(choices[0]["delta"].get("content", "") if choices else "")
        link.close()
        if "".join(heard) != "".join(WORDS):
            self.broken = f"status {reply.status}, {len(heard)} events, {''.join(heard)[-80:]!r}"
        self.streams += 1


class Watch:
    """Looks on while inside ``with``.

    Attributes:
        peak: most resident memory of the gateway's process, bytes.
        first: resident memory at the beginning.
    """

    def __init__(self, gateway: Gateway, bystander_key: str = KEY) -> None:
        self.bystander = Bystander(gateway.port, bystander_key)
        self.first = self.peak = 0
        self._gateway = gateway
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self.first = self.resident()
        self._thread.start()
        self.bystander.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bystander.stop()
        self._over.set()
        self._thread.join()

    def resident(self) -> int:
        """Resident memory of the gateway now, bytes."""
        with open(f"/proc/{self._gateway.pid}/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * PAGE

    def lag(self) -> float:
        """Share of the loop's looks at the clock that were more than 50 ms late, from 0 to 1."""
        link = http.client.HTTPConnection("127.0.0.1", self._gateway.port, timeout=60)
        link.request("GET", "/metrics")
        page = link.getresponse().read().decode()
        link.close()
        found = {}
        for line in page.splitlines():
            if line.startswith("gateway_event_loop_lag_seconds_bucket"):
                bound = line.partition('le="')[2].partition('"')[0]
                found[float(bound)] = float(line.rpartition(" ")[2])
        total = found[float("inf")]
        late = total - max(count for bound, count in found.items() if bound <= 0.05)
        return late / total if total else 0.0

    def _look(self) -> None:
        while not self._over.wait(0.02):
            self.peak = max(self.peak, self.resident())

    def say(self) -> str:
        """What was seen, in a line."""
        gaps = sorted(self.bystander.gaps) or [0.0]
        middle, most = gaps[len(gaps) // 2], gaps[int(len(gaps) * 0.999)]
        return (
            f"memory {self.first / MB:.0f} MB, peak {self.peak / MB:.0f}, "
            f"now {self.resident() / MB:.0f}; "
            f"bystander: {self.bystander.streams} streams, gaps p50 {middle * 1000:.0f} ms, "
            f"p99.9 {most * 1000:.0f} ms; loop late by over 50 ms: {self.lag():.2%}"
        )
