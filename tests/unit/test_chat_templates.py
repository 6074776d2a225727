"""What Gemma is told of a conversation, in turns as its instruct models know them, or on a page of
questions and answers for base models; and which models get which."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest

from gemma_gateway.engines import families
from gemma_gateway.engines.families import gemma3, templates
from tests.templates import GEMMA_2, GEMMA_3, GEMMA_3N

Message = dict[str, Any]
OURS = gemma3.CHAT_TEMPLATE.read_text("utf-8")
BASE = templates.BASE.read_text("utf-8")
OWN = {"Gemma 2": GEMMA_2, "Gemma 3": GEMMA_3, "Gemma 3n": GEMMA_3N}
jinja2 = pytest.importorskip("jinja2")
render_jinja_template = pytest.importorskip(
    "transformers.utils.chat_template_utils", reason="no engine in process"
).render_jinja_template


def render(template: str, messages: list[Message], **more: Any) -> str:
    """As vLLM has it rendered."""
    values = {"bos_token": "<bos>", "add_generation_prompt": True, **more}
    (text,), _ = render_jinja_template([messages], chat_template=template, **values)
    return str(text)


def accepted(template: str, messages: list[Message]) -> str | None:
    try:
        return render(template, messages)
    except jinja2.TemplateError:
        return None


def said(role: str, content: Any) -> Message:
    return {"role": role, "content": content}


def turn(side: str, text: str) -> str:
    return f"<start_of_turn>{side}\n{text}<end_of_turn>\n"


OPEN = "<start_of_turn>model\n"
USER, MODEL = said("user", "Hi"), said("assistant", "Yo")
PARTS = [
    {"type": "text", "text": " Look: "},
    {"type": "image"},
    {"type": "text", "text": "What?\n"},
]
ORDINARY: list[list[Message]] = [
    [USER],
    [USER, MODEL, USER],
    [USER, MODEL, USER, MODEL, said("user", "¿Qué? 你好 🙂 `<b>`")],
    [said("user", "  two\n\nparagraphs \n"), said("assistant", "\n yes\t"), USER],
    [said("user", ""), said("assistant", ""), USER],
]
ORDINARY_3 = [
    [said("system", "Be brief."), USER],
    [said("system", " Be\nbrief. \n"), USER, MODEL, USER],
    [said("system", [{"type": "text", "text": "Be brief.\n"}]), USER],
    [said("user", [{"type": "text", "text": " Hi "}]), MODEL, said("user", PARTS)],
    [said("user", [{"type": "image"}, {"type": "image"}, *PARTS])],
]


@pytest.mark.parametrize("finish", [True, False])
@pytest.mark.parametrize("name", OWN)
def test_an_ordinary_conversation_reads_as_in_the_models_own(name: str, finish: bool) -> None:
    tokens = {"audio_token": "<audio_soft_token>"} if name == "Gemma 3n" else {}
    values = {"add_generation_prompt": finish, **tokens}
    for messages in ORDINARY + (ORDINARY_3 if name != "Gemma 2" else []):
        assert render(OURS, messages, **values) == render(OWN[name], messages, **values), messages


def test_sounds_stand_where_gemma_3n_has_them() -> None:
    messages = [said("user", [{"type": "audio"}, {"type": "text", "text": "Who speaks?"}])]
    expected = "<bos>" + turn("user", "<audio_soft_token>Who speaks?") + OPEN
    for template in (OURS, GEMMA_3N):
        assert render(template, messages, audio_token="<audio_soft_token>") == expected


def test_a_tokenizer_with_sounds_tells_the_template_so() -> None:
    """As Gemma 3n's names them in its tokenizer_config.json."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    places = {"audio_token": "<audio_soft_token>", "image_token": "<image_soft_token>"}
    words = Tokenizer(WordLevel({"x": 0}, unk_token="x"))
    found = PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="<bos>", extra_special_tokens=places
    )
    content = [{"type": "image"}, {"type": "audio"}]
    told = found.apply_chat_template([said("user", content)], chat_template=OURS, tokenize=False)
    assert told == "<bos>" + turn("user", "<image_soft_token><audio_soft_token>")


ROLES = ("system", "developer", "user", "assistant", "tool")
ORDERS = [roles for n in range(1, 5) for roles in itertools.product(ROLES, repeat=n)]


