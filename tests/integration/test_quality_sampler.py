"""The sampler: which calls it takes, and that nothing ever waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from gemma_gateway.core.call import Call, Principal
from gemma_gateway.engines.upstream.engine import UpstreamEngine
from gemma_gateway.quality.book import Book
from gemma_gateway.quality.embeddings import Embeddings
from gemma_gateway.quality.engine_client import EngineClient
from gemma_gateway.quality.judge import Judge
from gemma_gateway.quality.sampler import QUEUE, Sampler
from gemma_gateway.safety.policy import Policy
from gemma_gateway.settings import Tier
from gemma_gateway.storage.redis import Store
from gemma_gateway.wire.openai.chat import Chat
from gemma_gateway.wire.vllm.tokenize import Tokenize
from tests.quality.bigram import Bigram
from tests.waiting import PATIENCE, until

ANSWER = b'{"choices": [{"index": 0, "message": {"content": "It rained in the morning."}}]}'


class Quiet:
    """A client that takes everything."""

    def __init__(self) -> None:
        self.got = b""

    async def body(self) -> bytes:
        return b"{}"

    def expect(self) -> None: ...

    async def answer(self, call: Call, status: int, body: bytes) -> None:
        self.got += body

    async def begin(self, call: Call) -> None: ...

    async def write(self, data: bytes) -> None:
        self.got += data

    async def end(self) -> None: ...


def call(share: float, dialect: object = None) -> Call:
    made = Call("r", dialect or Chat())  # type: ignore[arg-type]
    made.principal = Principal("ab" * 32, "a", "default", Tier(quality_sample=share))
    made.request.raw = b"{}"
    made.request.body = {"messages": [{"role": "user", "content": "How was it?"}]}
    made.request.model = "tiny"
    return made


@asynccontextmanager
async def sampler(
    server: Bigram, store: Store, prefix: str, chance: Callable[[], float] = lambda: 0.0
) -> AsyncIterator[tuple[Sampler, list[tuple[str, str, float]]]]:
    engine = UpstreamEngine([server.url], health_interval=60)
    await engine.start()
    told: list[tuple[str, str, float]] = []
    embeddings = Embeddings()
    embeddings.installed = False  # as without the extra: no child that takes seconds to start
    judge = Judge(EngineClient(engine), embeddings, Policy(), samples=0)
    found = Sampler(judge, Book(store, prefix), lambda: False, lambda *s: told.append(s), chance)
    await found.start()
    try:
        yield found, told
    finally:
        await found.stop()
        await engine.stop()


async def hear(found: Sampler, share: float = 1.0, answer: bytes = ANSWER) -> bool:
    """Send one call's answer through the sampler; whether it listened."""
    made, client = call(share), Quiet()
    listener = found.listen(made, client)
    if listener is None:
        return False
    await listener.answer(made, 200, answer)
    assert client.got == answer
    listener.done("ok")
    return True


async def test_the_share_of_the_tier_decides(store: Store, prefix: str) -> None:
    numbers = iter([0.1, 0.24, 0.25, 0.9])
    async with Bigram() as server, sampler(server, store, prefix, lambda: next(numbers)) as made:
        found, _ = made
        assert [await hear(found, 0.25) for _ in range(4)] == [True, True, False, False]
        assert not await hear(found, 0.0)  # asks for no number
        assert found.listen(call(1.0, Tokenize()), Quiet()) is None
        stranger = call(1.0)
        stranger.principal = None
        assert found.listen(stranger, Quiet()) is None


async def test_scores_are_kept_and_told(store: Store, prefix: str) -> None:
    async with Bigram() as server, sampler(server, store, prefix) as (found, told):
        assert await hear(found)
        await until(lambda: found.counts["judged"] == 1, "the call is judged")
    assert [name for _, name, _ in told] == ["coherence", "safety"]
    assert {model for model, _, _ in told} == {"tiny"}


async def test_a_full_queue_drops_and_no_call_waits(store: Store, prefix: str) -> None:
    async with Bigram() as server, sampler(server, store, prefix) as (found, _):
        server.wait = 10 * PATIENCE  # the worker hangs on its first question
        await hear(found)
        await until(lambda: bool(server.seen), "the worker asks")
        async with asyncio.timeout(PATIENCE):  # a tenth of what the worker waits
            for _ in range(QUEUE + 7):
                assert await hear(found)
        assert found.counts["queue_full"] == 7
        await asyncio.wait_for(found.stop(), PATIENCE)
        server.wait = 0
        await found.start()  # what was waiting is forgotten
        await hear(found)
        await until(lambda: found.counts["judged"] == 1, "the call is judged")


@pytest.mark.parametrize("answer", [b"{", b'{"choices": 7}', b'{"choices": [{"message": 7}]}'])
async def test_what_can_not_be_read_is_counted_and_the_next_is_judged(
    store: Store, prefix: str, answer: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with Bigram() as server, sampler(server, store, prefix) as (found, _):
        await hear(found, answer=answer)
        await hear(found)
        await until(lambda: found.counts["judged"] == 1, "the call is judged")
    assert found.counts["failed"] + found.counts["no_text"] == 1
    assert "How was it" not in caplog.text


async def test_errors_and_departures_are_not_judged(store: Store, prefix: str) -> None:
    async with Bigram() as server, sampler(server, store, prefix) as (found, _):
        for outcome in ("GENERATION_ERROR", "client_closed"):
            listener = found.listen(call(1.0), Quiet())
            assert listener is not None
            listener.done(outcome)
        await asyncio.sleep(0.1)
        assert sum(found.counts.values()) == 0
        assert server.seen == []
