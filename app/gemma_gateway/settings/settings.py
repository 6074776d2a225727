"""All settings, made of one section for each part of the gateway.

Environment variables (prefix ``GATEWAY_``) win over secret files (the folder that
``GATEWAY_SECRETS_DIR`` names), which win over the YAML file (``gateway.yaml`` or
``GATEWAY_CONFIG``), which wins over the defaults. In each of these a setting may stand by itself
(``redis_url``, ``GATEWAY_REDIS_URL``) or within its section (``store: {redis_url: ...}``,
``GATEWAY_STORE__REDIS_URL``).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
)

from gemma_gateway.settings.access import AccessSettings
from gemma_gateway.settings.alerts import AlertSettings
from gemma_gateway.settings.engine import EngineSettings
from gemma_gateway.settings.fields import Contradiction, Fault, Strict
from gemma_gateway.settings.limits import LimitSettings
from gemma_gateway.settings.media import MediaSettings
from gemma_gateway.settings.models import Model
from gemma_gateway.settings.models import faults as model_faults
from gemma_gateway.settings.monitoring import MonitoringSettings
from gemma_gateway.settings.prompts import PromptSettings
from gemma_gateway.settings.quality import QualitySettings
from gemma_gateway.settings.safety import SafetySettings
from gemma_gateway.settings.server import ServerSettings
from gemma_gateway.settings.store import StoreSettings
from gemma_gateway.settings.telemetry import TelemetrySettings
from gemma_gateway.settings.validation import ValidationSettings

PREFIX, DELIMITER = "GATEWAY_", "__"
# Settings that say in short what an entry of ``models`` says.
ONE_MODEL = (
    *("upstreams", "upstream_models", "upstream_api_key", "upstream_parser"),
    *("model", "served_model_name"),
)
SECRETS_VARIABLE = "GATEWAY_SECRETS_DIR"  # one file a setting, named as its variable in lower case


class Settings(
    ServerSettings,
    AccessSettings,
    LimitSettings,
    StoreSettings,
    ValidationSettings,
    MediaSettings,
    SafetySettings,
    EngineSettings,
    MonitoringSettings,
    TelemetrySettings,
    QualitySettings,
    PromptSettings,
    BaseSettings,
):
    """The configuration of one gateway process.

    It has the fields of all sections, so every setting has a name of its own. ``settings.store`` is
    the same object as a part sees it that needs no more than that section.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter=DELIMITER,
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
    )

    alerts: AlertSettings = Field(
        default_factory=AlertSettings,
        description="Alert rules and webhooks (YAML; docs/alerts.md)",
    )

    # Each section, by the name that files and variables know it by.

    @property
    def server(self) -> ServerSettings:
        return self

    @property
    def access(self) -> AccessSettings:
        return self

    @property
    def limits(self) -> LimitSettings:
        return self

    @property
    def store(self) -> StoreSettings:
        return self

    @property
    def validation(self) -> ValidationSettings:
        return self

    @property
    def media(self) -> MediaSettings:
        return self

    @property
    def safety(self) -> SafetySettings:
        return self

    @property
    def engine(self) -> EngineSettings:
        return self

    @property
    def monitoring(self) -> MonitoringSettings:
        return self

    @property
    def telemetry(self) -> TelemetrySettings:
        return self

    @property
    def quality(self) -> QualitySettings:
        return self

    @property
    def prompts(self) -> PromptSettings:
        return self

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        if faults := self._contradictions():
            raise Contradiction(faults)
        return self

    def _contradictions(self) -> list[Fault]:
        faults: list[Fault] = []
        if self.allow_anonymous and not self.only_loopback:
            faults.append((("allow_anonymous",), "works only on a loopback host (GATEWAY_HOST)"))
        for name, tier in self.tiers.items():
            default, cap = tier.max_tokens_default, tier.max_tokens_cap
            if default is not None and cap is not None and default > cap:
                faults.append((("tiers", name, "max_tokens_default"), "is above max_tokens_cap"))
        known = {
            sha256(text.encode()).hexdigest(): f"{name}-{n}"
            for name, texts in (("operator", self.operator_keys), ("env", self.api_keys))
            for n, text in enumerate(texts, 1)
        }
        for n, key in enumerate(self.keys):
            if key.tier not in self.tiers:
                faults.append((("keys", n, "tier"), f"{key.name}: no tier {key.tier!r} in tiers"))
            if twin := known.get(key.sha256):
                why = f"{key.name!r} and {twin!r} are the same key"
                faults.append((("keys", n, "sha256"), why))
            known[key.sha256] = key.name
        faults += model_faults(self.models, self.request_timeout)
        if self.models:
            why = "is the short form of one entry of models: say it there"
            faults += [((name,), why) for name in ONE_MODEL if getattr(self, name)]
        faults += [
            (("models", n, "price"), f"{model.name!r} is in prices, too")
            for n, model in enumerate(self.models)
            if model.price and model.name in self.prices
        ]
        return faults

    def reloaded(self, models: tuple[Model, ...], prompts_file: Path | None) -> Settings:
        """The same settings with what can change while they are in use.

        Raises:
            Contradiction: these don't go with the other settings.
        """
        changed = {"models": models, "prompts_file": prompts_file}
        settings = self.model_copy(update=changed)
        if faults := settings._contradictions():
            raise Contradiction(faults)
        return settings

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        variables = partial(EnvSettingsSource, env_nested_delimiter=DELIMITER)
        given = [env_settings() | _within_sections(variables)]
        if folder := os.environ.get(SECRETS_VARIABLE):
            files = partial(SecretsSettingsSource, secrets_dir=folder)
            given.append(files(settings_cls)() | _within_sections(files))
        given.append(init_settings())
        # Before they are merged, so that one source wins over the next in whichever way it says it.
        return tuple(InitSettingsSource(settings_cls, flat(values)) for values in given)


SECTIONS: dict[str, type[Strict]] = {
    "server": ServerSettings,
    "access": AccessSettings,
    "limits": LimitSettings,
    "store": StoreSettings,
    "validation": ValidationSettings,
    "media": MediaSettings,
    "safety": SafetySettings,
    "engine": EngineSettings,
    "monitoring": MonitoringSettings,
    "telemetry": TelemetrySettings,
    "quality": QualitySettings,
    "prompts": PromptSettings,
}


def _within_sections(source: Callable[..., PydanticBaseSettingsSource]) -> dict[str, Any]:
    """What variables or files named ``GATEWAY_STORE__REDIS_URL`` give, by section."""
    return {
        name: source(section, env_prefix=f"{PREFIX}{name}{DELIMITER}")()
        for name, section in SECTIONS.items()
    }


def flat(values: dict[str, Any]) -> dict[str, Any]:
    """Settings of one source, each by itself.

    What can't be taken out of its section keeps a name with a dot, which is refused as unknown: a
    name that the section doesn't have, and a setting that stands by itself with another value.
    """
    sections = {
        name: inner
        for name, inner in values.items()
        if name in SECTIONS and isinstance(inner, dict)
    }
    found = {name: value for name, value in values.items() if name not in sections}
    for section, inner in sections.items():
        for name, value in inner.items():
            known = name in SECTIONS[section].model_fields
            if known and found.setdefault(name, value) == value:
                continue
            found[f"{section}.{name}"] = value
    return found
