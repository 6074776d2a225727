"""``gemma-gateway bench``: what it measures is what a server of a known pace did."""

from __future__ import annotations

import asyncio
import itertools
import math
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gemma_gateway.cli import caller as words
from gemma_gateway.cli.bench import prompts
from gemma_gateway.cli.bench.call import Call, Caller
from gemma_gateway.cli.bench.figures import Figures, Spread, notes
from gemma_gateway.cli.bench.load import GIVE_UP, Level, Run, connections, put
from gemma_gateway.cli.bench.report import PAGE, PLOT, Report
from gemma_gateway.cli.command import CommandError
from gemma_gateway.cli.main import main
from tests.loopback import Loopback

WAIT, DELAY = 0.15, 0.03  # seconds: before the head, and before each event after the first
PIECES = ["a ", "b ", "c ", "d ", "e ", "f "]
# In a stream: the role, the texts, the finish reason, the usage, [DONE].
EVENTS = 1 + len(PIECES) + 3
SLACK = 20.0  # seconds; the machine may be busy
HELLO = [{"role": "user", "content": "Hello"}]


def body(stream: bool = True, **script: Any) -> dict[str, Any]:
    """A call's body whose answer goes by a script."""
    asked: dict[str, Any] = {"model": "gemma-3-270m", "max_tokens": 64, "loopback": script}
    if stream:
        asked |= {"stream": True, "stream_options": {"include_usage": True}}
    return asked


async def one(asked: dict[str, Any], timeout: float = 10) -> Call:
    """One call to a server that does as it is told."""
    async with Loopback() as server, connections(timeout) as link:
        return await Caller(link, server.url.removesuffix("/v1"), "", asked).call(HELLO)


async def load(
    level: Level, asked: dict[str, Any], told: Callable[[Call], None] = lambda call: None
) -> Run:
    """One level on such a server; ``told`` of each call that has ended."""
    run = Run(level)
    async with Loopback() as server, connections(20) as link:
        caller = Caller(link, server.url.removesuffix("/v1"), "", asked)
        await put(caller, run, itertools.repeat(HELLO), 0, told)
        assert server.state.running == 0
    return run


# ---- one call


async def test_times_of_a_stream_are_those_of_the_server() -> None:
    call = await one(body(wait=WAIT, delay=DELAY, pieces=PIECES))
    assert call.outcome == "ok"
    assert call.output_tokens == len(PIECES)
    assert call.input_tokens == 5
    assert not call.estimated
    assert call.first_token == pytest.approx(WAIT + DELAY + SLACK / 2, abs=SLACK / 2 + 0.005)
    gaps = list(call.gaps)
    assert len(gaps) == len(PIECES) - 1
    assert sum(gaps) >= (len(PIECES) - 1) * DELAY - 0.005
    assert call.per_token == pytest.approx(sum(gaps) / (len(PIECES) - 1))
    least = WAIT + (EVENTS - 1) * DELAY
    assert least - 0.005 <= call.response_time <= least + 3 * SLACK


async def test_a_whole_answer_has_a_response_time_alone() -> None:
    call = await one(body(stream=False, wait=WAIT, pieces=PIECES))
    assert call.ok
    assert (call.output_tokens, call.first_token, call.per_token) == (len(PIECES), None, None)
    assert WAIT <= call.response_time <= WAIT + SLACK


async def test_without_counts_tokens_are_events_with_text() -> None:
    asked = body(pieces=PIECES)
    del asked["stream_options"]
    call = await one(asked)
    assert (call.output_tokens, call.estimated) == (len(PIECES), True)


async def test_reasoning_and_tool_calls_are_text_too() -> None:
    call = await one(body(reasoning=["let me ", "see "], tools=[["look", ["{", "}"]]], pieces=[]))
    assert call.ok
    assert len(call.texts) >= 4


@pytest.mark.parametrize("write", ["all", 1, 7])
async def test_events_may_arrive_in_any_pieces(write: str | int) -> None:
    call = await one(body(pieces=PIECES, write=write))
    assert call.ok
    assert (len(call.texts), call.output_tokens) == (len(PIECES), len(PIECES))


