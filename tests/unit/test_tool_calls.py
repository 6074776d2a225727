"""Calls of tools in answers: found in each form that Gemma writes, however the answer is cut."""

from __future__ import annotations

import json
import random
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gemma_gateway.toolcalls.call import Call
from gemma_gateway.toolcalls.parser import MAX_HELD, Parser, parse
from gemma_gateway.toolcalls.tool import Tools, read_tools

FOLDER = Path(__file__).parents[1] / "toolcalls"
TOOLS = {
    name: read_tools(declared)
    for name, declared in json.loads((FOLDER / "tools.json").read_text("utf-8")).items()
}
ANSWERS = [json.loads(line) for line in (FOLDER / "answers.jsonl").read_text("utf-8").splitlines()]
IDS = [f"{number}-{row['form']}" for number, row in enumerate(ANSWERS)]
WEATHER = TOOLS["weather"]
CALL = Call("get_weather", {"city": "Paris"})


def streamed(
    answer: str, tools: Tools, cuts: list[int]
) -> tuple[list[Call], str, list[str | Call]]:
    """What the pieces between the cuts tell, put together, and one by one."""
    parser = Parser(tools)
    ends = [0, *sorted(cut % (len(answer) + 1) for cut in cuts), len(answer)]
    told: list[str | Call] = []
    for begin, end in pairwise(ends):
        told += parser.feed(answer[begin:end])
    told += parser.finish()
    calls = [each for each in told if isinstance(each, Call)]
    return calls, "".join(each for each in told if isinstance(each, str)), told


def found(answer: str, tools: Tools = WEATHER) -> list[tuple[str, dict[str, Any]]]:
    return [(call.name, call.arguments) for call in parse(answer, tools)[0]]


def test_the_corpus_is_large() -> None:
    assert len(ANSWERS) >= 300
    assert sum(not row["calls"] for row in ANSWERS) >= 80
    assert len({row["form"] for row in ANSWERS}) > 50


@pytest.mark.parametrize("row", ANSWERS, ids=IDS)
def test_an_answer_of_the_corpus(row: dict[str, Any]) -> None:
    tools, answer = TOOLS[row["tools"]], row["answer"]
    calls, content = parse(answer, tools)
    # As JSON, which tells 1 from true and from 1.0.
    told = [{"name": call.name, "arguments": json.loads(call.arguments_json())} for call in calls]
    assert json.dumps(told) == json.dumps(row["calls"])
    if not calls:
        assert content == answer  # to the letter
    chance = random.Random(answer)
    for size in (1, 3, 20):
        cuts = [chance.randrange(len(answer) + 1) for _ in range(len(answer) // size)]
        assert streamed(answer, tools, cuts)[:2] == (calls, content)
    assert streamed(answer, tools, list(range(len(answer))))[:2] == (calls, content)


PIECES = (
    *("```", "```tool_code\n", "```python\n", "```json\n", "\n", " ", "\n\n", "`", "**", "- "),
    *("1. ", "import "),
    *("FUNCTION_CALL: ", "FUNCTION_CALL", "<tool_call>", "</tool_call>", "print(", ")", "(", ", "),
    *("get_weather(", 'city="Paris"', "get_time", "[", "]", "{", "}", '"', "'", ":", "=", "days=3"),
    *('{"name": "get_weather", "arguments": {"city": "Paris"}}', 'get_weather(city="Paris")'),
    *('[get_weather(city="Paris")]', "Sure.", "x = ", "#", ";", "default_api.", "é", "\\", "_"),
)


@st.composite
def bent(draw: st.DrawFn) -> tuple[str, Tools]:
    """An answer of the corpus with a part left out, and another one put in."""
    row = draw(st.sampled_from(ANSWERS))
    answer = row["answer"]
    begin, end = sorted(draw(st.tuples(*[st.integers(0, len(answer))] * 2)))
    if draw(st.booleans()):
        begin = end
    return answer[:begin] + draw(st.sampled_from(("", *PIECES))) + answer[end:], TOOLS[row["tools"]]


@settings(max_examples=200, deadline=None)
@given(bent())
def test_a_bent_answer_told_sign_by_sign(case: tuple[str, Tools]) -> None:
    answer, tools = case
    calls, content = parse(answer, tools)
    assert streamed(answer, tools, list(range(len(answer))))[:2] == (calls, content)
    if not calls:
        assert content == answer


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=4)), max_size=14).map("".join),
    st.lists(st.integers(0, 400), max_size=12),
)
@example('- **FUNCTION_CALL:** get_weather(city="Paris")', [1, 2, 3, 4, 16, 17, 18])
@example('```tool_code\nr = get_weather(city="Paris")\nprint(r)\n```', [36, 38, 44])
def test_cutting_an_answer_changes_nothing(answer: str, cuts: list[int]) -> None:
    calls, content = parse(answer, WEATHER)
    assert streamed(answer, WEATHER, cuts)[:2] == (calls, content)
    assert streamed(answer, WEATHER, list(range(len(answer))))[:2] == (calls, content)
    if not calls:
        assert content == answer


@pytest.mark.parametrize(
    "answer",
    ["Sure, the sea is salty.", "It costs [1, 2] or {3}.", "`x` is - well - 2 * 3.", "A print(1)."],
)
def test_prose_is_told_at_once(answer: str) -> None:
    parser = Parser(WEATHER)
    for word in answer.split(" "):
        assert "".join(map(str, parser.feed(word + " "))).strip() == word


def test_text_before_a_call_doesnt_wait_for_it() -> None:
    parser = Parser(WEATHER)
    assert parser.feed("Let me look.\n\n```tool") == ["Let me look."]
    assert parser.feed('_code\nget_weather(city="Par') == []
    assert parser.feed('is")\n```') == [CALL]
    assert parser.feed("\nBye.") == ["\n\n\nBye."]
    assert parser.finish() == []


