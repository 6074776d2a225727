"""Every setting of the gateway, once: its type, default and meaning.

Environment variables (prefix ``GATEWAY_``) win over secret files (the folder that
``GATEWAY_SECRETS_DIR`` names), which win over the YAML file (``gateway.yaml`` or
``GATEWAY_CONFIG``), which wins over the defaults.
"""

from __future__ import annotations

import os
import re
from datetime import datetime
from decimal import Decimal
from hashlib import sha256
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
)

from gemma_gateway.settings.alerts import AlertSettings

MOST_REQUESTS = 1_000_000  # in a window: 8 MB of the store for each key that makes so many
MOST_TOKENS = 100_000_000
SECRETS_VARIABLE = "GATEWAY_SECRETS_DIR"  # one file a setting, named as its variable in lower case


def _split(value: Any) -> Any:
    """Comma-separated text, as an environment variable gives it, to its parts."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


Commas = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
Network = IPv4Network | IPv6Network
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


# Of time-outs: event loops know no "for ever".
Seconds = Annotated[float, Field(le=31 * 86_400)]


class Contradiction(ValueError):
    """Fields that can't go together.

    Args:
        faults: place and reason of each.
    """

    def __init__(self, faults: list[tuple[tuple[str | int, ...], str]]) -> None:
        super().__init__("; ".join(f"{'.'.join(map(str, at))}: {why}" for at, why in faults))
        self.faults = faults


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Window(Strict):
    """A sliding window: at most ``limit`` requests in any ``seconds`` long stretch of time."""

    limit: int = Field(ge=1, le=MOST_REQUESTS)
    seconds: int = Field(ge=1, le=31 * 86_400)


class Tier(Strict):
    """What the keys of one tier may use."""

    windows: tuple[Window, ...] = Field(
        default=(),
        max_length=8,
        description=("Sliding windows, all of which must have room; empty: requests_per_hour"),
    )
    max_tokens_default: int = Field(
        512, ge=1, le=MOST_TOKENS, description="Answer length when none is asked for, tokens"
    )
    max_tokens_cap: int = Field(
        1024, ge=1, le=MOST_TOKENS, description="Largest answer length, tokens"
    )
    temperature: float = Field(0.7, ge=0, le=2, description="When the client says nothing")
    top_p: float = Field(0.9, gt=0, le=1, description="When the client says nothing")
    repetition_penalty: float = Field(1.05, gt=0, le=2, description="When the client says nothing")
    max_messages: int = Field(50, ge=1, description="Messages, prompts or input items in one call")
    max_message_chars: int = Field(
        8192, ge=1, description="Characters of one message, after sanitising"
    )
    max_choices: int = Field(8, ge=1, description="Largest n, best_of and prompts in one call")
    max_in_flight: int = Field(
        256,
        ge=0,
        description="Calls of one key in flight in one process; 0: no limit but "
        "GATEWAY_MAX_IN_FLIGHT, which one key could then use up",
    )
    too_long: Literal["reject", "truncate"] = Field(
        "reject", description="What happens to a longer message"
    )
    grammars: bool = Field(
        False,
        description=(
            "Take regular expressions and grammars that bind an answer, within bounds "
            "(docs/constraints.md)"
        ),
    )
    prompt_logprobs_tokens: int = Field(
        0,
        ge=0,
        description=(
            "Tokens of prompts with prompt_logprobs or echo that one key may have in flight in "
            "one process; each takes 3.7 MB of the engine's memory with Gemma's vocabulary; 0: "
            "refused"
        ),
    )
    quality_sample: float = Field(
        0.0, ge=0, le=1, description="Share of the calls whose answers are judged: 0 none, 1 all"
    )


class KeyEntry(Strict):
    """A key in the YAML file: only its SHA-256 is kept there."""

    name: str = Field(min_length=1, max_length=64)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    tier: str = "default"
    models: tuple[str, ...] = ()
    scopes: tuple[Literal["operator"], ...] = ()
    expires: datetime | None = None


class Price(Strict):
    """What a model's tokens cost, for a million of them, in the settings' ``currency``."""

    input_per_million: Decimal = Field(ge=0, le=1_000_000)
    output_per_million: Decimal = Field(ge=0, le=1_000_000)
    cached_per_million: Decimal | None = Field(
        None, ge=0, le=1_000_000, description="Prompt tokens of the prefix cache; unset: as others"
    )


# Vertex AI's have no /v1 at the end, but the number of an endpoint (or ``openapi``).
_BASE_PATH = re.compile(r"(/\S*?)?(/v1|/endpoints/[\w-]+)/?")


def _base_urls(urls: tuple[str, ...]) -> tuple[str, ...]:
    """The text of a fault shows neither a login nor a query: both may hold a key."""
    for url in urls:
        try:
            parts = urlsplit(url.removeprefix("dns+"))
            well = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
            well = well and url.isprintable() and " " not in url
        except ValueError:  # not a port, not an IPv6 address
            raise ValueError("a URL whose host or port can't be read") from None
        if "@" in parts.netloc:
            raise ValueError(
                "user and password in a URL are not sent: use GATEWAY_UPSTREAM_API_KEY instead"
            )
        if not well or parts.query or parts.fragment or not _BASE_PATH.fullmatch(parts.path):
            shown = url.partition("?")[0]
            raise ValueError(f"{shown!r} is not a base URL such as http://127.0.0.1:11434/v1")
    return tuple(url.rstrip("/") for url in urls)


def _networks(value: Any) -> Any:
    """Addresses and CIDR networks, as text, to networks."""
    parts = _split(value)
    if not isinstance(parts, list | tuple):
        raise ValueError("a list of addresses and networks")
    return tuple(_network(part) for part in parts)


def _network(text: Any) -> Network:
    if not isinstance(text, str):
        raise ValueError(f"{text!r} is not an address or network")
    try:
        network = ip_network(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not an address or network ({error})") from None
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    if mapped is not None:  # ::ffff:192.0.2.0/120
        network = ip_network(f"{mapped}/{network.prefixlen - 96}")
    if network.prefixlen == 0:
        raise ValueError(f"{text!r} is everybody: any client could choose its address")
    return network


CONTROL_TEXT = r"\S{2,64}"


def _tokens(tokens: tuple[str, ...]) -> tuple[str, ...]:
    for token in tokens:
        if not re.fullmatch(CONTROL_TEXT, token):
            raise ValueError(f"{token!r} is not a token: 2 to 64 characters, none of them a space")
    return tokens


class Settings(BaseSettings):
    """The configuration of one gateway process."""

    model_config = SettingsConfigDict(
        env_prefix="GATEWAY_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
    )

    host: str = Field("127.0.0.1", description="Address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="TCP port to listen on")
    data_dir: Path = Field(
        Path(".gateway"),
        description=("Folder for the generated API key, the model and the embedded store"),
    )

    # who
    api_keys: Commas = Field(
        (), repr=False, description="API keys in the clear, comma-separated, tier default"
    )
    operator_keys: Commas = Field(
        (),
        repr=False,
        description="The same with operator scope: they may also see and manage what is others'",
    )
    keys: tuple[KeyEntry, ...] = Field((), description="Further keys, hashed (YAML)")
    allow_anonymous: bool = Field(
        False, description=("Serve without keys; only on a loopback host")
    )

    # how much
    requests_per_hour: int = Field(
        100,
        ge=1,
        le=MOST_REQUESTS,
        description=("Requests per key in any hour, for tiers without windows of their own"),
    )
    tiers: dict[str, Tier] = Field(
        default_factory=lambda: {"default": Tier()},
        description=("Limits and bounds by tier (YAML)"),
    )
    redis_url: str = Field(
        "",
        repr=False,
        description=(
            "redis://HOST:PORT/DB, unix:///PATH, redis+cluster://HOST:PORT,HOST:PORT, or "
            "redis+sentinel://HOST:PORT,HOST:PORT/MASTER/DB; rediss for TLS; empty: embedded Valkey"
        ),
    )
    redis_prefix: str = Field("gemma", pattern=r"^[a-z0-9-]{1,32}$", description="Key prefix")
    store_failure: Literal["local", "deny", "allow"] = Field(
        "local", description=("When the store is away: limit in process, deny all, or allow all")
    )
    store_timeout: float = Field(
        0.05,
        gt=0,
        le=5,
        description=(
            "Longest wait of a call for the store, seconds; 1 for the embedded one unless set"
        ),
    )
    key_stale_seconds: Seconds = Field(
        3600.0,
        ge=0,
        description=(
            "When the store is away: how long keys made at run time go on working where they are "
            "known, seconds"
        ),
    )

    # what
    max_body_bytes: int = Field(2 * 1024 * 1024, ge=1024, description="Largest request body, bytes")
    max_json_depth: int = Field(64, ge=8, le=512, description="Deepest nesting of a request body")
    policy_file: Path | None = Field(
        None, description=("Term policy in YAML; empty: the built-in four terms")
    )
    control_tokens: Annotated[Commas, AfterValidator(_tokens)] = Field(
        (),
        description=(
            "Control tokens of the upstreams' tokenizers, beside those of Gemma 1 to 4, "
            "comma-separated: in what callers send they stay plain text"
        ),
    )
    allow_engine_parameters: Commas = Field(
        (),
        description=(
            "Fields beside the usual that clients may send to the engine, such as priority, "
            "cache_salt, chat_template_kwargs.date_string"
        ),
    )

    # where
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
    upstreams: Annotated[Commas, AfterValidator(_base_urls)] = Field(
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
    connect_timeout: Seconds = Field(2.0, gt=0, description="Upstream connect time-out, seconds")
    idle_timeout: Seconds = Field(
        60.0, gt=0, description=("Longest silence of an engine before or between bytes, seconds")
    )
    request_timeout: Seconds = Field(600.0, gt=0, description="Longest whole call, seconds")
    health_interval: Seconds = Field(2.0, gt=0, description="Active upstream check, seconds apart")
    eject_after: int = Field(3, ge=1, description="Failures in a row that eject an upstream")
    eject_seconds: Seconds = Field(
        5.0, gt=0, description="Ejection before a half-open try, seconds"
    )
    max_in_flight: int = Field(1024, ge=1, description="Calls in flight in this process")

    # seen from outside
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_networks)] = Field(
        (),
        description=(
            "Addresses and networks (CIDR) of the proxies whose X-Forwarded-For or Forwarded is "
            "believed; empty: the client is who connects"
        ),
    )
    drain_grace_seconds: float = Field(
        0.0,
        ge=0,
        le=300,
        description=(
            "After SIGTERM: how long new calls are still taken, not ready already, so that load "
            "balancers turn away first, seconds"
        ),
    )
    drain_seconds: Seconds = Field(
        30.0, ge=0, description=("After that: how long calls in flight may take, seconds")
    )
    health_cache_seconds: Seconds = Field(
        10.0, ge=0, description="Life of a /health result, seconds"
    )
    health_degraded_seconds: Seconds = Field(
        5.0, gt=0, description=("A health generation slower than this is degraded")
    )
    health_timeout: Seconds = Field(20.0, gt=0, description="Longest health generation, seconds")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least level that is logged"
    )
    access_log: bool = Field(True, description="One JSON line per call on standard output")
    records_max: int = Field(
        10_000, ge=100, le=1_000_000, description="Records of finished calls kept in the store"
    )
    records_days: float = Field(
        7.0, gt=0, le=366, description="Age at which a record of a call goes, days"
    )
    prices: dict[str, Price] = Field(
        default_factory=dict,
        description="Prices by model for /v1/monitoring/usage, such as "
        "{gemma: {input_per_million: 0.1, output_per_million: 0.3}} (YAML)",
    )
    currency: str = Field("USD", pattern=r"^[A-Z]{3}$", description="Of the prices: ISO 4217")

    alerts: AlertSettings = Field(
        default_factory=AlertSettings,
        description="Alert rules and webhooks (YAML; docs/alerts.md)",
    )

    quality_embeddings: str = Field(
        "",
        description="Sentence-embedding model that judges answers: a folder or hub name; empty: "
        "all-MiniLM-L6-v2 (extra quality)",
    )
    quality_consistency: int = Field(
        2,
        ge=0,
        le=8,
        description="Further answers that an answer without a context is compared with; 0: none",
    )
    quality_max_in_flight: int = Field(
        8, ge=0, description="With more calls in flight than that, sampled ones are not judged"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        faults: list[tuple[tuple[str | int, ...], str]] = []
        if self.allow_anonymous and self.host not in LOOPBACK:
            faults.append((("allow_anonymous",), "works only on a loopback host (GATEWAY_HOST)"))
        for name, tier in self.tiers.items():
            if tier.max_tokens_default > tier.max_tokens_cap:
                faults.append((("tiers", name, "max_tokens_default"), "is above max_tokens_cap"))
        known = {
            sha256(text.encode()).hexdigest(): f"{name}-{n}"
            for name, texts in (("operator", self.operator_keys), ("env", self.api_keys))
            for n, text in enumerate(texts, 1)
        }
        for n, key in enumerate(self.keys):
            if key.tier != "default" and key.tier not in self.tiers:
                faults.append((("keys", n, "tier"), f"{key.name}: no tier {key.tier!r} in tiers"))
            if twin := known.get(key.sha256):
                why = f"{key.name!r} and {twin!r} are the same key"
                faults.append((("keys", n, "sha256"), why))
            known[key.sha256] = key.name
        if faults:
            raise Contradiction(faults)
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        if not (folder := os.environ.get(SECRETS_VARIABLE)):
            return env_settings, init_settings
        return env_settings, SecretsSettingsSource(settings_cls, folder), init_settings

    def tier(self, name: str) -> Tier:
        """The tier of that name, with ``requests_per_hour`` filled in where it has no windows."""
        tier = self.tiers.get(name) or Tier()
        if tier.windows:
            return tier
        return tier.model_copy(
            update={"windows": (Window(limit=self.requests_per_hour, seconds=3600),)}
        )
