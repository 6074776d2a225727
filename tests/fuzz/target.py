"""A gateway under fire: what every answer must be like."""

from __future__ import annotations

import http.client
import json
from collections import Counter
from typing import Any

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from gemma_gateway.api.http import LINGER_BYTES
from tests.fuzz import SEED
from tests.fuzz.requests import Hostile
from tests.process import KEY, Gateway

LEAKS = ("Traceback", "site-packages", ".py", "/gemma_gateway/")


class Target:
    """One keep-alive connection to a gateway.

    Args:
        seconds: longest wait for an answer: a hang is a fault.

    Attributes:
        statuses: how often each came; 0: a body of over ``LINGER_BYTES`` was cut off.
    """

    def __init__(self, gateway: Gateway, seconds: float) -> None:
        self._port = gateway.port
        self._seconds = seconds
        self._connection: http.client.HTTPConnection | None = None
        self.statuses: Counter[int] = Counter()
        self._last: object = None  # request and answer before this one

    def fire(self, request: Hostile) -> bytes:
        """Send one request and check the answer; returns its body.

        Raises:
            AssertionError: a 5xx that isn't stated, or an error that is not in its dialect's
                shape.
            TimeoutError: no answer in time.
        """
        headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
        headers |= request.headers
        if self._connection is None:
            self._connection = http.client.HTTPConnection(
                "127.0.0.1", self._port, timeout=self._seconds
            )
        try:
            self._connection.request(
                request.method, request.path, request.data,
                {k: v.encode("latin-1") for k, v in headers.items()},
            )  # fmt: skip
            reply = self._connection.getresponse()
            raw = reply.read()
        except BaseException as error:
            self.close()
            if isinstance(error, ConnectionError) and len(request.data) > LINGER_BYTES:
                self.statuses[0] += 1  # nobody reads so much only to refuse it: docs/edge.md
                return b""
            what = (request.method, request.path, len(request.data), request.data[:500])
            raise AssertionError(f"{error!r} for {what}; before it {self._last}") from error
        self._last = (request.path, len(request.data), reply.status, reply.headers.items())
        self.statuses[reply.status] += 1
        self._check(request, reply, raw)
        return raw

    def close(self) -> None:
        """Leave."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @staticmethod
    def _check(request: Hostile, reply: http.client.HTTPResponse, raw: bytes) -> None:
        where = (request.method, request.path, request.data[:2000], reply.status, raw[:2000])
        assert reply.getheader("x-request-id"), where
        # 501 and 502: what an engine without the route, and one that refuses our key, amount to.
        assert reply.status < 500 or reply.status in (501, 502, 503), where
        if reply.status < 400 or request.method == "HEAD":
            return
        document: dict[str, Any] = json.loads(raw)
        error = document["error"]
        if request.path.startswith("/v1/messages"):
            assert document["type"] == "error", where
            assert document["request_id"] == reply.getheader("x-request-id"), where
        else:
            assert {"message", "type", "param", "code"} <= set(error), where
        assert error["gateway_code"], where
        assert error["gateway_code"] != "INTERNAL_ERROR", where
        assert not any(word in raw.decode() for word in LEAKS), where


def fire_all(
    gateway: Gateway,
    requests: st.SearchStrategy[Hostile],
    cases: int,
    seconds: float,
    turn: int = 0,
) -> None:
    """Fire so many requests of a strategy; afterwards the gateway is well.

    Args:
        seconds: longest wait for one answer.
        turn: makes other requests of the same seed.
    """
    target = Target(gateway, seconds)

    @seed(SEED + turn)
    @settings(
        max_examples=cases,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(requests)
    def fire(request: Hostile) -> None:
        target.fire(request)

    try:
        fire()
    except BaseException as error:
        error.add_note(f"FUZZ_SEED={SEED}, turn {turn}")
        raise
    finally:
        target.close()
    well(gateway)


def well(gateway: Gateway) -> None:
    """It takes calls, and nothing happened in it that nobody had foreseen."""
    assert gateway.is_ready()
    printed = gateway.text()
    for word in ("INTERNAL_ERROR", ' failed"', "Traceback"):
        at = printed.find(word)
        assert at < 0, printed[max(0, at - 1000) : at + 3000]
