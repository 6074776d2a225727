"""Redis or Valkey: reachable, writable, fast enough, and set so that it forgets nothing."""

from __future__ import annotations

import asyncio
import os
import re
import statistics
import time
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from gemma_gateway.cli.doctor.finding import Finding, Findings, ok, problem, warning
from gemma_gateway.cli.doctor.machine import skew
from gemma_gateway.limits.script import trial
from gemma_gateway.settings import StoreSettings
from gemma_gateway.storage import ReplyError, Store, StoreError, embedded

TIMEOUT = 3.0  # seconds; longer than a call would wait, so that slowness is told from absence
PINGS = 20
FULL = 0.9  # share of maxmemory
RIGHTS = (
    "give this user what the gateway needs: ACL SETUSER NAME ~PREFIX:* +@read +@write +eval "
    "+evalsha +ping +select +time (Redis Cluster: +cluster +asking, too; Sentinel: +role)"
)
# Parts of what a server or the system says, and what to do about it.
ADVICE = (
    ("WRONGPASS", "correct user and password in GATEWAY_REDIS_URL (percent-encoded)"),
    ("NOAUTH", "put the password into GATEWAY_REDIS_URL: redis://:PASSWORD@host:port"),
    ("ERR AUTH", "the server needs no password: remove it from GATEWAY_REDIS_URL"),
    ("NOPERM", RIGHTS),
    ("ACL failure", RIGHTS),
    ("can't run this command", RIGHTS),
    ("READONLY", "this is a replica: name the primary in GATEWAY_REDIS_URL, or redis+sentinel://"),
    ("MOVED", "this is one node of a Redis Cluster: use redis+cluster://host:port"),
    ("CLUSTERDOWN", "the cluster doesn't serve all slots: see 'redis-cli cluster info'"),
    ("OOM", "maxmemory is reached: raise it, or make room"),
    ("MISCONF", "it can't save to disk and refuses writes: see its log, free space on its disk"),
    ("NOREPLICAS", "too few replicas (min-replicas-to-write): start them"),
    ("MASTERDOWN", "this is a replica without its primary: name the primary"),
    ("LOADING", "it is loading its data: wait, and try again"),
    ("BUSY", "someone's script doesn't end: see its log, SCRIPT KILL"),
    ("[SSL", "use rediss:// only with a server that speaks TLS; ssl_ca_certs= names its authority"),
)

# What asyncio makes of a failed connect() says less than the system's own word.
_ERRNO = re.compile(r"\[Errno (\d+)\] Connect call failed.*")


def look(settings: StoreSettings) -> Findings:
    """The store that the settings name, or the embedded one."""
    if not settings.redis_url:
        yield from _embedded()
        return
    yield from asyncio.run(_collect(settings, settings.redis_url))


def shown(url: str) -> str:
    """An address without login and query: both may hold a password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _embedded() -> Findings:
    try:
        binary = embedded.binary()
    except RuntimeError as error:
        yield problem("redis", str(error), "install one of them, or set GATEWAY_REDIS_URL")
        return
    yield ok(
        "redis",
        f"the embedded Valkey starts with the gateway ({binary}); several replicas need one "
        "GATEWAY_REDIS_URL",
    )


async def _collect(settings: StoreSettings, url: str) -> list[Finding]:
    try:
        store = Store(url, TIMEOUT)
    except ValueError as error:
        return [problem("redis", str(error), "correct GATEWAY_REDIS_URL")]
    await store.start()
    try:
        if not store.available:
            return [_away(shown(url), store.last_error)]
        return [finding async for finding in _examine(settings, store, shown(url))]
    except StoreError as error:
        return [_away(shown(url), str(error))]
    finally:
        await store.stop()


def _away(where: str, why: str) -> Finding:
    advice = next((text for start, text in ADVICE if start in why), "")
    if not advice:
        advice = (
            "start it, or correct GATEWAY_REDIS_URL: host, port, and rediss:// for TLS or redis:// "
            "without it (see firewalls, too)"
        )
    told = _ERRNO.sub(lambda match: os.strerror(int(match[1])), why)
    return problem("redis", f"{where}: {told}", advice)


async def _examine(settings: StoreSettings, store: Store, where: str) -> AsyncIterator[Finding]:
    times = []
    for _ in range(PINGS):
        began = time.perf_counter()
        await store.call("PING")
        times.append(time.perf_counter() - began)
    info = await _info(store)
    product = "Valkey" if "valkey_version" in info else "Redis"
    version = info.get("valkey_version") or info.get("redis_version") or "(version unknown)"
    middle, worst = statistics.median(times), max(times)
    yield ok("redis", f"{product} {version} at {where}, answers in {middle * 1000:.2f} ms")
    if worst > settings.store_timeout:
        yield warning(
            "redis",
            f"one of {PINGS} answers took {worst * 1000:.0f} ms; calls wait "
            f"{settings.store_timeout * 1000:.0f} ms and then go on without the store",
            "move it closer, see 'redis-cli --latency', or raise GATEWAY_STORE_TIMEOUT",
        )
    for finding in _role(info, settings.redis_url):
        yield finding
    async for finding in _writes(settings, store, where):
        yield finding
    for finding in [*_memory(info), *_persistence(info)]:
        yield finding
    began = time.time()
    seconds, micros = (int(part) for part in await store.call("TIME"))
    for finding in skew("redis", "Redis", seconds + micros / 1e6 - (began + time.time()) / 2):
        yield finding


async def _writes(settings: StoreSettings, store: Store, where: str) -> AsyncIterator[Finding]:
    try:
        await store.run(trial(settings.redis_prefix)(0))
    except StoreError as error:
        yield _away(where, f"the limiter's script doesn't work: {error}")
    else:
        yield ok("redis", "the limiter's script works")


def _role(info: dict[str, str], url: str) -> Findings:
    if info.get("role") in {"slave", "replica"}:
        yield problem("redis", "it is a replica: it accepts no writes", dict(ADVICE)["READONLY"])
    if info.get("cluster_enabled") == "1" and "+cluster://" not in url:
        yield problem("redis", "it is one node of a Redis Cluster", dict(ADVICE)["MOVED"])


def _memory(info: dict[str, str]) -> Findings:
    limit, used = int(info.get("maxmemory", 0)), int(info.get("used_memory", 0))
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        yield warning(
            "redis",
            f"maxmemory-policy is {policy}: when its memory is full it forgets limits and usage",
            "set maxmemory-policy noeviction",
        )
    if limit and used > FULL * limit:
        yield warning(
            "redis",
            f"{used / 2**20:.0f} of {limit / 2**20:.0f} MB used (maxmemory)",
            "raise maxmemory: docs/scaling.md says what a gateway needs",
        )


def _persistence(info: dict[str, str]) -> Findings:
    states = ("rdb_last_bgsave_status", "aof_last_write_status", "aof_last_bgrewrite_status")
    failed = [name for name in states if info.get(name, "ok") != "ok"]
    if failed:
        yield problem("redis", f"{', '.join(failed)}: err", "see its log; its disk may be full")
    elif info.get("aof_enabled") == "0":
        yield warning(
            "redis",
            "no append-only file: what was written since the last snapshot, if it makes any, is "
            "lost when it restarts",
            "set appendonly yes (usage, keys made at run time and records live there)",
        )


async def _info(store: Store) -> dict[str, str]:
    """Fields of INFO's reply; none where it may not be asked, which the gateway never does."""
    try:
        raw = await store.call("INFO")
    except ReplyError:
        return {}
    lines = raw.decode("utf-8", "replace").splitlines()
    return {k: v for k, _, v in (line.partition(":") for line in lines) if v}
