"""What requests of OpenAI's generating routes share: their fields, and those of their models."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from gemma_gateway.wire.request import Body

SAMPLING_FIELDS = frozenset(
    {
        *("temperature", "top_p", "top_k", "min_p", "seed", "stop", "stop_token_ids"),
        *("presence_penalty", "frequency_penalty", "repetition_penalty", "logit_bias"),
        *("ignore_eos", "include_stop_str_in_output", "skip_special_tokens"),
        *("structured_outputs", "stream", "model", "user"),
    }
)
GENERATION_FIELDS = SAMPLING_FIELDS | {
    *("n", "max_tokens", "min_tokens", "thinking_token_budget", "length_penalty"),
    *("bad_words", "allowed_token_ids", "repetition_detection", "response_format"),
    *("logprobs", "prompt_logprobs", "echo", "stream_options", "stream_interval"),
    *("add_special_tokens", "spaces_between_special_tokens"),
    *("truncate_prompt_tokens", "truncation_side"),
}


class Prompt(BaseModel):
    """A preset of GET /v1/prompts, and what it is rendered with."""

    id: str
    version: str | int | None = Field(None, description="Default: the preset's own")
    variables: dict[str, Any] | None = Field(
        None, description="By the preset's schema; strings, input parts, or other JSON"
    )


class Sampling(Body):
    stream: bool = False
    temperature: float | None = Field(None, ge=0, le=2, description="Default: the key's tier")
    top_p: float | None = Field(None, gt=0, le=1, description="Default: the key's tier")
