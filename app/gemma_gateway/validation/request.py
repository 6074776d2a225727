"""One validation for every dialect: bounds and defaults."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from gemma_gateway.core.dialect import Dialect, Json, Message, ReadOnlyText
from gemma_gateway.settings import Tier
from gemma_gateway.validation.constraints import check_constraints, chosen
from gemma_gateway.validation.parameters import CHECKS, integer, invalid, strings
from gemma_gateway.validation.prompt_logprobs import check_prompt_logprobs
from gemma_gateway.wire.numbers import integral

# Names of hub models, folders and adapters; nothing that means something in a URL or a log line.
_MODEL = re.compile(r"[A-Za-z0-9/._][A-Za-z0-9/._:@+-]{0,255}")
# Every name that some dialect has for the bound on an answer's tokens.
_MAX_TOKENS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
_WITHIN_MAX = ("min_tokens", "thinking_token_budget")
_CHOICES = ("n", "best_of")
_ANY_LENGTH = 2**31 - 1
_STOPS = ("stop", "stop_sequences")
# vLLM samples greedily below a temperature of 1e-5, and then refuses n above 1; it raises others to
# 0.01 at least, and with one token to choose from samples what greedy sampling would
# (vllm.sampling_params).
_ALMOST_GREEDY = {"temperature": 0.01, "top_k": 1}
_GREEDY = 1e-5
_TEMPLATE = "chat_template_kwargs"
_SWITCHES = frozenset(
    {"enable_thinking", "thinking", "thinking_mode", "thinking_budget", "preserve_thinking"}
    | {"clear_thinking", "reasoning_effort", "add_vision_id", "enable_tools"}
)
_WORD = re.compile(r"[a-z0-9_-]{1,32}")


def validate(
    dialect: Dialect, body: Json, messages: Sequence[Message], tier: Tier, allow: frozenset[str]
) -> int:
    """Check a request and fill in what the client left open, in place.

    Args:
        dialect: the route's protocol.
        body: decoded request; afterwards with the tier's defaults and caps.
        messages: what ``dialect.messages`` gave, already sanitised.
        tier: bounds and defaults of the caller.
        allow: what the operator lets clients set beside the usual; here template variables, as
            ``chat_template_kwargs.NAME``.

    Returns:
        Tokens, at most, of a prompt whose logprobs are asked for; 0: they aren't.

    Raises:
        GatewayError: VALIDATION_ERROR with ``param`` naming the field.
    """
    _check_model(body.get("model"))
    for key, value in body.items():
        if value is not None:
            check = CHECKS.get(key)
            if check is not None and (taken := check(key, value)) is not value:
                body[key] = taken
    if body.get(_TEMPLATE) is not None:
        _check_template(body[_TEMPLATE], allow)
    _bound_messages(messages, tier)
    if body.get("stream") and not dialect.streams:
        raise invalid("This route does not stream.", "stream")
    _drop_what_says_nothing(body, tier)
    if not dialect.max_tokens:
        return 0
    check_constraints(body, tier)
    _bound_choices(dialect, body, messages, tier)
    logprobs_tokens = check_prompt_logprobs(dialect, body, tier)
    _bound_tokens(dialect, body, tier)
    for key in dialect.sampling:
        if body.get(key) is None:
            body[key] = getattr(tier, key)
    heat = body.get("temperature")
    if heat is not None and heat < _GREEDY and (body.get("n") or 1) > 1:
        body.update(_ALMOST_GREEDY)
    return logprobs_tokens


def _check_model(model: Any) -> None:
    """Absent is fine: the caller takes the served model."""
    if model is None:
        return
    if model.__class__ is not str or not _MODEL.fullmatch(model):
        raise invalid("model must be a model's name of at most 256 characters.", "model")


def _drop_what_says_nothing(body: Json, tier: Tier) -> None:
    """Leave out what means the same as nothing, and what engines refuse all the same."""
    for key in _STOPS:
        if body.get(key) is not None:
            body[key] = strings(tier.max_stop, " (max_stop of this key's tier)")(key, body[key])
            if body[key] is None:
                del body[key]
    if body.get("tools") == []:
        if chosen(body.get("tool_choice")):
            raise invalid("tool_choice asks for a tool, and tools holds none.", "tool_choice")
        del body["tools"]
        body.pop("tool_choice", None)
    if "stream_options" in body and not body.get("stream"):
        del body["stream_options"]


def _check_template(variables: Any, allow: frozenset[str]) -> None:
    """Variables of the chat template: switches that templates are known for. Others could rewrite
    the prompt behind the policy's back (``bos_token``, ``messages``)."""
    if variables.__class__ is not dict:
        raise invalid(f"{_TEMPLATE} must be an object.", _TEMPLATE)
    for name, value in variables.items():
        if f"{_TEMPLATE}.{name}" in allow:
            continue
        if name not in _SWITCHES:
            raise invalid(f"{_TEMPLATE} accepts {', '.join(sorted(_SWITCHES))}.", _TEMPLATE)
        word = value.__class__ is str and _WORD.fullmatch(value)
        if (whole := integral(value)) is not None:
            variables[name] = whole
        elif not (word or value is None or value.__class__ is bool):
            raise invalid(
                f"{_TEMPLATE}.{name} must be a switch, a whole number or a short word.",
                f"{_TEMPLATE}.{name}",
            )


