"""Servers behind one DNS name: each address that the name has now is an upstream of its own.

``dns+http://name:8000/v1`` (Thanos' and Loki's spelling) fits a headless Service of Kubernetes,
whose name has the addresses of all pods that are ready: the gateway sees which of them fails, keeps
a prefix on the server that has it cached, and follows an autoscaler without a change of settings.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

PREFIX = "dns+"


@dataclass(frozen=True, slots=True)
class Name:
    """A base URL whose host is to be looked up again and again.

    Args:
        url: base URL, ending in /v1, without ``dns+``.
    """

    url: str

    async def addresses(self) -> frozenset[str]:
        """The addresses that the name has now; empty when it has none or nobody answers."""
        parts = urlsplit(self.url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            found = await asyncio.get_running_loop().getaddrinfo(
                parts.hostname, port, type=socket.SOCK_STREAM
            )
        except (OSError, UnicodeError):
            return frozenset()
        return frozenset(str(address[0]) for *_, address in found)

    def at(self, address: str) -> str:
        """The base URL with the name replaced by one of its addresses."""
        parts = urlsplit(self.url)
        host = f"[{address}]" if ":" in address else address
        port = f":{parts.port}" if parts.port else ""
        return parts._replace(netloc=host + port).geturl()


def split(urls: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[Name, ...]]:
    """Base URLs that are fixed, and names to look up."""
    fixed = tuple(url for url in urls if not url.startswith(PREFIX))
    names = tuple(Name(url.removeprefix(PREFIX)) for url in urls if url.startswith(PREFIX))
    return fixed, names
