"""The sockets that the gateway listens on.

asyncio keeps IPv4 out of a socket for ``::``; here it takes both, as operators know it from other
servers.
"""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Iterable, Iterator
from contextlib import ExitStack

from gemma_gateway.settings.server import EVERYWHERE

log = logging.getLogger(__name__)
ABSENT = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})  # the kernel has no IPv6


def sockets(hosts: Iterable[str], port: int) -> list[socket.socket]:
    """Bound sockets, which don't listen yet.

    Args:
        hosts: addresses or names; ``::`` (also an empty text, and ``*``) is all of IPv6 and IPv4,
            or all of IPv4 where the kernel has no IPv6.
        port: 0: a free one, the same for all hosts.

    Raises:
        OSError: an address can't be had; the text names it.
    """
    with ExitStack() as opened:
        found = []
        for host in hosts:
            for one in _bound(host, port):
                found.append(opened.enter_context(one))
                port = one.getsockname()[1]
        opened.pop_all()
        return found


def own(host: str) -> str:
    """How this machine reaches a host that the gateway listens on, in a URL."""
    if host in EVERYWHERE or host == "0.0.0.0":  # noqa: S104
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def _bound(host: str, port: int) -> Iterator[socket.socket]:
    """One for each address of a host; of a family that the kernel hasn't none is needed."""
    if host in EVERYWHERE:
        try:
            yield _bind(socket.AF_INET6, ("::", port), both=True)
            return
        except OSError as error:
            if error.errno not in ABSENT:
                raise
        log.warning("no IPv6 here: listening on all of IPv4")
        host = "0.0.0.0"  # noqa: S104
    try:
        known = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise OSError(error.errno, f"{host} is no address: {error.strerror}") from None
    found, absent = False, OSError()
    for family, _, _, _, address in known:
        try:
            one = _bind(family, address)
        except OSError as error:
            if error.errno not in ABSENT:
                raise
            absent = error
        else:
            found = True
            yield one
    if not found:
        raise absent


def _bind(family: int, address: tuple[object, ...], *, both: bool = False) -> socket.socket:
    with ExitStack() as opened:
        try:
            one = opened.enter_context(socket.socket(family, socket.SOCK_STREAM))
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not both)
            one.bind(address)
        except OSError as error:
            where = f"{address[0]} port {address[1]}"
            raise OSError(error.errno, f"can't listen on {where}: {error.strerror}") from None
        opened.pop_all()
        return one
