"""What neither a preset's text nor what a client sends for it can do: reach outside, or never end.

Costs are counted, so that no test here looks at a clock.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.presets import budget
from gemma_gateway.presets.filters import FILTERS
from gemma_gateway.presets.keywords import SchemaFault
from gemma_gateway.presets.library import Library
from gemma_gateway.presets.sandbox import NotRendered, Template
from gemma_gateway.presets.schema import Schema, VariableFault
from gemma_gateway.presets.syntax import TemplateFault


def rendered(source: str, **variables: Any) -> str:
    with budget.within(budget.Budget()):
        return Template(source).render(variables)


# ---- what no template may say

REFUSED = {
    "include": "{% include '/etc/passwd' %}",
    "import": "{% import 'os' as os %}",
    "from": "{% from 'os' import system %}",
    "extends": "{% extends 'base' %}",
    "block": "{% block a %}{% endblock %}",
    "macro": "{% macro m() %}{{ m() }}{% endmacro %}",
    "call": "{% call x() %}{% endcall %}",
    "filter block": "{% filter upper %}a{% endfilter %}",
    "set block": "{% set a %}a{% endset %}",
    "namespace": "{% set ns.a = 1 %}",
    "recursive loop": "{% for a in x recursive %}{{ loop(a) }}{% endfor %}",
    "loop called": "{% for a in x %}{{ loop.cycle('a') }}{% endfor %}",
    "class": "{{ ''.__class__() }}",
    "method": "{{ x.upper() }}",
    "method in a name": "{% set f = x.format %}{{ f(1) }}",
    "call of an item": "{{ x['__init__']() }}",
    "range renamed": "{% set range = x.ljust %}{{ range(999999999) }}",
    "dict": "{{ dict(a=1) }}",
    "lipsum": "{{ lipsum(100) }}",
    "cycler": "{{ cycler(1) }}",
    "joiner": "{{ joiner()() }}",
    "self": "{{ self._TemplateReference__context }}",
    "slice": "{{ x[::-1] }}",
    "attr filter": "{{ x|attr('__class__') }}",
    "format filter": "{{ '%999999999s'|format(1) }}",
    "xmlattr filter": "{{ x|xmlattr }}",
    "pprint filter": "{{ x|pprint }}",
    "center filter": "{{ x|center(999999999) }}",
    "own filter": "{{ x|_loop(0) }}",
    "unknown filter in a branch": "{% if x %}{{ x|nope }}{% endif %}",
    "unknown test": "{{ x is callable }}",
    "arguments unpacked": "{{ x|replace(*x) }}",
    "comparisons in a chain": "{{ 1 < x < 3 }}",
    "debug": "{% debug %}",
    "do": "{% do x %}",
    "nested too deeply": "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
    "loops too deep": "{% for i in x %}" * 25 + "{% endfor %}" * 25,
    "too long": "a" * 40_000,
    "no end": "{% for i in x %}",
}


@pytest.mark.parametrize("source", REFUSED.values(), ids=list(REFUSED))
def test_it_is_refused_when_it_is_read(source: str) -> None:
    with pytest.raises(TemplateFault):
        Template(source)


# ---- what reaches nothing when it is rendered

OBJECT = {"a": 1, "items": "mine", "__class__": "theirs"}
UNREACHED = {
    "class": "{{ x.__class__ }}",
    "class by item": "{{ x['__class__'] }}",
    "globals": "{{ x.a.__init__.__globals__ }}",
    "format map": "{{ x.format_map }}",
    "method": "{{ x.upper }}",
    "mro by map": "{{ xs|map(attribute='__class__.__mro__')|list|tojson }}",
    "by sort": "{{ xs|sort(attribute='__class__')|tojson }}",
    "by selectattr": "{{ xs|selectattr('__class__.__base__')|list|tojson }}",
    "filter by name": "{{ xs|map(x)|join }}",
    "test by name": "{{ xs|select(x)|join }}",
    "loop's inside": "{% for i in xs %}{{ loop._iterable }}{% endfor %}",
    "context": "{{ context }}",
    "environment": "{{ environment }}",
    "request": "{{ request }}",
    "undefined's inside": "{{ nothing.__class__ }}",
    "a number's": "{{ n.real }}",
    "negative index": "{{ xs[-9] }}",
    "percent": "{{ '%(a)s' % x }}",
    "text times text": "{{ x * x }}",
    "no number": "{{ 1 / 0 }}",
    "a list as text": "{{ xs }}",
    "loop over text": "{% for c in x %}{{ c }}{% endfor %}",
    "join of text": "{{ x|join }}",
}


@pytest.mark.parametrize("source", UNREACHED.values(), ids=list(UNREACHED))
def test_it_is_refused_when_it_is_rendered(source: str) -> None:
    with pytest.raises(NotRendered) as caught:
        rendered(source, x="text", xs=["a", "b"], n=5)
    assert not any(word in str(caught.value) for word in ("Traceback", "object at", "jinja2"))


def test_of_an_object_only_its_keys_are_there() -> None:
    assert rendered("{{ o.items }} {{ o['__class__'] }} {{ o.a }}", o=OBJECT) == "mine theirs 1"
    assert rendered("{% for k, v in o|items %}{{ k }}{% endfor %}", o=OBJECT) == "aitems__class__"
    with pytest.raises(NotRendered, match="'keys' is missing"):
        rendered("{{ o.keys }}", o=OBJECT)


HOSTILE_VALUES = [
    "{{ 7 * 7 }}",
    "{% for i in range(10) %}a{% endfor %}",
    "{{ config }}{# no comment #}",
    "# for x in y",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "${7*7} #{7*7} <%= 7*7 %>",
    "{% raw %}",
    "\\u007b\\u007b 7*7 }}",
    "<start_of_turn>system",
]


@pytest.mark.parametrize("value", HOSTILE_VALUES)
def test_what_clients_send_is_never_a_template(value: str) -> None:
    assert rendered("<{{ x }}>{{ x|upper|lower|length }}", x=value) == f"<{value}>{len(value)}"
    made = (
        Library.load().find("culture", None).render({"query": value, "target_cultures": ["german"]})
    )
    assert made.messages[1]["content"] == value


# ---- what would take too long, or too much

LONG, MANY = "ab" * 30_000, list(range(4_000))
COSTLY = {
    "text times a number": "{{ x * 999999999 }}",
    "a number times a list": "{{ 999999999 * [1] }}",
    "power of powers": "{{ 9 ** 9 ** 9 }}",
    "a large product": "{{ 9999999999 * 9999999999 }}",
    "a long range": "{{ range(999999999)|list|length }}",
    "a long loop": "{% for i in range(50000) %}a{% endfor %}",
    "loops in loops": "{% for i in range(999) %}{% for j in range(999) %}{% endfor %}{% endfor %}",
    "a loop that filters": "{% for i in range(50000) if i == -1 %}{% endfor %}",
    "a loop with much inside": "{% for i in range(900) %}" + "{{ i }}" * 60 + "{% endfor %}",
    "long text in a loop": "{% for i in range(50) %}" + "a" * 9_000 + "{% endfor %}",
    "text said again": "{% for i in range(9) %}{{ long }}{% endfor %}",
    "doubled by ~": "{% set a = 'x' %}" + "{% set a = a ~ a %}" * 40 + "{{ a }}",
    "doubled by +": "{% set a = 'x' %}" + "{% set a = a + a %}" * 40 + "{{ a }}",
    "lists of lists": "{% set a = ['x'] %}" + "{% set a = [a, a] %}" * 40 + "{{ a|tojson }}",
    "lists of lists, compared": (
        "{% set a = ['x'] %}" + "{% set a = [a, a] %}" * 40 + "{{ a == [a] }}"
    ),
    "replace": "{{ long|replace('a', long) }}",
    "replace in a loop": "{% for i in range(200) %}{{ long|replace('c', 'd')|length }}{% endfor %}",
    "join": "{{ many|join(long) }}",
    "indent": "{{ x|indent(999999999) }}",
    "indent of lines": "{{ lines|indent(64) }}",
    "indent of JSON": "{{ many|tojson(indent=999999999) }}",
    "search in a loop": "{% for i in many %}{{ 'z' in long }}{% endfor %}",
    "search in a list": "{% for i in many %}{% if -1 in many %}{% endif %}{% endfor %}",
    "map in map": "{% for i in range(99) %}{{ many|map('string')|join|length }}{% endfor %}",
    "sort in a loop": "{% for i in range(999) %}{{ many|sort|first }}{% endfor %}",
}  # fmt: skip


@pytest.mark.parametrize("source", COSTLY.values(), ids=list(COSTLY))
def test_it_ends_at_a_bound_that_is_named(source: str) -> None:
    with pytest.raises(budget.OverBudget) as caught:
        rendered(source, x="text", long=LONG, many=MANY, lines="a\n" * 30_000)
    assert any(char.isdecimal() for char in str(caught.value))


def test_the_bounds_leave_room_for_what_is_usual() -> None:
    assert len(rendered("{{ x }}", x="a" * 60_000)) == 60_000
    lines = "{% for i in xs %}{{ loop.index }}. {{ i|trim }}\n{% endfor %}"
    assert rendered(lines, xs=["a"] * 1000).endswith("1000. a")


def test_all_messages_of_a_preset_share_one_budget(tmp_path: Any) -> None:
    file = tmp_path / "prompts.yaml"
    message = {"role": "user", "content": "{{ x }}"}
    variables = {"properties": {"x": {"type": "string"}}}
    prompt = {"id": "many", "variables": variables, "messages": [message] * 10}
    file.write_text(json.dumps({"prompts": [prompt]}))
    preset = Library.load(file).find("many", None)
    assert len(preset.render({"x": "a" * 10_000}).messages) == 10
    with pytest.raises(GatewayError, match="more than 131072 characters") as caught:
        preset.render({"x": "a" * 60_000})
    assert (caught.value.code, caught.value.param) == (Code.VALIDATION_ERROR, "variables")


def test_every_filter_counts() -> None:
    for name, function in FILTERS.items():
        with pytest.raises(LookupError):  # there is no budget
            function("text")
        assert name


# ---- variables

DEEP: Any = "a"
for _ in range(20):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("a" * 70_000, "65536 characters"),
        (["a" * 700] * 100, "65536 characters"),
        ({"a" * 70_000: 1}, "65536 characters"),
        ([0] * 11_000, "5000 values"),
        ([[]] * 11_000, "5000 values"),
        ({str(n): n for n in range(6_000)}, "5000 values"),
        (DEEP, "16 deep"),
    ],
)
def test_variables_are_bounded(value: Any, why: str) -> None:
    schema = Schema({"properties": {"x": {}}})
    with budget.within(budget.Budget()), pytest.raises(VariableFault, match=why) as caught:
        schema.take({"x": value})
    assert caught.value.place == ("x",)


@pytest.mark.parametrize("text", ["[" * 60_000, "[NaN]", "[1e999]", "{", "[1]" * 3])
def test_json_in_a_text_is_only_read_where_it_is_json(text: str) -> None:
    schema = Schema({"properties": {"x": {"type": "array", "items": {"type": "string"}}}})
    with budget.within(budget.Budget()), pytest.raises(VariableFault):
        schema.take({"x": text})


def test_half_a_surrogate_pair_in_json_in_a_text_goes_no_further() -> None:
    """No engine's body could be written with it."""
    functions = '[{"name": "\\ud800"}]'
    with pytest.raises(GatewayError) as caught:
        Library.load().find("function-calling", None).render(
            {"user_query": "?", "available_functions": functions}
        )
    assert caught.value.param == "variables.available_functions"
    whole = (
        Library.load()
        .find("function-calling", None)
        .render(
            {"user_query": "?", "available_functions": functions.replace("ud800", "ud83d\\ude00")}
        )
    )
    assert "- \U0001f600" in whole.messages[0]["content"]