@pytest.mark.parametrize(
    ("script", "outcome"),
    [
        ({"status": 503}, "HTTP 503"),
        ({"die": -1}, "CONNECTION_LOST"),
        ({"die": 3}, "CONNECTION_LOST"),
        ({"end": False}, "STREAM_CUT"),
        ({"error": 2}, "STREAM_CUT"),
        ({"stall": 2}, "CLIENT_TIMEOUT"),
        ({"finish": "content_filter"}, "RESPONSE_FILTERED"),
    ],
)
async def test_what_goes_wrong_has_a_name(script: dict[str, Any], outcome: str) -> None:
    call = await one(body(pieces=PIECES, **script), timeout=1)
    assert call.outcome == outcome
    assert not call.ok
    assert call.ended >= call.sent


async def test_nobody_there() -> None:
    async with connections(5) as link:
        call = await Caller(link, "http://127.0.0.1:1", "", body()).call(HELLO)
    assert (call.outcome, call.detail) == ("CONNECT_FAILED", "Connection refused")


# ---- loops


async def test_a_closed_loop_has_so_many_calls_at_once() -> None:
    run = await load(Level(concurrency=4, requests=12), body(stream=False, wait=0.1))
    figures = Figures.of(run)
    assert (figures.calls, figures.ok, figures.loop) == (12, 12, "closed")
    edges = sorted([(c.sent, 1) for c in run.calls] + [(c.ended, -1) for c in run.calls])
    at_once = list(itertools.accumulate(step for _, step in edges))
    assert max(at_once) == 4
    assert 0.3 <= figures.seconds <= 0.3 + 3 * SLACK  # three rounds of 0.1 s
    assert figures.calls_per_second == pytest.approx(12 / figures.seconds)
    assert figures.output_tokens_per_second == pytest.approx(
        figures.output_tokens / figures.seconds
    )


async def test_a_duration_ends_the_beginning_of_calls() -> None:
    run = await load(Level(concurrency=2, seconds=0.5), body(stream=False, wait=0.2))
    assert all(call.sent < run.began + 0.5 for call in run.calls)
    assert run.ended == max(call.ended for call in run.calls) > run.began + 0.5
    assert len(run.calls) in {2, 4, 6}


async def test_an_open_loop_comes_at_its_rate_whatever_the_server_does() -> None:
    run = await load(Level(rate=100, requests=200), body(stream=False, wait=0.5))
    figures = Figures.of(run)
    assert figures.ok == 200
    due = [call.due for call in run.calls]
    assert (max(due) - min(due)) == pytest.approx(2.0, rel=0.25)  # 200 exponential gaps of 10 ms
    gaps = np.diff(sorted(due))
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.3)  # as exponential ones are


@pytest.mark.parametrize(("level", "slow"), [(Level(concurrency=1, seconds=1.5), 1), (None, 25)])
async def test_only_an_open_loop_sees_a_stall_as_users_do(level: Level | None, slow: int) -> None:
    """Everything stands still for a second: the closed loop has one slow call; the open one has
    all that were due meanwhile, timed from when they were due."""
    calls = itertools.count()

    def stall(call: Call) -> None:
        if next(calls) == 0:  # while the next one is on its way
            asyncio.get_running_loop().call_soon(time.sleep, 1.0)

    run = await load(level or Level(rate=50, seconds=1.5), body(stream=False), stall)
    if level is None:
        assert sum(call.response_time > 0.2 for call in run.calls) >= slow
        figures = Figures.of(run)
        assert figures.response_time is not None
        assert figures.response_time.p90 > 0.5
        assert figures.late > 0.2
        assert "late (p99)" in " ".join(notes([figures], run.calls))
    else:
        assert slow <= sum(call.response_time > 0.7 for call in run.calls) < slow + 3


async def test_a_hopeless_level_is_given_up() -> None:
    run = await load(Level(concurrency=4, requests=10_000), body(status=500))
    figures = Figures.of(run)
    assert GIVE_UP <= figures.calls <= GIVE_UP + 4
    assert figures.errors == {"HTTP 500": figures.calls}
    assert figures.response_time is None
    assert "in a row" in figures.given_up
    told = " ".join(notes([figures], run.calls))
    assert f"{figures.calls} calls ended with HTTP 500 (scripted 500)." in told


async def test_an_interrupted_level_keeps_what_has_ended() -> None:
    run = Run(Level(concurrency=3, requests=1000))
    async with Loopback() as server, connections(20) as link:
        caller = Caller(link, server.url.removesuffix("/v1"), "", body(stream=False, wait=0.2))
        work = asyncio.create_task(put(caller, run, itertools.repeat(HELLO), 0, lambda c: None))
        await asyncio.sleep(0.5)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
    figures = Figures.of(run)
    assert figures.calls in {3, 6}
    assert figures.interrupted == 3
    assert figures.seconds > 0


