"""The engine routes' part of the OpenAPI document: what they take and what they answer.

The models describe; they are not run on the hot path, and name only the usual fields: what else a
route takes stands in ``validation.fields``, so every body is open.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import models_json_schema

Text = str | list[dict[str, Any]]


class Body(BaseModel):
    """What all engine routes share."""

    model_config = ConfigDict(extra="allow")
    model: str | None = Field(None, max_length=256, description="Served model; default: the first")


class Sampling(Body):
    stream: bool = False
    temperature: float | None = Field(None, ge=0, le=2, description="Default 0.7")
    top_p: float | None = Field(None, gt=0, le=1, description="Default 0.9")


class ChatMessage(BaseModel):
    model_config = ConfigDict(extra="allow")
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Text | None = None


class ChatCompletionRequest(Sampling):
    """OpenAI chat completion; vLLM's own parameters are allowed too."""

    messages: list[ChatMessage] = Field(min_length=1, max_length=50)
    max_completion_tokens: int | None = Field(None, ge=1, description="Default 512, capped 1,024")
    max_tokens: int | None = Field(None, ge=1, description="Older name of the same")
    repetition_penalty: float | None = Field(None, gt=0, le=2, description="Default 1.05")
    n: int | None = Field(None, ge=1)
    stop: str | list[str] | None = None
    seed: int | None = None
    logprobs: bool | None = None
    tools: list[dict[str, Any]] | None = None
    response_format: dict[str, Any] | None = None
    stream_options: dict[str, Any] | None = None


class CompletionRequest(Sampling):
    """OpenAI text completion."""

    prompt: str | list[str]
    max_tokens: int | None = Field(None, ge=1, description="Default 512, capped 1,024")
    repetition_penalty: float | None = Field(None, gt=0, le=2, description="Default 1.05")
    n: int | None = Field(None, ge=1)
    stop: str | list[str] | None = None


class ResponsesRequest(Sampling):
    """OpenAI Responses; nothing is stored, so each call carries its whole input."""

    input: Text
    instructions: str | None = None
    max_output_tokens: int | None = Field(None, ge=1, description="Default 512, capped 1,024")


class AnthropicMessage(BaseModel):
    model_config = ConfigDict(extra="allow")
    role: Literal["user", "assistant", "system"]
    content: Text


class CountTokensRequest(Body):
    """Anthropic token count."""

    messages: list[AnthropicMessage] = Field(min_length=1, max_length=50)
    system: Text | None = None
    tools: list[dict[str, Any]] | None = None


class MessagesRequest(CountTokensRequest):
    """Anthropic message."""

    max_tokens: int | None = Field(None, ge=1, description="Default 512, capped 1,024")
    stream: bool = False
    temperature: float | None = Field(None, ge=0, le=2, description="Default 0.7")
    top_p: float | None = Field(None, gt=0, le=1, description="Default 0.9")
    stop_sequences: list[str] | None = None


class TokenizeRequest(Body):
    """vLLM's tokenizer: a prompt or a chat."""

    prompt: str | None = None
    messages: list[ChatMessage] | None = None


class DetokenizeRequest(Body):
    """vLLM's tokenizer, backwards."""

    tokens: list[int]


class OpenAIErrorDetail(BaseModel):
    message: str
    type: str
    param: str | None
    code: str


class OpenAIError(BaseModel):
    """Error body of the OpenAI routes."""

    error: OpenAIErrorDetail


class AnthropicErrorDetail(BaseModel):
    type: str
    message: str
    code: str
    param: str | None


class AnthropicError(BaseModel):
    """Error body of the Anthropic routes."""

    type: Literal["error"]
    error: AnthropicErrorDetail
    request_id: str


BODIES: dict[str, tuple[type[BaseModel], bool]] = {
    "/v1/chat/completions": (ChatCompletionRequest, True),
    "/v1/completions": (CompletionRequest, True),
    "/v1/responses": (ResponsesRequest, True),
    "/v1/messages": (MessagesRequest, True),
    "/v1/messages/count_tokens": (CountTokensRequest, False),
    "/tokenize": (TokenizeRequest, False),
    "/detokenize": (DetokenizeRequest, False),
}
ERRORS = {
    "400": "Not valid, or blocked by the content policy",
    "401": "No valid key",
    "403": "Not for this key",
    "404": "No such model",
    "408": "The body took too long",
    "413": "Body too large",
    "429": "Rate limit exceeded; see Retry-After",
    "503": "No engine is ready, or it failed; see Retry-After",
    "504": "The engine took too long",
}
OPERATOR_ERRORS = ERRORS | {
    "400": "Not valid; param names the field",
    "403": "Operators only",
    "503": "Redis is away",
}
KEY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
}


def install(app: FastAPI) -> None:
    """Make ``app.openapi()`` tell of the engine routes too."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    models = [model for model, _ in BODIES.values()] + [OpenAIError, AnthropicError]
    _, definitions = models_json_schema(
        [(model, "validation") for model in models],
        ref_template="#/components/schemas/{model}",
    )
    components = document.setdefault("components", {})
    components.setdefault("schemas", {}).update(definitions["$defs"])
    components["securitySchemes"] = KEY_SCHEMES
    security: list[dict[str, list[str]]] = [{name: []} for name in KEY_SCHEMES]
    for path, item in document["paths"].items():
        if path.startswith("/v1/"):
            for operation in item.values():
                operation["security"] = security
                operation["responses"].pop("422", None)  # what FastAPI would say; ours is 400
                told = ("401", "404", "429") if "{" in path else ("401", "429")
                operation["responses"] = _errors(OpenAIError, told) | operation["responses"]
    for path, (model, streams) in BODIES.items():
        document["paths"][path] = {
            "post": {**_operation(path, model, streams), "security": security}
        }
    return document


def _operation(path: str, model: type[BaseModel], streams: bool) -> dict[str, Any]:
    error = AnthropicError if path.startswith("/v1/messages") else OpenAIError
    answer: dict[str, Any] = {"application/json": {"schema": {"type": "object"}}}
    if streams:
        answer["text/event-stream"] = {"schema": {"type": "string"}}
    responses = {"200": {"description": "The engine's answer", "content": answer}}
    responses |= _errors(error, ERRORS)
    return {
        "tags": ["engine"],
        "summary": (model.__doc__ or "").strip(),
        "operationId": path.strip("/").replace("/", "_"),
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _reference(model)}},
        },
        "responses": responses,
    }


def says(*statuses: int, **texts: str) -> dict[int | str, dict[str, Any]]:
    """The error answers of a route for operators (``responses`` of FastAPI's decorators).

    Args:
        statuses: HTTP statuses.
        texts: what a status means here where it isn't the usual, such as ``s404="No such key"``.
    """
    meanings = OPERATOR_ERRORS | {name[1:]: text for name, text in texts.items()}
    return {s: {"model": OpenAIError, "description": meanings[str(s)]} for s in statuses}


def _errors(model: type[BaseModel], statuses: Iterable[str]) -> dict[str, Any]:
    content = {"application/json": {"schema": _reference(model)}}
    return {status: {"description": ERRORS[status], "content": content} for status in statuses}


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}
