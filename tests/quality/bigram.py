"""An OpenAI-compatible server whose model is a bigram table over words: tiny, but its likelihoods
are real ones, so what is computed from them can be checked without vLLM.

A word is as likely as it was seen after the one before it, in the corpus or earlier in the same
prompt. It speaks vLLM's shapes: ``prompt_logprobs``, ``logprobs``, ``n`` and lists of prompts.
A model whose name holds ``shieldgemma`` answers Yes where the response it is shown holds the word
``vermin``, and No elsewhere. ``seen`` keeps the requests; ``told = False`` leaves likelihoods out,
as other servers do; ``refuse`` is the status of an error to answer with.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections import Counter
from itertools import pairwise
from typing import Any

from aiohttp import web

Json = dict[str, Any]
CORPUS = """
The sun came out after lunch and the evening was warm. It rained in the morning and the air was
fresh. I wake up at seven and make a cup of coffee. Then I walk to the station and read the news.
The town pool opens at seven on weekdays. The museum was closed for two weeks. A dog found a red
ball on the beach and carried it home. Paris is the capital of France and lies on the river Seine.
The capital of Spain is Madrid. Plants take in light, air and water and turn them into sugar.
"""
SMALL = 0.01  # count of what was never seen
WORDS = 1000  # in the imagined vocabulary


def words(text: str) -> list[str]:
    """Words and marks, in lower case."""
    return re.findall(r"\w+|[^\w\s]", text.lower())


class Bigram:
    """The server; ``async with Bigram() as server`` gives ``server.url`` (.../v1)."""

    def __init__(self, *models: str) -> None:
        self.models = models or ("tiny",)
        self.seen: list[tuple[str, Json]] = []
        self.told = True
        self.refuse = 0
        self.wait = 0.0  # seconds before each answer
        self.says = "The sun came out after lunch and the evening was warm."
        corpus = words(CORPUS)
        self._pairs = Counter(pairwise(corpus))
        self._singles = Counter(corpus)
        self._ids: dict[str, int] = {}
        self._runner: web.AppRunner | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def __aenter__(self) -> Bigram:
        app = web.Application(client_max_size=16 * 2**20)
        app.router.add_get("/v1/models", self._list)
        app.router.add_post("/v1/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.05)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._runner
        await self._runner.cleanup()

    async def _list(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": m} for m in self.models]})

    async def _answer(self, request: web.Request) -> web.Response:
        body = json.loads(await request.read())
        self.seen.append((request.path, body))
        await asyncio.sleep(self.wait)
        if self.refuse:
            error = {
                "message": "no",
                "type": "x",
                "param": None,
                "code": None,
                "gateway_code": "REFUSED",
            }
            return web.json_response({"error": error}, status=self.refuse)
        name = request.headers.get("x-request-id", "none")
        usage = {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10}
        head = {"created": 1, "model": body["model"], "usage": usage}
        if request.path.endswith("/chat/completions"):
            said = {"role": "assistant", "content": self.says}
            choices = [
                {"index": n, "message": said, "finish_reason": "stop", "logprobs": None}
                for n in range(body.get("n") or 1)
            ]
            doc = {"id": f"chatcmpl-{name}", "object": "chat.completion", "choices": choices}
            return web.json_response({**doc, **head})
        prompts = body["prompt"] if isinstance(body["prompt"], list) else [body["prompt"]]
        choices = [self._choice(n, prompt, body) for n, prompt in enumerate(prompts)]
        doc = {"id": f"cmpl-{name}", "object": "text_completion", "choices": choices}
        return web.json_response({**doc, **head})

    def _choice(self, index: int, prompt: str, body: Json) -> Json:
        choice: Json = {"index": index, "text": "the", "finish_reason": "length", "logprobs": None}
        if body.get("prompt_logprobs") is not None and self.told:
            choice["prompt_logprobs"] = self._likelihoods(prompt)
        if body.get("logprobs") is not None:
            top = self._verdict(prompt)
            choice["logprobs"] = {
                "tokens": ["No"],
                "token_logprobs": [top["No"]],
                "top_logprobs": [top],
                "text_offset": [0],
            }
        return choice

    def _likelihoods(self, prompt: str) -> list[Json | None]:
        """vLLM's shape: nothing for the first token, then {id: {logprob, rank, decoded_token}}."""
        tokens = words(prompt)
        pairs, singles = Counter[tuple[str, str]](), Counter[str]()
        told: list[Json | None] = [None]
        for before, word in pairwise(tokens):
            singles[before] += 1
            seen = self._pairs[before, word] + pairs[before, word] + SMALL
            of = self._singles[before] + singles[before] + SMALL * WORDS
            logprob = math.log(seen / of)
            entry = {"logprob": logprob, "rank": 1, "decoded_token": word}
            told.append({str(self._id(word)): entry})
            pairs[before, word] += 1
        return told

    def _id(self, word: str) -> int:
        return self._ids.setdefault(word, len(self._ids))

    def _verdict(self, prompt: str) -> dict[str, float]:
        """As the first token of ShieldGemma's answer."""
        response = prompt.partition("Chatbot Response:")[2].partition("<end_of_turn>")[0]
        yes = 0.9 if "vermin" in words(response) else 0.05
        return {"Yes": math.log(yes), "No": math.log(1 - yes - 0.01), " maybe": math.log(0.01)}
