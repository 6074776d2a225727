"""One call of a benchmark, as its client sees it: when each piece came, and how it ended."""

from __future__ import annotations

import os
import re
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson

from gemma_gateway.core.sse import payload
from gemma_gateway.wire.openai.openai import decode

OK = "ok"
FILTERED = "RESPONSE_FILTERED"
# Outcomes that no server names: the call's own failures, seen from the client.
REFUSED, LOST, TIMEOUT = "CONNECT_FAILED", "CONNECTION_LOST", "CLIENT_TIMEOUT"
BROKEN, GARBLED = "STREAM_CUT", "UNREADABLE_ANSWER"
_CODE = re.compile(r"[A-Za-z][\w.-]{0,63}")
Json = dict[str, Any]


@dataclass(slots=True)
class Call:
    """One finished call; all times are seconds of the same monotonic clock.

    Args:
        due: when it should have left (open loop), or left (closed loop).
        sent: when it left.
        ended: when its last byte came, or it failed.
        outcome: ``ok``, an error's code, or ``HTTP 502`` and the like.
        texts: when each event with generated text came; empty unless streamed.
        input_tokens: of the prompt, as the server counts.
        output_tokens: generated, as the server counts; else the number of events with text.
        estimated: the server told no count.
        detail: an error's message.
    """

    due: float
    sent: float
    ended: float = 0.0
    outcome: str = OK
    texts: list[float] = field(default_factory=list)
    input_tokens: int = 0
    output_tokens: int = 0
    estimated: bool = False
    status: int = 0
    detail: str = ""

    @property
    def ok(self) -> bool:
        """Whether the whole answer came."""
        return self.outcome == OK

    @property
    def response_time(self) -> float:
        """Seconds from when it was due to the last byte."""
        return self.ended - self.due

    @property
    def first_token(self) -> float | None:
        """Seconds from when it was due to the first generated text; None: not streamed."""
        return self.texts[0] - self.due if self.texts else None

    @property
    def gaps(self) -> Iterator[float]:
        """Seconds between one event with text and the next."""
        return (b - a for a, b in zip(self.texts, self.texts[1:], strict=False))

    @property
    def per_token(self) -> float | None:
        """Seconds a token after the first one, on average; None: not streamed, or only one."""
        if len(self.texts) < 2 or self.output_tokens < 2:
            return None
        return (self.texts[-1] - self.texts[0]) / (self.output_tokens - 1)


class Caller:
    """Makes calls to one server's ``/v1/chat/completions``.

    Args:
        session: whose connections are used.
        url: the server, without ``/v1``.
        key: sent as Bearer; empty: none.
        body: everything of a call but its messages; ``stream`` in it says which way to read.
    """

    def __init__(self, session: aiohttp.ClientSession, url: str, key: str, body: Json) -> None:
        self._session = session
        self._models = f"{url}/v1/models"
        self._chat = f"{url}/v1/chat/completions"
        self._headers = {"content-type": "application/json"}
        if key:
            self._headers["authorization"] = f"Bearer {key}"
        self._body = body

    async def models(self) -> tuple[int, Json]:
        """Status and body of the list of models: needs no token, so it also warms a connection.

        Raises:
            aiohttp.ClientError, TimeoutError, ValueError: no answer, or no JSON.
        """
        async with self._session.get(
            self._models, headers=self._headers, allow_redirects=False
        ) as reply:
            return reply.status, decode(await reply.read()) or {}

    async def call(self, messages: list[Json], due: float | None = None) -> Call:
        """Make one call. Never raises: what goes wrong is the call's outcome.

        Args:
            messages: the conversation.
            due: when it should leave; None: now.
        """
        body = orjson.dumps({**self._body, "messages": messages})
        sent = time.perf_counter()
        call = Call(sent if due is None else due, sent)
        try:
            async with self._session.post(
                self._chat, data=body, headers=self._headers, allow_redirects=False
            ) as reply:
                call.status = reply.status
                await self._read(call, reply)
        except aiohttp.ClientConnectorError as error:
            call.outcome, call.detail = REFUSED, reason(error)
        except TimeoutError:
            call.outcome = TIMEOUT
        except (aiohttp.ClientError, OSError) as error:
            call.outcome, call.detail = LOST, str(error)
        except (ValueError, TypeError, AttributeError):  # JSON of another shape than OpenAI's
            call.outcome = GARBLED
        if not call.ended:
            call.ended = time.perf_counter()
        return call

    def note(self, call: Call, doc: Json) -> bool:
        """Take usage and finish reason from an event or an answer.

        Returns:
            Whether it carries generated text (of any kind: answer, reasoning, a tool call).
        """
        if usage := doc.get("usage"):
            call.input_tokens = int(usage.get("prompt_tokens") or 0)
            call.output_tokens = int(usage.get("completion_tokens") or 0)
        spoke = False
        for choice in doc.get("choices") or ():
            if choice.get("finish_reason") == "content_filter":
                call.outcome = FILTERED
            delta = choice.get("delta") or {}
            spoke = spoke or any(value for name, value in delta.items() if name != "role")
        return spoke

    async def _read(self, call: Call, reply: aiohttp.ClientResponse) -> None:
        if reply.status == 200 and reply.content_type == "text/event-stream":
            await self._stream(call, reply)
            return
        raw = await reply.read()
        call.ended = time.perf_counter()
        doc = decode(raw)
        if reply.status != 200:
            _refused(call, doc, f"HTTP {reply.status}")
        elif doc is None or not doc.get("choices"):
            call.outcome = GARBLED
        else:
            self.note(call, doc)
            call.estimated = "usage" not in doc

    async def _stream(self, call: Call, reply: aiohttp.ClientResponse) -> None:
        """Read server-sent events as they come; all those that one read brings came together."""
        rest, done = b"", False
        async for piece in reply.content.iter_any():
            now = time.perf_counter()
            *events, rest = (rest + piece).replace(b"\r\n", b"\n").split(b"\n\n")
            for event in events:
                data = payload(event + b"\n\n")
                if data == b"[DONE]":
                    done = True
                    call.ended = now
                elif (doc := decode(data)) is not None:
                    if "error" in doc:
                        _refused(call, doc, BROKEN)
                    elif self.note(call, doc):
                        call.texts.append(now)
        if call.ok and not done:
            call.outcome = BROKEN
        if not call.output_tokens:
            call.output_tokens, call.estimated = len(call.texts), True


def reason(error: aiohttp.ClientConnectorError) -> str:
    """Why nobody was reached, in the system's words."""
    cause = error.os_error
    if isinstance(cause, ssl.SSLError):
        return f"TLS: {cause.reason}"
    if cause.errno and cause.errno > 0:
        return os.strerror(cause.errno)
    return cause.strerror or str(cause)


def _refused(call: Call, doc: Json | None, otherwise: str) -> None:
    """Outcome and detail from an error body or event; codes come from the server: only plain ones
    are taken over."""
    error = doc.get("error") if doc else None
    fields = error if isinstance(error, dict) else {}
    code = fields.get("gateway_code") or fields.get("code")
    call.outcome = code if isinstance(code, str) and _CODE.fullmatch(code) else otherwise
    message = fields.get("message") or error
    call.detail = message[:300] if isinstance(message, str) else ""
