"""Which URLs an operator allows: patterns of scheme, host, port and path."""

from __future__ import annotations

import re
from dataclasses import dataclass

PORTS = {"https": 443, "http": 80}
_PATTERN = re.compile(
    r"(?P<scheme>https?)://(?P<sub>\*\.)?(?P<host>\[[0-9a-f:.]+\]|[a-z0-9._-]+)"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<path>/[!-~]*)?"
)


@dataclass(frozen=True, slots=True)
class UrlPattern:
    """URLs of one host, or of all names below it.

    Args:
        scheme: ``https`` or ``http``.
        host: in lower case; an IPv6 address has its brackets.
        subdomains: names below ``host`` are meant, and not ``host`` itself.
        port: TCP port.
        path: of the URL, or its beginning.
        prefix: ``path`` is its beginning.
    """

    scheme: str
    host: str
    subdomains: bool
    port: int
    path: str
    prefix: bool

    def matches(self, scheme: str, host: str, port: int, path: str) -> bool:
        """Whether a URL, taken apart and in its plain form, is one of these."""
        if (scheme, port) != (self.scheme, self.port):
            return False
        if not (host.endswith(f".{self.host}") if self.subdomains else host == self.host):
            return False
        return path.startswith(self.path) if self.prefix else path == self.path


def url_patterns(texts: tuple[str, ...]) -> tuple[str, ...]:
    """The same patterns, each checked.

    Raises:
        ValueError: one isn't a pattern.
    """
    for text in texts:
        url_pattern(text)
    return texts


def url_pattern(text: str) -> UrlPattern:
    """A pattern such as ``https://images.example.com/public/*`` or ``https://*.example.com/*``. A
    star stands at the beginning of the host or at the end of the path; without a path, any is
    meant.

    Raises:
        ValueError: it isn't one.
    """
    scheme, _, rest = text.partition("://")
    host, slash, path = rest.partition("/")
    found = _PATTERN.fullmatch(f"{scheme}://{host}".lower() + slash + path)
    port = int(found["port"] or PORTS[found["scheme"]]) if found else 0
    path = (found["path"] or "/*") if found else ""
    plain = path.removesuffix("*")
    if not found or not 0 < port < 65536 or any(char in plain for char in "*?#\\"):
        raise ValueError(
            f"{text.rpartition('@')[2]!r} is not a pattern of URLs, such as "
            "https://images.example.com/public/* or https://*.example.com/*"
        )
    if found["sub"] and "." not in found["host"]:
        raise ValueError(f"{text!r} is every name below {found['host']!r}: name a domain")
    return UrlPattern(
        found["scheme"], found["host"], bool(found["sub"]), port, plain, plain != path
    )
