"""What the settings refer to, beside other settings: the store's URL, the model, the parameters of
engines, model names. Looked at without asking anybody."""

from __future__ import annotations

import difflib
import importlib.util
import re
import time
from collections.abc import Iterator
from datetime import UTC
from urllib.parse import parse_qsl, urlsplit

from gemma_gateway.engines.local import weights
from gemma_gateway.settings import EngineSettings, Settings
from gemma_gateway.settings.tier import BUILT_IN
from gemma_gateway.settings.yamlfile import Place
from gemma_gateway.storage import Store
from gemma_gateway.validation.fields import INTERNALS
from gemma_gateway.validation.parameters import CHECKS

Told = Iterator[tuple[Place, str]]

PARAMETER = re.compile(r"[A-Za-z_]\w{0,63}(\.\w{1,64})?", re.ASCII)  # chat_template_kwargs.NAME
MISSPELT = 0.85  # similarity from which on another name was meant
# Query parameters of the store's URL that something reads; redis-py knows more of them.
QUERY = frozenset(
    {
        *("db", "username", "password", "sentinel_username", "sentinel_password"),
        *("ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs"),
        "ssl_check_hostname",
    }
)


def faults(settings: Settings) -> Told:
    """With which the gateway can't run."""
    if settings.store.redis_url:
        yield from ((("redis_url",), why) for why in _store(settings.store.redis_url))
    yield from _models(settings.engine)
    if settings.media.media_urls and importlib.util.find_spec("aiohttp") is None:
        why = "needs the extra 'media': python -m pip install 'gemma-gateway[media]'"
        yield ("media_urls",), why
    for n, name in enumerate(settings.validation.allow_engine_parameters):
        if not PARAMETER.fullmatch(name):
            yield ("allow_engine_parameters", n), f"{name!r} is not a parameter's name"
        elif (meant := _meant(name)) is not None:
            why = f"no engine has a parameter {name!r}: did you mean {meant}?"
            yield ("allow_engine_parameters", n), why


def doubts(settings: Settings) -> Told:
    """What works, but hardly as its author thinks."""
    unread = {name for name, _ in parse_qsl(urlsplit(settings.store.redis_url).query)} - QUERY
    for name in sorted(unread):
        yield ("redis_url",), f"its query parameter {name!r} does nothing"
    served = _served(settings.engine)
    named: set[str] = set()
    for n, key in enumerate(settings.access.keys):
        if key.name in named:
            yield ("keys", n, "name"), f"another key has the name {key.name!r}: only ids differ"
        named.add(key.name)
        expires = key.expires
        if expires is not None and expires.tzinfo is None:
            expires = expires.replace(tzinfo=UTC)
        if expires is not None and expires.timestamp() <= time.time():
            yield ("keys", n, "expires"), f"{key.name} has expired"
        for name in key.models if served else ():
            if name not in served:
                yield ("keys", n, "models"), f"{key.name}: no model {name!r} is served"
    for name in settings.monitoring.prices if served else ():
        if name not in served:
            yield ("prices", name), "no model of this name is served"
    most = settings.limits.max_in_flight
    for name, tier in settings.limits.tiers.items():
        if tier.model_fields_set <= BUILT_IN.get(name, {}).keys():
            continue  # as it is built in
        if not 0 < tier.max_in_flight < most:
            why = f"one key could use all {most} places of GATEWAY_MAX_IN_FLIGHT"
            yield ("tiers", name, "max_in_flight"), why


def _store(url: str) -> Iterator[str]:
    try:
        Store(url)
    except ValueError as error:
        yield str(error).removeprefix("store URL: ")
        return
    parts = urlsplit(url)
    database = parts.path.strip("/")
    if parts.scheme == "unix" and not database:
        yield "a Unix socket has a path: unix:///run/redis.sock"
    elif parts.scheme in {"redis", "rediss"} and database and not database.isdecimal():
        yield "only the number of a database may follow the host"


def _models(engine: EngineSettings) -> Told:
    """Models in this process that can't be had."""
    given: list[tuple[Place, str]] = [
        (("models", n, "model"), model.model) for n, model in enumerate(engine.models)
    ]
    if not engine.upstreams:
        given.append((("model",), engine.model))
    for place, model in given:
        if model and not weights.can_be(model):
            yield place, f"{model!r} is neither a folder nor a hub name"


def _meant(name: str) -> str | None:
    """The parameter that a name is most likely a misspelling of."""
    from gemma_gateway.main import DIALECTS  # the web stack is needed for nothing else

    known = INTERNALS.union(CHECKS, *(dialect.fields for dialect in DIALECTS))
    if name in known:
        return None
    close = difflib.get_close_matches(name, known, 1, MISSPELT)
    return close[0] if close else None


def _served(engine: EngineSettings) -> frozenset[str]:
    """Names of the models that will be served; empty where only the engine knows."""
    if engine.models:
        return frozenset(name for m in engine.models for name in (*m.names, *m.aliases))
    if engine.upstreams or any("lora" in flag for flag in engine.engine_args):
        return frozenset()
    return frozenset({engine.served_model_name or weights.served_name(engine.model)})
