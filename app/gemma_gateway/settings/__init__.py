"""What an operator may set, and where it is read from."""

from gemma_gateway.settings.access import AccessSettings, KeyEntry
from gemma_gateway.settings.alerts import AlertSettings
from gemma_gateway.settings.engine import EngineSettings
from gemma_gateway.settings.fields import Contradiction
from gemma_gateway.settings.limits import LimitSettings
from gemma_gateway.settings.media import MediaSettings
from gemma_gateway.settings.models import Model
from gemma_gateway.settings.monitoring import MonitoringSettings, Price
from gemma_gateway.settings.prompts import PromptSettings
from gemma_gateway.settings.quality import QualitySettings
from gemma_gateway.settings.safety import CONTROL_TEXT, SafetySettings
from gemma_gateway.settings.server import ServerSettings, is_loopback
from gemma_gateway.settings.settings import (
    SECRETS_VARIABLE,
    SECTIONS,
    Settings,
    flat,
)
from gemma_gateway.settings.store import StoreSettings
from gemma_gateway.settings.telemetry import TelemetrySettings
from gemma_gateway.settings.tier import MOST_REQUESTS, MOST_TOKENS, Tier, Window
from gemma_gateway.settings.validation import ValidationSettings

__all__ = [
    "CONTROL_TEXT",
    "MOST_REQUESTS",
    "MOST_TOKENS",
    "SECRETS_VARIABLE",
    "SECTIONS",
    "AccessSettings",
    "AlertSettings",
    "Contradiction",
    "EngineSettings",
    "KeyEntry",
    "LimitSettings",
    "MediaSettings",
    "Model",
    "MonitoringSettings",
    "Price",
    "PromptSettings",
    "QualitySettings",
    "SafetySettings",
    "ServerSettings",
    "Settings",
    "StoreSettings",
    "TelemetrySettings",
    "Tier",
    "ValidationSettings",
    "Window",
    "flat",
    "is_loopback",
]
