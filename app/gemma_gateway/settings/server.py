"""The ``server`` section: where the gateway listens, whom it believes, how it stops."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from pydantic_settings import NoDecode

from gemma_gateway.settings.fields import Seconds, Strict, split

Network = IPv4Network | IPv6Network
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


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


class ServerSettings(Strict):
    """Where the gateway listens, whom it believes, and how it stops."""

    host: str = Field("127.0.0.1", description="Address to listen on")
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
