"""How good the answers are: ``GET /v1/monitoring/quality``."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from gemma_gateway.api.auth import Auth
from gemma_gateway.api.routes.monitoring import Moment
from gemma_gateway.api.schema import says
from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.quality.book import MOST
from gemma_gateway.quality.view import QualityReport, QualityView


class QualityQuery(BaseModel):
    """The newest judged calls, or those of a time range."""

    model_config = ConfigDict(extra="forbid")
    last: int | None = Field(
        None, ge=1, le=MOST, description="Newest calls; 100 without a range, else all of it"
    )
    start: Moment | None = Field(None, description="Calls that ended then or later")
    end: Moment | None = Field(None, description="Calls that ended before")


def router(auth: Auth, view: QualityView) -> APIRouter:
    """The route; operator scope, which is checked before anything else."""
    routes = APIRouter(
        prefix="/v1/monitoring", tags=["monitoring"], dependencies=[Depends(auth.operator)]
    )

    @routes.get("/quality", responses=says(400, 401, 403))
    async def quality(query: Annotated[QualityQuery, Query()]) -> QualityReport:
        """Averages of the sampled calls' scores, by model too, with what their callers said."""
        if query.start is not None and query.end is not None and query.start >= query.end:
            raise GatewayError(Code.VALIDATION_ERROR, "end must be after start.", param="end")
        ranged = query.start is not None or query.end is not None
        return await view.report(query.last or (MOST if ranged else 100), query.start, query.end)

    return routes
