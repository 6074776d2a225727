"""The first words to whoever started a gateway: what is awaited, what runs, how to call it."""

from __future__ import annotations

import asyncio
import os
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from gemma_gateway import __version__
from gemma_gateway.cli import listen, version, waiting
from gemma_gateway.core.engine import Engine
from gemma_gateway.engines.local import weights
from gemma_gateway.settings import Settings, Tier, config
from gemma_gateway.settings.settings import PREFIX

START_TIMEOUT = 1800.0  # seconds; a 27B model from a cold disk takes many minutes
INDENT = " " * 12
WIDTH = 88  # characters of what stands after it
SPANS = {60: "a minute", 3600: "an hour", 86_400: "a day"}
POLICY = {"block": "blocks", "flag": "only notes, and lets pass,", "off": "doesn't look for"}
TRY = """
Try it:

  curl {url}/v1/chat/completions \\
    -H "Authorization: Bearer {shell_key}" \\
    -H "Content-Type: application/json" \\
    -d '{{"model": "{model}", "stream": true, "max_tokens": 60,
         "messages": [{{"role": "user", "content": "Tell me about the sea."}}]}}'

or with an OpenAI SDK (pip install openai):

  from openai import OpenAI
  client = OpenAI(base_url="{url}/v1", api_key={python_key})
  stream = client.chat.completions.create(
      model="{model}", stream=True, max_tokens=60,
      messages=[{{"role": "user", "content": "Tell me about the sea."}}])
  for chunk in stream:
      if chunk.choices:
          print(chunk.choices[0].delta.content or "", end="", flush=True)
"""

TRY_SPEECH = """
Try it:

  curl {url}/v1/audio/transcriptions \\
    -H "Authorization: Bearer {shell_key}" \\
    -F model={model} -F file=@speech.wav

or with an OpenAI SDK (pip install openai):

  from openai import OpenAI
  client = OpenAI(base_url="{url}/v1", api_key={python_key})
  with open("speech.wav", "rb") as file:
      print(client.audio.transcriptions.create(model="{model}", file=file).text)
"""


async def ready(engine: Engine, settings: Settings) -> None:
    """Return once the engine is ready, and say meanwhile what is awaited.

    Raises:
        EngineFailed: it never will be.
    """
    if settings.engine.remote:
        print("Waiting for an upstream ...", flush=True)
        await waiting.for_servers(engine, settings.engine)
        return
    async with _counting("Starting the engine ..."):
        await engine.wait_ready(START_TIMEOUT)


def summary(
    settings: Settings,
    models: tuple[str, ...],
    *,
    context: int | None = None,
    modalities: frozenset[str] | None = None,
    key_file: Path | None = None,
    file: Path | None = None,
    engine_log: Path | None = None,
) -> str:
    """What runs, and a curl line and an SDK snippet that work as printed.

    Args:
        models: that are served.
        context: of the first one, tokens; None: not known.
        modalities: what its prompts are made of; None: not known.
        key_file: where the first key is kept; None when the operator gave keys.
        file: of the configuration; None: there is none.
        engine_log: what the engine says meanwhile; None: it isn't kept apart.
    """
    url = f"http://{listen.own(settings.server.hosts[0])}:{settings.server.port}"
    model = models[0] if models else "gemma"
    if settings.access.allow_anonymous:
        shell_key, python_key = "none", '"none"'
    elif key_file is None:
        shell_key, python_key = "$GATEWAY_API_KEY", '"YOUR KEY"'
    else:
        shell_key, python_key = f"$(cat {key_file})", f'open("{key_file}").read().strip()'
    tier = "open" if key_file else "default"
    rows = {
        "model": _model(settings, model, len(models), context),
        "key": f"{_keys(settings, key_file)}; {_limits(tier, settings.limits.tier(tier))}",
        "policy": _policy(settings, tier),
        "store": _store(settings),
        "settings": _sources(file),
        "log": "here" if engine_log is None else f"here; vLLM's in {engine_log}",
        "console": f"{url}/console   API: {url}/docs   Terminal: gemma-gateway chat",
    }
    if told := weights.description(settings.engine, model):
        rows["model"] += "".join(f"\n{INDENT}{line}" for line in textwrap.wrap(told, WIDTH))
    lines = [f"  {name:<10}{text}" for name, text in rows.items()]
    head = f"Gemma gateway {__version__} is ready on {url} (Ctrl-C stops it)"
    text = TRY_SPEECH if modalities == frozenset({"audio"}) else TRY
    code = text.format(url=url, model=model, shell_key=shell_key, python_key=python_key)
    return "\n".join(["", head, "", *lines, code])


def _model(settings: Settings, model: str, count: int, context: int | None) -> str:
    where = f"vLLM {version.vllm()} in this process"
    if settings.engine.in_process is None:
        where = "on other servers"
    told = [f"{model}, {where}"]
    if count > 1:
        told[0] += f", and {count - 1} more names"
    if context:
        told.append(f"{context:,} tokens of context")
    return "; ".join(told)


def _keys(settings: Settings, key_file: Path | None) -> str:
    if key_file is not None:
        return f"in {key_file}"
    if settings.access.allow_anonymous:
        return "none is needed on this machine"
    return "those of the settings"


def _limits(name: str, tier: Tier) -> str:
    windows = [
        f"{w.limit:,} requests {SPANS.get(w.seconds, f'in {w.seconds} s')}" for w in tier.windows
    ]
    cap = tier.max_tokens_cap
    answers = f"answers up to {cap:,} tokens" if cap else "answers to the context's end"
    return f"tier {name}: {', '.join(windows)}, {answers}"


def _policy(settings: Settings, name: str) -> str:
    file, mode = settings.safety.policy_file, settings.limits.tier(name).policy
    terms = f"the terms of {file}" if file else "the four built-in words"
    return f"{POLICY[mode]} {terms} (docs/api.md)"


def _store(settings: Settings) -> str:
    if not settings.store.redis_url:
        return f"embedded Valkey in {settings.server.data_dir / 'store'}"
    parts = urlsplit(settings.store.redis_url)
    return (parts.netloc.rpartition("@")[2] + parts.path) or parts.scheme


def _sources(file: Path | None) -> str:
    variables = sum(name.upper().startswith(PREFIX) for name in os.environ)
    given = f"{variables} GATEWAY_ variables" if variables != 1 else "1 GATEWAY_ variable"
    return f"{file} and {given}" if file else f"{given}, no {config.DEFAULT_FILE}"


@asynccontextmanager
async def _counting(text: str) -> AsyncIterator[None]:
    """Say that something goes on, at a terminal with its seconds."""
    if not sys.stdout.isatty():
        print(text, flush=True)
        yield
        return
    counter = asyncio.create_task(_count(text))
    try:
        yield
    finally:
        counter.cancel()
        with suppress(asyncio.CancelledError):
            await counter
        print(flush=True)


async def _count(text: str) -> None:
    begun = time.monotonic()
    while True:
        print(f"\r{text} {time.monotonic() - begun:.0f} s", end="", flush=True)
        await asyncio.sleep(1)
