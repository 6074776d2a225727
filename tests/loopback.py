"""A real OpenAI-compatible server on a loopback port, in vLLM's wire shapes, that does as told.

Routes: /v1/chat/completions, /v1/completions, /v1/responses, /v1/messages,
/v1/audio/transcriptions, /v1/audio/translations (streaming and not), /v1/messages/count_tokens,
/tokenize, /detokenize, /v1/models, /health.

What it says: ``echo: TEXT`` at the start of the last user text is answered with TEXT, everything
else with a fixed sentence. ``max_tokens`` (one token is a word or a mark) and ``n`` are obeyed;
logprobs come when asked for. Everything else is scripted by the body's field ``loopback`` (an
object; or ``metadata.loopback``, the same as a JSON string), over ``Loopback.script`` (or
``POST /_script``), which holds for calls that bring none:

    pieces    list of texts: the content, one event each (instead of the echo)
    choices   list of such lists: the content of each choice
    reasoning list of texts before the content
    tools     list of [name, [pieces of the arguments' JSON]]
    call      [name, arguments' JSON]: called where there are tools, until its result is here,
              which is then what is said
    finish    finish reason in chat's words
    usage     [prompt_tokens, completion_tokens]
    wait      seconds before the status line
    delay     seconds before each event after the first
    write     "event" (default: one write an event), "all" (one write), or N (cuts of N bytes)
    die       N: the connection is cut after N events; -1: before the status line
    stall     N: silence after N events, until the client leaves
    end       false: the body ends properly after the texts, without the protocol's own ends
    error     N: after N events an error event as vLLM's, then [DONE]
    status    HTTP status to answer instead, with vLLM's error body; ``headers``: more headers
    segments  list of [start, end, text], in seconds: of a verbose transcript

``GET /_state``: running, aborted (calls whose client left), calls, and the last call's path, body
and headers. In process: ``async with Loopback() as server`` gives ``server.url`` (.../v1) and
``server.state``. As a process: ``python -m tests.loopback --port P``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from aiohttp import web

from tests import loopback_wire as wire

Json = dict[str, Any]
SENTENCE = "The quick brown fox jumps over the lazy dog."
ROUTES = {
    "/v1/chat/completions": (wire.chat_stream, wire.chat_answer),
    "/v1/completions": (wire.completion_stream, wire.completion_answer),
    "/v1/responses": (wire.response_stream, wire.response_answer),
    "/v1/messages": (wire.message_stream, wire.message_answer),
}
SPEECH = ("/v1/audio/transcriptions", "/v1/audio/translations")
FINISH = b'"finish_reason":"'
ENDS = (wire.DONE, b"event: response.completed", b"event: message_stop")


@dataclass
class State:
    """What has happened so far."""

    running: int = 0
    aborted: int = 0
    calls: int = 0
    path: str = ""
    body: Json = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    media: list[str] = field(default_factory=list)  # types of all that was shown in calls so far


def tokens(text: str) -> list[str]:
    """Words with the space before them, and marks, as a tokenizer would cut: joined, the text."""
    return re.findall(r"\s*\w+|\s*[^\w\s]|\s+$", text)


def _flat(content: Any) -> str:
    """The text of a message's content, in any dialect."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(_flat(part) for part in content)
    if isinstance(content, int):
        return ""  # a token id
    return _flat(content.get("text") or content.get("content") or "") if content else ""


def last_user_text(body: Json) -> str:
    for key in ("messages", "input"):
        if isinstance(items := body.get(key), list):
            mine = [i for i in items if isinstance(i, dict) and i.get("role") == "user"]
            return _flat(mine[-1].get("content")) if mine else ""
    prompt = body.get("input", body.get("prompt", ""))
    return prompt if isinstance(prompt, str) else _flat(prompt[0])


def _media(node: Any) -> list[str]:
    """Types of images and sounds anywhere in a body, as it says them."""
    if isinstance(node, list):
        return [found for each in node for found in _media(each)]
    if not isinstance(node, dict):
        return []
    if "data" in node and ("format" in node or "media_type" in node):
        return [node.get("media_type") or f"audio/{node['format']}"]
    url = node.get("url")
    if isinstance(url, str) and url.startswith("data:"):
        return [url[5:].partition(";")[0]]
    return [found for each in node.values() for found in _media(each)]


def tool_result(body: Json) -> str | None:
    """What a tool gave back last; None: the conversation doesn't end with that."""
    last = (body.get("messages") or body.get("input"))[-1]
    if last.get("role") == "tool":
        return _flat(last["content"])
    if last.get("type") == "function_call_output":
        return str(last["output"])
    content = last.get("content")
    if isinstance(content, list) and content[-1].get("type") == "tool_result":
        return _flat(content[-1]["content"])
    return None


