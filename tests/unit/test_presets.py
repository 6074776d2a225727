"""Prompt presets: what the built-in ones say, what operators may write, what is told of faults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gemma_gateway.cli.main import main
from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.presets.filters import FILTERS, TESTS
from gemma_gateway.presets.library import Library
from gemma_gateway.presets.preset import Rendered
from gemma_gateway.safety.policy import Policy
from gemma_gateway.settings.yamlfile import ConfigError
from tests.images import file, url

PIXEL = url(file())
FUNCTIONS: list[dict[str, Any]] = [
    {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Its name"},
                "unit": {"type": ["string", "null"], "enum": ["C", "F"]},
            },
            "required": ["city"],
        },
    },
    {"name": "now", "description": "The time."},
    {"name": "send", "parameters": {"to": "string", "copies": {"type": "integer"}}},
]


def made(preset: str, **variables: Any) -> Rendered:
    """What the built-in presets make."""
    return Library.load().find(preset, None).render(variables)


def texts(preset: str, **variables: Any) -> tuple[str, Any]:
    """The system text and the user's content."""
    system, user = made(preset, **variables).messages
    assert (system["role"], user["role"]) == ("system", "user")
    return system["content"], user["content"]


def refused(preset: str, variables: Any, library: Library | None = None) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        (library or Library.load()).find(preset, None).render(variables)
    assert caught.value.code is Code.VALIDATION_ERROR
    return caught.value


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "prompts.yaml"


def preset(messages: str = "[{role: user, content: hi}]", **more: str) -> str:
    """A file with one preset."""
    fields = {"id": "mine", **more, "messages": messages}
    lines = [f"    {name}: {value}" for name, value in fields.items()]
    return "prompts:\n  -" + "\n".join(lines)[3:] + "\n"


# ---- the built-in ones


def test_an_analysis_of_an_image() -> None:
    system, user = texts(
        "multimodal", text_query="What is it?", image_description="A map of 1890.", image=PIXEL
    )
    for part in ("clear sections", "Visual elements", "Context", "Implications"):
        assert part in system
    assert user == [
        {"type": "image_url", "image_url": {"url": PIXEL}},
        {
            "type": "text",
            "text": "What is it?\n\nAdditional context about the image:\nA map of 1890.",
        },
    ]


def test_a_comparison_and_no_image() -> None:
    system, user = texts("multimodal", text_query="Which is older?", task_type="comparison")
    for part in ("by category", "Similarities", "Differences", "Insights"):
        assert part in system
    assert "Visual elements" not in system
    assert user == "Which is older?"


@pytest.mark.parametrize(
    "image",
    [
        {"type": "input_image", "image_url": PIXEL, "detail": "low", "file_id": None},
        {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
    ],
)
def test_an_image_in_either_form_of_part(image: dict[str, Any]) -> None:
    _, user = texts("multimodal", text_query="?", image=image)
    assert user[0] == {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}}


def test_functions_with_their_typed_parameters() -> None:
    system, user = texts(
        "function-calling",
        user_query="Is it raining in Oslo?",
        available_functions=FUNCTIONS,
        context="It is Monday.",
    )
    assert (
        "- get_weather: The weather of a city.\n"
        "  Parameters:\n"
        "  - city (string, required): Its name\n"
        "  - unit (string or null) One of: C, F.\n"
        "- now: The time.\n"
        "  No parameters.\n"
        "- send\n"
        "  Parameters:\n"
        "  - to (string)\n"
        "  - copies (integer)\n"
    ) in system
    assert 'FUNCTION_CALL: name(p1="v1", p2="v2")' in system
    assert "one such line for each call" in system
    assert "When no function is needed, answer the user normally" in system
    assert user == "Context:\nIt is Monday.\n\nRequest:\nIs it raining in Oslo?"
    assert texts("function-calling", user_query="Q?", available_functions=FUNCTIONS)[1] == "Q?"


def test_functions_may_be_named_as_python_names_methods() -> None:
    odd = {"name": "items", "parameters": {"items": "array", "keys": "string", "pop": "string"}}
    system, _ = texts("function-calling", user_query="Q?", available_functions=[odd])
    assert (
        "- items\n  Parameters:\n  - items (array)\n  - keys (string)\n  - pop (string)" in system
    )


MANNERS = {
    "japanese": ("honorifics", "direct confrontation", "harmony of the group"),
    "american": ("direct", "practical", "individual gains", "casual"),
    "german": ("precise", "thorough", "details", "professional"),
    "brazilian": ("warm", "Include everyone", "social"),
    "indian": ("hierarchy", "regions differ", "comprehensive"),
}


@pytest.mark.parametrize("culture", MANNERS)
def test_the_manner_of_one_culture(culture: str) -> None:
    system, user = texts("culture", query="How do I refuse?", target_cultures=[culture])
    for words in MANNERS[culture]:
        assert words in system
    assert system.count(" readers: ") == 1
    assert "all of these readers" not in system
    assert user == "How do I refuse?"


