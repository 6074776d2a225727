"""Where vLLM does otherwise here than in its own server; each changes what vLLM has built."""

from __future__ import annotations

import json
import logging
from typing import Any

from gemma_gateway.engines.families import gemma3
from gemma_gateway.engines.local.work import CURRENT

GUIDANCE = {"lenient": True, "coerce_one_of": True}  # llguidance's options for JSON schemas


def add_parsers(args: Any) -> None:
    """Make the gateway's own tool parser known, and those of the operator's plugins, which only
    vLLM's launcher would load.

    Args:
        args: vLLM's parsed flags.
    """
    from vllm.reasoning import ReasoningParserManager
    from vllm.tool_parsers import ToolParserManager

    module = "gemma_gateway.engines.local.tool_parser"
    ToolParserManager.register_lazy_module(gemma3.TOOL_PARSER, module, "GemmaToolParser")
    if args.tool_parser_plugin:
        ToolParserManager.import_tool_parser(args.tool_parser_plugin)
    if args.reasoning_parser_plugin:
        ReasoningParserManager.import_reasoning_parser(args.reasoning_parser_plugin)


def quiet_client_errors() -> None:
    """vLLM logs a client's mistakes as errors. To be called after each start, which configures
    vLLM's loggers anew."""
    logging.getLogger("vllm.entrypoints").setLevel(logging.CRITICAL)


def take_schemas_as_written(engine: Any) -> None:
    """Let llguidance pass over the words of a JSON schema that it can't enforce (``uniqueItems``,
    ``format: password``), and take ``oneOf`` for ``anyOf``, as other libraries do: ordinary schemas
    hold them. Its options stand in the schema itself."""
    generate = engine.generate

    def generating(prompt: Any, sampling_params: Any, *args: Any, **kwargs: Any) -> Any:
        bound = getattr(sampling_params, "structured_outputs", None)
        if bound is not None and bound.json is not None:
            bound.json = _with_options(bound.json)
        return generate(prompt, sampling_params, *args, **kwargs)

    engine.generate = generating


def end_at_blank_lines(engine: Any) -> None:
    """Let a blank line end a base model's answer to a conversation, as ``base.jinja`` has it: it
    would go on with another question. By token, as a turn ends: nothing is held back in streams,
    and every protocol tells it as an ordinary end."""
    vocabulary = engine.tokenizer.get_vocab()
    ends = [vocabulary[text] for n in range(2, 64) if (text := "\n" * n) in vocabulary]
    generate = engine.generate

    def generating(prompt: Any, sampling_params: Any, *args: Any, **kwargs: Any) -> Any:
        work = CURRENT.get()
        bound = getattr(sampling_params, "structured_outputs", None)  # ends by itself
        if work is not None and work.chat and bound is None:
            sampling_params.update_from_generation_config({"eos_token_id": ends})
        return generate(prompt, sampling_params, *args, **kwargs)

    engine.generate = generating


def continue_answers(messages: Any) -> None:
    """Let /v1/messages go on with an answer that a last message of the assistant's begins, as
    Anthropic's does; vLLM's route begins a new one after it, and takes no field that says
    otherwise.

    Args:
        messages: vLLM's ``AnthropicServingMessages``; None: the model generates nothing.
    """
    if messages is None:
        return
    convert = messages.to_chat_completion_request

    def converted(*args: Any, **kwargs: Any) -> Any:
        request = convert(*args, **kwargs)
        last = request.messages[-1] if request.messages else {}
        if last.get("role") == "assistant" and last.get("content") and not last.get("tool_calls"):
            request.continue_final_message, request.add_generation_prompt = True, False
        return request

    messages.to_chat_completion_request = converted


def _with_options(schema: Any) -> Any:
    """A schema with llguidance's options; unchanged where it is none (vLLM says so)."""
    try:
        found = json.loads(schema) if isinstance(schema, str) else schema
    except ValueError:
        return schema
    return {**found, "x-guidance": GUIDANCE} if isinstance(found, dict) else schema
