"""The ``telemetry`` section: what is logged."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from gemma_gateway.settings.fields import Strict


class TelemetrySettings(Strict):
    """What is logged. Traces go by OpenTelemetry's own variables."""

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Lowest level that is logged"
    )
    access_log: bool = Field(True, description="One JSON line per call on standard output")