def test_several_cultures_are_combined() -> None:
    system, _ = texts("culture", query="?", target_cultures=list(MANNERS))
    for words in (word for some in MANNERS.values() for word in some):
        assert words in system
    assert "all of these readers at once" in system


@pytest.mark.parametrize("style", ["formal", "casual", "educational"])
def test_a_style(style: str) -> None:
    rendered = made("culture", query="?", target_cultures=["german"], response_style=style)
    assert f"Write in a{'n' * (style[0] == 'e')} {style} style" in rendered.messages[0]["content"]
    assert rendered.replaced == {}


def test_an_unknown_style_is_formal_and_that_is_told() -> None:
    rendered = made("culture", query="?", target_cultures=["german"], response_style="rude")
    assert "formal style" in rendered.messages[0]["content"]
    assert rendered.replaced == {"response_style": "formal"}
    assert made("culture", query="?", target_cultures=["german"]).replaced == {}


def test_an_unknown_culture_is_refused_with_the_known_ones() -> None:
    error = refused("culture", {"query": "?", "target_cultures": ["german", "klingon"]})
    assert error.param == "variables.target_cultures.1"
    assert all(culture in error.message for culture in MANNERS)


@pytest.mark.parametrize(
    ("variables", "param"),
    [
        (None, "variables.query"),
        ({}, "variables.query"),
        ([], "variables"),
        ("query", "variables"),
        ({"query": "?", "target_cultures": ["german"], "mood": 1}, "variables.mood"),
        ({"query": 5, "target_cultures": ["german"]}, "variables.query"),
        ({"query": "", "target_cultures": ["german"]}, "variables.query"),
        ({"query": "?", "target_cultures": []}, "variables.target_cultures"),
        ({"query": "?", "target_cultures": "german"}, "variables.target_cultures"),
        ({"query": "?", "target_cultures": ["german"] * 2}, "variables.target_cultures"),
        ({"query": {"type": "input_image"}, "target_cultures": ["german"]}, "variables.query"),
    ],
)
def test_what_doesn_t_fit_is_named(variables: Any, param: str) -> None:
    error = refused("culture", variables)
    assert error.param == param
    assert error.message.startswith(param)


@pytest.mark.parametrize(
    ("image", "param"),
    [
        ("https://example.com/a.png", "variables.image"),
        ("", "variables.image"),
        (5, "variables.image"),
        ({"type": "input_image", "file_id": "file-1"}, "variables.image"),
        ({"type": "input_image", "image_url": "http://10.0.0.1/"}, "variables.image"),
        ({"type": "input_image", "image_url": PIXEL, "detail": "all"}, "variables.image.detail"),
        ({"type": "input_image", "image_url": PIXEL, "uuid": "x"}, "variables.image.uuid"),
        ({"type": "input_file", "file_data": "data:,"}, "variables.image.type"),
        ({"type": "image_url", "image_url": None}, "variables.image"),
    ],
)
def test_an_image_is_in_the_call_itself(image: Any, param: str) -> None:
    assert refused("multimodal", {"text_query": "?", "image": image}).param == param


def test_clients_whose_variables_are_strings_or_parts_send_json_and_texts() -> None:
    system, user = texts(
        "culture",
        query={"type": "input_text", "text": "How?"},
        target_cultures='["german", "indian"]',
    )
    assert system.count(" readers: ") == 2
    assert user == "How?"


def test_their_own_words_pass_the_built_in_policy() -> None:
    policy = Policy.load()
    for style in ("formal", "casual", "educational"):
        system, _ = texts("culture", query="?", target_cultures=[*MANNERS], response_style=style)
        assert policy.find(system) is None
    for task in ("analysis", "comparison"):
        assert policy.find(texts("multimodal", text_query="?", task_type=task)[0]) is None
    system, _ = texts("function-calling", user_query="?", available_functions=FUNCTIONS)
    assert policy.find(system) is None


# ---- an operator's own


def test_an_operator_s_presets_stand_beside_the_built_in_ones(file: Path) -> None:
    file.write_text(
        preset(
            "[{role: system, content: 'Be {{ mood }}.'}, {role: user, content: '{{ question }}'}]",
            description="A mood.",
            variables="{properties: {mood: {type: string, default: kind}, question: {}}}",
        )
    )
    library = Library.load(file)
    assert [s.default.id for s in library.shelves()] == [
        "culture", "function-calling", "mine", "multimodal",
    ]  # fmt: skip
    mine = library.find("mine", None)
    assert (mine.version, mine.description, mine.origin) == ("1", "A mood.", "operator")
    assert mine.render({"question": "Why?"}).messages == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Why?"},
    ]
    error = refused("mine", {}, library)
    assert (error.param, "question is missing" in error.message) == ("variables.question", True)


