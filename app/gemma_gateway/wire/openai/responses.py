"""OpenAI's Responses API (``POST /v1/responses``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import Field

from gemma_gateway.core.dialect import Json, Media, Message, TextPart
from gemma_gateway.core.errors import Code
from gemma_gateway.core.usage import Usage
from gemma_gateway.wire.logprobs import ChatLogprobs, cut
from gemma_gateway.wire.media import check_role, refuse_images
from gemma_gateway.wire.openai import openai
from gemma_gateway.wire.openai.errors import OpenAIDialect
from gemma_gateway.wire.openai.request import SAMPLING_FIELDS, Prompt, Sampling
from gemma_gateway.wire.openai.responses_events import read_finish, read_usage, texts
from gemma_gateway.wire.openai.responses_stream import ResponsesStream
from gemma_gateway.wire.place import place
from gemma_gateway.wire.request import Text
from gemma_gateway.wire.stored import check_part
from gemma_gateway.wire.walk import Table, asides, content_texts, other_texts, part_texts

# Fields that would make the call depend on something that this gateway neither sees nor keeps.
STATE = {
    "previous_response_id": "no response is stored here: send the whole conversation as input",
    "conversation": "no conversation is stored here: send it as input",
    "background": "responses run while the client listens: leave background out",
}
ROLES = frozenset({"user", "assistant", "system", "developer"})
ITEM_ROLES = {
    "function_call": "assistant",
    "custom_tool_call": "assistant",
    "reasoning": "assistant",
    "function_call_output": "tool",
    "custom_tool_call_output": "tool",
}
TABLE = Table(
    shown=(
        *("tools", "tool_choice", "text.format", "chat_template_kwargs"),
        "previous_input_messages",
    ),
    binding=("structured_outputs", "stop"),
)
# Key and type of what holds the text that is said, whole and in a stream.
SAID = (("text", "output_text"), ("delta", "response.output_text.delta"))
SAID_AGAIN = "output_text"  # some servers add all text of the answer, as the SDKs do


class ResponsesRequest(Sampling):
    """OpenAI Responses; nothing is stored, so each call carries its whole input."""

    input: Text | None = Field(None, description="May only be left out with prompt")
    prompt: Prompt | None = Field(None, description="A preset: its messages come first")
    instructions: str | None = None
    max_output_tokens: int | None = Field(
        None, ge=1, le=2**31 - 1, description="Default and cap: the key's tier"
    )


class Responses(OpenAIDialect):
    """The Responses dialect; see Dialect."""

    name = "responses"
    path = "/v1/responses"
    request_model = ResponsesRequest
    operation = "chat"
    fields = SAMPLING_FIELDS | {
        *("input", "instructions", "max_output_tokens", "top_logprobs", "reasoning", "text"),
        *("include", "include_reasoning", "tools", "tool_choice", "parallel_tool_calls"),
        *("max_tool_calls", "truncation", "chat_template_kwargs"),
        *("metadata", "prompt_cache_key", "service_tier", "store"),
        "prompt",  # the preset to begin with: it ends here
        *STATE,  # refused where they ask for something kept
    }
    streams = charged = judged = presets = True
    max_tokens = ("max_output_tokens",)
    sampling = frozenset({"temperature", "top_p", "repetition_penalty"})

    def messages(self, body: Json) -> list[Message]:
        """See Dialect. Also sets ``store`` to false: replicas are interchangeable, so a stored
        response could not be found again."""
        for field, reason in STATE.items():
            if body.get(field):
                raise openai.invalid(f"{field}: {reason}.", field)
        body["store"] = False
        found: list[Message] = []
        instructions = body.get("instructions")
        if isinstance(instructions, str):
            part = TextPart(body, "instructions", "instructions", "instructions", spoken=True)
            found.append(Message("instructions", "system", [part]))
        elif instructions is not None:
            raise openai.invalid("instructions must be a string.", "instructions")
        found += self._input(body)
        return found + asides(body, TABLE)

    def prepend(self, body: Json, messages: list[Message], turns: list[Json]) -> dict[str, str]:
        """See Dialect. A system text that it begins with becomes the instructions, or comes before
        the client's own in them; all other messages are items."""
        items = [_preset_item(turn) for turn in turns]
        wheres = [f"prompt.messages.{n}" for n in range(len(turns))]
        places: dict[str, str] = {}
        if items and items[0]["role"] in ("system", "developer"):
            said = items.pop(0)["content"]
            own, where = body.get("instructions"), wheres.pop(0)
            body["instructions"] = f"{said}\n\n{own}" if own else said
            if own is None:
                places["instructions"] = where
                part = TextPart(body, "instructions", where, where, spoken=True)
                messages.insert(0, Message(where, "system", [part]))
        behind = int(isinstance(body.get("instructions"), str))
        sent, first = body["input"], len(items)
        if isinstance(sent, str):
            sent = [{"type": "message", "role": "user", "content": sent}]
            messages[behind].texts[0].container, messages[behind].texts[0].key = sent[0], "content"
            places[f"input.{first}"] = "input"
        else:
            places |= {f"input.{first + n}": f"input.{n}" for n in range(len(sent))}
        body["input"] = [*items, *sent]
        messages[behind:behind] = map(_item, items, wheres)
        return places | {f"input.{n}": where for n, where in enumerate(wheres)}

    def _input(self, body: Json) -> list[Message]:
        value = body.get("input")
        if value is None and body.get("prompt"):  # a preset's messages are all there is
            value = body["input"] = []
        if isinstance(value, str):
            part = TextPart(body, "input", "input", "input", spoken=True)
            return [Message("input", "user", [part])]
        if not isinstance(value, list):
            raise openai.invalid("input must be a string or a list of items.", "input")
        return [_item(item, f"input.{i}") for i, item in enumerate(value)]

    def answer(self, doc: Json) -> list[TextPart]:
        found: list[TextPart] = []
        output = doc.get("output")
        for i, item in enumerate(output if isinstance(output, list) else ()):
            if isinstance(item, dict):
                where = f"output.{i}"
                text_parts = texts(item, where)
                # A call's name before its arguments and a summary before the reasoning: what
                # follows a cut is removed, what stands before it was read.
                text_parts.sort(
                    key=lambda part: (part.key != "name", ".content." in place(part.where))
                )
                for part in text_parts:
                    part.channel = place(part.where)
                found += text_parts
        if isinstance(doc.get(SAID_AGAIN), str):
            found.append(TextPart(doc, SAID_AGAIN, SAID_AGAIN, SAID_AGAIN))
        return found

    def usage(self, doc: Json) -> Usage | None:
        return read_usage(doc)

    def finish(self, doc: Json) -> str:
        return read_finish(doc)

    def says(self, part: TextPart) -> bool:
        return (part.key, part.kind) in SAID

    def refuse(self, doc: Json, part: TextPart) -> None:
        """See Dialect. A tool call that is cut is removed: half a call must not run."""
        doc.pop(SAID_AGAIN, None)
        doc["status"] = "incomplete"
        doc["incomplete_details"] = {"reason": "content_filter"}
        doc["code"] = Code.RESPONSE_FILTERED.name
        if part.where == SAID_AGAIN:
            return
        _, index, *steps = place(part.where).split(".")
        output = doc["output"]
        item = output[int(index)]
        del output[int(index) + 1 :]
        if len(steps) == 3 and item.get("type") in ("message", "reasoning"):
            holder, number = steps[:2]
            del item[holder][int(number) + 1 :]
            if holder == "summary" and item.get("content"):
                item["content"] = []
            if isinstance(part.logprobs, ChatLogprobs):
                cut(part.logprobs, part.text)
            if part.container.get("annotations"):
                part.container["annotations"] = []
            item["status"] = "incomplete"
        else:
            output.pop()

    def stream(self, hide_usage: bool) -> ResponsesStream:
        return ResponsesStream()