def said(body: Json, script: Json, number: int, model: str) -> wire.Said:
    """What the script and the request make the model say."""
    if script.get("call") and body.get("tools"):
        name, arguments = script["call"]
        result = tool_result(body)
        script = {"tools": [[name, [arguments]]], "pieces": []} if result is None else {
            "pieces": tokens(result)}  # fmt: skip
    text = last_user_text(body)
    default = tokens(text.removeprefix("echo: ") if text.startswith("echo: ") else SENTENCE)
    pieces = script.get("pieces", default)
    choices = script.get("choices") or [pieces] * int(body.get("n") or 1)
    caps = (body.get(k) for k in ("max_tokens", "max_completion_tokens", "max_output_tokens"))
    cap = next((c for c in caps if c is not None), 10**9)
    finish = "tool_calls" if script.get("tools") else "stop"
    if any(len(c) > cap for c in choices):
        finish, choices = "length", [c[:cap] for c in choices]
    tools = [(name, list(parts)) for name, parts in script.get("tools", [])]
    reasoning = list(script.get("reasoning", []))
    written = sum(map(len, choices)) + len(reasoning) + sum(len(parts) for _, parts in tools)
    prompt, completion = script.get("usage") or (len(tokens(text)) + 4, written)
    asked = body.get("logprobs")
    return wire.Said(
        id=f"loopback-{number}",
        model=body.get("model") or model,
        choices=choices,
        reasoning=reasoning,
        tools=tools,
        finish=script.get("finish", finish),
        top_logprobs=None
        if asked in (None, False) and not body.get("top_logprobs")
        else int(body.get("top_logprobs") or (asked if asked is not True else 0) or 0),
        prompt_tokens=prompt,
        completion_tokens=completion,
    )


def count(path: str, body: Json) -> Json | None:
    """What the routes that generate nothing answer; None: it is another route."""
    if path == "/v1/messages/count_tokens":
        number = len(tokens(last_user_text(body)))
        return {"input_tokens": number, "context_management": {"original_input_tokens": number}}
    if path == "/tokenize":
        ids = [ord(char) for char in last_user_text(body)]
        return {"count": len(ids), "max_model_len": 2048, "tokens": ids, "token_strs": None}
    if path == "/detokenize":
        return {"prompt": "".join(chr(32 + t % 95) for t in body.get("tokens") or [])}
    return None


def writes(events: list[bytes], how: str | int) -> Iterator[bytes]:
    """The events cut into writes as the script's ``write`` says."""
    if how == "event":
        yield from events
    elif how == "all":
        yield b"".join(events)
    else:
        whole = b"".join(events)
        yield from (whole[i : i + int(how)] for i in range(0, len(whole), int(how)))