def test_an_operator_s_id_replaces_a_built_in_one(file: Path) -> None:
    file.write_text(preset(id="culture", version="2"))
    shelf = Library.load(file).shelf("culture")
    assert shelf.versions == ["2"]
    assert shelf.default.origin == "operator"


def test_versions_and_their_default(file: Path) -> None:
    one = "{id: a, version: %s, messages: [{role: user, content: v%s}]%s}"
    file.write_text(
        "prompts:\n" + "".join(f"  - {one % (v, v, more)}\n" for v, more in
                               ((1, ""), ("2-beta", ", default: true"), (3, "")))
    )  # fmt: skip
    library = Library.load(file)
    assert library.shelf("a").versions == ["1", "2-beta", "3"]
    assert library.find("a", None).version == "2-beta"
    assert library.find("a", "3").render(None).messages == [{"role": "user", "content": "v3"}]
    with pytest.raises(GatewayError, match="It has 1, 2-beta, 3") as caught:
        library.find("a", "4", ("prompt.id", "prompt.version"))
    assert (caught.value.status, caught.value.param) == (404, "prompt.version")
    with pytest.raises(GatewayError, match="a, culture, function-calling, multimodal"):
        library.find("b", None)
    file.write_text(file.read_text().replace(", default: true", ""))
    assert Library.load(file).find("a", None).version == "3"  # the last one


