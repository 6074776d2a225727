"""Waiting for a model server at the start, and saying which one, and why."""

from __future__ import annotations

import asyncio
import sys

from gemma_gateway.cli.advice import advice
from gemma_gateway.core.engine import Engine, EngineState
from gemma_gateway.settings import EngineSettings

PATIENCE = 3.0  # seconds until a person is told what is waited for
LOOK = 0.1  # seconds between two looks
MOST_NAMED = 3  # servers in one line


async def for_servers(engine: Engine, settings: EngineSettings) -> None:
    """Return once a server is of use. Until then standard error tells, after ``PATIENCE``, what is
    wrong with each, and again when that changes.

    Args:
        engine: started.
        settings: that it was made of.
    """
    loop = asyncio.get_running_loop()
    begin, told = loop.time() + PATIENCE, set[str]()
    local = any(not model.upstreams for model in settings.models)
    while True:
        state = engine.state()
        if state.ready and (local or any(not server.trouble for server in state.servers)):
            return
        if loop.time() >= begin:
            lines = set(troubles(state, settings))
            for line in sorted(lines - told):
                print(line, file=sys.stderr, flush=True)
            told = lines
        await asyncio.sleep(LOOK)


def troubles(state: EngineState, settings: EngineSettings) -> list[str]:
    """A line for each thing that is wrong: where, what, and what to do."""
    where: dict[str, list[str]] = {}
    for server in state.servers:
        if server.trouble:
            where.setdefault(server.trouble, []).append(server.url)
    names = ("GATEWAY_UPSTREAMS", "GATEWAY_UPSTREAM_API_KEY")
    place, key_place = ("upstreams", "api_key") if settings.models else names
    lines = []
    for trouble, urls in where.items():
        shown = ", ".join(urls[:MOST_NAMED])
        if len(urls) > MOST_NAMED:
            shown += f" and {len(urls) - MOST_NAMED} more"
        lines.append(f"waiting for {shown}: {trouble} -> {advice(trouble, place, key_place)}")
    return lines
