"""A body's bytes to a valid request without active content: all that needs no event loop."""

from __future__ import annotations

from typing import NamedTuple

from gemma_gateway.core.dialect import Dialect, Json, Message
from gemma_gateway.core.errors import GatewayError
from gemma_gateway.safety import input as incoming
from gemma_gateway.settings import Tier
from gemma_gateway.validation import fields
from gemma_gateway.validation.request import validate
from gemma_gateway.wire import strict_json


class Request(NamedTuple):
    """A request that was read.

    Args:
        body: decoded and sanitised, with the tier's defaults and caps.
        ignored: names of the fields that were left out.
        messages: its texts.
        content_hash: first 16 hex digits of SHA-256 over them.
        affinity: the same for calls that share the beginning of their prompt.
        input_length: characters of the messages' texts.
        logprobs_tokens: tokens, at most, of a prompt whose logprobs are asked for; else 0.
    """

    body: Json
    ignored: list[str]
    messages: list[Message]
    content_hash: str
    affinity: str
    input_length: int
    logprobs_tokens: int


def read(
    raw: bytes, dialect: Dialect, tier: Tier, max_depth: int, allowed: frozenset[str]
) -> Request:
    """Read a body.

    Args:
        raw: its bytes.
        dialect: the route's protocol.
        tier: bounds and defaults of the caller.
        max_depth: how many arrays and objects may stand inside one another.
        allowed: engine internals that the operator lets clients set.

    Raises:
        GatewayError: VALIDATION_ERROR with ``param`` naming the field.
    """
    body = strict_json.loads(raw, max_depth)
    ignored = fields.select(dialect, body, allowed)
    try:
        messages = dialect.messages(body)
        incoming.sanitise(messages)
        logprobs_tokens = validate(dialect, body, messages, tier, allowed)
    except GatewayError as error:
        if ignored:
            error.headers["x-gateway-ignored"] = fields.header(ignored)
        raise
    content_hash = affinity = incoming.content_hash(messages)
    if len(messages) > 2:  # later turns of a conversation find the prefix of the earlier ones
        affinity = incoming.content_hash(messages[:2])
    length = sum(len(s.text) for m in messages if m.counts for s in m.slots)
    return Request(body, ignored, messages, content_hash, affinity, length, logprobs_tokens)
