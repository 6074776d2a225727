"""The ``server`` section: where the gateway listens, whom it believes, how it stops."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from pydantic_settings import NoDecode

from gemma_gateway.settings.fields import Seconds, Strict, split

Network = IPv4Network | IPv6Network
EVERYWHERE = frozenset({"", "*", "::"})  # hosts that stand for all addresses, IPv4 and IPv6
# scheme "://" host [":" port], as browsers write it: RFC 6454, 7.1. Extensions and desktop apps
# have schemes of their own.
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(?:\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]{1,5})?")
_USUAL_PORTS = {"http": ":80", "https": ":443"}  # browsers leave these out


def _networks(value: Any) -> Any:
    """Addresses and CIDR networks, as text, to networks."""
    parts = split(value)
    if not isinstance(parts, list | tuple):
        raise ValueError("a list of addresses and networks")
    return tuple(_network(part) for part in parts)


def _network(text: Any) -> Network:
    if not isinstance(text, str):
        raise ValueError(f"{text!r} is not an address or network")
    try:
        network = ip_network(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not an address or network ({error})") from None
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    if mapped is not None:  # ::ffff:192.0.2.0/120
        network = ip_network(f"{mapped}/{network.prefixlen - 96}")
    if network.prefixlen == 0:
        raise ValueError(f"{text!r} is everybody: any client could choose its address")
    return network


def _origins(value: Any) -> Any:
    """Origins, as browsers write them."""
    parts = split(value)
    if not isinstance(parts, list | tuple):
        raise ValueError("a list of origins, such as https://app.example.com, or *")
    return tuple(_origin(part) for part in parts)


def _origin(text: Any) -> str:
    if text == "*":
        return "*"
    origin = text.lower().removesuffix("/") if isinstance(text, str) else ""
    if not _ORIGIN.fullmatch(origin):
        raise ValueError(f"{text!r} is not an origin, such as https://app.example.com, nor *")
    return origin.removesuffix(_USUAL_PORTS.get(origin.partition(":")[0], ""))


def is_loopback(host: str) -> bool:
    """Whether an address or name is this machine for nobody but itself."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


class ServerSettings(Strict):
    """Where the gateway listens, whom it believes, and how it stops."""

    host: str = Field(
        "127.0.0.1",
        description=(
            "Addresses to listen on, separated by commas; 0.0.0.0 is all of IPv4, :: all of IPv6 "
            "and IPv4 (of IPv4 alone where the kernel has no IPv6)"
        ),
    )
    port: int = Field(8000, ge=0, le=65535, description="TCP port to listen on")
    data_dir: Path = Field(
        Path(".gateway"),
        description=("Folder for the generated API key, the model and the embedded store"),
    )
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_networks)] = Field(
        (),
        description=(
            "Addresses and networks (CIDR) of the proxies whose X-Forwarded-For or Forwarded is "
            "trusted; empty: the client is whoever connects"
        ),
    )
    heartbeat_seconds: Seconds = Field(
        15.0,
        ge=0,
        description=(
            "Silence of a stream after which the client is sent a comment or ping, so that nothing "
            "in between gives the connection up, seconds; 0: never"
        ),
    )
    keep_alive_seconds: int = Field(
        75,
        ge=1,
        le=86_400,
        description=(
            "How long an idle connection is kept; longer than proxies in front keep theirs "
            "(docs/edge.md), seconds"
        ),
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_origins)] = Field(
        (),
        description=(
            "Origins of web pages whose scripts may call the API, such as "
            "https://app.example.com; *: all; empty: none"
        ),
    )
    drain_grace_seconds: float = Field(
        0.0,
        ge=0,
        le=300,
        description=(
            "After SIGTERM: how long new calls are still accepted while /health/ready already "
            "fails, so that load balancers stop sending first, seconds"
        ),
    )
    drain_seconds: Seconds = Field(
        30.0, ge=0, description=("After that: how long calls in flight may take, seconds")
    )

    @property
    def hosts(self) -> tuple[str, ...]:
        """The addresses to listen on, one by one, without brackets."""
        return tuple(host.strip("[]") for host in split(self.host)) or ("",)

    @property
    def only_loopback(self) -> bool:
        """Whether nobody on another machine can connect."""
        return all(map(is_loopback, self.hosts))
