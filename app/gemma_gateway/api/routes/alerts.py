"""Alerts, silences and dead letters, for operators."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from gemma_gateway.alerts.service import Alerts
from gemma_gateway.alerts.store import MOST_HISTORY
from gemma_gateway.alerts.view import AlertsReport, DeadLetterView, SilenceView
from gemma_gateway.api.auth import Auth
from gemma_gateway.api.body import json_body, takes
from gemma_gateway.api.schema import says
from gemma_gateway.core.call import Principal

LONGEST_SILENCE = 30 * 86_400  # seconds


class SilenceRequest(BaseModel):
    """A rule that webhooks shall hear nothing of for a while."""

    model_config = ConfigDict(extra="forbid")
    rule: str = Field(max_length=40, description="Name of a rule; GET /v1/monitoring/alerts")
    seconds: float = Field(
        ge=1, le=LONGEST_SILENCE, allow_inf_nan=False, description="From now on; at most 30 days"
    )
    comment: str = Field("", max_length=200, description="Why, for other operators")


class Silences(BaseModel):
    """All silences that have not ended."""

    data: list[SilenceView]


class DeadLetters(BaseModel):
    """Notifications that were given up, latest first."""

    data: list[DeadLetterView]


def router(auth: Auth, alerts: Alerts) -> APIRouter:
    """Routes below ``/v1/monitoring/alerts``."""
    routes = APIRouter(prefix="/v1/monitoring/alerts", tags=["monitoring"])
    caller, body = auth.operator, json_body(SilenceRequest)

    @routes.get("", responses=says(400, 403))
    async def report(
        _: Principal = Depends(caller),
        limit: Annotated[
            int, Query(ge=0, le=MOST_HISTORY, description="Most ended alerts to return")
        ] = 100,
    ) -> AlertsReport:
        """Alerts that fire, those that are over, and the rules."""
        return await alerts.report(limit)

    @routes.get("/silences", responses=says(403, 503))
    async def silences(_: Principal = Depends(caller)) -> Silences:
        """Rules that webhooks hear nothing of now."""
        return Silences(data=[SilenceView.of(s) for s in await alerts.silences()])

    @routes.post(
        "/silences",
        status_code=201,
        responses=says(400, 403, 413, 415, 503),
        openapi_extra=takes(SilenceRequest),
    )
    async def silence(
        principal: Principal = Depends(caller), wanted: SilenceRequest = Depends(body)
    ) -> SilenceView:
        """Silence a rule."""
        made = await alerts.silence(wanted.rule, wanted.seconds, wanted.comment, principal.name)
        return SilenceView.of(made)

    @routes.delete(
        "/silences/{silence_id}",
        status_code=204,
        responses=says(403, 404, 503, s404="No such silence"),
    )
    async def unsilence(silence_id: str, _: Principal = Depends(caller)) -> Response:
        """End a silence now."""
        await alerts.unsilence(silence_id)
        return Response(status_code=204)

    @routes.get("/dead-letters", responses=says(403, 503))
    async def dead_letters(_: Principal = Depends(caller)) -> DeadLetters:
        """Notifications that no attempt has delivered."""
        return DeadLetters(data=[DeadLetterView.of(d) for d in await alerts.dead_letters()])

    return routes
