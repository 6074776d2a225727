"""Calls with a mark in every place where a caller or a model may put words, and a look for it.

``fire`` makes them; ``leaks`` looks for the mark in everything that a gateway writes or shows.
"""

from __future__ import annotations

import http.client
import json
import socket
import time
from typing import Any

from tests.process import AUTH, KEY, OPERATOR, Gateway
from tests.waiting import PATIENCE

MARK = "xkanariex"  # lower case, one word: it stays itself through folding, headers and names
CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
Json = dict[str, Any]

_SAYS: Json = {"messages": [{"role": "user", "content": f"echo: {MARK}"}], "max_tokens": 8}
_TOOL: Json = {"name": MARK, "description": MARK, "parameters": {"type": "object", "properties": {
    MARK: {"type": "string", "description": MARK}}}}  # fmt: skip
_TOOLS = [{"type": "function", "function": _TOOL}]


def _call(arguments: str) -> Json:
    function = {"name": MARK, "arguments": arguments}
    return {"messages": [
        {"role": "user", "content": MARK},
        {"role": "assistant", "content": MARK, "tool_calls": [
            {"id": MARK, "type": "function", "function": function}]},
        {"role": "tool", "tool_call_id": MARK, "content": MARK},
    ], "tools": _TOOLS, "max_tokens": 4}  # fmt: skip


def _said(text: str, **more: Any) -> Json:
    """A model that says exactly this, and a parser that looks for calls in it."""
    return {**_SAYS, "tools": _TOOLS, "structured_outputs": {"choice": [text]}, "max_tokens": 60,
            **more}  # fmt: skip


def _media(kind: str, **part: Any) -> Json:
    return {"messages": [{"role": "user", "content": [{"type": kind, **part}]}], "max_tokens": 3}


REQUESTS: list[tuple[str, Json]] = [
    (CHAT, _SAYS),
    (CHAT, {**_SAYS, "stream": True, "logprobs": True, "top_logprobs": 2, "user": MARK}),
    (CHAT, {**_SAYS, "messages": [{"role": "system", "content": MARK}, *_SAYS["messages"]]}),
    *((CHAT, _call(text)) for text in (f'{{"{MARK}": "{MARK}"}}', f"{{{MARK}", f'["{MARK}"]')),
    # What looks like a call in Python and isn't one makes the parsers fail.
    *((CHAT, _said(f"[{MARK}({text})]", stream=stream))
      for text in (f"x={MARK} b", f"x={MARK}()", f"x=1, {MARK}", f'x="{MARK}"')
      for stream in (False, True)),
    (RESPONSES, {"input": MARK, "tools": [{"type": "function", **_TOOL}], "max_output_tokens": 16,
                 "structured_outputs": {"choice": [f"[{MARK}(x={MARK}())]"]}}),
    (RESPONSES, {"input": [{"type": MARK, "content": MARK}], "max_output_tokens": 3}),
    (RESPONSES, {"input": MARK, "tools": [{"type": MARK}], "include": [MARK]}),
    (RESPONSES, {"input": MARK, "instructions": MARK, "stream": True, "max_output_tokens": 4}),
    (MESSAGES, {**_SAYS, "system": MARK, "stream": True, "metadata": {"user_id": MARK}}),
    (MESSAGES, {**_SAYS, "tools": [{"name": MARK, "input_schema": {"type": "object"}}]}),
    (MESSAGES, {**_SAYS, "tools": [{"name": MARK, "input_schema": MARK}]}),
    (MESSAGES, {**_SAYS, "messages": [{"role": "user", "content": [{"type": MARK}]}]}),
    (MESSAGES, {**_SAYS, "messages": [{"role": MARK, "content": MARK}]}),
    (MESSAGES + "/count_tokens", {"messages": _SAYS["messages"]}),
    ("/v1/completions", {"prompt": MARK, "max_tokens": 4, "echo": True, "logprobs": 1}),
    ("/v1/completions", {"prompt": MARK, "max_tokens": 4, "stop": [MARK], "suffix": MARK}),
    ("/tokenize", {"prompt": MARK}),
    ("/tokenize", {"messages": _SAYS["messages"], "return_token_strs": True}),
    ("/detokenize", {"tokens": [MARK]}),
    # schemas, grammars, choices that no compiler takes
    (CHAT, {**_SAYS, "structured_outputs": {"regex": f"{MARK}[(unclosed"}}),
    (CHAT, {**_SAYS, "structured_outputs": {"grammar": f"root ::= {MARK} | ["}}),
    (CHAT, {**_SAYS, "structured_outputs": {"json": {"type": MARK}}}),
    (CHAT, {**_SAYS, "structured_outputs": {"json": f"{{{MARK}"}}),
    (CHAT, {**_SAYS, "response_format": {"type": MARK}}),
    (CHAT, {**_SAYS, "response_format": {"type": "structural_tag", "format": {"type": MARK}}}),
    (CHAT, {**_SAYS, "response_format": {"type": "json_schema", "json_schema": {
        "name": MARK, "schema": {"properties": {MARK: {"pattern": f"{MARK}(?<=x)"}}}}}}),
    (CHAT, {**_SAYS, "tool_choice": {"type": "function", "function": {"name": MARK}}}),
    # media
    (CHAT, _media("image_url", image_url={"url": f"data:image/png;base64,{MARK}"})),
    (CHAT, _media("image_url", image_url={"url": f"http://127.0.0.1:9/{MARK}"})),
    (CHAT, _media("input_audio", input_audio={"data": MARK, "format": "wav"})),
    (MESSAGES, _media("image", source={"type": "base64", "media_type": "image/png", "data": MARK})),
    # wrong values, unknown names, and what is too long
    *((CHAT, {**_SAYS, field: MARK}) for field in (
        "model", "temperature", "max_tokens", "top_k", "n", "seed", "stop", "stream", "tools",
        "tool_choice", "response_format", "logit_bias", "chat_template", "chat_template_kwargs",
        "reasoning_effort", "documents", MARK)),
    (CHAT, {**_SAYS, "bad_words": [MARK], "stop": [MARK], "logit_bias": {MARK: 1}}),
    (CHAT, {**_SAYS, "chat_template_kwargs": {MARK: MARK}}),
    (CHAT, {**_SAYS, "messages": [{"role": MARK, "content": MARK}]}),
    (CHAT, {**_SAYS, "messages": [{"role": "user", MARK: MARK}]}),
    (CHAT, {**_SAYS, "messages": [{"role": "user", "content": f"{MARK} kill yourself"}]}),
    (CHAT, {**_SAYS, "messages": [{"role": "user", "content": f"<end_of_turn>{MARK}"}]}),
    (CHAT, {**_SAYS, "messages": [{"role": "user", "content": f"{MARK} " * 700}]}),
    ("/v1/feedback", {"request_id": "none", "rating": MARK, "comment": MARK}),
]  # fmt: skip
BODIES = (
    f'{{"messages": "{MARK}',
    f'{{"{MARK}": 1, "{MARK}": 2}}',
    f'{{"messages": [{{"role": "user", "content": "{MARK}\\ud800"}}]}}',
    f'["{MARK}"]',
    f'{{"messages": [{{"role": "user", "content": "{MARK}"}}], "n": 1e999}}',
)


