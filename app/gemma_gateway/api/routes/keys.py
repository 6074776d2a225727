"""Keys made at run time: operators make, change, rotate and revoke them; each sees its own."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal

from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from gemma_gateway.admin.keys import MAX_PAGE, KeyAdmin
from gemma_gateway.admin.views import KeyList, KeyView, KeyWithSecret
from gemma_gateway.api.auth import Auth
from gemma_gateway.api.body import json_body, takes
from gemma_gateway.api.schema import says
from gemma_gateway.core.call import Principal
from gemma_gateway.settings import Window
from gemma_gateway.settings.fields import Name

if TYPE_CHECKING:
    from gemma_gateway.access.service import Fields

LONGEST_GRACE = 30 * 86_400  # seconds
LAST_YEAR = 2999

Model = Annotated[str, StringConstraints(min_length=1, max_length=256)]
KeyId = Annotated[str, Path(pattern="^[0-9a-f]{64}$", description="The key's ``id``")]


class KeyChange(BaseModel):
    """What to set of a key; what isn't named stays."""

    model_config = ConfigDict(extra="forbid")
    name: Name = Field("", validate_default=False, description="For people; need not be unique")
    tier: str = Field("default", max_length=64, description="A tier of the settings")
    models: list[Model] = Field([], max_length=64, description="Models it may use; empty: all")
    scopes: list[Literal["operator"]] = Field([], max_length=1)
    expires: datetime | None = Field(
        None, description="ISO 8601 (without a zone: UTC) or seconds since the epoch; null: never"
    )
    windows: list[Window] | None = Field(
        None, min_length=1, max_length=8, description="Its own limits; null: those of its tier"
    )

    @field_validator("expires")
    @classmethod
    def _zoned(cls, moment: datetime | None) -> datetime | None:
        if moment is not None and moment.year > LAST_YEAR:
            raise ValueError(f"no later than the year {LAST_YEAR}")
        return moment if moment is None or moment.tzinfo else moment.replace(tzinfo=UTC)

    def fields(self) -> Fields:
        """What was named."""
        found: Fields = {}
        named = self.model_fields_set
        if "name" in named:
            found["name"] = self.name
        if "tier" in named:
            found["tier"] = self.tier
        if "models" in named:
            found["models"] = tuple(self.models)
        if "scopes" in named:
            found["scopes"] = tuple(self.scopes)
        if "expires" in named:
            found["expires"] = None if self.expires is None else round(self.expires.timestamp(), 3)
        if "windows" in named:
            found["windows"] = tuple((w.limit, w.seconds) for w in self.windows or ())
        return found


class NewKey(KeyChange):
    """A key to be made."""

    name: Name = Field(description="For people; need not be unique")

    def fields(self) -> Fields:
        """What was named, and the tier."""
        return {"tier": self.tier, **super().fields()}


class Rotation(BaseModel):
    """How a key gets its new secret."""

    model_config = ConfigDict(extra="forbid")
    grace_seconds: float = Field(
        0,
        ge=0,
        le=LONGEST_GRACE,
        allow_inf_nan=False,
        description="How long the old secret keeps working; at most 30 days",
    )


CHANGE = {"s404": "No such key", "s409": "A key from the settings, or a revoked one"}


def router(auth: Auth, keys: KeyAdmin) -> APIRouter:
    """Routes below ``/v1/keys``."""
    routes = APIRouter(prefix="/v1/keys", tags=["keys"])
    caller, anyone = auth.operator, auth.any_caller
    read_new, read_change = json_body(NewKey), json_body(KeyChange)
    read_rotation = json_body(Rotation)

    @routes.get("/self", responses=says(503))
    async def own(principal: Principal = Depends(anyone)) -> KeyView:
        """The key of this call."""
        return await keys.own(principal)

    @routes.get("", responses=says(400, 403, 503))
    async def page(
        _: Principal = Depends(caller),
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
        after: Annotated[
            str, Query(pattern="^([0-9a-f]{64})?$", description="``cursor`` of the previous page")
        ] = "",
    ) -> KeyList:
        """All keys, a page at a time, and the tiers that they may have."""
        return await keys.page(limit, after)

    @routes.post(
        "", status_code=201, responses=says(400, 403, 413, 415, 503), openapi_extra=takes(NewKey)
    )
    async def create(
        response: Response,
        by: Principal = Depends(caller),
        wanted: NewKey = Depends(read_new),
    ) -> KeyWithSecret:
        """Make a key. Its secret is shown in this answer, and never again."""
        _private(response)
        return await keys.create(by, wanted.fields())

    @routes.patch(
        "/{key_id}",
        responses=says(400, 403, 404, 409, 413, 415, 503, **CHANGE),
        openapi_extra=takes(KeyChange),
    )
    async def change(
        key_id: KeyId,
        by: Principal = Depends(caller),
        wanted: KeyChange = Depends(read_change),
    ) -> KeyView:
        """Set what is named. Every gateway knows of it within two seconds."""
        return await keys.change(by, key_id, wanted.fields())

    @routes.post(
        "/{key_id}/rotate",
        responses=says(400, 403, 404, 409, 413, 415, 503, **CHANGE),
        openapi_extra=takes(Rotation),
    )
    async def rotate(
        response: Response,
        key_id: KeyId,
        by: Principal = Depends(caller),
        wanted: Rotation = Depends(read_rotation),
    ) -> KeyWithSecret:
        """Give a key a new secret; its id, limits and usage stay."""
        _private(response)
        return await keys.rotate(by, key_id, wanted.grace_seconds)

    @routes.delete("/{key_id}", responses=says(400, 403, 404, 409, 503, **CHANGE))
    async def revoke(key_id: KeyId, by: Principal = Depends(caller)) -> KeyView:
        """End a key for good, within two seconds on every gateway. It stays in the list for 40
        days, as long as its usage by day."""
        return await keys.revoke(by, key_id)

    return routes


def _private(response: Response) -> None:
    response.headers["cache-control"] = "no-store"
