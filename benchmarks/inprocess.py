"""Tokens per second of the gateway with its engine in process, beside vLLM's own server.

``python -m benchmarks.inprocess`` starts both (same model, flags and machine; some minutes and
4 GB), lets them take turns, A B B A, and prints the table. While one works the other is idle.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from tests.process import free_port

from benchmarks import processes
from benchmarks.overhead import machine, spread
from gemma_gateway.engines.local import weights

KEY = "sk-benchmark-inprocess"
STREAMS = {1: 96, 16: 64, 64: 48}  # streams at once: tokens of each
LEAST = 0.98  # times vLLM's own server
TOPICS = ("sea", "moon", "bread", "rain", "trees", "bees", "clocks", "music")


@dataclass(frozen=True)
class Target:
    """A server under test."""

    name: str
    port: int
    model: str


def body(model: str, number: int, tokens: int) -> bytes:
    """A call that makes exactly so many tokens: every sampling parameter is told, so that neither
    server's defaults matter."""
    return json.dumps(
        {
            "model": model,
            "messages": [
                {"role": "user", "content": f"{number}. Tell me of the {TOPICS[number % 8]}."}
            ],
            "max_tokens": tokens,
            "ignore_eos": True,
            "temperature": 0,
            "top_p": 1,
            "repetition_penalty": 1,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ).encode()


async def one(session: aiohttp.ClientSession, target: Target, number: int, tokens: int) -> int:
    """One streamed call, read to its end; the tokens it had.

    Raises:
        RuntimeError: it failed, was cut, or had another number of tokens.
    """
    async with session.post(
        f"http://127.0.0.1:{target.port}/v1/chat/completions",
        data=body(target.model, number, tokens),
        headers={"content-type": "application/json", "authorization": f"Bearer {KEY}"},
    ) as response:
        answer = await response.read()
    events = answer.split(b"\n\n")
    if response.status != 200 or events[-2] != b"data: [DONE]":
        raise RuntimeError(f"{target.name}: {response.status} {answer[-500:]!r}")
    count = int(json.loads(events[-3].removeprefix(b"data: "))["usage"]["completion_tokens"])
    if count != tokens:
        raise RuntimeError(f"{target.name}: {count} tokens, {tokens} asked")
    return count


async def rate(target: Target, streams: int, tokens: int) -> float:
    """Tokens per second of so many streams at once."""
    timeout = aiohttp.ClientTimeout(total=300)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        began = time.perf_counter()
        calls = (one(session, target, number, tokens) for number in range(streams))
        total = sum(await asyncio.gather(*calls))
        return total / (time.perf_counter() - began)


def start(stack: ExitStack, folder: Path, name: str) -> list[Target]:
    """vLLM's own server, then the gateway."""
    ports = free_port(), free_port()
    command = [sys.executable, "-m", "benchmarks.vllm_server", "--model", str(folder)]
    command += ["--name", name, "--port", str(ports[0])]
    vllm = stack.enter_context(processes.running(command, None))
    data = stack.enter_context(tempfile.TemporaryDirectory())
    gateway = stack.enter_context(
        processes.running(
            [str(Path(sys.executable).with_name("gemma-gateway")), "serve"],
            None,
            {
                "GATEWAY_PORT": str(ports[1]),
                "GATEWAY_API_KEYS": KEY,
                "GATEWAY_MODEL": str(folder),
                "GATEWAY_SERVED_MODEL_NAME": name,
                "GATEWAY_DATA_DIR": data,
                "GATEWAY_REQUESTS_PER_HOUR": "1000000",
            },
        )
    )
    processes.wait_for(f"http://127.0.0.1:{ports[0]}/v1/models", vllm, 300)
    processes.wait_for(f"http://127.0.0.1:{ports[1]}/health/ready", gateway, 300)
    return [Target("vLLM's own server", ports[0], name), Target("gateway", ports[1], name)]


def document(rates: dict[int, list[list[float]]], repeats: int) -> str:
    rows = [
        "| streams | vLLM's own server, tokens/s | gateway, tokens/s | ratio |",
        "|---|---|---|---|",
    ]
    for streams, pairs in rates.items():
        theirs, ours = ([pair[i] for pair in pairs] for i in (0, 1))
        ratios = [pair[1] / pair[0] for pair in pairs]
        cells = [str(streams), spread(theirs, 1), spread(ours, 1), spread(ratios, 3)]
        rows.append("| " + " | ".join(cells) + " |")
    table = "\n".join(rows)
    return f"""# The engine in process

Made by `python -m benchmarks.inprocess` on {machine()}.

Gemma 3 270M in vLLM's CPU engine, streamed chat calls of a fixed number of tokens. Both servers run
the same engine with the same flags; they take turns, {repeats} times each; median (least to most).
Asked for: at least {LEAST} of vLLM's own tokens per second.

{table}
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--streams", type=int, choices=STREAMS, action="append")
    parser.add_argument(
        "--model", default="", help="a folder or a hub name; empty: the bundled one"
    )
    parser.add_argument("--data-dir", type=Path, default=Path(".gateway"), help="where models are")
    parser.add_argument("--out", type=Path, help="folder to write to, such as docs")
    parser.add_argument("--strict", action="store_true", help=f"exit 1 below {LEAST}")
    options = parser.parse_args()
    folder = weights.prepare(options.model, options.data_dir.absolute(), print)
    rates: dict[int, list[list[float]]] = {}
    with ExitStack() as stack:
        found = start(stack, Path(folder), weights.served_name(options.model))
        for streams in options.streams or STREAMS:
            tokens = STREAMS[streams]
            for target in found:
                asyncio.run(rate(target, streams, 8))  # warm up
            for number in range(options.repeats):
                order = found if number % 2 == 0 else found[::-1]  # no one is always the second
                got = {each: asyncio.run(rate(each, streams, tokens)) for each in order}
                rates.setdefault(streams, []).append([got[each] for each in found])
                print(streams, [round(got[each], 1) for each in found], file=sys.stderr)
    text = document(rates, options.repeats)
    print(text)
    if options.out:
        (options.out / "benchmark-inprocess.md").write_text(text)
    medians = (statistics.median(b / a for a, b in pairs) for pairs in rates.values())
    return 1 if options.strict and min(medians) < LEAST else 0


if __name__ == "__main__":
    sys.exit(main())
