"""The web console and the page of the API as they were built: their files in memory, each in every
encoding that it has."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

# Best first. The build writes these beside each file.
ENCODINGS = {"br": ".br", "gzip": ".gz"}
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
FOREVER = "public, max-age=31536000, immutable"
# What the page may do: its own scripts and styles, its own gateway, and nothing else. A model's
# answer that became HTML would still have no script, no image to fetch and no form to send; and
# the browser takes HTML only from DOMPurify (Trusted Types). Sources: W3C CSP 3, Trusted Types.
_RULES = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
    "require-trusted-types-for": "'script'",
    "trusted-types": "dompurify",
}
# The console shows images and plays sounds that were chosen here, from the page's own memory.
_CONSOLE_RULES = _RULES | {"img-src": "'self' blob:", "media-src": "blob:"}
# Swagger UI's styles bring their images along; its HTML goes through DOMPurify by the default
# policy, and a DOMPurify of its own is inside.
_DOCS_RULES = _RULES | {
    "img-src": "'self' data:",
    "trusted-types": "default dompurify 'allow-duplicates'",
}


def _guards(rules: dict[str, str]) -> dict[str, str]:
    return {
        "content-security-policy": "; ".join(f"{name} {what}" for name, what in rules.items()),
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "permissions-policy": "camera=(), geolocation=(), microphone=()",
        "x-frame-options": "DENY",
    }


GUARDS = _guards(_CONSOLE_RULES)
DOCS_GUARDS = _guards(_DOCS_RULES)
ABSENT = b"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>The console isn't built</title>
<h1>The console isn't built</h1>
<p>This gateway works, but its web console was not built when it was installed.</p>
<p>In the gateway's checkout, run <code>make console</code> and start the gateway again. It takes
Node.js from PyPI, or the <code>node</code> and <code>npm</code> of this machine, and a few packages
from npm. <code>docs/console.md</code> says more.</p>
</html>
"""
DOCS_ABSENT = b"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>The page of the API isn't built</title>
<h1>The page of the API isn't built</h1>
<p>This gateway works, but its web pages were not built when it was installed. What this page would
show is in <a href="openapi.json">openapi.json</a>.</p>
<p>In the gateway's checkout, run <code>make console</code> and start the gateway again.
<code>docs/console.md</code> says more.</p>
</html>
"""


@dataclass(frozen=True, slots=True)
class Asset:
    """One file.

    Args:
        media_type: its ``content-type``.
        etag: quoted; the same for the same content.
        bodies: its bytes by ``content-encoding``; ``identity`` is always there.
    """

    media_type: str
    etag: str
    bodies: dict[str, bytes]

    @classmethod
    def read(cls, file: Path) -> Asset:
        """A file and its compressed copies.

        Raises:
            OSError: it can't be read.
            KeyError: no type is known for its name.
        """
        whole = file.read_bytes()
        bodies = {"identity": whole}
        for encoding, suffix in ENCODINGS.items():
            copy = file.with_name(file.name + suffix)
            if copy.is_file():
                bodies[encoding] = copy.read_bytes()
        etag = f'"{hashlib.sha256(whole).hexdigest()[:16]}"'
        return cls(TYPES[file.suffix], etag, bodies)

    def encoded(self, accept: str) -> tuple[str, bytes]:
        """The smallest form that a client takes.

        Args:
            accept: the request's ``accept-encoding``. Source: RFC 9110, section 12.5.3.

        Returns:
            The encoding's name and the bytes.
        """
        taken = _taken(accept)
        for encoding in ENCODINGS:
            if encoding in self.bodies and encoding in taken:
                return encoding, self.bodies[encoding]
        return "identity", self.bodies["identity"]


class Site:
    """All files of the console, read once: requests look names up and never touch the disk.

    Args:
        folder: what the build has written; it may be missing.

    Attributes:
        page: the console's page; None when it isn't built.
        docs: the API's page; None when it isn't built.
        assets: what the pages load, by file name. Names hold a digest of the content.
        icon: the console's; None when it isn't built.
        licenses: the licences of the packages inside; None when it isn't built.
    """

    def __init__(self, folder: Path) -> None:
        index = folder / "index.html"
        self.page = Asset.read(index) if index.is_file() else None
        docs = folder / "docs.html"
        self.docs = Asset.read(docs) if docs.is_file() else None
        self.licenses = Asset.read(folder / "licenses.txt") if self.page else None
        files = sorted((folder / "assets").glob("*")) if self.page else []
        self.assets = {file.name: Asset.read(file) for file in files if file.suffix in TYPES}
        icons = (asset for name, asset in self.assets.items() if name.startswith("icon-"))
        self.icon = next(icons, None)

    @classmethod
    def installed(cls) -> Site:
        """The console that came with this package."""
        return cls(Path(__file__).parent / "static")


def _taken(accept: str) -> set[str]:
    """Names of the encodings that a client takes; one with a weight of zero isn't."""
    taken = set()
    for part in accept.lower().split(","):
        name, _, weight = part.partition(";")
        if weight.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}:
            taken.add(name.strip())
    return taken
