"""The engine routes' part of the OpenAPI document: what they take and what they answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from gemma_gateway.core.dialect import Dialect
from gemma_gateway.core.form import FormDialect
from gemma_gateway.wire.openai.errors import OpenAIError

ERRORS = {
    "400": "Not valid, or blocked by the content policy",
    "401": "No valid key",
    "403": "Not allowed for this key",
    "404": "No such model",
    "408": "The body took too long",
    "413": "Body too large",
    "415": "Content coding not supported; see Accept-Encoding",
    "429": "Rate limit exceeded; see Retry-After",
    "501": "The model's server doesn't have this route",
    "502": "The model's server refuses the gateway's key, or can't be understood",
    "503": "No engine is ready, or it failed; see Retry-After",
    "504": "The engine took too long",
}
OPERATOR_ERRORS = ERRORS | {
    "400": "Not valid; param names the field",
    "403": "Operators only",
    "503": "Redis is unavailable",
}
KEY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
}


def install(app: FastAPI, dialects: Sequence[Dialect]) -> None:
    """Make ``app.openapi()`` tell of the engine routes too."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app, dialects)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _document(app: FastAPI, dialects: Sequence[Dialect]) -> dict[str, Any]:
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    models = [d.request_model for d in dialects] + [OpenAIError]
    models += [d.error_model for d in dialects]
    _, definitions = models_json_schema(
        [(model, "validation") for model in dict.fromkeys(models)],
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
    for dialect in dialects:
        document["paths"][dialect.path] = {"post": _operation(dialect) | {"security": security}}
    return document


def _operation(dialect: Dialect) -> dict[str, Any]:
    model = dialect.request_model
    answer: dict[str, Any] = {"application/json": {"schema": {"type": "object"}}}
    if dialect.streams:
        answer["text/event-stream"] = {}  # before OpenAPI 3.2 a schema is read as of one event
    responses = {"200": {"description": "The engine's answer", "content": answer}}
    responses |= _errors(dialect.error_model, ERRORS)
    return {
        "tags": ["engine"],
        "summary": (model.__doc__ or "").strip(),
        "operationId": dialect.path.strip("/").replace("/", "_"),
        "requestBody": {
            "required": True,
            "content": {_taken(dialect): {"schema": _reference(model)}},
        },
        "responses": responses,
    }


def _taken(dialect: Dialect) -> str:
    return "multipart/form-data" if isinstance(dialect, FormDialect) else "application/json"


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
