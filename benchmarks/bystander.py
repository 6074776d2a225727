"""What one caller's odd calls do to another caller's stream, on the real engine in process.

``python -m benchmarks.bystander`` starts the gateway with the bundled Gemma, streams to a bystander
alone, beside an ordinary stream, and beside each attack, and prints the mean time between the
bystander's tokens over that beside the ordinary stream just before (as many ordinary calls as the
attack wants choices), and, for attacks whose answers are short, over that beside the same call
without what is odd in it: reading a prompt slows others down, too. An attack is a call of another
key, sent again as soon as it ends; what the gateway refuses is said.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from tests.constraints import EXTREME, INVOICE, MCP, ORDINARY, Json
from tests.process import free_port

from benchmarks import processes
from benchmarks.overhead import machine
from gemma_gateway.engines.local import weights

BYSTANDER, ATTACKER, OPTED = "sk-bystander", "sk-attacker", "sk-opted-in"
TOKENS = 30  # of the bystander's stream
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
SAY: Json = {"messages": [{"role": "user", "content": "Tell me of the sea."}]}
SAMPLED: Json = {**SAY, "max_tokens": 1000, "ignore_eos": True}
LONG: Json = {**SAMPLED, "temperature": 0, "top_p": 1}


def told(prompt: int) -> Json:
    return {"prompt": "word " * prompt, "max_tokens": 1, "temperature": 0}


def bound(constraint: Json, **more: Any) -> Json:
    return {**SAY, "max_tokens": 300, "structured_outputs": constraint, **more}


Call = tuple[str, Json, str]  # path, body, key
ODD = ("structured_outputs", "prompt_logprobs")
ATTACKS: dict[str, Call] = {
    "prompt_logprobs": (COMPLETIONS, {**told(300), "prompt_logprobs": 20}, ATTACKER),
    "prompt_logprobs, opted in": (COMPLETIONS, {**told(20), "prompt_logprobs": 20}, OPTED),
    "echo with logprobs": (COMPLETIONS, {**told(300), "echo": True, "logprobs": 5}, ATTACKER),
    "grammar": (CHAT, bound({"grammar": 'root ::= x{1,200}\nx ::= x x | [^"]* | ""'}), ATTACKER),
    "grammar, opted in": (CHAT, bound(EXTREME["grammar of 1,000 pieces"]), OPTED),
    "regex, opted in": (CHAT, bound(EXTREME["regex of 1,000 pieces"]), OPTED),
    "regex of alternatives, opted in": (CHAT, bound(EXTREME["regex of 44 alternatives"]), OPTED),
    "schema, nested invoice": (CHAT, bound({"json": INVOICE}), ATTACKER),
    "schema, patterns and formats": (CHAT, bound(ORDINARY["patterns and formats"]), ATTACKER),
    "schema, 1,000 properties": (CHAT, bound(EXTREME["1,000 properties"]), ATTACKER),
    "schema, optional properties": (
        CHAT, bound(EXTREME["5 objects of 200 optional properties"]), ATTACKER
    ),
    "schema, nested repeats": (CHAT, bound(EXTREME["nested repeats in patterns"]), ATTACKER),
    "schema, all at once": (CHAT, bound(EXTREME["all at once"]), ATTACKER),
    "schema, all at once, n 8": (CHAT, bound(EXTREME["all at once"], n=8), ATTACKER),
    "1,500 choices": (CHAT, bound(EXTREME["1,500 choices"]), ATTACKER),
    "tools, required": (
        CHAT, {**SAY, "max_tokens": 300, "tools": MCP[:4], "tool_choice": "required"}, ATTACKER
    ),
    "stop strings": (CHAT, {**LONG, "stop": ["x" * 256] * 4}, ATTACKER),
    "bad words": (
        CHAT, {**LONG, "bad_words": [f"{i} " + "word " * 50 for i in range(128)]}, ATTACKER
    ),
    "logit_bias": (CHAT, {**LONG, "logit_bias": {str(i): 1 for i in range(1024)}}, ATTACKER),
    "allowed_token_ids": (CHAT, {**LONG, "allowed_token_ids": list(range(1000, 2024))}, ATTACKER),
    "stop_token_ids, min_tokens": (
        CHAT,
        {**LONG, "stop_token_ids": list(range(1000, 2024)), "min_tokens": 1000},
        ATTACKER,
    ),
    "repetition_detection": (
        CHAT,
        {
            **LONG,
            "repetition_detection": {
                "max_pattern_size": 32, "min_pattern_size": 1, "min_count": 2
            },
        },
        ATTACKER,
    ),
    "logprobs 20": (CHAT, {**LONG, "logprobs": True, "top_logprobs": 20}, ATTACKER),
    "n 8": (CHAT, {**SAMPLED, "n": 8}, ATTACKER),
    "n 8, logprobs 20": (CHAT, {**SAMPLED, "n": 8, "logprobs": True, "top_logprobs": 20}, ATTACKER),
    "default sampling": (CHAT, SAMPLED, ATTACKER),
    "penalties": (
        CHAT, {**LONG, "presence_penalty": 1, "frequency_penalty": 1, "min_p": 0.1}, ATTACKER
    ),
    "long prompts": (COMPLETIONS, {**told(1500), "temperature": 0}, ATTACKER),
    "prompt of one letter": (COMPLETIONS, {"prompt": "a" * 8000, "max_tokens": 1}, ATTACKER),
    "stream_interval": (CHAT, {**LONG, "stream": True, "stream_interval": 1024}, ATTACKER),
    "thinking_token_budget": (CHAT, {**LONG, "thinking_token_budget": 1}, ATTACKER),
    "truncate_prompt_tokens": (
        COMPLETIONS, {**told(1500), "truncate_prompt_tokens": 1}, ATTACKER
    ),
}  # fmt: skip


def ordinary(attack: Call) -> list[Call]:
    """What an attack is held against: plain calls for as many answers as it asks for."""
    choices = attack[1].get("n", 1)
    return [(CHAT, LONG if choices == 1 else SAMPLED, ATTACKER)] * choices


class Site:
    """A running gateway."""

    def __init__(self, port: int, session: aiohttp.ClientSession) -> None:
        self._url = f"http://127.0.0.1:{port}"
        self._session = session

    def post(self, path: str, body: Json, key: str) -> Any:
        headers = {"authorization": f"Bearer {key}"}
        return self._session.post(self._url + path, json=body, headers=headers)

    async def stream(self) -> float:
        """The bystander's mean time between tokens, seconds."""
        body = {**LONG, "max_tokens": TOKENS, "stream": True, "repetition_penalty": 1}
        async with self.post(CHAT, body, BYSTANDER) as answer:
            times = [
                time.perf_counter() async for line in answer.content if line.startswith(b"data: {")
            ]
        return (times[-1] - times[1]) / (len(times) - 2)

    async def bare(self, attack: Call) -> Call:
        """The same call without what is odd in it, and with as many tokens."""
        path, body, key = attack
        async with self.post(path, {"repetition_penalty": 1, **body}, key) as answer:
            used = (await answer.json())["usage"]["completion_tokens"]
        left = {name: value for name, value in body.items() if name not in ODD}
        return path, {**left, "max_tokens": used, "ignore_eos": True}, key

    async def repeat(self, path: str, body: Json, key: str, seen: list[str]) -> None:
        while True:
            async with self.post(path, body, key) as answer:
                text = await answer.text()
                word = "served" if answer.status == 200 else f"{answer.status}"
                if answer.status != 200:
                    error = json.loads(text)["error"]
                    word += f" ({error['param']})"
                    await asyncio.sleep(0.02)
                seen.append(word)

    async def beside(self, calls: list[Call]) -> tuple[float, str]:
        """The bystander's time beside calls, and how they fared."""
        seen: list[str] = []
        others = [
            asyncio.create_task(self.repeat(path, {"repetition_penalty": 1, **body}, key, seen))
            for path, body, key in calls
        ]
        await asyncio.sleep(0.3)
        mean = await self.stream()
        for other in others:
            other.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0.5)
        return mean, seen[-1] if seen else "running"