def test_an_answer_in_json_is_let_go_at_its_first_key() -> None:
    parser = Parser(WEATHER)
    assert parser.feed('{"ci') == []
    assert parser.feed('ty"') == ['{"city"']
    assert parser.feed(': "Paris"}') == [': "Paris"}']


def test_text_around_calls_stays() -> None:
    marks = 'FUNCTION_CALL: get_weather(city="Paris")', 'FUNCTION_CALL: get_weather("Rome")'
    answer = f"One.\n{marks[0]}\nTwo.\n{marks[1]}\n"
    calls, content = parse(answer, WEATHER)
    assert [call.arguments["city"] for call in calls] == ["Paris", "Rome"]
    assert content == "One.\n\nTwo."


def test_what_is_held_back_is_bounded() -> None:
    parser = Parser(WEATHER)
    told = [*parser.feed('[get_weather(city="'), *parser.feed("x" * MAX_HELD), *parser.feed(")")]
    assert len("".join(map(str, told))) > MAX_HELD


@pytest.mark.parametrize(
    "piece",
    [
        *("[get_weather(", "[get_weather(city=[", '{"name": ', "```tool_code\n"),
        *('[get_weather(city="', 'get_weather(city="a"), ', 'get_weather(city="a")\n'),
        *("FUNCTION_CALL: ", "- - - ", "((((", "``` ", "[[[[", '{"arguments": {"a": ', "print("),
        *("x = ", "<tool_call>", ". get_weather(", "`", "\n\n\n"),
    ],
)
def test_hostile_answers_cost_no_more_than_their_length(piece: str) -> None:
    def lines(count: int) -> int:
        """Lines of Python that an answer of so many pieces takes."""
        parser, seen = Parser(WEATHER), 0

        def trace(frame: object, event: str, argument: object) -> Any:
            nonlocal seen
            seen += 1
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            for _ in range(count):
                parser.feed(piece)
            parser.finish()
        finally:
            sys.settrace(before)
        return seen

    assert lines(800) < 3 * lines(400)


def tool(schema: dict[str, Any], strict: bool = False) -> Tools:
    return read_tools([{"name": "f", "input_schema": schema, "strict": strict}])


NESTED = {
    "$defs": {"point": {"properties": {"x": {"type": "integer"}}, "required": ["x"]}},
    "properties": {"points": {"type": "array", "items": {"$ref": "#/$defs/point"}}},
}


@pytest.mark.parametrize(
    ("schema", "given_", "made"),
    [
        ({"type": "integer"}, '"7"', 7),
        ({"type": "integer"}, '"seven"', "seven"),
        ({"type": "integer"}, "7.5", 7.5),
        ({"type": "number"}, '"1e2"', 100.0),
        ({"type": "string"}, "7", "7"),
        ({"type": "string"}, "True", "true"),
        ({"type": "boolean"}, '"Yes"', True),
        ({"type": ["integer", "null"]}, '"null"', None),
        ({"type": "object"}, '"{\\"a\\": 1}"', {"a": 1}),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, '"7"', "7"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, '"7"', 7),
        ({"enum": ["Red", "Blue"]}, '"RED"', "Red"),
        ({"enum": [1, 2]}, "True", True),
        ({"type": "array", "items": {"type": "number"}}, '["1", 2]', [1, 2]),
    ],
)
def test_arguments_are_brought_to_the_schema(schema: Any, given_: str, made: Any) -> None:
    ((_, arguments),) = found(f"[f(a={given_})]", tool({"properties": {"a": schema}}))
    assert json.dumps(arguments["a"]) == json.dumps(made)


def test_faults_are_told_by_place() -> None:
    answer = '[f(points=[{"x": "1"}, {"x": "one"}, {}], b=1)]'
    (call,), _ = parse(answer, tool({**NESTED, "additionalProperties": False}))
    assert call.arguments["points"][0] == {"x": 1}
    assert set(call.faults) == {
        "points.1.x: not an integer", "points.2.x: missing", "b: unknown",
    }  # fmt: skip


def test_a_strict_tool_is_called_as_its_schema_says_or_not_at_all() -> None:
    schema = {"properties": {"a": {"type": "integer"}}, "required": ["a"]}
    assert found('[f(a="1")]', tool(schema, strict=True)) == [("f", {"a": 1})]
    assert found('[f(a="x")]', tool(schema)) == [("f", {"a": "x"})]
    assert parse('[f(a="x")]', tool(schema, strict=True)) == ([], '[f(a="x")]')


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"$ref": "http://127.0.0.1:9/x"},
        {"properties": {"a": {"anyOf": [{"$ref": "#/properties/a"}] * 9}}},
        {
            "$defs": {f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(40)},
            "properties": {"a": {"$ref": "#/$defs/d0"}},
        },
        {"properties": {"a": {"pattern": "(x+x+)+y", "type": "string"}}},
        {"properties": 1, "required": "a", "anyOf": {}, "items": [], "type": 5, "enum": "abc"},
    ],
)
def test_a_hostile_schema_stops_nothing(schema: dict[str, Any]) -> None:
    assert found(f'[f(a="{"x" * 64}")]', tool(schema)) == [("f", {"a": "x" * 64})]


def test_tools_are_read_from_every_protocol() -> None:
    schema = {"properties": {"a": {}}}
    for declared in (
        {"type": "function", "function": {"name": "f", "parameters": schema}},
        {"type": "function", "name": "f", "parameters": schema},
        {"name": "f", "input_schema": schema},
    ):
        assert read_tools([declared])["f"].schema.names == ("a",)
    assert read_tools([None, "f", {"type": "web_search"}, {"name": ""}]) == {}
