"""How many gateways, how much Redis: the tables of docs/scaling.md, from docs/benchmark.json
(``python -m benchmarks``) and docs/store.json (``python -m benchmarks.store --out docs``).

``python -m benchmarks.scaling`` prints them; ``--write`` puts them into docs/scaling.md.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"
BUSY = 0.6  # share of a core to plan with: peaks, a lost replica, a rollout
TOKENS = 256  # a streamed answer, as measured
TOKENS_PER_SECOND = 30  # of one stream: an assumption about the engine
ENGINE_TOKENS = 2_000  # a second, of one GPU with a full batch: an assumption, measure yours
IN_FLIGHT = 1024  # GATEWAY_MAX_IN_FLIGHT
RATES = (1_000, 10_000, 100_000)
KEYS = 1_000_000


@dataclass(frozen=True)
class Costs:
    """CPU microseconds and bytes, measured."""

    call: float  # a JSON call
    token: float  # a streamed token, paced, with its share of the call
    memory_mb: float
    admit: float  # of Valkey, many callers on one connection
    admit_alone: float  # of Valkey, one command a write
    ledger: float  # of Valkey, a key's counts
    key_idle: int  # bytes after one request
    key_full: int  # bytes after 100 requests, limit 100
    key_ring: int  # bytes of a gateway for each key of gateway.yaml
    key_start: int  # microseconds of its start for each

    @classmethod
    def measured(cls) -> Costs:
        ours = json.loads((DOCS / "benchmark.json").read_text("utf-8"))
        store = json.loads((DOCS / "store.json").read_text("utf-8"))

        def micros(load: str) -> float:
            (found,) = (
                sample["runs"]
                for sample in ours["samples"]
                if (sample["load"], sample["connections"], sample["server"])
                == (load, 64, "gateway")
            )
            return statistics.median(run["micros"] for run in found)

        def admit(callers: int) -> float:
            return max(
                row["server_us"]
                for row in store["rows"]
                if row["callers"] == callers and row["limit"] == 100
            )

        return cls(
            call=micros("json"),
            token=micros("paced"),
            memory_mb=ours["memory_mb"]["gateway"],
            admit=admit(64),
            admit_alone=admit(1),
            ledger=store["ledger_us"],
            key_idle=store["bytes_per_key"]["1"],
            key_full=store["bytes_per_key"]["100"],
            key_ring=store["gateway_bytes_per_key"],
            key_start=store["gateway_us_per_key"],
        )


def replicas(micros: float, rate: float) -> int:
    """Processes for ``rate`` things a second of ``micros`` each; two at least."""
    return max(2, math.ceil(rate * micros / 1e6 / BUSY))


def one_process(c: Costs) -> str:
    ring = c.memory_mb + KEYS * c.key_ring / 1e6
    streams, pace = 1e6 / c.token / TOKENS_PER_SECOND, TOKENS_PER_SECOND
    rows = [
        "| one process, one core | fully busy | planned |",
        "|---|---|---|",
        f"| JSON calls a second | {1e6 / c.call:,.0f} | {1e6 / c.call * BUSY:,.0f} |",
        f"| streamed tokens a second | {1e6 / c.token:,.0f} | {1e6 / c.token * BUSY:,.0f} |",
        f"| streams of {pace} tokens a second | {streams:,.0f} | {streams * BUSY:,.0f} |",
        f"| memory, MB: a few keys | {c.memory_mb:.0f} | 256 |",
        f"| memory, MB: {KEYS:,} keys in gateway.yaml | {ring:,.0f} | {ring * 1.5:,.0f} |",
        f"| start, s: {KEYS:,} keys in gateway.yaml | {KEYS * c.key_start / 1e6:,.0f} | |",
    ]
    return "\n".join(rows)


def gateways(c: Costs) -> str:
    rows = [
        "| requests a second | gateways for JSON calls | for streams, by CPU "
        "| for streams, by calls in flight | streams open | engines | first bottleneck |",
        "|" + "---|" * 7,
    ]
    for rate in RATES:
        stream = replicas(c.token, rate * TOKENS)
        open_streams = rate * TOKENS / TOKENS_PER_SECOND
        flight = max(2, math.ceil(open_streams / IN_FLIGHT / BUSY))
        engines = math.ceil(rate * TOKENS / ENGINE_TOKENS)
        rows.append(
            f"| {rate:,} | {replicas(c.call, rate):,} | {stream:,} | {flight:,} | "
            f"{open_streams:,.0f} | {engines:,} | {first(c, rate)} |"
        )
    return "\n".join(rows)


def load(c: Costs, rate: int) -> tuple[float, float]:
    """Share of one Valkey thread: least and most. Ledger: at most once a call."""
    return rate * c.admit / 1e6, rate * (c.admit_alone + c.ledger) / 1e6


def first(c: Costs, rate: int) -> str:
    least, most = load(c, rate)
    if least > BUSY:
        return "engines, then Redis' one thread"
    return "engines, then Redis' one thread if writes are small" if most > BUSY else "engines"


def stores(c: Costs) -> str:
    rows = [
        "| requests a second | busy share of one Valkey thread, least to most | shards |",
        "|---|---|---|",
    ]
    for rate in RATES:
        least, most = load(c, rate)
        few, many = math.ceil(least / BUSY), math.ceil(most / BUSY)
        shards = f"{few}" if few == many else f"{few} to {many}"
        rows.append(f"| {rate:,} | {least:.0%} to {most:.0%} | {shards} |")
    return "\n".join(rows)


def memory(c: Costs) -> str:
    rows = [
        "| each key has made | GB, for any number of gateways |",
        "|---|---|",
    ]
    for name, size in (("1 request", c.key_idle), ("100 requests (limit 100)", c.key_full)):
        rows.append(f"| {name} | {KEYS * size / 1e9:.1f} |")
    return "\n".join(rows)


def tables() -> dict[str, str]:
    """All tables by the name of their place in docs/scaling.md."""
    c = Costs.measured()
    return {
        "process": one_process(c),
        "gateways": gateways(c),
        "stores": stores(c),
        "memory": memory(c),
    }


def filled(text: str) -> str:
    """The document with its tables as they must be now."""
    for name, table in tables().items():
        begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        head, _, rest = text.partition(begin)
        _, mark, tail = rest.partition(end)
        if not mark:
            raise ValueError(f"docs/scaling.md has no place for {name}")
        text = f"{head}{begin}\n{table}\n{end}{tail}"
    return text


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="renew docs/scaling.md")
    options = parser.parse_args()
    print("\n\n".join(tables().values()))
    if options.write:
        file = DOCS / "scaling.md"
        file.write_text(filled(file.read_text("utf-8")), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