def _preset_item(turn: Json) -> Json:
    """A chat message as an input item."""
    content = turn["content"]
    if not isinstance(content, str):
        content = [_PRESET_PARTS[part["type"]](part) for part in content]
    return {"type": "message", "role": turn["role"], "content": content}


_PRESET_PARTS: dict[str, Callable[[Json], Json]] = {
    "text": lambda part: {"type": "input_text", "text": part["text"]},
    "image_url": lambda part: {
        "type": "input_image",
        "detail": part["image_url"].get("detail", "auto"),
        "image_url": part["image_url"]["url"],
    },
    "file": lambda part: {"type": "input_file", **part["file"]},
}


def _item(item: Any, where: str) -> Message:
    """One input item: a message, a call, its output, a reasoning, or something newer."""
    if not isinstance(item, dict):
        raise openai.invalid("An input item must be an object.", where)
    kind = item.get("type")
    if kind is None:  # clients may leave it out where the item shows it
        kind = "item_reference" if item.keys() - {"type"} == {"id"} else "message"
        check_part({"type": kind}, where)
    media: list[Media] = []
    if kind != "message":
        if str(kind).endswith("_call_output") and item.get("output") is None:
            item["output"] = ""
        author = ITEM_ROLES.get(kind, "user") if isinstance(kind, str) else "user"
        texts_of_item = part_texts(item, where, media)
        for each in media:
            # vLLM's default for messages; in tool results it wants the field.
            if each.container.get("type") == "input_image":
                each.container.setdefault("detail", "auto")
        return Message(where, author, texts_of_item, media)
    role = item.get("role")
    if not isinstance(role, str) or role not in ROLES:
        known = ", ".join(sorted(ROLES))
        raise openai.invalid(f"role must be one of {known}.", place((where, "role")))
    if role == "assistant" and item.get("content") is None:
        item["content"] = ""
    text_parts = content_texts(item, where, where, media) + other_texts(item, where)
    if media:
        check_role(role, media)
        if role == "assistant":  # vLLM reads the first text of these, and nothing else
            refuse_images(media, "A message of the assistant's holds text only.")
    return Message(where, role, text_parts, media)