async def table(port: int, wanted: list[str]) -> list[str]:
    rows = ["| Beside | times an ordinary stream | times the same, bare | attacker |"]
    rows.append("|---|---|---|---|")
    timeout = aiohttp.ClientTimeout(total=600)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        site = Site(port, session)
        await site.stream()
        alone = await site.stream()
        plain = (await site.beside(ordinary((CHAT, LONG, ATTACKER))))[0]
        rows.append(f"| nobody | {alone / plain:.2f} | | |")
        for name, attack in ATTACKS.items():
            if wanted and not any(word in name for word in wanted):
                continue
            ratios = []
            for _ in range(3):
                plain = (await site.beside(ordinary(attack)))[0]
                mean, seen = await site.beside([attack])
                ratios.append(mean / plain)
                if ratios[-1] < 1.4:  # near the bound the best of three counts: others' work passes
                    break
            beside_bare = ""
            if seen == "served" and any(word in attack[1] for word in ODD):
                bare = (await site.beside([await site.bare(attack)]))[0]
                beside_bare = f"{(await site.beside([attack]))[0] / bare:.2f}"
            rows.append(f"| {name} | {min(ratios):.2f} | {beside_bare} | {seen} |")
            print(rows[-1], file=sys.stderr, flush=True)
    return rows


def configuration(folder: Path) -> str:
    wide = {"windows": [{"limit": 1_000_000, "seconds": 3600}], "max_message_chars": 100_000}
    tiers = {"wide": wide, "opted": {**wide, "grammars": True, "prompt_logprobs_tokens": 128}}
    names = {BYSTANDER: "wide", ATTACKER: "wide", OPTED: "opted"}
    keys = [
        {"name": key, "tier": tier, "sha256": hashlib.sha256(key.encode()).hexdigest()}
        for key, tier in names.items()
    ]
    file = folder / "gateway.yaml"
    file.write_text(yaml.safe_dump({"tiers": tiers, "keys": keys}))
    return str(file)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("only", nargs="*", help="words of the attacks' names")
    parser.add_argument("--data-dir", type=Path, default=Path(".gateway"), help="where models are")
    options = parser.parse_args()
    model = weights.prepare("", options.data_dir.absolute(), print)
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        environment = {
            "GATEWAY_PORT": str(port),
            "GATEWAY_MODEL": str(model),
            "GATEWAY_CONFIG": configuration(Path(folder)),
            "GATEWAY_DATA_DIR": folder,
        }
        command = [sys.executable, "-m", "gemma_gateway", "serve"]
        with processes.running(command, None, environment) as gateway:
            processes.wait_for(f"http://127.0.0.1:{port}/health/ready", gateway, 300)
            rows = asyncio.run(table(port, options.only))
    print(f"On {machine()}.\n")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
