"""Prompts that are token ids: an engine says what they spell, and the policy judges that."""

from __future__ import annotations

import orjson

from gemma_gateway.core.ask import ask
from gemma_gateway.core.call import Call, Client
from gemma_gateway.core.dialect import Message, TextPart, Where
from gemma_gateway.core.engine import Engine
from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.core.stage import Waiting
from gemma_gateway.pipeline.delivery import engine_errors
from gemma_gateway.safety import input as incoming
from gemma_gateway.safety.stage import Judge
from gemma_gateway.settings import Tier
from gemma_gateway.wire import engine_error
from gemma_gateway.wire.content_hash import content_hash
from gemma_gateway.wire.place import place

PATH = "/detokenize"  # vLLM's route
SECONDS = 30.0  # for one prompt, which takes an engine milliseconds
MOST_BYTES = 16 * 1024 * 1024  # of its text as JSON: 131,072 ids of the longest tokens
NO_ROUTE = frozenset({404, 405, 501})


class TokenPrompts:
    """The stage that judges prompts of token ids as if their text had been sent. The engine gets
    the ids themselves: a raw prompt, in which control tokens are what they are.

    Args:
        engine: knows its tokenizer.
        judge: the step that judges texts.
    """

    name = "safety"

    def __init__(self, engine: Engine, judge: Judge) -> None:
        self._engine = engine
        self._judge = judge

    def enter(self, call: Call, client: Client) -> Waiting:
        """See ``Stage``; raises CONTENT_FILTERED, VALIDATION_ERROR, or the engine's failures."""
        prompts = call.dialect.token_prompts(call.request.body)
        if not prompts:
            return None
        call.request.route = None  # another model has other tokens
        assert call.principal is not None  # the first stage knows
        tier = call.principal.tier
        if self._judge.idle(call) and tier.sanitise == "off" and tier.max_message_chars is None:
            return None  # nobody wants to know what they say
        return self._check(call, prompts, tier)

    async def _check(self, call: Call, prompts: list[tuple[Where, list[int]]], tier: Tier) -> None:
        request = call.request
        messages = [await self._spelt(call, where, ids, tier) for where, ids in prompts]
        if tier.sanitise != "off" and (found := incoming.sanitise(messages, strip=False)):
            if tier.sanitise == "strip":
                raise _invalid(
                    "This prompt holds what is removed from texts (active content, hidden "
                    "characters), and token ids can't be changed: send its text.",
                    found[0].where,
                )
            request.changes += found
        self._judge.judge(call, messages)
        request.content_hash = request.affinity = content_hash(messages)
        request.input_length += sum(len(message.texts[0].text) for message in messages)

    async def _spelt(self, call: Call, where: Where, ids: list[int], tier: Tier) -> Message:
        """One prompt as text."""
        at = place(where)
        with engine_errors(call):
            reply = await ask(
                self._engine,
                "detokenize",
                PATH,
                {"model": call.request.model, "tokens": ids},
                timeout=SECONDS,
                most_bytes=MOST_BYTES,
            )
        if reply.status in NO_ROUTE:
            raise _invalid(
                "The engine of this model doesn't tell what token ids say, so that the content "
                "policy can't check them: send text.",
                at,
            )
        if 400 <= reply.status < 500:
            refusal = engine_error.invalid(engine_error.document(reply.body))
            raise GatewayError(refusal.code, refusal.message, param=at)
        text = _text(reply.body) if reply.status == 200 else None
        if text is None:
            raise GatewayError(Code.GENERATION_ERROR)
        most = tier.max_message_chars
        if most is not None and len(text) > most:
            raise _invalid(f"A prompt holds at most {most} characters.", at)
        return Message(at, "user", [TextPart([text], 0, at, at, spoken=True)])


def _text(body: bytes) -> str | None:
    try:
        text = orjson.loads(body)["prompt"]
    except (ValueError, KeyError, TypeError):
        return None
    return text if isinstance(text, str) else None


def _invalid(message: str, param: str) -> GatewayError:
    return GatewayError(Code.VALIDATION_ERROR, message, param=param)