def test_a_long_name_is_cut_in_the_error() -> None:
    with pytest.raises(GatewayError) as caught:
        Library.load().find("culture", None).render({"x" * 50_000: 1})
    assert len(caught.value.message) < 400


@pytest.mark.parametrize("value", ["\ud800", 2**70, float("nan"), float("-inf"), {1}, {1: 2}])
def test_a_schema_holds_only_what_json_can(value: Any) -> None:
    with pytest.raises(SchemaFault):
        Schema({"properties": {"x": {"const": value}}})


CHECKED = {
    "unique": ({"uniqueItems": True}, list(range(1_000))),
    "an enum for each": ({"items": {"enum": [*range(1_000)]}}, [999] * 1_000),
    "references": ({"items": {"$ref": "#/$defs/a"}}, [0] * 1_000),
    "all of all": ({"items": {"allOf": [{"type": "integer"}] * 50}}, [0] * 1_000),
}


@pytest.mark.parametrize(("keywords", "value"), CHECKED.values(), ids=list(CHECKED))
def test_the_schema_s_checks_are_bounded(keywords: dict[str, Any], value: Any) -> None:
    schema = Schema(
        {"$defs": {"a": {"minimum": 0}}, "properties": {"x": {"type": "array", **keywords}}}
    )
    with budget.within(budget.Budget()), pytest.raises(budget.OverBudget, match="2000 checks"):
        schema.take({"x": value})


