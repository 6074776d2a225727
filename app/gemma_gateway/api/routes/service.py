"""The routes that are not calls to an engine: models, usage, health, metrics."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Literal

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel

from gemma_gateway.admin.health import Health, HealthReport
from gemma_gateway.admin.own import Own
from gemma_gateway.api.auth import Auth
from gemma_gateway.core.call import Principal
from gemma_gateway.core.usage_report import UsageReport

STARTED = int(time.time())


class ModelView(BaseModel):
    """One model."""

    id: str
    object: Literal["model"] = "model"
    type: Literal["model"] = "model"
    display_name: str
    created: int
    owned_by: str

    @classmethod
    def of(cls, name: str) -> ModelView:
        """The view of a served model."""
        return cls(id=name, display_name=name, created=STARTED, owned_by="google")


class ModelList(BaseModel):
    """The models that a key may use."""

    object: Literal["list"] = "list"
    data: list[ModelView]
    has_more: bool
    first_id: str | None
    last_id: str | None


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

    @routes.get("/v1/models", tags=["models"])
    async def list_models(principal: Principal = Depends(caller)) -> ModelList:
        """Models that this key may use, in a shape that OpenAI and Anthropic clients both read."""
        names = own.models(principal)
        return ModelList(
            data=[ModelView.of(name) for name in names],
            has_more=False,
            first_id=names[0] if names else None,
            last_id=names[-1] if names else None,
        )

    @routes.get("/v1/models/{model:path}", tags=["models"])
    async def retrieve_model(model: str, principal: Principal = Depends(caller)) -> ModelView:
        """One model."""
        if model not in own.models(principal):
            raise own.unknown(model, principal)
        return ModelView.of(model)

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
