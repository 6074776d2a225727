"""Tokens per second of vLLM's CPU engine by kind of sampling, with vLLM's own functions and with
the gateway's (``engines.local.sampler``).

``python -m benchmarks.sampling`` starts one engine with the gateway's settings (some minutes and
4 GB) and exchanges the functions in its worker between the runs, so that all take turns on the same
engine. Greedy runs are the measure of the others.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.inprocess import TOPICS
from benchmarks.overhead import machine, spread
from gemma_gateway.engines.local import environment, vllm_app, weights

STREAMS = {1: 64, 16: 32}  # streams at once: tokens of each
LEAST = 0.8  # times greedy, with the gateway's functions
GREEDY = "greedy"
KINDS: dict[str, dict[str, float]] = {
    GREEDY: {"temperature": 0},
    "temperature 0.7": {"temperature": 0.7},
    "tier `default`: temperature 0.7, top_p 0.9, repetition_penalty 1.05": {
        "temperature": 0.7,
        "top_p": 0.9,
        "repetition_penalty": 1.05,
    },
    "the model's own: temperature 1, top_k 64, top_p 0.95": {
        "temperature": 1,
        "top_k": 64,
        "top_p": 0.95,
    },
}
Rates = dict[tuple[int, str, bool], list[float]]  # streams, kind, the gateway's functions


def exchange(worker: Any, ours: bool) -> None:
    """Run in the engine's worker: from now on it samples with these functions."""
    from vllm.v1.sample.ops import penalties, topk_topp_sampler

    from gemma_gateway.engines.local import sampler

    theirs = vars(worker).setdefault(
        "theirs", (penalties.apply_penalties, topk_topp_sampler.apply_top_k_top_p_pytorch)
    )
    functions = (sampler.penalise, sampler.top_k_top_p) if ours else theirs
    penalties.apply_penalties, topk_topp_sampler.apply_top_k_top_p_pytorch = functions


def rate(llm: Any, streams: int, kind: str) -> float:
    """Tokens per second of so many streams at once."""
    from vllm import SamplingParams

    tokens = STREAMS[streams]
    asked = SamplingParams(max_tokens=tokens, ignore_eos=True, **KINDS[kind])
    prompts = [f"{number}. What I know of the {TOPICS[number % 8]}:" for number in range(streams)]
    began = time.perf_counter()
    llm.generate(prompts, asked, use_tqdm=False)
    return streams * tokens / (time.perf_counter() - began)


def measure(folder: Path, repeats: int) -> Rates:
    """Every kind with both, in turns."""
    os.environ["VLLM_PLUGINS"] = "gemma_gateway"  # starts with vLLM's own functions
    os.environ["VLLM_ALLOW_INSECURE_SERIALIZATION"] = "1"  # a function goes to the worker
    environment.set_up(str(folder))
    from vllm import LLM

    with environment.preloaded():
        llm = LLM(str(folder), max_model_len=vllm_app.CPU_MODEL_LEN, enforce_eager=True)
    rates: Rates = {}
    for streams in STREAMS:
        rate(llm, streams, GREEDY)  # warm up
        for number in range(repeats):
            for ours in (False, True) if number % 2 == 0 else (True, False):
                llm.collective_rpc(exchange, args=(ours,))
                for kind in KINDS:
                    got = rate(llm, streams, kind)
                    rates.setdefault((streams, kind, ours), []).append(got)
                    print(
                        streams, kind, "ours" if ours else "vLLM's", round(got, 1), file=sys.stderr
                    )
    return rates


def document(rates: Rates, repeats: int) -> str:
    rows = [
        "| streams | sampling | vLLM's, tokens/s | of greedy | gateway's, tokens/s | of greedy |",
        "|" + "---|" * 6,
    ]
    for streams in STREAMS:
        for kind in KINDS:
            cells = [str(streams), kind]
            for ours in (False, True):
                found, greedy = rates[streams, kind, ours], rates[streams, GREEDY, ours]
                cells += [
                    spread(found, 1),
                    spread([a / b for a, b in zip(found, greedy, strict=True)], 2),
                ]
            rows.append("| " + " | ".join(cells) + " |")
    table = "\n".join(rows)
    return f"""# Sampling on a CPU

Made by `python -m benchmarks.sampling` on {machine()}.

Gemma 3 270M in vLLM's CPU engine, without HTTP. vLLM's functions for `top_k`, `top_p` and penalties
and the gateway's take turns in the worker of one engine, {repeats} times each; median (least to
most). Asked for: at least {LEAST} of the greedy tokens per second with the gateway's.

{table}
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument(
        "--model", default="", help="a folder or a hub name; empty: the bundled one"
    )
    parser.add_argument("--data-dir", type=Path, default=Path(".gateway"), help="where models are")
    parser.add_argument("--out", type=Path, help="folder to write to, such as docs")
    parser.add_argument("--strict", action="store_true", help=f"exit 1 below {LEAST}")
    options = parser.parse_args()
    folder = weights.prepare(options.model, options.data_dir.absolute(), print)
    rates = measure(Path(folder), options.repeats)
    text = document(rates, options.repeats)
    print(text)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "benchmark-sampling.md").write_text(text)
    worst = min(
        statistics.median(
            a / b for a, b in zip(rates[s, kind, True], rates[s, GREEDY, True], strict=True)
        )
        for s in STREAMS
        for kind in KINDS
    )
    return 1 if options.strict and worst < LEAST else 0


if __name__ == "__main__":
    sys.exit(main())
