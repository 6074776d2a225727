"""What may bind an answer: ordinary schemas pass, and nothing that an engine can't afford."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.settings import Tier
from gemma_gateway.validation.constraints import check_constraints
from gemma_gateway.validation.expressions import MAX_WEIGHT, Refused, weigh_grammar, weigh_regex
from tests.constraints import EXTREME, HOSTILE, MCP, ORDINARY, WEATHER, text, thing, tool

CLOSED = Tier()
REGEX = {"type": "grammar", "syntax": "regex", "definition": "a+"}
NESTED = {"type": "grammar", "grammar": {"syntax": "regex", "definition": "a+"}}
OPEN = Tier(grammars=True)


def refusal(body: dict[str, Any], tier: Tier = CLOSED) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        check_constraints(body, tier)
    assert caught.value.code is Code.VALIDATION_ERROR
    return caught.value


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_constraints_pass(name: str) -> None:
    check_constraints({"structured_outputs": ORDINARY[name]}, CLOSED)


@pytest.mark.parametrize("name", EXTREME)
def test_what_is_within_the_bounds_passes(name: str) -> None:
    check_constraints({"structured_outputs": EXTREME[name]}, OPEN)


@pytest.mark.parametrize("tier", [CLOSED, OPEN], ids=["closed", "open"])
@pytest.mark.parametrize("name", HOSTILE)
def test_what_hurts_an_engine_is_refused(name: str, tier: Tier) -> None:
    error = refusal({"structured_outputs": HOSTILE[name]}, tier)
    assert error.param is not None
    assert error.param.startswith("structured_outputs")


SCHEMAS = {name: bound["json"] for name, bound in HOSTILE.items() if "json" in bound}


def everywhere(schema: Any) -> list[tuple[dict[str, Any], str]]:
    """A schema in each place that the dialects have for one."""
    named = {"name": "n", "schema": schema}
    function = {"name": "f", "parameters": schema}
    chat = [{"type": "function", "function": function}]
    messages = [{"name": "f", "input_schema": schema}]
    forced = {"type": "function", "function": {"name": "f"}}
    return [
        ({"structured_outputs": {"json": schema}}, "structured_outputs"),
        ({"structured_outputs": {"json": json.dumps(schema)}}, "structured_outputs"),
        ({"response_format": {"type": "json_schema", "json_schema": named}}, "response_format"),
        ({"response_format": {"type": "json_schema", "schema": schema}}, "response_format"),
        ({"text": {"format": {"type": "json_schema", **named}}}, "text.format"),
        ({"output_config": {"format": {"type": "json_schema", **named}}}, "output_config.format"),
        ({"tools": chat, "tool_choice": "required"}, "tools"),
        ({"tools": chat, "tool_choice": forced}, "tools"),
        ({"tools": [{**chat[0], "function": {**function, "strict": True}}]}, "tools"),
        ({"tools": [{"type": "function", **function}], "tool_choice": "required"}, "tools"),
        ({"tools": [{"type": "function", "strict": True, **function}]}, "tools"),
        ({"tools": messages, "tool_choice": {"type": "any"}}, "tools"),
        ({"tools": messages, "tool_choice": {"type": "tool", "name": "f"}}, "tools"),
        ({"tools": [{"type": "namespace", "tools": chat}], "tool_choice": "required"}, "tools"),
    ]


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_bounded_wherever_it_stands(name: str) -> None:
    for body, field in everywhere(SCHEMAS[name]):
        param = refusal(body).param
        assert param is not None
        assert param.startswith(field)


@pytest.mark.parametrize("name", [name for name in ORDINARY if "json" in ORDINARY[name]])
def test_an_ordinary_schema_passes_wherever_it_stands(name: str) -> None:
    for body, _ in everywhere(ORDINARY[name]["json"]):
        check_constraints(body, CLOSED)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"structured_outputs": {"regex": "a+"}}, "structured_outputs.regex"),
        ({"structured_outputs": {"grammar": 'root ::= "a"'}}, "structured_outputs.grammar"),
        ({"structured_outputs": {"json": {}, "whitespace_pattern": " "}},
         "structured_outputs.whitespace_pattern"),
        ({"structured_outputs": {"structural_tag": "{}"}}, "structured_outputs.structural_tag"),
        ({"response_format": {"type": "structural_tag", "structures": [], "triggers": []}},
         "response_format.type"),
        ({"response_format": {"type": "grammar", "grammar": "x"}}, "response_format.type"),
        ({"text": {"format": {"type": "grammar", "definition": "x"}}}, "text.format.type"),
        ({"tools": [{"type": "custom", "format": REGEX}]}, "tools.0.format"),
        ({"tools": [{"type": "custom", "custom": {"format": NESTED}}]}, "tools.0.format"),
        ({"tools": [{"type": "namespace", "tools": [{"type": "custom", "format": REGEX}]}]},
         "tools.0.tools.0.format"),
    ],
)  # fmt: skip
def test_grammars_and_expressions_need_the_operators_word(body: dict[str, Any], field: str) -> None:
    error = refusal(body)
    assert error.param == field
    assert "grammars: true" in str(error.message)
    if "response_format" not in body and "text" not in body:
        check_constraints(body, OPEN)


@pytest.mark.parametrize(
    "body",
    [
        {"tools": "x"},
        {"tools": [tool(f"t{i}", {}) for i in range(257)]},
        {"tools": [tool("t", {"a": {"description": "x" * 600_000}})]},
        {"tools": [{"type": "custom", "format": {**REGEX, "syntax": "lark"}}]},
        {"tools": [{"type": "custom", "format": {**REGEX, "definition": "(a{40}){40}"}}]},
        {"structured_outputs": []},
        {"structured_outputs": {"json": "{"}},
        {"structured_outputs": {"choice": "x"}},
        {"structured_outputs": {"odd": 1}},
        {"structured_outputs": {"json": {"x-guidance": {"whitespace_pattern": "(a{9}){9}"}}}},
        {"response_format": "json_object"},
        {"response_format": {"type": "json_object", "x": "y" * 70_000}},
    ],
)
def test_odd_shapes_are_refused(body: dict[str, Any]) -> None:
    assert refusal(body, OPEN).param


def test_tools_that_bind_nothing_may_be_rich() -> None:
    """Their schemas are only shown to the model; agents bring dozens of them."""
    rich = [tool(f"t{i}", {"a": {"type": "string", "maxLength": 10**6}}) for i in range(200)]
    for choice in ({}, {"tool_choice": "auto"}, {"tool_choice": {"type": "auto"}}):
        check_constraints({"tools": rich, **choice}, CLOSED)
    check_constraints({"tools": [*MCP, WEATHER], "tool_choice": "required"}, CLOSED)


@pytest.mark.parametrize(
    "pattern",
    [
        r"^\+[1-9]\d{1,14}$",
        r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$",
        r"^((25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(25[0-5]|2[0-4]\d|1?\d?\d)$",
        r"^[a-zA-Z0-9._%+-]+@[a-zA-Z0-9.-]+\.[a-zA-Z]{2,63}$",
        r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
        r"^(?:[A-Z]{2}\d{2}(?: ?[0-9A-Z]{4}){2,7}(?: ?[0-9A-Z]{1,3})?)$",
        "^.{1,500}$",
        "^[^<>{}]*$",
        r"[\]\[{}()]{3}",
        "[]a]{3}[^]]",
        "a{2}b{3,}c{,4}d{",
        r"\(\)\{5000\}",
    ],
)
def test_ordinary_patterns_are_light(pattern: str) -> None:
    assert weigh_regex(pattern) <= MAX_WEIGHT
    check_constraints({"structured_outputs": text(pattern=pattern)}, CLOSED)


@pytest.mark.parametrize(
    "pattern",
    [
        "((a{1,1000}){1,1000}){1,1000}",
        "(a?){1,1000}b",
        "(a*){300}",
        "((a|b?){9}){40}",
        "a{5000}",
        "a{2000,}",
        "a{,3000}",
        "a{ 1 , 3000 }",
        "a{" + "9" * 3000 + "}",
        "(?:a{40}){40}",
        "(?P<name>a{40}){40}",
        "([a-z]{1,30}[0-9]{1,30}){30}",
        "(((((a{3}){3}){3}){3}){3}){3}",
        "(",
        "a)",
    ],
)
def test_heavy_patterns_are_refused(pattern: str) -> None:
    with pytest.raises(Refused):
        weigh_regex(pattern)


@pytest.mark.parametrize(
    "grammar",
    [
        "x ::= x x",
        'root ::= a\na ::= b\nb ::= "x" a',
        "root ::= a a\na ::= [a-z]{1,600}",
        "".join(f"x{i} ::= x{i + 1} x{i + 1}\n" for i in range(40)) + 'x40 ::= "a"',
        "".join(f"x{i} ::= x{i + 1}\n" for i in range(3000)) + 'x3000 ::= "a"',
        "start: /a+/",
        "",
        'root ::= ("a"',
        "root ::= TagDispatch(a, b)",
        'root ::= "a',
    ],
)
def test_heavy_grammars_are_refused(grammar: str) -> None:
    with pytest.raises(Refused):
        weigh_grammar(grammar)


def test_a_flat_grammar_is_weighed() -> None:
    lines = ['root ::= "SELECT " list " FROM " name  # a comment', 'list ::= name (", " name){0,9}']
    assert weigh_grammar("\n".join([*lines, "name ::= [a-z] [a-z_0-9]*"])) == 33


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    *(
                        "json",
                        "regex",
                        "grammar",
                        "choice",
                        "format",
                        "type",
                        "schema",
                        "properties",
                    ),
                    *("required", "pattern", "patternProperties", "enum", "anyOf", "maxItems"),
                    "function",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)
places = ("structured_outputs", "response_format", "text", "output_config", "tools", "tool_choice")


@given(st.dictionaries(st.sampled_from(places), values), st.booleans())
def test_hostile_shapes_never_crash(body: dict[str, Any], grammars: bool) -> None:
    try:
        check_constraints(body, Tier(grammars=grammars))
    except GatewayError as error:
        assert (error.code, bool(error.param)) == (Code.VALIDATION_ERROR, True)  # noqa: PT017


@given(st.text(alphabet="a(){}[]|*+?\\,19^$.:<P \n\"':=#", max_size=60))
def test_hostile_expressions_never_crash(written: str) -> None:
    for weigh in (weigh_regex, weigh_grammar):
        try:
            assert 0 <= weigh(written) <= MAX_WEIGHT
        except Refused as why:
            assert str(why)  # noqa: PT017


def test_required_names_that_are_no_names_dont_count() -> None:
    properties = {f"p{i}": {"type": "string"} for i in range(300)}
    schema = {**thing(properties), "required": [["p0"]] * 300}
    assert "optional" in str(refusal({"structured_outputs": {"json": schema}}).message)
