"""Images that lie elsewhere: fetched here, by the operator's list, so that no engine fetches any.

aiohttp (the extra ``media``) is only imported where there is a list.
"""

from __future__ import annotations

import asyncio
import importlib
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

from gemma_gateway import __version__
from gemma_gateway.core.turns import Turns
from gemma_gateway.media.addresses import may_be_asked
from gemma_gateway.media.check import Refused
from gemma_gateway.media.urls import target
from gemma_gateway.settings import MediaSettings
from gemma_gateway.settings.url_patterns import url_pattern

if TYPE_CHECKING:
    import aiohttp

AT_A_TIME, OF_A_CALLER = 16, 4  # fetches in one process
MOST_REDIRECTS = 3
REDIRECTS = frozenset({301, 302, 303, 307, 308})
CHUNK = 64 * 1024  # bytes
HEADERS = {
    "accept": "image/png, image/jpeg, image/webp, image/gif",
    "accept-encoding": "identity",  # a small body that unpacks to a large one is no image
    "user-agent": f"gemma-gateway/{__version__}",
}
NOWHERE = (
    "The host of this URL has no address that images may be fetched from: it doesn't exist, or is "
    "not on the public internet (media_allow_private_urls)."
)


class Fetcher:
    """Fetches images. It connects to addresses that it has looked up and checked itself, sends
    nothing that says who asks, and keeps nothing.

    Args:
        settings: where images may lie, and how large they may be.
        look_up: gives addresses as aiohttp's resolvers do; None: the system's.
    """

    def __init__(
        self, settings: MediaSettings, look_up: aiohttp.abc.AbstractResolver | None = None
    ) -> None:
        self._allowed = tuple(map(url_pattern, settings.media_urls))
        self._private = settings.media_allow_private_urls
        self._seconds = settings.media_fetch_timeout
        self._most = settings.image_max_bytes
        self._turns = Turns(AT_A_TIME, OF_A_CALLER)
        self._look_up = look_up
        self._session: aiohttp.ClientSession | None = None
        if self._allowed:
            importlib.import_module("aiohttp")  # now: it takes a while, and calls would wait for it

    async def stop(self) -> None:
        """Close all connections. Idempotent."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def fetch(self, caller: str, url: str, hold: Callable[[int], None]) -> bytes:
        """An image.

        Args:
            caller: who asks, such as the id of a key.
            url: where it lies.
            hold: told the bytes of each piece before it is kept; may raise.

        Raises:
            Refused: it can't be had, or not from there.
        """
        if not self._allowed:
            raise Refused(
                "url",
                "Remote media is off: send a data: URL such as data:image/png;base64,... (the "
                "operator can list hosts to fetch images from: media_urls)",
            )
        found = target(url, self._allowed)
        import aiohttp

        async with self._turns.turn(caller):
            try:
                async with asyncio.timeout(self._seconds):
                    for _ in range(MOST_REDIRECTS + 1):
                        if found.address is not None and not self._may_ask(found.address):
                            raise Refused("url", NOWHERE)
                        got = await self._get(found.url, hold)
                        if isinstance(got, bytes):
                            return got
                        found = target(urljoin(found.url, got), self._allowed)
            except TimeoutError:
                raise _failed(f"took longer than {self._seconds:g} seconds") from None
            except aiohttp.ClientConnectorDNSError:
                raise Refused("url", NOWHERE) from None
            except (aiohttp.ClientError, OSError, ValueError):
                raise _failed(
                    "could not be fetched: its server can't be reached, or breaks off"
                ) from None
        raise _failed(f"was sent on more than {MOST_REDIRECTS} times")

    def _may_ask(self, address: Any) -> bool:
        return may_be_asked(address, private=self._private)

    async def _get(self, url: str, hold: Callable[[int], None]) -> bytes | str:
        """One request: the body, or where it is sent on to."""
        from yarl import URL

        session = self._session or self._open()
        async with session.get(URL(url, encoded=True), allow_redirects=False) as response:
            location = response.headers.get("location", "")
            if response.status in REDIRECTS and location:
                return location
            if response.status != 200:
                raise _failed(f"could not be fetched: its server answered {response.status}")
            coding = response.headers.get("content-encoding", "identity").strip().lower()
            if coding != "identity":
                raise _failed("came compressed, and was asked for as it is")
            if (response.content_length or 0) > self._most:
                raise self._too_large()
            body = bytearray()
            async for chunk in response.content.iter_chunked(CHUNK):
                if len(body) + len(chunk) > self._most:
                    raise self._too_large()
                hold(len(chunk))
                body += chunk
            return bytes(body)

    def _too_large(self) -> Refused:
        return Refused("bytes", f"An image has at most {self._most:,} bytes (image_max_bytes).")

    def _open(self) -> aiohttp.ClientSession:
        import aiohttp
        from aiohttp.abc import AbstractResolver, ResolveResult

        look_up = self._look_up or aiohttp.ThreadedResolver()
        may_ask = self._may_ask

        class Checked(AbstractResolver):
            """Gives no address that may not be asked; what it gives is what is connected to."""

            async def resolve(
                self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
            ) -> list[ResolveResult]:
                found = await look_up.resolve(host, port, family)
                if not (good := [each for each in found if may_ask(each["host"])]):
                    raise OSError("no address")
                return good

            async def close(self) -> None:
                await look_up.close()

        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=Checked(), use_dns_cache=False, force_close=True, limit=AT_A_TIME
            ),
            headers=HEADERS,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            timeout=aiohttp.ClientTimeout(total=None),  # one for all redirects, above
        )
        return self._session


def _failed(why: str) -> Refused:
    return Refused("fetch", f"The image {why}.")