def test_any_order_of_roles_makes_turns_that_alternate_and_hold_every_text() -> None:
    refused = dropped = 0
    for roles in ORDERS:
        messages = [said(role, f"text{i}") for i, role in enumerate(roles)]
        ours = render(OURS, messages)
        texts = re.findall(r"text\d", ours)
        assert texts == [f"text{i}" for i in range(len(roles))], (roles, ours)
        sides = re.findall("<start_of_turn>(.*)\n", ours)
        assert sides[-1] == "model", roles
        assert all(a != b for a, b in itertools.pairwise(sides[:-1])), (roles, ours)
        assert ours.count("<end_of_turn>\n") == len(sides) - 1, roles
        own = accepted(GEMMA_3, messages)
        if own is None:
            refused += 1
        elif len(re.findall(r"text\d", own)) < len(roles):
            dropped += 1
        elif set(roles[1:]) <= {"user", "assistant"} and roles[0] in ("user", "system"):
            assert ours == own, roles
    assert refused > 500  # what the models' own template would make of it
    assert dropped == 1  # a lone system text


TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
CALL = {"function": {"name": "f", "arguments": {"a": "b", "n": 2}}}


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([USER, USER], turn("user", "Hi\n\nHi")),
        ([said("developer", "A"), said("system", "B"), USER], turn("user", "A\n\nB\n\nHi")),
        ([USER, MODEL, said("system", "S"), USER],
         turn("user", "Hi") + turn("model", "Yo") + turn("user", "S\n\nHi")),
        ([MODEL, USER], turn("model", "Yo") + turn("user", "Hi")),
        ([said("system", "S"), MODEL, USER],
         turn("user", "S") + turn("model", "Yo") + turn("user", "Hi")),
        ([said("system", "Alone")], turn("user", "Alone")),
        ([USER, said("system", "S")], turn("user", "Hi\n\nS")),
        ([USER, {**said("assistant", None), "tool_calls": [CALL, CALL]}, said("tool", "42")],
         turn("user", "Hi") + turn("model", '[f(a="b", n=2), f(a="b", n=2)]')
         + turn("user", "<tool_response>\n42\n</tool_response>")),
    ],
)  # fmt: skip
def test_what_the_models_own_refuses_is_told_in_turns(
    messages: list[Message], expected: str
) -> None:
    assert render(OURS, messages) == "<bos>" + expected + OPEN


@pytest.mark.parametrize("messages", [[USER], [said("system", "S"), USER], [said("system", "S")]])
def test_tools_are_listed_in_the_first_user_turn(messages: list[Message]) -> None:
    assert "get_weather" not in render(GEMMA_3, messages, tools=[TOOL])  # silently dropped
    text = render(OURS, messages, tools=[TOOL])
    assert text.startswith("<bos><start_of_turn>user\nYou can call")
    assert '"name": "get_weather"' in text
    assert text.endswith(messages[-1]["content"] + "<end_of_turn>\n" + OPEN)


# Base models

PAGE = render(BASE, [], add_generation_prompt=False)


def test_the_page_begins_with_examples_a_blank_line_behind_each_answer() -> None:
    assert PAGE.startswith("<bos>Question: ")
    assert PAGE.endswith("\n\n")
    for example in PAGE.removeprefix("<bos>").removesuffix("\n\n").split("\n\n"):
        assert re.fullmatch(r"Question: \S.*\nAnswer:\n\S.*", example), example


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([USER], "Question: Hi\nAnswer:\n"),
        ([USER, MODEL, USER], "Question: Hi\nAnswer:\nYo\n\nQuestion: Hi\nAnswer:\n"),
        ([said("system", "S"), USER], "S\n\nQuestion: Hi\nAnswer:\n"),
        ([USER, USER], "Question: Hi\nQuestion: Hi\nAnswer:\n"),
        ([MODEL, USER], "Answer:\nYo\n\nQuestion: Hi\nAnswer:\n"),
        ([said("user", PARTS)], "Question: Look:<start_of_image>What?\nAnswer:\n"),
        ([USER, {**said("assistant", None), "tool_calls": [CALL]}, said("tool", "42")],
         'Question: Hi\nAnswer:\nf({"a": "b", "n": 2})\n\nResult: 42\nAnswer:\n'),
    ],
)  # fmt: skip
def test_a_conversation_goes_on_with_the_page(messages: list[Message], expected: str) -> None:
    assert render(BASE, messages) == PAGE + expected


def test_a_base_model_gets_every_text_in_any_order_of_roles() -> None:
    for roles in ORDERS:
        messages = [said(role, f"text{i}") for i, role in enumerate(roles)]
        text = render(BASE, messages, tools=[TOOL])
        assert re.findall(r"text\d", text) == [f"text{i}" for i in range(len(roles))]
        assert "get_weather" in text
        assert text.endswith("Answer:\n")