class Loopback:
    """The server; listens while inside ``async with``.

    Args:
        port: TCP port; 0 takes a free one.
        models: names that /v1/models lists; None: that route answers 404.
        api_key: when given, calls without it as Bearer get 401.
        script: for calls that bring none of their own.
        host: address to listen on; others than loopback only for clients in containers.
    """

    def __init__(
        self,
        port: int = 0,
        models: tuple[str, ...] | None = ("gemma-3-270m",),
        api_key: str = "",
        script: Json | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self.host = host
        self.port = port
        self.models = models
        self.api_key = api_key
        self.script = script or {}
        self.state = State()
        self.speech = True  # it has the routes for it
        self.paths: list[str] = []  # of all calls
        self.file = b""  # of the last form
        self.card: Json = {}  # what /v1/models tells of each beside the usual
        self.models_wait = 0.0  # seconds before /v1/models answers
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def __aenter__(self) -> Loopback:
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_get("/v1/models", self._list)
        app.router.add_get("/health", self._health)
        app.router.add_get("/_state", self._state)
        app.router.add_post("/_script", self._script)
        app.router.add_post("/{path:.*}", self._call)
        self._runner = web.AppRunner(
            app, handler_cancellation=True, access_log=None, shutdown_timeout=0.05
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.host, self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._runner:
            await self._runner.cleanup()
            self._runner = None

    # ---- routes beside the calls

    async def _list(self, request: web.Request) -> web.Response:
        await asyncio.sleep(self.models_wait)
        if self.models is None:
            return self._error(404, "Not Found")
        if self._locked(request):
            return self._error(401, "Unauthorized")
        cards = [
            {"id": name, "object": "model", "created": wire.CREATED, "owned_by": "vllm"} | self.card
            for name in self.models
        ]
        return web.json_response({"object": "list", "data": cards})

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response()

    async def _state(self, request: web.Request) -> web.Response:
        return web.json_response(asdict(self.state))

    async def _script(self, request: web.Request) -> web.Response:
        self.script = await request.json()
        return web.json_response(self.script)

    def _locked(self, request: web.Request) -> bool:
        given = request.headers.get("authorization", "")
        return bool(self.api_key) and given != f"Bearer {self.api_key}"

    @staticmethod
    def _error(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
        error = {"message": message, "type": "LoopbackError", "param": None, "code": status}
        return web.json_response({"error": error}, status=status, headers=headers)

    # ---- calls

    async def _call(self, request: web.Request) -> web.StreamResponse:
        state = self.state
        state.calls += 1
        state.running += 1
        state.path, state.headers = request.path, dict(request.headers)
        try:
            self.paths.append(request.path)
            if request.content_type == "multipart/form-data":
                body = await self._form(request)
            else:
                try:
                    body = json.loads(await request.read())
                except ValueError:
                    return self._error(400, "not JSON")
            state.body = body
            state.media += _media(body)
            if self._locked(request):
                return self._error(401, "Unauthorized")
            own = body.get("loopback") or json.loads(
                (body.get("metadata") or {}).get("loopback") or "null"
            )
            return await self._answer(request, body, own or self.script)
        except asyncio.CancelledError:
            state.aborted += 1
            raise
        finally:
            state.running -= 1

    async def _answer(self, request: web.Request, body: Json, script: Json) -> web.StreamResponse:
        await asyncio.sleep(script.get("wait", 0))
        if script.get("die") == -1:
            self._cut(request)
            return web.Response()
        if status := script.get("status"):
            return self._error(status, f"scripted {status}", script.get("headers"))
        if counted := count(request.path, body):
            return web.json_response(counted)
        if request.path in SPEECH and self.speech:
            return await self._speech(request, body, script)
        if request.path not in ROUTES:
            return self._error(404, "Not Found")
        stream, answer = ROUTES[request.path]
        text = said(body, script, self.state.calls, (self.models or ("model",))[0])
        if not body.get("stream"):
            await asyncio.sleep(script.get("delay", 0) * text.completion_tokens)
            return web.json_response(answer(text))
        usage = bool((body.get("stream_options") or {}).get("include_usage"))
        return await self._stream(request, list(stream(text, usage)), script)

    async def _form(self, request: web.Request) -> Json:
        body: Json = {}
        for name, value in (await request.post()).items():
            if isinstance(value, web.FileField):
                self.file = value.file.read()
                self.state.media.append("form")
            else:
                body[name] = value
        return body

    async def _speech(self, request: web.Request, body: Json, script: Json) -> web.StreamResponse:
        text = said({"n": 1}, script, self.state.calls, (self.models or ("model",))[0])
        if body.get("stream") == "true":
            return await self._stream(request, list(wire.transcription_stream(text)), script)
        if body["response_format"] not in ("json", "text", "verbose_json"):
            return self._error(400, "Currently only support response_format: ...")
        segments = None
        if body["response_format"] == "verbose_json":
            segments = script.get("segments", [[0, 1, "".join(text.choices[0])]])
        return web.json_response(wire.transcription_answer(text, segments))

    async def _stream(
        self, request: web.Request, events: list[bytes], script: Json
    ) -> web.StreamResponse:
        if script.get("end") is False:
            events = [e for e in events if not (e.startswith(ENDS) or FINISH in e)]
        if (error := script.get("error")) is not None:
            doc = {"error": {"message": "scripted", "type": "InternalServerError", "code": 500}}
            events = [*events[:error], wire.sse(doc), wire.DONE]
        die, stall = script.get("die"), script.get("stall")
        stop = min((n for n in (die, stall) if n is not None), default=None)
        response = web.StreamResponse(headers={"content-type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        for number, part in enumerate(writes(events[:stop], script.get("write", "event"))):
            if number and (delay := script.get("delay")):
                await asyncio.sleep(delay)
            await response.write(part)
        if die is not None:
            self._cut(request)
        elif stall is not None:
            await asyncio.Event().wait()
        else:
            await response.write_eof()
        return response

    @staticmethod
    def _cut(request: web.Request) -> None:
        if request.transport:
            request.transport.close()  # after what was written: the client sees a body cut short


async def _forever(arguments: argparse.Namespace) -> None:
    models = tuple(arguments.models.split(",")) if arguments.models else None
    async with Loopback(arguments.port, models, arguments.api_key, host=arguments.host) as server:
        print(server.url, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="OpenAI-compatible loopback server for tests")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--models", default="gemma-3-270m", help="comma-separated; empty: no list")
    parser.add_argument("--api-key", default="")
    asyncio.run(_forever(parser.parse_args()))
