"""The prompt presets: what there are, what they take, and what they make of it."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from gemma_gateway.api.auth import Auth
from gemma_gateway.api.body import json_body, takes
from gemma_gateway.api.schema import says
from gemma_gateway.core import changes
from gemma_gateway.core.call import Change, Principal
from gemma_gateway.core.heavy import Heavy
from gemma_gateway.presets.library import Library
from gemma_gateway.presets.preset import Origin, Preset


class PromptView(BaseModel):
    """One preset."""

    id: str = Field(description="What a call's prompt names")
    object: Literal["prompt"] = "prompt"
    version: str = Field(description="The one that is shown: the default, or what was asked for")
    versions: list[str] = Field(description="All of its versions")
    description: str = Field(description="For people; may be empty")
    variables: dict[str, Any] = Field(description="JSON Schema of an object: what it is made with")
    source: Origin = Field(description="built-in, or from the operator's files")


class PromptList(BaseModel):
    """All presets, by id."""

    object: Literal["list"] = "list"
    data: list[PromptView]


class RenderRequest(BaseModel):
    """What a preset is to be made with."""

    model_config = ConfigDict(extra="forbid")
    version: str | int | None = Field(None, description="Default: the preset's own")
    variables: dict[str, Any] | None = Field(None, description="By the preset's schema")


class RenderedMessage(BaseModel):
    """A message as chat completions take it."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[dict[str, Any]]


class RenderedPrompt(BaseModel):
    """What a preset made."""

    id: str
    version: str
    messages: list[RenderedMessage]
    replaced: dict[str, Any] = Field(
        description="Variables that didn't fit, and the preset's fallback that stands for them"
    )


def router(auth: Auth, library: Library, heavy: Heavy) -> APIRouter:
    """The routes under ``/v1/prompts``; presets are made in the thread of ``heavy``."""
    routes = APIRouter(tags=["prompts"])
    caller, body = auth.any_caller, json_body(RenderRequest)

    def view(preset: Preset) -> PromptView:
        return PromptView(
            id=preset.id,
            version=preset.version,
            versions=library.shelf(preset.id).versions,
            description=preset.description,
            variables=preset.schema.document,
            source=preset.origin,
        )

    @routes.get("/v1/prompts")
    async def list_prompts(principal: Principal = Depends(caller)) -> PromptList:
        """Presets that a call's `prompt` may name, each in its default version."""
        return PromptList(data=[view(shelf.default) for shelf in library.shelves()])

    @routes.get("/v1/prompts/{name}")
    async def retrieve_prompt(
        name: str,
        version: Annotated[str | None, Query(description="Default: the preset's own")] = None,
        principal: Principal = Depends(caller),
    ) -> PromptView:
        """One preset."""
        return view(library.find(name, version))

    @routes.post(
        "/v1/prompts/{name}/render",
        responses=says(400, 404, 413, 415, s404="No such preset, or no such version of it"),
        openapi_extra=takes(RenderRequest),
    )
    async def render_prompt(
        name: str,
        response: Response,
        principal: Principal = Depends(caller),
        wanted: RenderRequest = Depends(body),
    ) -> RenderedPrompt:
        """The messages that a preset makes; no engine is asked."""
        preset = library.find(name, wanted.version)
        made = await heavy.run(principal.key_id, partial(preset.render, wanted.variables))
        if made.replaced:
            told = [Change(f"variables.{variable}", "replaced") for variable in made.replaced]
            response.headers[changes.HEADER] = changes.listed(told)
        return RenderedPrompt(
            id=preset.id,
            version=preset.version,
            messages=[RenderedMessage.model_validate(message) for message in made.messages],
            replaced=made.replaced,
        )

    return routes