# Which one

CUSTOM = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
SHIELD = "{{ bos_token }}You are a policy expert. {{ messages[-1].content }} Yes or No?"
STANDS_IN, STAYS = gemma3.CHAT_TEMPLATE, None


def model(folder: Path, model_type: str, **files: str) -> Path:
    """A model's folder; ``files`` by name, ``__`` for a dot."""
    folder.mkdir(parents=True)
    for name, text in {"config__json": json.dumps({"model_type": model_type}), **files}.items():
        (folder / name.replace("__", ".")).write_text(text, "utf-8")
    return folder


def config(template: Any) -> str:
    return json.dumps({"chat_template": template})


@pytest.mark.parametrize("model_type", ["gemma", "gemma2", "gemma3", "gemma3_text", "gemma3n"])
@pytest.mark.parametrize("own", OWN.values(), ids=OWN)
@pytest.mark.parametrize("place", ["chat_template.jinja", "chat_template.json", "tokenizer_config"])
def test_googles_own_template_is_stood_in_for(
    tmp_path: Path, model_type: str, own: str, place: str
) -> None:
    folder = model(tmp_path / "m", model_type)
    if place == "chat_template.jinja":
        (folder / place).write_text(own)
    else:
        (folder / place).with_suffix(".json").write_text(config(own))
    assert families.chat_template(folder) == STANDS_IN


@pytest.mark.parametrize(
    ("name", "model_type", "files", "expected"),
    [
        ("base", "gemma3_text", {}, templates.BASE),
        ("base", "gemma4", {}, templates.BASE),
        ("base", "gemma3", {"tokenizer_config__json": "{broken"}, templates.BASE),
        ("gemma-3-4b-it", "gemma3", {}, STANDS_IN),  # its template was lost on the way
        ("models--google--gemma-3-4b-it/snapshots/1", "gemma3", {}, STANDS_IN),
        ("tuned", "gemma3", {"chat_template__jinja": CUSTOM}, STAYS),
        ("tuned", "gemma2", {"tokenizer_config__json": config(SHIELD)}, STAYS),
        ("tuned", "gemma3", {"tokenizer_config__json": config("{% broken")}, STAYS),
        ("tuned", "gemma3", {"chat_template__jinja": GEMMA_3 + "{# tools #}"}, STAYS),
        ("tuned", "gemma3", {"tokenizer_config__json": config(GEMMA_3),
                             "chat_template__jinja": CUSTOM}, STAYS),
        ("tuned", "gemma3", {"tokenizer_config__json": config(
            [{"name": "default", "template": GEMMA_3}])}, STAYS),
        ("gemma-4-e2b-it", "gemma4", {"chat_template__jinja": GEMMA_3}, STAYS),
        ("functiongemma-270m-it", "gemma3_text", {"chat_template__jinja": GEMMA_3}, STAYS),
        ("other", "llama", {}, STAYS),
        ("other", "llama", {"chat_template__jinja": GEMMA_3}, STAYS),
    ],
)  # fmt: skip
def test_which_template_a_model_gets(
    tmp_path: Path, name: str, model_type: str, files: dict[str, str], expected: Path | None
) -> None:
    assert families.chat_template(model(tmp_path / name, model_type, **files)) == expected


def test_named_templates_beside_it_stay(tmp_path: Path) -> None:
    folder = model(tmp_path / "m", "gemma3", chat_template__jinja=GEMMA_3)
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tool_use.jinja").write_text(CUSTOM)
    assert families.chat_template(folder) is STAYS


def test_of_a_hub_name_nothing_is_known() -> None:
    assert families.chat_template(Path("google/gemma-3-4b-it")) is None


@pytest.mark.parametrize("template", [OURS, BASE], ids=["gemma3", "base"])
def test_no_single_line_break_follows_an_image(template: str) -> None:
    """vLLM writes two behind each image, and doesn't find one behind which there are three."""
    ends = [[{"type": "image"}], [*PARTS, {"type": "image"}, {"type": "text", "text": " "}]]
    for role, content in itertools.product(("user", "assistant", "tool"), ends):
        talk = [USER, said(role, content), MODEL, said(role, content), USER]
        for text in (render(template, talk), render(template, talk[:2])):
            assert "<start_of_image>" in text
            assert not re.search(r"<start_of_image>\n(?!\n)", text)
