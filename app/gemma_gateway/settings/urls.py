"""Base URLs of model servers."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

# Vertex AI's have no /v1 at the end, but the number of an endpoint (or ``openapi``).
_BASE_PATH = re.compile(r"(/\S*?)?(/v1|/endpoints/[\w-]+)/?")


def base_urls(urls: tuple[str, ...]) -> tuple[str, ...]:
    """Checked, and without a slash at the end. A fault shows neither a login nor a query:
    both may hold a key.

    Raises:
        ValueError: one isn't such a URL.
    """
    for url in urls:
        try:
            parts = urlsplit(url.removeprefix("dns+"))
            well = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
            well = well and url.isprintable() and " " not in url
        except ValueError:  # not a port, not an IPv6 address
            raise ValueError("a URL whose host or port can't be read") from None
        if "@" in parts.netloc:
            raise ValueError(
                "user and password in a URL are not sent: use GATEWAY_UPSTREAM_API_KEY instead"
            )
        if not well or parts.query or parts.fragment or not _BASE_PATH.fullmatch(parts.path):
            shown = url.partition("?")[0]
            raise ValueError(f"{shown!r} is not a base URL such as http://127.0.0.1:11434/v1")
    return tuple(url.rstrip("/") for url in urls)