# ---- figures


def test_percentiles() -> None:
    spread = Spread.of(range(101, 0, -1))
    assert spread is not None
    assert (spread.count, spread.mean, spread.min, spread.max) == (101, 51, 1, 101)
    assert (spread.p50, spread.p90, spread.p95, spread.p99) == (51, 91, 96, 100)
    assert Spread.of([None, None]) is None
    assert Spread.of([None, 2.0]) == Spread(1, 2, 2, 2, 2, 2, 2, 2)


def test_failed_calls_are_in_no_percentile() -> None:
    run = Run(Level(concurrency=1, requests=2))
    run.began = 1.0
    run.add(Call(1.0, 1.0, 2.0, texts=[1.5, 1.75, 2.0], output_tokens=3))
    run.add(Call(2.0, 2.0, 9.0, outcome="ENGINE_TIMEOUT", output_tokens=50))
    run.ended = 9.0
    figures = Figures.of(run)
    assert figures.errors == {"ENGINE_TIMEOUT": 1}
    assert figures.response_time is not None
    assert figures.time_to_first_token is not None
    assert figures.inter_token_latency is not None
    assert (figures.response_time.max, figures.time_to_first_token.p50) == (1.0, 0.5)
    assert (figures.inter_token_latency.count, figures.inter_token_latency.p99) == (2, 0.25)
    assert figures.output_tokens_per_second == 3 / 8


# ---- prompts


def test_synthetic_prompts_differ_from_the_first_word_on() -> None:
    made = [p[0]["content"] for p in itertools.islice(prompts.synthetic(20, 1), 50)]
    assert all(len(text.split()) == 20 for text in made)
    assert len({" ".join(text.split()[:3]) for text in made}) == 50
    assert next(prompts.synthetic(20, 1)) == [{"role": "user", "content": made[0]}]


