"""What callers say of the answers that they got."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from gemma_gateway.api.auth import Auth
from gemma_gateway.api.body import json_body, takes
from gemma_gateway.api.schema import says
from gemma_gateway.core.call import Principal
from gemma_gateway.quality.feedback import FeedbackService

THUMBS = {"up": 1.0, "down": 0.0}
ResponseId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:-]{1,256}$")]


class FeedbackRequest(BaseModel):
    """A score or a thumb for one of the caller's own answers. Said again, it replaces the first."""

    model_config = ConfigDict(extra="forbid")
    response_id: ResponseId = Field(description="x-request-id of the answer, or the id in its body")
    score: float | None = Field(
        None, ge=0, le=1, allow_inf_nan=False, strict=True, description="0: bad, 1: good"
    )
    thumb: Literal["up", "down"] | None = Field(None, description="Instead of score: 1 or 0")
    comment: str = Field("", max_length=500, description="For the operators")

    @field_validator("comment")
    @classmethod
    def _printable(cls, comment: str) -> str:
        if not all(mark.isprintable() or mark in "\n\t" for mark in comment):
            raise ValueError("only printable characters, line breaks and tabs")
        return comment

    @model_validator(mode="after")
    def _one(self) -> FeedbackRequest:
        if (self.score is None) == (self.thumb is None):
            raise ValueError("give either score or thumb")
        return self

    @property
    def value(self) -> float:
        """The score, 0 to 1."""
        return THUMBS[self.thumb] if self.thumb is not None else float(self.score or 0)


class FeedbackView(BaseModel):
    """Feedback as it was kept."""

    response_id: str = Field(description="The gateway's own id for the answer")
    model: str
    score: float


def router(auth: Auth, service: FeedbackService) -> APIRouter:
    """The route ``/v1/feedback``."""
    routes = APIRouter(tags=["feedback"])
    caller, body = auth.any_caller, json_body(FeedbackRequest)

    @routes.post(
        "/v1/feedback",
        responses=says(
            400,
            404,
            413,
            415,
            503,
            s404="This key has no such answer, or it is too old",
            s503="Too many look-ups of old answers; see Retry-After",
        ),
        openapi_extra=takes(FeedbackRequest),
    )
    async def feedback(
        principal: Principal = Depends(caller),
        wanted: FeedbackRequest = Depends(body),
    ) -> FeedbackView:
        """Say how good an answer was."""
        kept = await service.take(principal, wanted.response_id, wanted.value, wanted.comment)
        return FeedbackView(response_id=kept.id, model=kept.model, score=kept.score)

    return routes
