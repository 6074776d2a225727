"""``gemma-gateway evaluate`` as its user runs it."""

from __future__ import annotations

import asyncio
import html.parser
import importlib.util
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gemma_gateway.cli.main import main
from gemma_gateway.quality.evaluate.result import ROWS
from tests.quality.bigram import Bigram

Json = dict[str, Any]
ANSWER = "It rained in the morning and the air was fresh."
MIXED = "morning fresh rained air the It and the in was."


@pytest.fixture
async def server() -> AsyncIterator[Bigram]:
    async with Bigram("tiny", "other") as found:
        yield found


def write(path: Path, *rows: Any) -> Path:
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


class Run:
    """A command that has ended."""

    def __init__(self, status: int | None, out: bytes, err: bytes) -> None:
        self.status, self.out, self.err = status, out.decode(), err.decode()


async def start(*words: object) -> asyncio.subprocess.Process:
    env = {k: v for k, v in os.environ.items() if not k.startswith("GATEWAY_")}
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gemma_gateway", "evaluate", *map(str, words)),
        stdout=pipe, stderr=pipe, env={**env, "GATEWAY_API_KEY": "key"},
    )  # fmt: skip


async def evaluate(*words: object) -> Run:
    child = await start(*words)
    out, err = await child.communicate()
    return Run(child.returncode, out, err)


def report(folder: Path) -> Json:
    return dict(json.loads((folder / "report.json").read_bytes()))