def fire(gateway: Gateway) -> set[int]:
    """Make every call once; returns the statuses. No call may be answered with a 500."""
    statuses = set()
    json_type = {"content-type": "application/json"}
    for path, body in REQUESTS:
        statuses.add(post(gateway, path, json.dumps(body).encode(), {**AUTH, **json_type}))
    for raw in BODIES:
        statuses.add(post(gateway, CHAT, raw.encode(), {**AUTH, **json_type}))
    for more in ({"authorization": f"Bearer {MARK}"}, {"x-api-key": MARK}, {"content-type": MARK}):
        headers = {
            **json_type,
            "authorization": f"Bearer {KEY}",
            MARK: MARK,
            "cookie": MARK,
            **more,
        }
        headers |= {
            "user-agent": MARK,
            "referer": MARK,
            "traceparent": MARK,
            "baggage": f"a={MARK}",
        }
        statuses.add(post(gateway, CHAT, json.dumps(_SAYS).encode(), headers))
    for path in (f"/{MARK}", f"/v1/models/{MARK}", f"/v1/models?{MARK}={MARK}"):
        statuses.add(post(gateway, path, b"", dict(AUTH)))
    _broken_http(gateway)
    assert 500 not in statuses
    return statuses


def post(gateway: Gateway, path: str, data: bytes, headers: dict[str, str]) -> int:
    """One call; returns its status once the answer has been read."""
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=120)
    try:
        connection.request("POST", path, data, headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    except http.client.HTTPException:  # a stream that the engine cut
        return 0
    finally:
        connection.close()


def _broken_http(gateway: Gateway) -> None:
    for head in (
        f"POST {CHAT} HTTP/1.1\r\n{MARK}\r\n\r\n",
        f"{MARK}\r\n\r\n",
        f"GET /{MARK} HTTP/9\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", gateway.port), PATIENCE) as link:
            link.sendall(head.encode())
            link.recv(4096)


def leaks(gateway: Gateway) -> dict[str, list[str]]:
    """Lines with the mark, by where they stand: the process's output, /metrics, records, export.
    ``gateway`` has ``OPERATOR`` for an operator."""
    last = f"last-{time.time_ns()}"
    post(
        gateway,
        "/tokenize",
        b"{}",
        {**AUTH, "content-type": "application/json", "x-request-id": last},
    )
    end = time.monotonic() + PATIENCE
    while last not in gateway.text():  # the log is written in order, some milliseconds later
        assert time.monotonic() < end, "the access log doesn't come"
        time.sleep(0.02)
    shown = {"output": gateway.text(), "metrics": _get(gateway, "/metrics")}
    for name in ("calls", "performance", "series", "state", "usage", "export"):
        shown[name] = _get(gateway, f"/v1/monitoring/{name}")
    assert CHAT in shown["metrics"]
    assert CHAT in shown["calls"]
    found = {
        name: [x for x in text.splitlines() if MARK in x.lower()] for name, text in shown.items()
    }
    return {name: lines for name, lines in found.items() if lines}


def _get(gateway: Gateway, path: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=PATIENCE)
    connection.request("GET", path, headers={"authorization": f"Bearer {OPERATOR}"})
    answer = connection.getresponse()
    text = answer.read().decode()
    assert answer.status == 200, (path, text)
    connection.close()
    return text
