"""The model servers behind the gateway: do they answer, and what do they serve?"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from gemma_gateway.cli.doctor.finding import Finding, Findings, ok, problem, warning
from gemma_gateway.cli.doctor.machine import skew
from gemma_gateway.cli.fetch import Reply, Unreached, get
from gemma_gateway.engines.upstream.discovery import split
from gemma_gateway.settings import LOOPBACK, EngineSettings, Settings

AT_ONCE = 16
NO_LIST = frozenset({404, 405, 501})  # a server without /v1/models: it lives all the same


def look(settings: Settings) -> Findings:
    """Every server of ``GATEWAY_UPSTREAMS``, each address of a ``dns+`` name by itself."""
    fixed, names = split(settings.engine.upstreams)
    urls = list(fixed)
    for name in names:
        addresses = sorted(asyncio.run(name.addresses()))
        if not addresses:
            yield problem(
                "upstream",
                f"{urlsplit(name.url).hostname} doesn't resolve to any address",
                "correct the name, or start its servers (Kubernetes: a headless Service lists "
                "ready pods only)",
            )
        urls += [name.at(address) for address in addresses]
    itself = [url for url in urls if _is_itself(settings, url)]
    for url in itself:
        yield problem(
            "upstream",
            f"{url} is this gateway itself",
            "name the model server in GATEWAY_UPSTREAMS",
        )
    others = [url for url in urls if url not in itself]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for findings in pool.map(lambda url: _ask(settings.engine, url), others):
            yield from findings


def _is_itself(settings: Settings, url: str) -> bool:
    parts = urlsplit(url)
    return parts.hostname in LOOPBACK and parts.port == settings.server.port != 0


def _ask(settings: EngineSettings, url: str) -> list[Finding]:
    began = time.time()
    try:
        reply = get(f"{url}/models", settings.upstream_api_key, settings.connect_timeout + 5)
    except Unreached as why:
        return [
            problem(
                "upstream",
                f"{url}: {why}",
                "start that server, or correct its address in GATEWAY_UPSTREAMS",
            )
        ]
    seconds = time.time() - began
    found = [_judged(settings, url, reply, seconds)]
    if reply.date is not None:  # whole seconds, so half of one is added
        found += skew("upstream", url, reply.date + 0.5 - (began + seconds / 2))
    return found


def _judged(settings: EngineSettings, url: str, reply: Reply, seconds: float) -> Finding:
    took = f"in {seconds * 1000:.0f} ms"
    if reply.status == 200:
        return _served(url, reply, took)
    if reply.status in NO_LIST and not settings.upstream_models:
        return warning(
            "upstream",
            f"{url} answers {took}, but lists no models ({reply.status})",
            "name them in GATEWAY_UPSTREAM_MODELS, so that clients and prices know them",
        )
    if reply.status in NO_LIST:
        return ok("upstream", f"{url} answers {took}, but lists no models ({reply.status})")
    if reply.status not in {401, 403}:
        return problem(
            "upstream", f"{url} returns status {reply.status}", "see that server's own log"
        )
    if settings.upstream_credentials == "google":
        return ok("upstream", f"{url} answers {took}; it requires the Google identity's token")
    return problem(
        "upstream",
        f"{url} refuses the key ({reply.status})",
        "set GATEWAY_UPSTREAM_API_KEY to a key of that server",
    )


def _served(url: str, reply: Reply, took: str) -> Finding:
    document = reply.json()
    data = document.get("data") if isinstance(document, dict) else None
    if not isinstance(data, list):
        return problem(
            "upstream",
            f"{url} answers, but not like an OpenAI-compatible server",
            "correct its address in GATEWAY_UPSTREAMS: it must end in /v1",
        )
    models = [str(card.get("id")) for card in data if isinstance(card, dict)]
    if not models:
        return warning("upstream", f"{url} serves no model", "load one there")
    return ok("upstream", f"{url} answers {took}, serves {', '.join(models[:5])}")
