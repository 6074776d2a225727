"""Engines as the settings want them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from gemma_gateway.core.engine import Engine
from gemma_gateway.engines.local import weights
from gemma_gateway.engines.local.engine import LocalEngine
from gemma_gateway.engines.pools import Pools
from gemma_gateway.engines.tools.engine import ToolCalls
from gemma_gateway.engines.upstream.engine import UpstreamEngine
from gemma_gateway.engines.upstream.google import GoogleToken
from gemma_gateway.settings import EngineSettings, Model


def engine(settings: EngineSettings, data_dir: Path, images: int | None = None) -> Engine:
    """The engine of the settings: of several models, or of the one that the short form names.

    Args:
        images: most images that a call may have; None: nobody bounds them.

    Raises:
        OSError: the data folder can't be used.
        ValueError: a key for servers can't be read.
        gemma_gateway.engines.local.weights.ModelUnavailable: a model can't be had.
    """
    if settings.models:
        return Pools(settings.models, partial(engine_of, settings, data_dir, images=images))
    if settings.upstreams:
        credentials = settings.upstream_credentials
        only = Model(
            name="gemma",
            upstreams=settings.upstreams,
            api_key=settings.upstream_api_key if credentials == "key" else "",
            credentials=credentials,
            parser=settings.upstream_parser,
        )
        return _upstream(settings, only, settings.upstream_models)
    return _local(settings, data_dir, images, settings.model, settings.served_model_name)


def engine_of(
    settings: EngineSettings, data_dir: Path, model: Model, images: int | None = None
) -> Engine:
    """The engine of one model; see ``engine``."""
    if model.upstreams:
        return _upstream(settings, model, model.names)
    flags = ("--tool-call-parser", model.parser) if model.parser else ()
    return _local(settings, data_dir, images, model.model, model.name, flags)


def _upstream(settings: EngineSettings, model: Model, names: Sequence[str]) -> Engine:
    servers = UpstreamEngine(
        model.upstreams,
        api_key=model.key(),
        credentials=GoogleToken() if model.credentials == "google" else None,
        connect_timeout=model.connect_timeout or settings.connect_timeout,
        first_token_timeout=model.first_token_timeout or settings.first_token_timeout,
        idle_timeout=model.idle_timeout or settings.idle_timeout,
        request_timeout=model.request_timeout or settings.request_timeout,
        health_interval=settings.health_interval,
        eject_after=settings.eject_after,
        eject_seconds=settings.eject_seconds,
        models=names,
    )
    return ToolCalls(servers) if model.parser else servers


def _local(
    settings: EngineSettings,
    data_dir: Path,
    images: int | None,
    model: str,
    name: str,
    flags: tuple[str, ...] = (),
) -> LocalEngine:
    folder = weights.prepare(model, data_dir, lambda line: print(line, flush=True))
    return LocalEngine(
        folder,
        name or weights.served_name(model),
        max_model_len=settings.max_model_len,
        engine_args=(*flags, *settings.engine_args),
        images=images,
        first_token_timeout=settings.first_token_timeout or settings.request_timeout,
        idle_timeout=settings.idle_timeout,
    )
