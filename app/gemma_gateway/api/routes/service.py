"""The routes that are not calls to an engine: models, usage, health, metrics."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Depends, Response
from fastapi.responses import JSONResponse

from gemma_gateway.admin.health import Health
from gemma_gateway.admin.own import Own
from gemma_gateway.api.auth import Auth
from gemma_gateway.core.call import Principal
from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.core.usage_report import UsageReport

STARTED = int(time.time())


def router(auth: Auth, own: Own, health: Health, metrics: Callable[[], bytes]) -> APIRouter:
    """Routes over the gateway's own state; ``metrics`` renders them."""
    routes = APIRouter()

    caller = auth.any_caller

    @routes.get("/v1/models", tags=["models"])
    async def list_models(principal: Principal = Depends(caller)) -> dict[str, Any]:
        """Models that this key may use, in a shape that OpenAI and Anthropic clients both read."""
        data = [_model(name) for name in own.models(principal)]
        return {
            "object": "list",
            "data": data,
            "has_more": False,
            "first_id": data[0]["id"] if data else None,
            "last_id": data[-1]["id"] if data else None,
        }

    @routes.get("/v1/models/{model:path}", tags=["models"])
    async def retrieve_model(model: str, principal: Principal = Depends(caller)) -> dict[str, Any]:
        """One model."""
        if model not in own.models(principal):
            raise GatewayError(Code.MODEL_NOT_FOUND, param="model")
        return _model(model)

    @routes.get("/v1/usage", tags=["usage"])
    async def usage(principal: Principal = Depends(caller)) -> UsageReport:
        """What this key has used: requests in the last hour, what remains, tokens by day."""
        return await own.usage(principal)

    @routes.get("/health/live", tags=["health"])
    async def live() -> dict[str, str]:
        """The process runs and its event loop turns."""
        return {"status": "alive"}

    @routes.get("/health/ready", tags=["health"])
    async def ready() -> JSONResponse:
        """200 when new calls should come here, else 503."""
        if await health.ready():
            return JSONResponse({"status": "ready"})
        return JSONResponse({"status": "not ready"}, 503)

    @routes.get("/health", tags=["health"])
    async def whole_health() -> JSONResponse:
        """A real 10-token generation, cached for some seconds, with the state of the parts."""
        report = await health.report()
        return JSONResponse(report, 503 if report["status"] == "unhealthy" else 200)

    @routes.get("/metrics", tags=["metrics"], response_class=Response)
    async def all_metrics() -> Response:
        """Prometheus text exposition: the gateway's, the process's, and vLLM's when in process."""
        return Response(metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return routes


def _model(name: str) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "type": "model",
        "display_name": name,
        "created": STARTED,
        "owned_by": "google",
    }