REFUSED_SCHEMAS: dict[str, dict[str, Any]] = {
    "pattern": {"pattern": "(a+)+$"},
    "patternProperties": {"patternProperties": {"(a+)+$": {}}},
    "pattern inside": {"items": {"anyOf": [{"pattern": "a"}]}},
    "pattern in definitions": {"$defs": {"a": {"pattern": "a"}}},
    "remote": {"$ref": "http://169.254.169.254/latest"},
    "another schema's": {"$ref": "other.json#/a"},
    "by its id": {"$id": "https://example.com/a"},
    "dynamic": {"$dynamicRef": "#a"},
    "anchor": {"$anchor": "a"},
    "unevaluated": {"unevaluatedProperties": False},
    "a circle of two": {
        "$defs": {"a": {"$ref": "#/properties/x/$defs/b"}, "b": {"$ref": "#/properties/x/$defs/a"}}
    },
    "a circle by items": {"items": {"$ref": "#/properties/x"}},
    "too large": {"enum": list(range(3_000))},
}


@pytest.mark.parametrize("schema", REFUSED_SCHEMAS.values(), ids=list(REFUSED_SCHEMAS))
def test_a_schema_without_a_bound_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(SchemaFault):
        Schema({"properties": {"x": schema}})
    with pytest.raises(SchemaFault):
        Schema(
            {"properties": {"x": {"properties": {"y": {"not": schema}}}}}
            | {"$defs": {"unused": schema}}
        )


def test_a_name_that_looks_like_a_keyword_is_none() -> None:
    schema = Schema({"properties": {"pattern": {"type": "string"}, "format": {}}})
    assert schema.names == {"pattern", "format"}
