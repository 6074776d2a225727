"""The model servers behind the gateway: do they answer, and what do they serve?"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

from gemma_gateway.cli.advice import advice
from gemma_gateway.cli.doctor.finding import Finding, Findings, ok, problem, warning
from gemma_gateway.cli.doctor.machine import skew
from gemma_gateway.cli.fetch import Reply, Unreached, get
from gemma_gateway.core.trouble import KEY_REFUSED, NO_MODEL, NO_NAME, NOT_COMPATIBLE, STATUS
from gemma_gateway.engines.upstream.discovery import split
from gemma_gateway.settings import Model, Settings, is_loopback

AT_ONCE = 16
NO_LIST = frozenset({404, 405, 501})  # a server without /v1/models: it lives all the same


@dataclass(frozen=True)
class Servers:
    """Servers that are asked alike.

    Args:
        urls: base URLs, as settings give them.
        place: which setting names them.
        key: what they are sent; empty: nothing.
        key_place: which setting gives it.
        google: whether they take tokens of a Google identity instead.
        named: whether the settings name their models, which they needn't list then.
        models: what each of them must list; empty: anything.
        timeout: until a connection stands, seconds.
    """

    urls: tuple[str, ...]
    place: str
    key: str
    key_place: str
    google: bool
    named: bool
    models: tuple[str, ...]
    timeout: float

    def advice(self, trouble: str) -> str:
        """What to do about one of them."""
        return advice(trouble, self.place, self.key_place)


def look(settings: Settings) -> Findings:
    """Every server of the settings, each address of a ``dns+`` name by itself."""
    for servers in _groups(settings):
        yield from _look(settings, servers)


def _groups(settings: Settings) -> Iterator[Servers]:
    engine = settings.engine
    if engine.upstreams:
        yield Servers(
            engine.upstreams,
            "GATEWAY_UPSTREAMS",
            engine.upstream_api_key,
            "GATEWAY_UPSTREAM_API_KEY",
            engine.upstream_credentials == "google",
            bool(engine.upstream_models),
            (),
            engine.connect_timeout,
        )
    for model in engine.models:
        if model.upstreams:
            yield Servers(
                model.upstreams,
                f"upstreams of {model.name}",
                _key(model),
                f"api_key or api_key_file of {model.name}",
                model.credentials == "google",
                True,
                model.names,
                model.connect_timeout or engine.connect_timeout,
            )


def _key(model: Model) -> str:
    try:
        return model.key()
    except (OSError, ValueError):
        return ""  # among the files, its own finding


def _look(settings: Settings, servers: Servers) -> Findings:
    fixed, names = split(servers.urls)
    urls = list(fixed)
    for name in names:
        addresses = sorted(asyncio.run(name.addresses()))
        if not addresses:
            yield problem(
                "upstream",
                f"{urlsplit(name.url).hostname} doesn't resolve to any address",
                servers.advice(NO_NAME),
            )
        urls += [name.at(address) for address in addresses]
    itself = [url for url in urls if _is_itself(settings, url)]
    for url in itself:
        yield problem(
            "upstream", f"{url} is this gateway itself", f"name the model server in {servers.place}"
        )
    others = [url for url in urls if url not in itself]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for findings in pool.map(lambda url: _ask(servers, url), others):
            yield from findings


def _is_itself(settings: Settings, url: str) -> bool:
    parts = urlsplit(url)
    return is_loopback(parts.hostname or "") and parts.port == settings.server.port != 0


def _ask(servers: Servers, url: str) -> list[Finding]:
    began = time.time()
    try:
        reply = get(f"{url}/models", servers.key, servers.timeout + 5)
    except Unreached as why:
        return [
            problem(
                "upstream",
                f"{url}: {why}",
                servers.advice(str(why)),
            )
        ]
    seconds = time.time() - began
    found = [_judged(servers, url, reply, seconds)]
    if reply.date is not None:  # whole seconds, so half of one is added
        found += skew("upstream", url, reply.date + 0.5 - (began + seconds / 2))
    return found


def _judged(servers: Servers, url: str, reply: Reply, seconds: float) -> Finding:
    took = f"in {seconds * 1000:.0f} ms"
    if reply.status == 200:
        return _served(servers, url, reply, took)
    if reply.status in NO_LIST and not servers.named:
        return warning(
            "upstream",
            f"{url} answers {took}, but lists no models ({reply.status})",
            "name them in GATEWAY_UPSTREAM_MODELS, so that clients and prices know them",
        )
    if reply.status in NO_LIST:
        return ok("upstream", f"{url} answers {took}, but lists no models ({reply.status})")
    if reply.status not in {401, 403}:
        trouble = f"{STATUS}{reply.status}"
        return problem("upstream", f"{url} returns {trouble}", servers.advice(trouble))
    if servers.google:
        return ok("upstream", f"{url} answers {took}; it requires the Google identity's token")
    return problem(
        "upstream",
        f"{url} refuses the key ({reply.status})",
        servers.advice(KEY_REFUSED),
    )


def _served(servers: Servers, url: str, reply: Reply, took: str) -> Finding:
    document = reply.json()
    data = document.get("data") if isinstance(document, dict) else None
    if not isinstance(data, list):
        return problem(
            "upstream",
            f"{url} answers, but not like an OpenAI-compatible server",
            servers.advice(NOT_COMPATIBLE),
        )
    models = [str(card.get("id")) for card in data if isinstance(card, dict)]
    if not models:
        return warning("upstream", f"{url} serves no model", servers.advice(NO_MODEL))
    if missing := [name for name in servers.models if name not in models]:
        return problem(
            "upstream",
            f"{url} answers {took}, but doesn't serve {', '.join(missing)}",
            f"correct name or adapters in models, or load it there (it serves {_some(models)})",
        )
    return ok("upstream", f"{url} answers {took}, serves {_some(models)}")


def _some(models: list[str]) -> str:
    return ", ".join(models[:5])
