"""The in-process engine with real vLLM and real Gemma: bytes, aborts, counts, death, stop."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from prometheus_client import REGISTRY

from gemma_gateway.core.engine import EngineFailed, EngineRequest
from gemma_gateway.engines.local import environment
from gemma_gateway.engines.local.engine import LocalEngine

pytestmark = pytest.mark.asyncio(loop_scope="session")

MODEL = "gemma-3-270m"
PATIENCE = 300  # seconds until a state has to be there
CHAT = "/v1/chat/completions"
STORY = [{"role": "user", "content": "Tell me a long story."}]
LONG: dict[str, dict[str, Any]] = {
    CHAT: {"messages": STORY, "max_tokens": 1000},
    "/v1/completions": {"prompt": "Once upon a time", "max_tokens": 1000},
    "/v1/responses": {"input": "Tell me a long story.", "max_output_tokens": 1000},
    "/v1/messages": {"messages": STORY, "max_tokens": 1000},
}


def request(path: str, stream: bool = False, **body: Any) -> EngineRequest:
    body = {"model": MODEL, "stream": stream, "temperature": 0, **body}
    return EngineRequest("req-1", path, json.dumps(body).encode(), MODEL, stream)


def long_request(path: str, stream: bool) -> EngineRequest:
    return request(path, stream, ignore_eos=True, **LONG[path])


async def whole(engine: LocalEngine, call: EngineRequest) -> bytes:
    return b"".join([chunk async for chunk in (await engine.send(call)).chunks()])


def running() -> float:
    """vLLM's own gauges of calls that run or wait."""
    labels = {"engine": "0", "model_name": MODEL}
    names = ("vllm:num_requests_running", "vllm:num_requests_waiting")
    return sum(REGISTRY.get_sample_value(name, labels) or 0 for name in names)


async def until(condition: Any, every: float = 0.005) -> None:
    """Wait until the condition holds, as long as the busiest machine may take."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it never came true"
        await asyncio.sleep(every)


def alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def cpu_seconds() -> float:
    """That this process and its children have taken."""
    here = psutil.Process()
    times = [process.cpu_times() for process in (here, *here.children(recursive=True))]
    return sum(time.user + time.system for time in times)


def works(process: psutil.Process) -> bool:
    """Whether it is a worker by now."""
    with suppress(psutil.NoSuchProcess):
        return "Worker" in process.name()
    return False


def engine_processes(gateway: int | None = None) -> list[psutil.Process]:
    """vLLM's core and workers (they name themselves), or what is about to become them."""
    found = []
    for child in psutil.Process(gateway).children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it has ended since
            if "VLLM::" in child.name() or "spawn_main" in " ".join(child.cmdline()):
                found.append(child)
    return found


async def test_health_names_the_model_and_memory(local_engine: LocalEngine) -> None:
    health = local_engine.state()
    assert (health.ready, health.models, health.detail) == (True, (MODEL,), "")
    assert local_engine.memory()[0] > 500 * 2**20  # the weights alone are 536 MB


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="no /proc here")
async def test_workers_have_the_libraries_that_vllm_asks_for(local_engine: LocalEngine) -> None:
    worker = next(filter(works, engine_processes()))
    loaded = Path(f"/proc/{worker.pid}/maps").read_text("utf-8")
    wanted = environment.wanted(os.environ)
    assert [library for library in wanted if library not in loaded] == []
    assert "libiomp5.so" in loaded or platform.machine() != "x86_64"
    assert "LD_PRELOAD" not in os.environ


async def test_stream_is_vllms_own_and_counted(local_engine: LocalEngine) -> None:
    call = request(CHAT, True, messages=STORY, max_tokens=8, ignore_eos=True,
                   stream_options={"include_usage": True})  # fmt: skip
    reply = await local_engine.send(call)
    assert (reply.status, reply.content_type) == (200, "text/event-stream; charset=utf-8")
    events = b"".join([chunk async for chunk in reply.chunks()]).split(b"\n\n")
    assert events[-2:] == [b"data: [DONE]", b""]
    usage = json.loads(events[-3].removeprefix(b"data: "))["usage"]
    assert usage["completion_tokens"] == reply.generated() == 8
    assert usage["prompt_tokens"] == reply.prompt_tokens()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, {"messages": STORY, "n": 3}),
        ("/v1/completions", {"prompt": ["One", "Two and three"], "n": 2}),
    ],
)
async def test_counts_sum_over_choices_as_vllms_usage(
    local_engine: LocalEngine, path: str, body: dict[str, Any]
) -> None:
    call = request(path, max_tokens=6, temperature=1, **body)
    usage = json.loads(await whole(local_engine, call))["usage"]
    assert call.tally.generated() == usage["completion_tokens"]
    assert call.tally.prompt_tokens() == usage["prompt_tokens"]