class Page(html.parser.HTMLParser):
    """Tags of the page, and what it would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "href")]


# ---- what it does


async def test_a_models_answers_are_scored(server: Bigram, tmp_path: Path) -> None:
    questions = write(
        tmp_path / "set.jsonl",
        {"id": "plain", "prompt": "How was it?"},
        {"messages": [{"role": "user", "content": "And then?"}], "context": "It rained."},
        {"prompt": "Say it.", "answer": MIXED},
    )
    server.says = ANSWER
    out = tmp_path / "out"
    run = await evaluate(
        questions, "--url", server.url, "--out", out, "--scores", "coherence,safety",
        "--max-tokens", 9,
    )  # fmt: skip
    assert run.status == 0, run.err
    found = report(out)
    assert (found["rows"], found["done"], found["interrupted"]) == (3, 3, False)
    plain, grounded, own = (row["answers"][0] for row in found["answers"])
    assert (plain["model"], plain["answer"]) == ("tiny", ANSWER)
    assert own["model"] == "answers of the set"
    assert plain["coherence"] > own["coherence"]
    assert (grounded["safety"], grounded["accuracy"]) == (1.0, None)
    asked = [body for path, body in server.seen if path.endswith("chat/completions")]
    assert asked[1]["max_tokens"] == 9
    assert {body["messages"][-1]["content"] for body in asked[1:]} == {
        "How was it?",
        "It rained.\n\nAnd then?",
    }
    assert "3/3 rows" in run.err
    assert "coherence" in run.out


async def test_two_models_are_compared_in_pairs(server: Bigram, tmp_path: Path) -> None:
    rows = [{"prompt": f"Question {n}?", "answer": MIXED} for n in range(6)]
    server.says = ANSWER
    out = tmp_path / "out"
    run = await evaluate(
        write(tmp_path / "set.jsonl", *rows), "--url", server.url, "--out", out,
        "--against", "other", "--scores", "coherence",
    )  # fmt: skip
    assert run.status == 0, run.err
    compared = report(out)["comparison"]
    assert compared["coherence"]["pairs"] == 6
    assert compared["coherence"]["verdict"] == "better"
    assert 0 < compared["coherence"]["interval"][0] <= compared["coherence"]["difference"]
    assert compared["overall"]["verdict"] == "better"
    judges = {body["model"] for path, body in server.seen if path == "/v1/completions"}
    assert judges == {"tiny"}  # one judge for both
    page = (out / "report.html").read_text("utf-8")
    assert "other minus answers of the set, row by row" in page
    assert page.count("<svg") == 2


async def test_labels_tell_how_well_scores_rank(server: Bigram, tmp_path: Path) -> None:
    good = [{"prompt": f"{n}?", "answer": ANSWER, "labels": {"coherence": 1}} for n in range(3)]
    bad = [{"prompt": f"{n}?", "answer": MIXED, "labels": {"coherence": 0}} for n in range(3)]
    out = tmp_path / "out"
    run = await evaluate(
        write(tmp_path / "s.jsonl", *good, *bad), "--url", server.url, "--out", out
    )
    assert run.status == 0, run.err
    found = report(out)["validation"]
    assert list(found) == ["coherence"]
    assert (found["coherence"]["auc"], found["coherence"]["keyword_overlap_auc"]) == (1.0, 0.5)
    assert (found["coherence"]["good"], found["coherence"]["bad"]) == (3, 3)
    assert {body["model"] for _, body in server.seen} == {"tiny"}
    assert all(row["answers"][0]["relevance"] is None for row in report(out)["answers"])


async def test_what_needs_no_engine_asks_none(tmp_path: Path) -> None:
    rows = [{"prompt": "What is it?", "answer": "violence"}, {"prompt": "x", "answer": "fine"}]
    out = tmp_path / "out"
    run = await evaluate(
        write(tmp_path / "s.jsonl", *rows), "--url", "http://127.0.0.1:9", "--out", out,
        "--scores", "safety",
    )  # fmt: skip
    assert run.status == 0, run.err
    assert [row["answers"][0]["safety"] for row in report(out)["answers"]] == [0.0, 1.0]


async def test_hostile_texts_stay_texts(server: Bigram, tmp_path: Path) -> None:
    evil = "<script>alert(1)</script><img src=http://x/y onerror=a> $facts ${note} \u202e"
    server.says = evil
    row = {"id": evil, "prompt": evil}
    run = await evaluate(
        write(tmp_path / "s.jsonl", row), "--url", server.url, "--out", tmp_path / "out",
        "--scores", "safety",
    )  # fmt: skip
    assert run.status == 0, run.err
    page = Page((tmp_path / "out" / "report.html").read_text("utf-8"))
    assert not {"script", "img", "iframe", "link"} & set(page.tags)
    assert page.loads == []
    assert report(tmp_path / "out")["answers"][0]["answers"][0]["answer"] == evil


async def test_rows_that_get_no_answer_are_told(server: Bigram, tmp_path: Path) -> None:
    server.says = ""
    run = await evaluate(
        write(tmp_path / "s.jsonl", {"prompt": "x"}), "--url", server.url,
        "--out", tmp_path / "out", "--scores", "safety",
    )  # fmt: skip
    assert run.status == 1
    found = report(tmp_path / "out")["models"]["tiny"]
    assert (found["failed"], found["scores"]["safety"]["missing"]) == (1, {"an empty answer": 1})


# ---- interrupted, and gone on with


async def test_ctrl_c_loses_nothing_and_resume_goes_on(server: Bigram, tmp_path: Path) -> None:
    rows = [{"prompt": f"Question {n}?"} for n in range(40)]
    questions, out = write(tmp_path / "set.jsonl", *rows), tmp_path / "out"
    server.wait, server.says = 0.1, ANSWER
    words = [questions, "--url", server.url, "--out", out, "--scores", "coherence"]
    words += ["--concurrency", "2"]
    child = await start(*words)
    while not (out / ROWS).exists() or (out / ROWS).read_bytes().count(b"\n") < 4:
        await asyncio.sleep(0.02)
    child.send_signal(signal.SIGINT)
    printed, errors = await child.communicate()
    assert child.returncode == 130, errors
    assert b"--resume goes on" in errors
    first = report(out)
    assert first["interrupted"]
    assert 3 <= first["done"] < 40
    assert "coherence" in printed.decode()
    assert "interrupted" in (out / "report.html").read_text("utf-8")

    again = await evaluate(*words)
    assert again.status == 2
    assert "--resume" in again.err
    changed = await evaluate(*words, "--resume", "--temperature", "1")
    assert changed.status == 2
    assert "another temperature" in changed.err

    with (out / ROWS).open("ab") as log:
        log.write(b'{"key": "cut in the mid')  # as after a power cut
    server.wait = 0.0
    before = len(server.seen)
    resumed = await evaluate(*words, "--resume")
    assert resumed.status == 0, resumed.err
    whole = report(out)
    assert (whole["done"], whole["interrupted"]) == (40, False)
    assert len(server.seen) - before == 1 + 2 * (40 - first["done"])  # greeting, answer, likelihood
    assert [a["question"] for a in whole["answers"]] == [row["prompt"] for row in rows]


# ---- what is wrong is told


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{", "set.jsonl:2: not JSON"),
        ("[1]", "set.jsonl:2: not a JSON object"),
        ({}, "set.jsonl:2: give either prompt or messages"),
        ({"prompt": "x", "messages": [{"role": "user", "content": "x"}]}, "prompt or messages"),
        ({"prompt": ""}, "set.jsonl:2: prompt: "),
        ({"prompt": 7}, "set.jsonl:2: prompt: "),
        ({"prompt": "x", "anser": "y"}, "set.jsonl:2: anser: "),
        ({"messages": []}, "set.jsonl:2: messages: "),
        ({"messages": [{"role": "robot", "content": "x"}]}, "set.jsonl:2: messages.0.role: "),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "last message must be the user's"),
        ({"prompt": "x", "answer": "y", "labels": {"beauty": 1}}, "set.jsonl:2: labels.beauty"),
        ({"prompt": "x", "answer": "y", "labels": {"safety": 2}}, "set.jsonl:2: labels.safety"),
        ({"prompt": "x", "labels": {"safety": 1}}, "it has none"),
        ('{"prompt": "\\ud800"}', "set.jsonl:2: "),
    ],
)  # fmt: skip
async def test_bad_rows_are_named_by_file_and_line(tmp_path: Path, line: Any, told: str) -> None:
    path = write(tmp_path / "set.jsonl", {"prompt": "fine"}, line)
    run = await evaluate(path, "--out", tmp_path / "out")
    assert run.status == 2
    assert told in run.err
    assert "Traceback" not in run.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("scores", "told"),
    [
        ("relevance,safety", "no relevance: the extra"),
        ("relevance,accuracy", "no relevance and no accuracy: the extra"),
        ("safety", ""),
    ],
)
def test_that_an_extra_is_missing_is_said_first(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    scores: str,
    told: str,
) -> None:
    """Before a question is asked: here nobody would answer it."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    questions = write(tmp_path / "set.jsonl", {"prompt": "x"})
    words = ["--url", "http://127.0.0.1:9", "--out", str(tmp_path / "out"), "--scores", scores]
    assert main(["evaluate", str(questions), *words]) == 1
    first = capsys.readouterr().err.splitlines()[0].removeprefix("gemma-gateway: ")
    assert first.startswith(told or "http://127.0.0.1:9 doesn't answer")