def test_prompts_from_a_file(tmp_path: Path) -> None:
    lines = tmp_path / "prompts.txt"
    lines.write_text("one\n\ntwo\n")
    asked = [p[0]["content"] for p in itertools.islice(prompts.from_file(lines), 3)]
    assert asked == ["one", "two", "one"]
    objects = tmp_path / "prompts.jsonl"
    objects.write_text('{"prompt": "hi"}\n{"messages": [{"role": "system", "content": "be"}]}\n')
    first, second = itertools.islice(prompts.from_file(objects), 2)
    assert first == [{"role": "user", "content": "hi"}]
    assert second == [{"role": "system", "content": "be"}]


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("a.txt", "\n\n", "it contains no prompt"),
        ("a.jsonl", '{"prompt": "a"}\n{"prompt":', ":2: not JSON"),
        ("a.jsonl", '{"prompt": ""}', ":1: an object with"),
        ("a.jsonl", "[1]", ":1: an object with"),
        ("a.jsonl", '{"messages": ["a"]}', ":1: an object with"),
    ],
)
def test_wrong_prompts(tmp_path: Path, name: str, text: str, why: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(CommandError, match=re.escape(why)):
        prompts.from_file(tmp_path / name)


# ---- report


def report(levels: list[Figures], **more: Any) -> Report:
    return Report("2026-01-01T00:00:00Z", "http://h:1", "gemma", {"seed": 0}, levels, **more)


@pytest.mark.parametrize("stream", [True, False])
async def test_the_files_of_a_report(tmp_path: Path, stream: bool) -> None:
    runs = [
        await load(Level(concurrency=n, requests=4), body(stream, pieces=PIECES)) for n in (1, 2)
    ]
    report([Figures.of(run) for run in runs]).write(tmp_path)
    picture = Image.open(tmp_path / PLOT)
    picture.load()
    assert picture.format == "PNG"
    assert picture.width > 800
    assert picture.height > (600 if stream else 300)
    colours = picture.convert("RGB").getcolors(1 << 24)
    assert colours is not None
    found = {colour for _, colour in colours}
    assert {(0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00), (0x56, 0xB4, 0xE9)} <= found  # lines, bars
    page = (tmp_path / PAGE).read_text()
    assert page.count("<svg") == 1
    assert not re.search(r"<script|<link|<img|@import|\ssrc=|url\((?!#)", page)
    assert not re.search(r'href="(?!#)', page)
    assert page.count("<tr>") == 3


def test_a_servers_words_are_no_html(tmp_path: Path) -> None:
    run = Run(Level(concurrency=1, requests=1))
    run.add(Call(0, 0, 1, outcome="HTTP 500", detail="<script>alert(1)</script>"))
    levels = [Figures.of(run)]
    made = Report("now", "http://h", "<b>gemma</b> & $x", {}, levels, notes(levels, run.calls))
    made.write(tmp_path)
    page = (tmp_path / PAGE).read_text()
    assert "<script>" not in page
    assert "<b>gemma" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_a_level_without_any_good_call_can_be_drawn(tmp_path: Path) -> None:
    run = Run(Level(rate=2.5, requests=1))
    run.add(Call(0, 0, 1, outcome="HTTP 500"))
    made = report([Figures.of(run)])
    made.write(tmp_path)
    assert made.rows()[0][:4] == ["2.5/s", "1", "0", "0.00"]
    assert "-" in made.rows()[0]
    assert not math.isnan(made.levels[0].cpu_share)


# ---- words


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--url", "ftp://h"], "is not an address"),
        (["--url", "http://"], "is not an address"),
        (["--url", "http://h:0"], "is not an address"),
        (["--url", "http://h:x"], "h:x"),
        (["--url", "http://me:sesame@h"], "no user or password"),
        (["--url", "http://h/?a=1"], "must not contain ? or #"),
        (["--concurrency", "0"], "not between"),
        (["--concurrency", "1,,2"], "is not a number"),
        (["--concurrency", ",".join("1" * 33)], "more than 32 levels"),
        (["--concurrency", "1", "--rate", "1"], "not allowed with"),
        (["--rate", "nan"], "not between"),
        (["--requests", "-1"], "not between"),
        (["--requests", "1", "--duration", "1"], "not allowed with"),
        (["--max-tokens", "many"], "is not a number"),
        (["--body", "{"], "not JSON"),
        (["--body", "[]"], "expected an object"),
        (["--body", '{"model": "a"}'], "model: use the option of that name"),
        (["--key", "gg-secret"], "unrecognized"),
    ],
)
def test_wrong_words(arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["bench", *arguments])
    assert stopped.value.code == 2
    told = capsys.readouterr().err
    assert why in told
    assert "sesame" not in told


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("http://h:8000", "http://h:8000"),
        ("https://h/v1/", "https://h"),
        ("http://[::1]:8000/gateway/v1", "http://[::1]:8000/gateway"),
    ],
)
def test_addresses(given: str, taken: str) -> None:
    assert words.base_url(given) == taken


def test_where_the_key_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = "http://127.0.0.1:8000", "https://gateway.example"
    monkeypatch.chdir(tmp_path)
    for name in (words.KEY_VARIABLE, words.DATA_DIR_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    assert words.api_key(here, None) == ""
    own = tmp_path / ".gateway" / "api_key"
    own.parent.mkdir()
    own.write_text("gg-own\n")
    assert words.api_key(here, None) == "gg-own"
    assert words.api_key(there, None) == ""  # it goes nowhere else
    monkeypatch.setenv(words.KEY_VARIABLE, "gg-environment")
    assert words.api_key(there, None) == "gg-environment"
    file = tmp_path / "key"
    file.write_text("gg-file")
    assert words.api_key(there, file) == "gg-file"


@pytest.mark.parametrize("text", ["", "two words", "gg-\x00", "k" * 600, "schlüssel"])
def test_what_is_no_key(tmp_path: Path, text: str) -> None:
    file = tmp_path / "key"
    file.write_text(text)
    with pytest.raises(CommandError, match="holds no API key"):
        words.api_key("http://h", file)


def test_a_missing_extra_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert main(["bench"]) == 1
    assert "-m pip install 'gemma-gateway[bench]'" in capsys.readouterr().err


def test_a_result_is_never_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "plot.png").write_text("old")
    assert main(["bench", "--url", "http://127.0.0.1:1", "--out", str(tmp_path)]) == 2
    assert "already holds a result" in capsys.readouterr().err


def test_nobody_there_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["bench", "--url", "http://127.0.0.1:1", "--out", str(out)]) == 1
    assert "gemma-gateway serve" in capsys.readouterr().err
    assert not out.exists()