async def test_same_request_id_twice_is_counted_apart(local_engine: LocalEngine) -> None:
    calls = [request(CHAT, messages=STORY, max_tokens=n, ignore_eos=True) for n in (3, 9)]
    await asyncio.gather(*(whole(local_engine, call) for call in calls))
    assert [call.tally.generated() for call in calls] == [3, 9]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"messages": STORY, "top_p": 7}, 400),
        ({"messages": STORY, "model": "no-such-model"}, 404),
        ({"messages": [{"role": "user", "content": "word " * 3000}]}, 400),
    ],
)
async def test_refusals_pass_with_their_status(
    local_engine: LocalEngine, body: dict[str, Any], status: int
) -> None:
    reply = await local_engine.send(request(CHAT, **body))
    assert reply.status == status
    assert "error" in json.loads(b"".join([chunk async for chunk in reply.chunks()]))


async def test_logprobs_do_not_wait_for_a_compiler(local_engine: LocalEngine) -> None:
    call = request(CHAT, messages=STORY, max_tokens=2, logprobs=True, top_logprobs=2)
    before = cpu_seconds()
    answer = json.loads(await whole(local_engine, call))
    assert len(answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]) == 2
    first = cpu_seconds() - before
    await whole(local_engine, call)
    again = cpu_seconds() - before - first
    assert first < 10 * again  # a compiler takes a hundred times as much


async def test_a_conversation_is_told_on_the_page_of_a_base_model(
    local_engine: LocalEngine,
) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "Bye"},
    ]
    call = request("/tokenize", messages=messages, return_token_strs=True)
    text = "".join(json.loads(await whole(local_engine, call))["token_strs"]).replace("▁", " ")
    assert text.startswith("<bos>Question: Hello\nAnswer:\n")
    told = "Be brief.\n\nQuestion: Hi\nAnswer:\nHello\n\nQuestion: Bye\nAnswer:\n"
    assert text.endswith("\n\n" + told)


CAPITAL = "What is the capital of France?"
ASKED = {"messages": [{"role": "user", "content": CAPITAL}], "max_tokens": 60}
QUESTIONS: dict[str, dict[str, Any]] = {
    CHAT: ASKED,
    "/v1/messages": ASKED,
    "/v1/responses": {"input": CAPITAL, "max_output_tokens": 60},
}
ENDS = {CHAT: b'"finish_reason":"stop"', "/v1/messages": b'"stop_reason":"end_turn"',
        "/v1/responses": b'"status":"completed"'}  # fmt: skip


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("path", QUESTIONS)
async def test_an_answer_makes_sense_and_ends_by_itself(
    local_engine: LocalEngine, path: str, stream: bool
) -> None:
    call = request(path, stream, **QUESTIONS[path])
    answer = await whole(local_engine, call)
    assert ENDS[path] in answer.replace(b": ", b":")
    assert b"Paris" in answer
    assert b"Question" not in answer  # nor goes on to the next
    assert rb"\n\n" not in answer
    assert (call.tally.generated() or 60) < 20


async def test_a_raw_prompt_goes_on_past_blank_lines(local_engine: LocalEngine) -> None:
    call = request("/v1/completions", prompt="Q: 1\n\nQ: 2\n\nQ: 3\n\nQ: 4\n\nQ:", max_tokens=12)
    choice = json.loads(await whole(local_engine, call))["choices"][0]
    assert "\n\nQ:" in choice["text"]
    assert choice["finish_reason"] == "length"


