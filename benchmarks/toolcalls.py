"""How many of the calls in written answers are found, and how many that are none: the gateway's
parser beside vLLM's, whole and streamed.

    python -m benchmarks.toolcalls [--write]

The answers are those of ``tests/toolcalls``. A call counts as found where its name and arguments
are right. A stream gives a parser one token of Gemma's after the other.
"""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
ANSWERS = ROOT / "tests" / "toolcalls"
TABLE, PLOT = ROOT / "docs" / "tool-calls.md", ROOT / "docs" / "img" / "tool-calls.png"
# Of vLLM's, those for what Gemma 3 writes: Python calls and JSON. The others look for the control
# tokens of one family.
PARSERS = ("gemma", "pythonic", "olmo3", "hermes", "xlam", "functiongemma")


@dataclass
class Score:
    """What a parser made of all answers.

    Args:
        found, calls: calls that it found, of those there are.
        false, quiet: answers without a call in which it found one, of those there are.
        lost: answers without a call of which a part was lost.
    """

    found: int = 0
    calls: int = 0
    false: int = 0
    quiet: int = 0
    lost: int = 0


def main() -> None:
    """Print the table; write it into the documentation."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--write", action="store_true", help="write table and plot into docs/")
    parsed = words.parse_args()
    logging.disable(logging.CRITICAL)  # parsers log what they can't read
    rows = [
        json.loads(line) for line in (ANSWERS / "answers.jsonl").read_text("utf-8").splitlines()
    ]
    tools = json.loads((ANSWERS / "tools.json").read_text("utf-8"))
    scores = {
        (name, stream): measure(name, stream, rows, tools)
        for name in PARSERS
        for stream in (False, True)
    }
    table = told(scores)
    print(table)
    if parsed.write:
        before, _, rest = TABLE.read_text("utf-8").partition("<!-- table -->\n")
        _, _, after = rest.partition("<!-- end -->\n")
        TABLE.write_text(f"{before}<!-- table -->\n{table}<!-- end -->\n{after}", "utf-8")
        plot(scores)


def measure(name: str, stream: bool, rows: list[dict[str, Any]], tools: dict[str, Any]) -> Score:
    """One parser, over all answers."""
    score = Score()
    for row in rows:
        calls, content = read(name, row["answer"], tools[row["tools"]], stream)
        wanted = [json.dumps(call, sort_keys=True) for call in row["calls"]]
        score.calls += len(wanted)
        for call in calls:
            if (said := json.dumps(call, sort_keys=True)) in wanted:
                wanted.remove(said)
                score.found += 1
        if not row["calls"]:
            score.quiet += 1
            score.false += bool(calls)
            score.lost += not calls and content != row["answer"]
    return score


def read(name: str, answer: str, declared: Any, stream: bool) -> tuple[list[dict[str, Any]], str]:
    """What a parser makes of an answer: calls, and the text beside them."""
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest

    request = ChatCompletionRequest(
        model="m", messages=[{"role": "user", "content": "?"}], tools=declared
    )
    parser = _parser(name)(_tokenizer(), request.tools)
    if not stream:
        try:
            found = parser.extract_tool_calls(answer, request)
        except Exception:
            return [], answer
        return [_call(call.function.name, call.function.arguments) for call in found.tool_calls], (
            found.content or ""
        )
    return _streamed(parser, answer, request)


def _streamed(parser: Any, answer: str, request: Any) -> tuple[list[dict[str, Any]], str]:
    tokenizer = _tokenizer()
    ids = tokenizer.encode(answer, add_special_tokens=False)
    deltas, known = [], ""
    for end in range(1, len(ids) + 1):
        text = tokenizer.decode(ids[:end])
        if text.endswith("\ufffd") and end < len(ids):
            continue  # a part of a sign
        try:
            deltas.append(
                parser.extract_tool_calls_streaming(
                    known,
                    text,
                    text[len(known) :],
                    ids[: end - 1],
                    ids[:end],
                    ids[end - 1 : end],
                    request,
                )
            )
        except Exception:
            deltas.append(None)
        known = text
    if parser.engine_based_streaming:  # as vLLM's serving does at the end
        deltas.append(parser.finish_streaming())
    calls: dict[int, list[str]] = {}
    content = ""
    for delta in filter(None, deltas):
        content += delta.content or ""
        for call in delta.tool_calls or ():
            known_call = calls.setdefault(call.index, ["", ""])
            function = call.function
            if function is not None:
                said = function if isinstance(function, dict) else function.model_dump()
                known_call[0] += said.get("name") or ""
                known_call[1] += said.get("arguments") or ""
    if parser.prev_tool_call_arr and not parser.engine_based_streaming:
        last = max(calls, default=None)
        if last is not None:
            calls[last][1] += parser.get_remaining_unstreamed_args()
    return [_call(*calls[index]) for index in sorted(calls)], content


def _call(name: str | None, arguments: str) -> dict[str, Any]:
    try:
        return {"name": name, "arguments": json.loads(arguments)}
    except ValueError:
        return {"name": name, "arguments": arguments}


_known: dict[str, Any] = {}


def _tokenizer() -> Any:
    if "tokenizer" not in _known:
        from transformers import AutoTokenizer

        from gemma_gateway.engines.local import weights

        folder = weights.prepare("", ROOT / ".gateway", print)
        _known["tokenizer"] = AutoTokenizer.from_pretrained(folder)
    return _known["tokenizer"]


def _parser(name: str) -> Any:
    from vllm.tool_parsers import ToolParserManager

    if name == "gemma":
        from gemma_gateway.engines.local.tool_parser import GemmaToolParser

        return GemmaToolParser
    return ToolParserManager.get_tool_parser(name)


def told(scores: dict[tuple[str, bool], Score]) -> str:
    """The table, as Markdown."""
    lines = [
        "| Parser | calls found, whole | streamed | false calls, whole | streamed "
        "| text lost, streamed |",
        "|---|---|---|---|---|---|",
    ]
    for name in PARSERS:
        whole, stream = scores[name, False], scores[name, True]
        shown = "`gemma` (this gateway)" if name == "gemma" else f"`{name}`"
        lines.append(
            f"| {shown} | {whole.found / whole.calls:.1%} | {stream.found / stream.calls:.1%} "
            f"| {whole.false / whole.quiet:.1%} | {stream.false / stream.quiet:.1%} "
            f"| {stream.lost / stream.quiet:.1%} |"
        )
    whole = scores["gemma", False]
    lines += ["", f"{whole.calls} calls; {whole.quiet} answers without any.", ""]
    return "\n".join(lines)


def plot(scores: dict[tuple[str, bool], Score]) -> None:
    """The table as bars."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), sharey=True, layout="constrained")
    shares = (
        ("calls found", lambda s: s.found / s.calls),
        ("answers without a call: called or lost", lambda s: (s.false + s.lost) / s.quiet),
    )
    for axis, (title, share) in zip(axes, shares, strict=True):
        for offset, stream in ((-0.2, False), (0.2, True)):
            places = [place + offset for place in range(len(PARSERS))]
            values = [100 * share(scores[name, stream]) for name in PARSERS]
            bars = axis.barh(places, values, 0.38, label="streamed" if stream else "whole")
            axis.bar_label(bars, fmt="%.0f", padding=2, fontsize=8)
        axis.set_title(title, fontsize=10)
        axis.set_xlim(0, 112)
        axis.set_xlabel("%")
        axis.set_yticks(range(len(PARSERS)), PARSERS)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].invert_yaxis()
    axes[1].legend(loc="lower right", fontsize=8)
    figure.savefig(PLOT, dpi=120)


if __name__ == "__main__":
    main()
