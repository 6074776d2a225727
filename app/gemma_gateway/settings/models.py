"""The models of one gateway: each with the servers that have it, and what callers may know of it.

Either ``models`` lists them all, or ``GATEWAY_UPSTREAMS`` or ``GATEWAY_MODEL`` is the short form
of one such entry.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from gemma_gateway.settings.fields import Commas, Contradiction, Fault, Seconds, Strict
from gemma_gateway.settings.monitoring import Price
from gemma_gateway.settings.tier import Window
from gemma_gateway.settings.urls import base_urls

Name = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[!-~]+$")]
Modality = Literal["text", "image", "audio"]


class Model(Strict):
    """One model: where it is served, and for whom."""

    name: Name = Field(description="As its servers call it")
    aliases: tuple[Name, ...] = Field((), description="Further names that clients may use")
    adapters: tuple[Name, ...] = Field(
        (), description="LoRA adapters that the same servers have, by the names that they list"
    )
    upstreams: Annotated[Commas, AfterValidator(base_urls)] = Field(
        (), description="Base URLs of its servers, as GATEWAY_UPSTREAMS; empty: in this process"
    )
    model: str = Field(
        "", description="Without upstreams: what to serve, as GATEWAY_MODEL (one entry at most)"
    )
    parser: str = Field(
        "",
        pattern=r"^[a-z0-9_]{0,64}$",
        description="Of its tool calls. In this process: vLLM's; empty: its family's. With "
        "upstreams: gemma, where they have none",
    )
    api_key: str = Field("", repr=False, description="Bearer key sent to its servers")
    api_key_file: Path | None = Field(None, description="File that holds this key")
    credentials: Literal["key", "google"] = Field(
        "key", description="google: access tokens of this machine's Google identity instead"
    )
    connect_timeout: Seconds | None = Field(
        None, gt=0, description="Seconds; unset: GATEWAY_CONNECT_TIMEOUT"
    )
    first_token_timeout: Seconds | None = Field(
        None, gt=0, description="Seconds; unset: GATEWAY_FIRST_TOKEN_TIMEOUT"
    )
    idle_timeout: Seconds | None = Field(
        None, gt=0, description="Seconds; unset: GATEWAY_IDLE_TIMEOUT"
    )
    request_timeout: Seconds | None = Field(
        None, gt=0, description="Seconds; unset, and at most: GATEWAY_REQUEST_TIMEOUT"
    )
    windows: tuple[Window, ...] = Field(
        (), max_length=8, description="Requests that each key may send to it, besides its tier's"
    )
    modalities: tuple[Modality, ...] = Field(
        (),
        description="What its prompts may be made of: text, image, audio; empty: nobody tells, and "
        "images go to its servers as they come",
    )
    price: Price | None = Field(None, description="Instead of an entry in prices")
    fallbacks: tuple[Name, ...] = Field(
        (), max_length=8, description="Models that take its calls where it can't, in this order"
    )
    queue_timeout: Seconds | None = Field(
        None,
        gt=0,
        description="With fallbacks: seconds until a stream's first byte, or it goes on",
    )

    @property
    def names(self) -> tuple[str, ...]:
        """What its servers are asked for: itself and its adapters."""
        return (self.name, *self.adapters)

    @model_validator(mode="after")
    def _consistent(self) -> Model:
        found: list[Fault] = []
        names = (*self.names, *self.aliases)
        if twice := sorted({name for name in names if names.count(name) > 1}):
            found.append((("aliases",), f"{', '.join(twice)}: given more than once"))
        if self.upstreams:
            if self.model:
                found.append((("model",), "is for a model in this process: leave it out"))
            if self.parser not in ("", "gemma"):
                why = "the gateway has gemma for servers: leave it out where they have their own"
                found.append((("parser",), why))
            if self.api_key and self.api_key_file:
                found.append((("api_key_file",), "is given beside api_key"))
            if self.credentials != "key" and (self.api_key or self.api_key_file):
                found.append((("credentials",), "stand instead of a key, and one is given"))
        else:
            found += [((name,), "is for upstreams, and none are given") for name in self._remote()]
        if self.modalities and "text" not in self.modalities:
            found.append((("modalities",), "has no text: say what its prompts may be made of"))
        if self.queue_timeout and not self.fallbacks:
            found.append((("queue_timeout",), "does nothing without fallbacks"))
        if found:
            raise Contradiction(found)
        return self

    def _remote(self) -> list[str]:
        """What is given that only concerns servers."""
        given = [n for n in ("api_key", "api_key_file", "connect_timeout") if getattr(self, n)]
        return given if self.credentials == "key" else [*given, "credentials"]

    def key(self) -> str:
        """The key for its servers; empty: none.

        Raises:
            ValueError: its file can't be read, or isn't one line of printable ASCII.
        """
        if self.api_key_file is None:
            return self.api_key
        try:
            text = self.api_key_file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeError) as error:
            why = getattr(error, "strerror", None) or "not ASCII"
            raise ValueError(f"{self.name}: {self.api_key_file}: {why}") from None
        if not text.isprintable() or not text:
            raise ValueError(f"{self.name}: {self.api_key_file}: not a key in one line")
        return text


def faults(models: Sequence[Model], request_timeout: float) -> Iterator[Fault]:
    """What can't go together in a list of models.

    Args:
        models: each by itself is well.
        request_timeout: of all calls, seconds.
    """
    taken: dict[str, int] = {}
    here = None
    for n, model in enumerate(models):
        for name in (*model.names, *model.aliases):
            if (owner := taken.setdefault(name, n)) != n:
                yield ("models", n), f"{name!r} is a name of {models[owner].name!r}, too"
        if not model.upstreams:
            if here is not None:
                why = f"missing: {here!r} is in this process already, and there is room for one"
                yield ("models", n, "upstreams"), why
            here = model.name
        if (model.request_timeout or 0) > request_timeout:
            why = f"is above GATEWAY_REQUEST_TIMEOUT ({request_timeout:g} seconds)"
            yield ("models", n, "request_timeout"), why
    for n, model in enumerate(models):
        for m, name in enumerate(model.fallbacks):
            if taken.get(name) is None:
                yield ("models", n, "fallbacks", m), f"no model {name!r} in models"
            elif taken[name] == n:
                yield ("models", n, "fallbacks", m), f"{name!r} is this model itself"