async def test_tool_calls_are_parsed(local_engine: LocalEngine) -> None:
    tool = {"name": "get_weather", "parameters": {"type": "object", "properties": {
        "city": {"type": "string", "maxLength": 8}}, "required": ["city"]}}  # fmt: skip
    call = request(CHAT, messages=[{"role": "user", "content": "Weather in Paris?"}],
                   tools=[{"type": "function", "function": tool}], max_tokens=60,
                   tool_choice={"type": "function",
                                "function": {"name": "get_weather"}})  # fmt: skip
    answer = json.loads(await whole(local_engine, call))
    function = answer["choices"][0]["message"]["tool_calls"][0]["function"]
    assert function["name"] == "get_weather"
    assert set(json.loads(function["arguments"])) == {"city"}


@pytest.mark.parametrize("path", LONG)
async def test_leaving_a_stream_aborts_it(local_engine: LocalEngine, path: str) -> None:
    reply = await local_engine.send(long_request(path, stream=True))
    seen = 0
    async for _ in reply.chunks():
        seen += 1
        if seen == 8:
            break
    await reply.abort()
    await until(lambda: running() == 0)
    assert 0 < (reply.generated() or 0) < 50


@pytest.mark.parametrize("path", LONG)
@pytest.mark.parametrize("after", [0.0, 0.001, None])
async def test_cancelled_send_aborts_a_whole_answer(
    local_engine: LocalEngine, path: str, after: float | None
) -> None:
    """At once, soon, or once something was generated."""
    call = long_request(path, stream=False)
    task = asyncio.create_task(local_engine.send(call))
    if after is None:
        await until(lambda: (call.tally.generated() or 0) > 0)
    else:
        await asyncio.sleep(after)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    left = call.tally.generated()
    await until(lambda: running() == 0)
    await asyncio.sleep(0.1)
    assert running() == 0
    assert (call.tally.generated() or 0) <= (left or 0) + 2  # what was on its way
    if after is None:
        assert (left or 0) > 0
        assert (call.tally.prompt_tokens() or 0) > 0


async def test_streams_in_flight_are_as_fast_as_the_engine(local_engine: LocalEngine) -> None:
    calls = [long_request("/v1/completions", stream=True) for _ in range(4)]
    replies = await asyncio.gather(*(local_engine.send(call) for call in calls))
    streams = [reply.chunks() for reply in replies]
    for stream in streams:
        for _ in range(10):
            assert (await anext(stream)).startswith(b"data: ")
    assert running() == 4
    await asyncio.gather(*(reply.abort() for reply in replies))
    await until(lambda: running() == 0)


async def test_ctrl_c_in_the_terminal_leaves_the_core_alone(local_engine: LocalEngine) -> None:
    for process in engine_processes():
        process.send_signal(signal.SIGINT)
    answer = await whole(local_engine, request(CHAT, messages=STORY, max_tokens=3))
    assert json.loads(answer)["usage"]["completion_tokens"] == 3


async def test_absent_model_is_explained(tmp_path: Any, local_engine: LocalEngine) -> None:
    engine = LocalEngine(tmp_path / "nothing-here", "none")
    await engine.start()
    with pytest.raises(EngineFailed, match="nothing-here"):
        await engine.wait_ready(PATIENCE)
    health = engine.state()
    assert not health.ready
    assert "nothing-here" in health.detail
    await engine.stop()


async def test_a_killed_gateway_takes_its_engine_along(model_folder: Path) -> None:
    code = (
        "import asyncio, sys; from gemma_gateway.engines.local.engine import LocalEngine\n"
        "async def main():\n"
        "    await LocalEngine(sys.argv[1], 'm').start(); await asyncio.sleep(600)\n"
        "if __name__ == '__main__': asyncio.run(main())"
    )
    gateway = await asyncio.create_subprocess_exec(sys.executable, "-c", code, str(model_folder))
    try:
        await until(lambda: any(map(works, engine_processes(gateway.pid))), 0.1)
        processes = engine_processes(gateway.pid)
    finally:
        gateway.kill()
        await gateway.wait()
    await until(lambda: not any(map(alive, processes)), every=0.1)


async def test_stop_leaves_no_process(local_engine: LocalEngine) -> None:
    """Last in this file: the engine is stopped, also in the middle of a start."""
    reply = await local_engine.send(long_request(CHAT, stream=True))
    await local_engine.stop()
    with pytest.raises(EngineFailed):
        _ = [chunk async for chunk in reply.chunks()]
    await local_engine.start()
    await asyncio.sleep(8)
    await local_engine.stop()
    assert engine_processes() == []
    assert not local_engine.state().ready