def _bound_messages(messages: Sequence[Message], tier: Tier) -> None:
    count = 0
    for message in messages:
        if message.counts:
            count += 1
            if sum([len(part.text) for part in message.texts]) > tier.max_message_chars:
                _shorten(message, tier)
    if not 1 <= count <= tier.max_messages:
        words = f"Send 1 to {tier.max_messages} messages or prompts, not {count}."
        raise invalid(words, _holder(messages))


def _holder(messages: Sequence[Message]) -> str:
    """The field that holds the messages or prompts."""
    counted = (message.where for message in messages if message.counts)
    return next(counted, "messages").partition(".")[0]


def _shorten(message: Message, tier: Tier) -> None:
    if tier.too_long != "truncate":
        raise invalid(
            f"A message holds at most {tier.max_message_chars} characters.", message.where
        )
    left = tier.max_message_chars
    for part in message.texts:
        text = part.text
        if len(text) > left:
            if isinstance(part, ReadOnlyText):
                raise invalid("The keys in a message are too long to be cut.", message.where)
            part.put(text[:left])
        left = max(0, left - len(text))


def _bound_choices(dialect: Dialect, body: Json, messages: Sequence[Message], tier: Tier) -> None:
    """``n`` answers to each prompt are as many generations."""
    prompts = 1
    if dialect.batches:
        prompts = sum(message.counts for message in messages)
        if prompts > tier.max_choices:
            words = f"Send at most {tier.max_choices} prompts in one call."
            raise invalid(words, _holder(messages))
    for key in _CHOICES:
        wanted = body.get(key)
        if wanted is not None:
            wanted = body[key] = integer(1, tier.max_choices)(key, wanted)
            if wanted * prompts > tier.max_choices:
                raise invalid(f"{key} times prompts must be at most {tier.max_choices}.", key)


def _bound_tokens(dialect: Dialect, body: Json, tier: Tier) -> None:
    """Absent: the default. Above the cap: the cap. All of the route's names get one value."""
    bound, cap = tier.max_tokens_default, tier.max_tokens_cap
    for key in (*_MAX_TOKENS, *dialect.max_tokens):
        wanted = body.get(key)
        if wanted is not None:
            wanted = body[key] = _length(dialect, body, key, wanted)
            if wanted > cap:
                body[key] = wanted = cap
            if key in dialect.max_tokens:
                bound = wanted
    for key in dialect.max_tokens:
        body[key] = bound
    for key in _WITHIN_MAX:
        wanted = body.get(key)
        if wanted is not None:
            least = -1 if key == "thinking_token_budget" else 0
            body[key] = min(integer(least, _ANY_LENGTH)(key, wanted), bound)


def _length(dialect: Dialect, body: Json, key: str, wanted: Any) -> int:
    """How many tokens an answer may have: none where the prompt's own are asked for."""
    whole = integral(wanted)
    if whole is None or not 1 <= whole <= _ANY_LENGTH:
        scored = dialect.scores and body.get("echo") is True
        if whole == 0 and scored:
            return 0
        words = f"{key} must be an integer from 1 to {_ANY_LENGTH}"
        words += ", or 0 with echo" if dialect.scores else ""
        raise invalid(f"{words}; leave it out for this key's default.", key)
    return whole