def test_a_folder_of_files(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text(preset(id="b"))
    (tmp_path / "a.yml").write_text(preset(id="a"))
    (tmp_path / "..data").mkdir()
    (tmp_path / ".hidden.yaml").write_text("no: presets")
    (tmp_path / "README.md").write_text("no presets")
    ids = [shelf.default.id for shelf in Library.load(tmp_path).shelves()]
    assert ids == ["a", "b", "culture", "function-calling", "multimodal"]


def test_local_references_are_followed(file: Path) -> None:
    file.write_text(
        preset(
            "[{role: user, content: '{{ who.name }}'}]",
            variables="{$defs: {person: {type: object, required: [name], properties: "
            "{name: {type: string}}}}, properties: {who: {$ref: '#/$defs/person'}}}",
        )
    )
    library = Library.load(file)
    rendered = library.find("mine", None).render({"who": {"name": "Ada"}})
    assert rendered.messages[0]["content"] == "Ada"
    assert refused("mine", {"who": {}}, library).param == "variables.who.name"


def test_a_fallback_of_a_variable_that_refers_to_another(file: Path) -> None:
    file.write_text(
        preset(
            "[{role: user, content: '{{ a }} {{ b }}'}]",
            variables="{properties: {a: {enum: [x, y], default: x}, "
            "b: {$ref: '#/properties/a', default: y, fallback: x}}}",
        )
    )
    mine = Library.load(file).find("mine", None)
    assert mine.render(None).messages[0]["content"] == "x y"
    rendered = mine.render({"a": "y", "b": "z"})
    assert (rendered.messages[0]["content"], rendered.replaced) == ("y x", {"b": "x"})


FAULTS = {
    "no list": ("prompts: 5\n", ":1: prompts: "),
    "no prompts": ("prompt: []\n", "yaml:1: prompt: unknown field: did you mean prompts?"),
    "no id": ("prompts:\n  - {messages: [{role: user, content: a}]}\n", ":2: prompts.0.id: "),
    "an id": (preset(id="My_Preset"), ":2: prompts.0.id: "),
    "a long id": (preset(id="a" * 65), ":2: prompts.0.id: "),
    "a version": (preset(version="'../1'"), ":3: prompts.0.version: "),
    "no messages": (preset("[]"), ":3: prompts.0.messages: "),
    "a role": (preset("[{role: tool, content: a}]"), ":3: prompts.0.messages.0.role: "),
    "a field": (preset(variable="{}"), ":3: prompts.0.variable: unknown field: did you mean var"),
    "no text": (preset("[{role: user, content: [{type: text}]}]"),
                ":3: prompts.0.messages.0.content.0: a part of type text has text"),
    "an image of the assistant's": (
        preset("[{role: assistant, content: [{type: image, variable: a}]}]"),
        ":3: prompts.0.messages.0: only a message of the user's"),
    "twice": (preset() + preset()[9:], ":4: preset mine: version 1 is already in"),
    "no Jinja": (preset("[{role: user, content: '{{ a'}]"),
                 ":3: prompts.0.messages.0.content.0: preset mine: line 1 of the text: unexpected"),
    "the line": (preset("\n      - role: user\n        content: |\n          a\n          {% if"),
                 ":5: prompts.0.messages.0.content.0: preset mine: line 2 of the text: "),
    "an unknown name": (preset("[{role: user, content: '{{ a }}'}]"),
                        ":3: prompts.0.messages.0.content.0: preset mine: a is not in variables"),
    "no type": (preset(variables="{properties: {a: {type: text}}}"),
                ":3: prompts.0.variables.properties.a.type: preset mine: 'text' is not valid"),
    "no object": (preset(variables="{type: array}"), ":3: prompts.0.variables.type: preset mine: "),
    "a date": (preset(variables="{properties: {a: {const: 2027-01-01}}}"),
               ":3: prompts.0.variables.properties.a.const: preset mine: 2027-01-01 is no value"),
    "a name": (preset(variables="{properties: {a-b: {}}}"),
               ":3: prompts.0.variables.properties.a-b: preset mine: not a name"),
    "a remote reference": (
        preset(variables="{properties: {a: {$ref: 'https://example.com/a.json'}}}"),
        ":3: prompts.0.variables.properties.a.$ref: preset mine: only references into the same"),
    "a file's reference": (
        preset(variables="{properties: {a: {$ref: 'file:///etc/passwd'}}}"),
        ":3: prompts.0.variables.properties.a.$ref: preset mine: only references into the same"),
    "a reference to nowhere": (preset(variables="{properties: {a: {$ref: '#/$defs/b'}}}"),
                               "$ref: preset mine: #/$defs/b leads nowhere"),
    "a circle": (preset(variables="{properties: {a: {$ref: '#'}}}"), "leads back to itself"),
    "an alias of itself": (preset(variables="&v {properties: {a: {items: *v}}}"),
                           "too large, or nested too deeply"),
    "a regular expression": (preset(variables="{properties: {a: {pattern: (a+)+}}}"),
                             "preset mine: pattern: this keyword is not taken here"),
    "another draft": (preset(variables="{$schema: 'http://json-schema.org/draft-07/schema#'}"),
                      "only https://json-schema.org/draft/2020-12/schema is known"),
    "a default": (preset(variables="{properties: {a: {type: string, default: 5}}}"),
                  ":3: prompts.0.variables.properties.a.default: preset mine: doesn't fit"),
    "a fallback": (preset(variables="{properties: {a: {enum: [b], fallback: c}}}"),
                   ":3: prompts.0.variables.properties.a.fallback: preset mine: doesn't fit"),
    "an image that is a number": (
        preset("[{role: user, content: [{type: image, variable: a}]}]",
               variables="{properties: {a: {type: integer}}}"),
        "preset mine: a variable with the image may be a string"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "words"), FAULTS.values(), ids=list(FAULTS))
def test_a_fault_is_told_by_file_line_and_field(
    file: Path, capsys: pytest.CaptureFixture[str], text: str, words: str
) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        Library.load(file)
    told = str(caught.value)
    assert words in told
    assert words[0] != ":" or told.startswith(f"{file}{words}")
    config = file.with_name("gateway.yaml")
    config.write_text(f"prompts_file: {file}\n")
    for command in (["config", "check", str(config)], ["serve", "--config", str(config)]):
        assert main(command) == 2
        assert told in capsys.readouterr().err


def test_two_defaults(file: Path) -> None:
    file.write_text(preset(default="true", version="1") + preset(default="true", version="2")[9:])
    with pytest.raises(ConfigError, match=r":6: preset mine: its default is already in .*:2"):
        Library.load(file)


def test_every_fault_has_a_line(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(preset("[{role: user, content: '{{ a ~ b }}'}]"))
    (tmp_path / "b.yaml").write_text(preset(id="B"))
    with pytest.raises(ConfigError) as caught:
        Library.load(tmp_path)
    assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()])
def test_a_file_that_is_missing_and_an_empty_folder(file: Path, make: Any) -> None:
    make(file)
    with pytest.raises(ConfigError, match=str(file)):
        Library.load(file)


def test_config_check_takes_a_presets_file(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(preset())
    assert main(["config", "check", str(file)]) == 0
    assert capsys.readouterr().out == f"{file}: valid\n"
    file.write_text(preset(id="A"))
    assert main(["config", "check", str(file)]) == 2
    assert f"{file}:2: prompts.0.id: " in capsys.readouterr().err


def test_the_documented_file_is_one(file: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "prompts.md").read_text("utf-8")
    file.write_text(page.partition("```yaml\n")[2].partition("```")[0])
    preset = Library.load(file).find("summary", None)
    rendered = preset.render({"text": "A long story.", "tone": "odd", "scan": PIXEL})
    assert rendered.replaced == {"tone": "plain"}
    assert rendered.messages[0]["content"].endswith("in a plain tone.")
    assert [part["type"] for part in rendered.messages[1]["content"]] == ["image_url", "text"]
    for names in (FILTERS, TESTS):
        told = set(page.replace("|", " ").replace("`", " ").split())
        assert {name for name in names if name.isalpha() and name != "d"} <= told
