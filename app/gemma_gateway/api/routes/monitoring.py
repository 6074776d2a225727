"""What operators see of the calls: ``/v1/monitoring``."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from gemma_gateway.admin.export import MOST_DAYS, Export
from gemma_gateway.admin.overview import MOST_RECORDS, Overview
from gemma_gateway.api.auth import Auth
from gemma_gateway.api.schema import says
from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.monitoring import timestamps
from gemma_gateway.monitoring.search import Kind, Search
from gemma_gateway.monitoring.summary import Group
from gemma_gateway.monitoring.views import Calls, Performance, Range, Series, State, Usage

Moment = Annotated[
    float,
    BeforeValidator(timestamps.parse),
    WithJsonSchema({"type": "string", "description": "ISO 8601, or seconds since 1970"}),
]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class PerformanceQuery(_Strict):
    """The newest calls, or those of a time range."""

    last: int | None = Field(
        None, ge=1, le=MOST_RECORDS, description="Newest calls; 100 without a range"
    )
    start: Moment | None = Field(None, description="Calls that ended then or later")
    end: Moment | None = Field(None, description="Calls that ended before")
    group_by: Group | None = None


class SeriesQuery(_Strict):
    range: Range = "1h"


class CallsQuery(_Strict):
    """Which calls: all words of ``search`` have to stand in their names and ids."""

    limit: int = Field(100, ge=1, le=1000)
    after: str = Field(
        "", pattern=r"^([0-9]{1,15}-[0-9]{1,19})?$", description="The last answer's cursor"
    )
    search: str = Field(
        "",
        max_length=200,
        description="Words from request id, key id and name, model, route, tier, outcome, upstream",
    )
    kind: Kind = Field("all", description="What the outcome amounts to")
    start: Moment = Field(0.0, description="Calls that ended then or later")
    end: Moment | None = Field(None, description="Calls that ended before")


class UsageQuery(_Strict):
    days: int = Field(7, ge=1, le=MOST_DAYS, description="Up to today, UTC")
    format: Literal["json", "csv"] = "json"


class NoQuery(_Strict):
    pass


def router(auth: Auth, overview: Overview, export: Export) -> APIRouter:
    """Routes below ``/v1/monitoring``; operator scope, which is checked before anything else."""
    routes = APIRouter(
        prefix="/v1/monitoring",
        tags=["monitoring"],
        dependencies=[Depends(auth.operator)],
        responses=says(400, 401, 403),
    )

    @routes.get("/performance")
    async def performance(query: Annotated[PerformanceQuery, Query()]) -> Performance:
        """Rates, times and tokens over the newest calls or a time range, whole and by group."""
        ranged = query.start is not None or query.end is not None
        if ranged and query.last is not None:
            raise _invalid("Give last, or start and end.", "last")
        if query.start is not None and query.end is not None and query.start >= query.end:
            raise _invalid("end must be after start.", "end")
        return await overview.performance(query.last or 100, query.start, query.end, query.group_by)

    @routes.get("/series")
    async def series(query: Annotated[SeriesQuery, Query()]) -> Series:
        """Calls, tokens and percentiles of times, step by step."""
        return await overview.series(query.range)

    @routes.get("/calls")
    async def calls(query: Annotated[CallsQuery, Query()]) -> Calls:
        """The latest calls, or those that are looked for, without their content."""
        end = math.inf if query.end is None else query.end
        search = Search(query.search, query.kind, query.start, end)
        return await overview.calls(query.limit, query.after, search)

    @routes.get("/state")
    async def state(query: Annotated[NoQuery, Query()]) -> State:
        """How the gateway process that answers is."""
        return await overview.state()

    @routes.get(
        "/usage",
        response_model=Usage,
        responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
    )
    async def usage(query: Annotated[UsageQuery, Query()]) -> Response:
        """Calls, tokens and cost by key, day and model. CSV that only has what the answering
        process itself has seen says so in the header x-degraded."""
        if query.format == "json":
            return StreamingResponse(export.usage_json(query.days), media_type="application/json")
        pieces, degraded = await export.usage_csv(query.days)
        headers = _attachment("usage.csv") | ({"x-degraded": "true"} if degraded else {})
        return StreamingResponse(pieces, media_type="text/csv; charset=utf-8", headers=headers)

    @routes.get(
        "/export",
        response_class=Response,
        responses={200: {"content": {"application/json": {"schema": {"type": "object"}}}}},
    )
    async def everything(query: Annotated[NoQuery, Query()]) -> Response:
        """All that is kept, as one JSON document: records, sums, usage and more."""
        return StreamingResponse(
            export.everything(),
            media_type="application/json",
            headers=_attachment("gemma-gateway-export.json"),
        )

    return routes


def _attachment(name: str) -> dict[str, str]:
    return {"content-disposition": f'attachment; filename="{name}"', "cache-control": "no-store"}


def _invalid(message: str, param: str) -> GatewayError:
    return GatewayError(Code.VALIDATION_ERROR, message, param=param)
