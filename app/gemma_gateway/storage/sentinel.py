"""Redis Sentinel: who is the master now?"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from urllib.parse import parse_qsl, quote, urlencode

from gemma_gateway.storage.address import Address, OnLost, Several
from gemma_gateway.storage.connection import Connection, StoreError, pack

PORT = 26379
ANSWER_SECONDS = 0.5  # for a sentinel, once connected
ROLE = pack("ROLE")


class Sentinels:
    """Finds the master that Sentinel watches under a name.

    Args:
        sentinels: some of them, one at least.
        master: how to speak to the master; its address comes from the sentinels.
        name: of the master.
    """

    def __init__(self, sentinels: Sequence[Address], master: Address, name: str) -> None:
        self._sentinels = list(sentinels)
        self._master = master
        self._name = name
        self._question = pack("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name)

    @classmethod
    def parse(cls, url: str, scheme: str) -> Sentinels:
        """Read ``redis+sentinel://user:password@host:port,host:port/name/db?query``.

        User and password are the master's; ``sentinel_username`` and ``sentinel_password`` in the
        query are the sentinels' own. TLS and all ``ssl_*`` hold for both.

        Args:
            url: the URL.
            scheme: ``redis`` or ``rediss``, for each of the connections.

        Raises:
            ValueError: it can't be used.
        """
        parts = Several.parse(url)
        name, _, database = parts.path.partition("/")
        if not name or not (database or "0").isdecimal():
            raise ValueError("store URL: /name-of-the-master/database must follow the sentinels")
        query = dict(parse_qsl(parts.query))
        user, password = query.pop("sentinel_username", ""), query.pop("sentinel_password", "")
        login = f"{quote(user, safe='')}:{quote(password, safe='')}@" if password else ""
        rest = urlencode(query)
        return cls(
            [Address.parse(f"{scheme}://{login}{host}?{rest}", PORT) for host in parts.hosts],
            Address.parse(f"{scheme}://{parts.login}master/{database}?{rest}"),
            name,
        )

    async def open(self, timeout: float, on_lost: OnLost) -> Connection:
        """A link to the master, by the first sentinel that knows it.

        A sentinel that was cut off tells of a former master; so the server itself must say that
        it is one.

        Args:
            timeout: longest wait of the link for a reply, in seconds.
            on_lost: told when the link fails.

        Raises:
            StoreError: no sentinel leads to a master.
        """
        reasons = []
        for sentinel in list(self._sentinels):
            try:
                host, port = await self._ask(sentinel)
                link = await self._master.at(host, port).open(timeout, on_lost)
                await self._verify(link, f"{host}:{port}")
            except StoreError as error:
                reasons.append(f"{sentinel.host}:{sentinel.port}: {error}")
            else:  # it knows: it is the first to be asked again
                self._sentinels.remove(sentinel)
                self._sentinels.insert(0, sentinel)
                return link
        raise StoreError(f"no master by sentinel {'; '.join(reasons)}")

    async def _ask(self, sentinel: Address) -> tuple[str, int]:
        link = await sentinel.open(ANSWER_SECONDS, _unheard)
        try:
            answer = await link.send(self._question)
        finally:
            link.close()
        if not isinstance(answer, list) or len(answer) != 2:
            raise StoreError(f"it knows no master named {self._name!r}")
        return answer[0].decode(), int(answer[1])

    async def _verify(self, link: Connection, address: str) -> None:
        try:
            role = (await link.send(ROLE))[0]
            if role != b"master":
                raise StoreError(f"{address} is not a master")
            if link.lost:
                raise StoreError(link.lost)
        except (StoreError, asyncio.CancelledError):
            link.close()
            raise


def _unheard(link: Connection, reason: str) -> None:
    """The end of a link that served for one question."""
