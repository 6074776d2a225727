"""The machine: port, open files, clock."""

from __future__ import annotations

import errno
import os
import sys
import time
from pathlib import Path

from gemma_gateway.cli import listen
from gemma_gateway.cli.doctor.finding import Finding, Findings, ok, problem, warning
from gemma_gateway.cli.fetch import Unreached, get
from gemma_gateway.core import openfiles
from gemma_gateway.settings import Settings

SKEW = 2.0  # seconds between two clocks that nobody minds


def look(settings: Settings) -> Findings:
    """Port, descriptors, clock."""
    yield port(settings)
    yield _descriptors(settings)
    yield _clock()


def skew(check: str, whose: str, seconds: float) -> Findings:
    """What a difference between this clock and another one means.

    Args:
        seconds: by which the other clock is ahead.
    """
    if abs(seconds) > SKEW:
        yield warning(
            check,
            f"the clock of {whose} is {abs(seconds):.1f} s {'ahead' if seconds > 0 else 'behind'}",
            "let chrony or systemd-timesyncd set both clocks: keys' expiry, usage by day and "
            "records depend on them",
        )


def port(settings: Settings) -> Finding:
    """Whether the gateway can listen; if not, why, and what to do."""
    hosts, port = settings.server.hosts, settings.server.port
    where = f"{settings.server.host}:{port}"
    if port == 0:
        return ok("port", "0: the system chooses a free one")
    try:
        for probe in listen.sockets(hosts, port):
            with probe:
                probe.listen(1)
    except OSError as error:
        return _taken(error, where, hosts[0], port)
    return ok("port", f"{where} is free")


def _taken(error: OSError, where: str, host: str, port: int) -> Finding:
    if error.errno == errno.EADDRINUSE:
        try:
            alive = get(f"http://{listen.own(host)}:{port}/health/live", timeout=2).json()
        except Unreached:
            alive = None
        if alive == {"status": "alive"}:
            return warning(
                "port",
                f"{where} is in use by a gateway that is already running",
                "nothing to do if it is this one; a second one needs another GATEWAY_PORT",
            )
        return problem(
            "port",
            f"{where} is in use by another program",
            f"find it with 'ss -ltnp sport = :{port}' and stop it, or set GATEWAY_PORT",
        )
    if error.errno == errno.EACCES:
        return problem(
            "port",
            f"this user may not listen on {where}",
            "set GATEWAY_PORT to 1024 or more, or grant CAP_NET_BIND_SERVICE",
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return problem(
            "port",
            f"{host} is not an address of this machine",
            "set GATEWAY_HOST to one of them, or to 0.0.0.0 for all",
        )
    return problem("port", f"{error.strerror}", "set GATEWAY_HOST and GATEWAY_PORT")


def _descriptors(settings: Settings) -> Finding:
    allowed, need = openfiles.allowed(), openfiles.needed(settings.limits.max_in_flight)
    if allowed < need:
        return warning(
            "open files",
            f"{allowed} allowed; {settings.limits.max_in_flight} calls in flight need about {need}",
            f"raise it ('ulimit -n {need}'; systemd: LimitNOFILE={need}), or lower "
            "GATEWAY_MAX_IN_FLIGHT",
        )
    return ok("open files", "no limit" if allowed == openfiles.UNLIMITED else f"{allowed} allowed")


def _clock() -> Finding:
    """A clock that was never set stands before the day on which the program was installed."""
    made = max(Path(sys.prefix).stat().st_mtime, Path(__file__).stat().st_mtime)
    now = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    if time.time() < made - 86_400:
        return problem(
            "clock",
            f"{now} is before this program was installed",
            "set the clock: keys' expiry, TLS and usage by day depend on it",
        )
    zone = os.environ.get("TZ", "")
    return ok("clock", now + (f" (TZ={zone}; days are counted in UTC)" if zone else ""))
