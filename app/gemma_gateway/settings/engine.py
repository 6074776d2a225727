"""The ``engine`` section: the model in this process, or the servers that have it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from gemma_gateway.settings.fields import Commas, Seconds, Strict
from gemma_gateway.settings.models import Model
from gemma_gateway.settings.urls import base_urls


class EngineSettings(Strict):
    """The model in this process, or the servers that have it."""

    model: str = Field(
        "",
        description=(
            "Model to serve in process: a folder, a hub name; empty: the bundled Gemma 3 270M"
        ),
    )
    served_model_name: str = Field("", description="Name that clients use; empty: the model's own")
    max_model_len: int = Field(0, ge=0, description="Context length, tokens; 0: chosen by device")
    engine_args: Commas = Field(
        (), description=("Further vLLM server flags, comma-separated, such as --enable-lora")
    )
    upstreams: Annotated[Commas, AfterValidator(base_urls)] = Field(
        (),
        description=(
            "Base URLs of OpenAI-compatible servers, ending in /v1; dns+http://: one for each "
            "address of the name; empty: engine in process"
        ),
    )
    upstream_models: Commas = Field(
        (), description="Names of the models of upstreams that list none, such as Vertex AI's"
    )
    upstream_api_key: str = Field("", repr=False, description="Bearer key sent to the upstreams")
    upstream_credentials: Literal["key", "google"] = Field(
        "key",
        description=(
            "google: instead of that key, access tokens of this machine's Google identity "
            "(Vertex AI; extra google)"
        ),
    )
    upstream_parser: Literal["", "gemma"] = Field(
        "",
        description="gemma: find tool calls here, for upstreams that have no parser of them "
        "(docs/tool-calls.md)",
    )
    models: tuple[Model, ...] = Field(
        (),
        description="Several models, each with its own servers, instead of GATEWAY_UPSTREAMS and "
        "GATEWAY_MODEL (YAML; docs/models.md)",
    )
    connect_timeout: Seconds = Field(2.0, gt=0, description="Upstream connect time-out, seconds")
    first_token_timeout: Seconds | None = Field(
        None,
        gt=0,
        description=(
            "Longest silence of an engine before a stream's first text (queue and prefill), "
            "seconds; unset: GATEWAY_REQUEST_TIMEOUT"
        ),
    )
    idle_timeout: Seconds = Field(
        60.0,
        gt=0,
        description=("Longest silence of an engine between the bytes of a stream, seconds"),
    )
    request_timeout: Seconds = Field(600.0, gt=0, description="Longest whole call, seconds")
    health_interval: Seconds = Field(2.0, gt=0, description="Active upstream check, seconds apart")
    eject_after: int = Field(3, ge=1, description="Failures in a row that eject an upstream")
    eject_seconds: Seconds = Field(
        5.0, gt=0, description="Ejection before a half-open try, seconds"
    )

    @property
    def in_process(self) -> str | None:
        """The model to serve in this process, as ``model`` names it; None: there is none."""
        if self.models:
            return next((model.model for model in self.models if not model.upstreams), None)
        return None if self.upstreams else self.model

    @property
    def remote(self) -> bool:
        """Whether other servers have a model."""
        return bool(self.upstreams or any(model.upstreams for model in self.models))
