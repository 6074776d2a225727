"""An answer's head and body leave together, and a head alone isn't kept waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import pytest
import pytest_asyncio

from gemma_gateway.api.outlet import Outlet

HEAD, BODY = b"HTTP/1.1 200 OK\r\n\r\n", b"{}"


class Sent(asyncio.Transport):
    """Keeps what each call to it was given: one system call, one segment."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[bytes] = []
        self.closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.calls.append(bytes(data))

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.calls.append(b"".join(list_of_data))

    def is_closing(self) -> bool:
        return self.closing


@pytest.fixture
def sent() -> Sent:
    return Sent()


@pytest_asyncio.fixture
async def outlet(sent: Sent) -> Outlet:
    return Outlet(sent, asyncio.get_running_loop(), lambda: None)


async def turn() -> None:
    """Let the event loop do what it has been told to do soon."""
    await asyncio.sleep(0)


@pytest.mark.parametrize("body", [BODY, b"x" * 300_000, b""])
async def test_a_whole_answer_is_one_write(sent: Sent, outlet: Outlet, body: bytes) -> None:
    for _ in range(2):
        outlet.begin()
        outlet.write(HEAD)
        outlet.write(body)
        await turn()
    assert sent.calls == [HEAD + body] * 2


async def test_the_head_of_a_stream_leaves_in_the_next_turn(sent: Sent, outlet: Outlet) -> None:
    outlet.begin()
    outlet.write(HEAD)
    assert not sent.calls
    await turn()
    assert sent.calls == [HEAD]
    outlet.write(b"event")
    outlet.write(b"event")
    assert sent.calls == [HEAD, b"event", b"event"]


async def test_a_head_alone_leaves_before_the_end(sent: Sent, outlet: Outlet) -> None:
    outlet.begin()
    outlet.write(HEAD)  # of an answer without content
    outlet.flush()
    outlet.flush()
    await turn()
    assert sent.calls == [HEAD]


def departure(sent: Sent, outlet: Outlet) -> None:
    sent.closing = True


def silence(sent: Sent, outlet: Outlet) -> None:
    outlet.shut()


@pytest.mark.parametrize("end", [departure, silence])
async def test_nothing_leaves_after_the_end(
    sent: Sent, outlet: Outlet, end: Callable[[Sent, Outlet], None]
) -> None:
    outlet.begin()
    outlet.write(HEAD)
    end(sent, outlet)
    await turn()
    assert not sent.calls
