"""The fields of requests: which go on to the engine, and which are refused by name.

Those that go on stand in each route's dialect. The rest is left out, and the answer's headers name
it. ``allow_engine_parameters`` is the operator's door for all of them. Source, for both: the
request models of vLLM 0.32 (entrypoints/openai/*/protocol.py, entrypoints/anthropic/protocol.py,
entrypoints/serve/tokenize/protocol.py).
"""

from __future__ import annotations

from typing import Any

from gemma_gateway.core.changes import MOST_NAMES, PLAIN_NAME
from gemma_gateway.core.dialect import Dialect, Json
from gemma_gateway.validation.constraints import chosen
from gemma_gateway.validation.foreign import advice
from gemma_gateway.validation.parameters import invalid

# Fields that act on other callers, on the machine, or past the policy.
INTERNALS = frozenset(
    {
        # Jinja from outside: runs in the server, and can build prompts that the policy never saw
        "chat_template",
        # jumping the queue; whole-batch search that multiplies the cost of a call
        *("priority", "use_beam_search"),
        # identities and caches that callers share: collisions abort or time other calls
        *("request_id", "session_id", "cache_salt"),
        # transfer of caches between servers: addresses and block ids of the cluster
        *("kv_transfer_params", "ec_transfer_params"),
        *("bootstrap_host", "bootstrap_port", "bootstrap_room"),  # the same in SGLang
        # arguments of plugins and decoders: code paths that nobody bounded
        *("vllm_xargs", "mm_processor_kwargs", "media_io_kwargs", "logits_processors"),
        *("custom_logit_processor", "custom_params", "lora_path", "lora_request"),
        # prompts that no text policy can read
        *("prompt_embeds", "prompt_token_ids", "input_ids", "input_embeds"),
        *("previous_input_messages",),
        # answers in other words than text: ids and raw turns carry it past the policy
        *("return_token_ids", "return_tokens_as_token_ids", "logprob_token_ids"),
        *("return_prompt_text", "return_token_offsets", "enable_response_messages"),
        # the inside of the model, and what its operator decided
        *("routed_experts_prompt_start", "return_routed_experts", "return_hidden_states"),
        *("watermarking", "mm_payload", "return_mm_kwargs"),
        # other servers that may stand upstream: loaded models, texts and templates of Ollama and
        # llama.cpp
        *("keep_alive", "options", "template", "raw", "id_slot", "slot_id", "cache_prompt"),
    }
)

UNSUPPORTED = "unsupported_parameter"

STOPS = ("stop", "stop_sequences")


def _leave_out_nothing(body: Json) -> None:
    """Leave out what means the same as nothing, and what engines refuse all the same. Before
    anybody looks for texts: what is found there has to stay."""
    for key in STOPS:
        stop = body.get(key)
        if stop is None:
            continue
        if stop in ("", []):
            del body[key]
        elif stop.__class__ is list and "" in stop:
            body[key] = [text for text in stop if text != ""]
            if not body[key]:
                del body[key]
    if body.get("tools") == []:
        choice = body.get("tool_choice")
        kind = choice.get("type") if choice.__class__ is dict else choice
        if kind is None or (kind.__class__ is str and not chosen(choice)):
            del body["tools"]
            body.pop("tool_choice", None)


def select(dialect: Dialect, body: Json, allow: frozenset[str]) -> list[str]:
    """Leave only fields in the body that may go to the engine.

    Args:
        dialect: the route's protocol.
        body: decoded request; other fields are removed, in place.
        allow: further fields that the operator lets clients set.

    Returns:
        Names of the fields that were left out, where they held anything.

    Raises:
        GatewayError: VALIDATION_ERROR for a field that must not be left out in silence.
    """
    _leave_out_nothing(body)
    known = dialect.fields
    if known.issuperset(body):
        return []
    ignored = []
    for name in [name for name in body if name not in known and name not in allow]:
        value = body.pop(name)
        if value:  # clients that send every field of their own model send these as null or false
            _refuse(dialect, name, value)
        if value is not None:
            ignored.append(name)
    return ignored


def header(ignored: list[str]) -> str:
    """The names for a response header: sorted, plain ones only, at most 16; ``+2``: two more."""
    plain = sorted(name for name in ignored if PLAIN_NAME.fullmatch(name))[:MOST_NAMES]
    more = len(ignored) - len(plain)
    return ", ".join([*plain, f"+{more}"] if more else plain)


def drop_thinking(body: Json) -> list[str]:
    """Leave out what asks for extended thinking within a budget; its names."""
    asked = [name for name in ("thinking", "thinking_token_budget") if body.get(name) is not None]
    if "thinking" in asked:
        thinking = body["thinking"]
        if not (isinstance(thinking, dict) and thinking.get("type") == "enabled"):
            asked.remove("thinking")  # adaptive and disabled ask for nothing
    for name in asked:
        del body[name]
    return asked


def _refuse(dialect: Dialect, name: str, value: Any) -> None:
    if name in INTERNALS:
        raise invalid(
            f"{name} is an engine internal that this server does not accept.", name, UNSUPPORTED
        )
    if dialect.max_tokens and (words := advice(dialect, name, value)):
        raise invalid(f"{name} is not a field of this route: {words}.", name, UNSUPPORTED)
