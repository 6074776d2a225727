"""One validation for every dialect: bounds and defaults."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from gemma_gateway.core.call import Change, Principal, Request
from gemma_gateway.core.dialect import Dialect, Json, Message, ReadOnlyText
from gemma_gateway.settings import Tier
from gemma_gateway.validation.constraints import check_constraints
from gemma_gateway.validation.fields import STOPS
from gemma_gateway.validation.parameters import CHECKS, integer, invalid, strings
from gemma_gateway.validation.prompt_logprobs import check_prompt_logprobs
from gemma_gateway.wire.numbers import integral
from gemma_gateway.wire.place import place

_MODEL_CHARS = 256
TOO_LONG = "string_above_max_length"
# Every name that some dialect has for the bound on an answer's tokens.
_MAX_TOKENS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
_WITHIN_MAX = ("min_tokens", "thinking_token_budget")
_LEAST_THINKING = 1024  # of Anthropic's budget_tokens
_CHOICES = ("n", "best_of")
_ANY_LENGTH = 2**31 - 1
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
    dialect: Dialect, request: Request, principal: Principal, allow: frozenset[str]
) -> None:
    """Check a request and fill in what the client left open, in place.

    Args:
        dialect: the route's protocol.
        request: decoded, its messages sanitised; afterwards its body has the tier's defaults and
            caps, and ``bounds``, ``changes`` and ``logprobs_tokens`` say what was found.
        principal: the caller, whose tier has the bounds and defaults.
        allow: what the operator lets clients set beside the usual; here template variables, as
            ``chat_template_kwargs.NAME``.

    Raises:
        GatewayError: VALIDATION_ERROR with ``param`` naming the field.
    """
    body, messages, tier = request.body, request.messages, principal.tier
    _check_model(body.get("model"))
    for key, value in body.items():
        if value is not None:
            check = CHECKS.get(key)
            if check is not None and (taken := check(key, value)) is not value:
                body[key] = taken
    if body.get(_TEMPLATE) is not None:
        _check_template(body[_TEMPLATE], allow)
    _bound_messages(messages, principal, request.changes)
    if body.get("stream") and not dialect.streams:
        raise invalid("This route does not stream.", "stream")
    _check_stops_and_tools(body, tier)
    if not dialect.max_tokens:
        return
    check_constraints(body, tier)
    _bound_choices(dialect, body, messages, tier)
    request.logprobs_tokens = check_prompt_logprobs(dialect, body, tier)
    request.bounds = _bound_tokens(dialect, body, tier, request.changes)
    for key in dialect.sampling:
        if body.get(key) is None and (value := getattr(tier, key)) is not None:
            body[key] = value
    heat = body.get("temperature")
    if heat is not None and heat < _GREEDY and (body.get("n") or 1) > 1:
        body.update(_ALMOST_GREEDY)


def _check_model(model: Any) -> None:
    """Absent is fine: the caller takes the served model. Which names there are, routing knows."""
    if model is None:
        return
    if model.__class__ is not str or not 0 < len(model) <= _MODEL_CHARS:
        raise invalid(f"model must be a name of at most {_MODEL_CHARS} characters.", "model")


def _check_stops_and_tools(body: Json, tier: Tier) -> None:
    """What says nothing was left out before (``fields.select``)."""
    for key in STOPS:
        if body.get(key) is not None:
            strings(tier.max_stop, " (max_stop of this key's tier)")(key, body[key])
    if body.get("tools") == []:
        raise invalid("tool_choice asks for a tool, and tools holds none.", "tool_choice")
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


def _bound_messages(
    messages: Sequence[Message], principal: Principal, changes: list[Change]
) -> None:
    tier, count = principal.tier, 0
    most = tier.max_message_chars
    for message in messages:
        if message.counts:
            count += 1
            if most is not None and sum([len(part.text) for part in message.texts]) > most:
                _shorten(message, most, principal, changes)
    if not count:
        words = "Send at least one message or prompt."
        raise invalid(words, "messages", "array_below_min_length")
    if tier.max_messages is not None and count > tier.max_messages:
        words = f"Send at most {tier.max_messages} messages or prompts, not {count}"
        raise invalid(
            f"{words} (max_messages of tier {principal.tier_name}).",
            _holder(messages),
            "array_above_max_length",
        )


def _holder(messages: Sequence[Message]) -> str:
    """The field that holds the messages or prompts."""
    counted = (message.where for message in messages if message.counts)
    return next(counted, "messages").partition(".")[0]


def _shorten(message: Message, most: int, principal: Principal, changes: list[Change]) -> None:
    if principal.tier.too_long != "truncate":
        words = f"A message holds at most {most} characters"
        raise invalid(
            f"{words} (max_message_chars of tier {principal.tier_name}).", message.where, TOO_LONG
        )
    left = most
    for part in message.texts:
        text = part.text
        if len(text) > left:
            if isinstance(part, ReadOnlyText):
                raise invalid(
                    "The keys in a message are too long to be cut.", message.where, TOO_LONG
                )
            part.put(text[:left])
            changes.append(Change(place(part.where), "truncated"))
        left = max(0, left - len(text))


def _bound_choices(dialect: Dialect, body: Json, messages: Sequence[Message], tier: Tier) -> None:
    """``n`` answers to each prompt are as many generations."""
    prompts = 1
    if dialect.batches:
        prompts = sum(message.counts for message in messages)
        if prompts > tier.max_choices:
            words = f"Send at most {tier.max_choices} prompts in one call."
            raise invalid(words, _holder(messages), "array_above_max_length")
    for key in _CHOICES:
        wanted = body.get(key)
        if wanted is not None:
            wanted = body[key] = integer(1, tier.max_choices)(key, wanted)
            if wanted * prompts > tier.max_choices:
                raise invalid(f"{key} times prompts must be at most {tier.max_choices}.", key)


def _bound_tokens(dialect: Dialect, body: Json, tier: Tier, changes: list[Change]) -> list[str]:
    """Absent: the default. Above the cap: the cap. All of the route's names get one value.

    Returns:
        Those names that were sent.
    """
    cap = tier.max_tokens_cap
    bound = cap if tier.max_tokens_default is None else tier.max_tokens_default
    sent = []
    for key in (*_MAX_TOKENS, *dialect.max_tokens):
        if key in body and (wanted := body[key]) is not None:
            wanted = body[key] = _length(dialect, body, key, wanted)
            if key in dialect.max_tokens:
                sent.append(key)
                bound = wanted if cap is None or wanted < cap else cap
            elif cap is not None:  # a name that the operator lets clients send
                _clamp(body, key, cap, changes)
    for key in _WITHIN_MAX:
        if body.get(key) is not None:
            least = -1 if key == "thinking_token_budget" else 0
            body[key] = integer(least, _ANY_LENGTH)(key, body[key])
    if bound is not None:
        _bound_answer(dialect, body, bound, sent, changes)
    return sent


def fit(dialect: Dialect, request: Request, context: int | None) -> None:
    """Bound an answer by the model's context: vLLM makes an answer end with it, but refuses a
    bound that is above all of it.

    Args:
        dialect: the route's protocol.
        request: valid; its body is changed in place.
        context: of the model, tokens; None: not known.

    Raises:
        GatewayError: VALIDATION_ERROR: the route needs a bound, and there is none.
    """
    name = dialect.max_tokens[0]
    bound = request.body.get(name)  # as all the others
    if bound is None:
        if not dialect.needs_bound:
            return
        if context is None:
            raise invalid(f"{name} is missing.", name)
    elif context is None or bound <= context:
        return
    _bound_answer(dialect, request.body, context, request.bounds, request.changes)


def _bound_answer(
    dialect: Dialect, body: Json, bound: int, sent: Sequence[str], changes: list[Change]
) -> None:
    """Give all names of the bound one value, and hold to it what runs along with it."""
    if "thinking" in body:
        _bound_thinking(body, bound, changes)
    for key in sent:
        if body[key] != bound:
            _change(changes, key, "clamped")
    for key in dialect.max_tokens:
        body[key] = bound
    for key in _WITHIN_MAX:
        if body.get(key) is not None:
            _clamp(body, key, bound, changes)


def _bound_thinking(body: Json, bound: int, changes: list[Change]) -> None:
    """A budget of thoughts that fits into the answer which was asked for, but not into the one that
    is left: Anthropic's has to be below ``max_tokens``."""
    thinking = body.get("thinking")
    if not isinstance(thinking, dict):
        return
    budget = thinking.get("budget_tokens")
    if budget.__class__ is not int or not bound <= budget < (body.get("max_tokens") or 0):
        return
    if bound > _LEAST_THINKING:
        body["thinking"] = {**thinking, "budget_tokens": bound - 1}
        _change(changes, "thinking.budget_tokens", "clamped")
    else:
        del body["thinking"]
        _change(changes, "thinking", "dropped")


def _clamp(body: Json, key: str, most: int, changes: list[Change]) -> None:
    if body[key] > most:
        body[key] = most
        _change(changes, key, "clamped")


def _change(changes: list[Change], where: str, how: str) -> None:
    """Note a change; once, where tier and context both make it."""
    change = Change(where, how)
    if change not in changes:
        changes.append(change)


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