async def test_other_things_that_can_be_wrong(server: Bigram, tmp_path: Path) -> None:
    questions = write(tmp_path / "set.jsonl", {"prompt": "x"})
    empty = write(tmp_path / "empty.jsonl", "")
    here = ["--url", server.url, "--out", tmp_path / "out"]
    nobody = ["--url", "http://127.0.0.1:9", "--out", tmp_path / "out"]
    cases: list[tuple[list[Any], int, str]] = [
        ([tmp_path / "none.jsonl", *here], 2, "No such file"),
        ([empty, *here], 2, "no rows"),
        ([questions, *nobody], 1, "doesn't answer: connection refused"),
        ([questions, *here, "--against", "third"], 2, "serves no third; it has: tiny, other"),
        ([questions, *here, "--scores", "beauty"], 2, "'beauty' is not one of"),
        ([questions, *here, "--concurrency", "0"], 2, "between 1 and 64"),
        ([questions, *here, "--policy", tmp_path / "p.yaml"], 2, "p.yaml"),
        ([questions, "--url", server.url, "--out", questions], 2, "File exists"),
        ([questions, "--url", "ftp://x"], 2, "is not an address"),
    ]
    for words, status, told in cases:
        run = await evaluate(*words)
        assert (run.status, told in run.err) == (status, True), (words, run.err)
        assert "Traceback" not in run.err
    server.refuse = 401
    run = await evaluate(questions, *here)
    assert run.status == 1
    assert re.search("no key, or the wrong one", run.err)
