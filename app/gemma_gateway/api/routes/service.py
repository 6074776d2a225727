"""The routes that are not calls to an engine: models, usage, health, metrics."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from gemma_gateway import __version__
from gemma_gateway.admin.health import Health, HealthReport
from gemma_gateway.admin.own import Card, Own
from gemma_gateway.api.auth import Auth
from gemma_gateway.core.call import Principal
from gemma_gateway.core.usage_report import UsageReport

# The day on which the first Gemma came out. Both protocols want a time, and this one is the same in
# every gateway: what servers tell is mostly when they were started.
CREATED = datetime(2024, 2, 21, tzinfo=UTC)
MODALITIES = ("text", "image", "audio", "video")  # in this order


class ModelView(BaseModel):
    """One model, as OpenAI, Anthropic and vLLM each describe it."""

    id: str
    object: Literal["model"] = "model"
    type: Literal["model"] = "model"
    display_name: str
    created: int = int(CREATED.timestamp())
    created_at: datetime = CREATED
    owned_by: str = "google"
    lifecycle: Literal["active"] = "active"
    description: str | None = Field(description="What people should know of it; null: unknown")
    root: str = Field(description="The model behind an alias, else the id")
    max_model_len: int | None = Field(description="Tokens of a prompt and its answer together")
    context_length: int | None = Field(description="As max_model_len")
    max_input_tokens: int | None = Field(description="As max_model_len")
    max_tokens: int | None = Field(description="Longest answer that this key may ask for, tokens")
    input_modalities: list[str] = Field(
        description="What a prompt may be made of, as far as the gateway knows: text, image, audio"
    )
    output_modalities: list[Literal["text"]] = ["text"]

    @classmethod
    def of(cls, name: str, card: Card) -> ModelView:
        """The view of a served model."""
        return cls(
            id=name,
            display_name=name,
            description=card.description,
            root=card.root,
            max_model_len=card.context,
            context_length=card.context,
            max_input_tokens=card.context,
            max_tokens=card.max_tokens,
            input_modalities=[m for m in MODALITIES if m in (card.modalities or {"text"})],
        )


class ModelList(BaseModel):
    """The models that a key may use."""

    object: Literal["list"] = "list"
    data: list[ModelView]
    has_more: bool
    first_id: str | None
    last_id: str | None


class Version(BaseModel):
    """Which gateway this is."""

    version: str = __version__


class Probe(BaseModel):
    """What an orchestrator asks for; the HTTP status says the same."""

    status: Literal["alive", "ready", "not ready"]


def _failing(model: type[BaseModel], text: str) -> dict[int | str, dict[str, Any]]:
    """The answer with status 503 of a route, which has the same shape as its good one."""
    return {503: {"model": model, "description": text}}


def router(auth: Auth, own: Own, health: Health, metrics: Callable[[], bytes]) -> APIRouter:
    """Routes over the gateway's own state; ``metrics`` renders them."""
    routes = APIRouter()

    caller = auth.any_caller

    @routes.get("/", include_in_schema=False)
    async def root(request: Request) -> Response:
        """Browsers are led to the console, by a relative address; others learn what this is."""
        headers = {"vary": "accept"}
        if "text/html" in request.headers.get("accept", ""):
            return Response(None, 307, {"location": "console", **headers})
        told = {"name": "gemma-gateway", "version": __version__, "docs": "/docs"}
        return JSONResponse(told, headers=headers)

    @routes.get("/version", tags=["health"])
    async def version() -> Version:
        """The gateway's version."""
        return Version()

    @routes.get("/v1/models", tags=["models"])
    async def list_models(principal: Principal = Depends(caller)) -> ModelList:
        """Models that this key may use, in a shape that OpenAI and Anthropic clients both read."""
        names = own.models(principal)
        return ModelList(
            data=[ModelView.of(name, own.card(principal, name)) for name in names],
            has_more=False,
            first_id=names[0] if names else None,
            last_id=names[-1] if names else None,
        )

    @routes.get("/v1/models/{model:path}", tags=["models"])
    async def retrieve_model(model: str, principal: Principal = Depends(caller)) -> ModelView:
        """One model."""
        if not model:  # "/v1/models/"
            raise HTTPException(404)
        if model not in own.models(principal):
            raise own.unknown(model, principal)
        return ModelView.of(model, own.card(principal, model))

    @routes.get("/v1/usage", tags=["usage"])
    async def usage(principal: Principal = Depends(caller)) -> UsageReport:
        """What this key has used: requests in the last hour, what remains, tokens by day."""
        return await own.usage(principal)

    @routes.get("/health/live", tags=["health"])
    async def live() -> Probe:
        """The process runs and its event loop turns."""
        return Probe(status="alive")

    @routes.get(
        "/health/ready",
        tags=["health"],
        responses=_failing(Probe, "No new calls should be sent here"),
    )
    async def ready(response: Response) -> Probe:
        """200 when new calls should come here, else 503."""
        if await health.ready():
            return Probe(status="ready")
        response.status_code = 503
        return Probe(status="not ready")

    @routes.get("/health", tags=["health"], responses=_failing(HealthReport, "Unhealthy"))
    async def whole_health(
        response: Response, operator: bool = Depends(auth.is_operator)
    ) -> HealthReport:
        """A real 10-token generation, cached for some seconds, with the state of the parts. With an
        operator's key it names the engine servers that are out of use."""
        report = await health.report(named=operator)
        if report.status == "unhealthy":
            response.status_code = 503
        return report

    @routes.get("/metrics", tags=["metrics"], response_class=Response)
    async def all_metrics() -> Response:
        """Prometheus text exposition: the gateway's, the process's, and vLLM's when in process."""
        return Response(metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return routes
