"""Anthropic's Messages API (``POST /v1/messages``)."""

from __future__ import annotations

import orjson

from gemma_gateway.core.dialect import AnswerStream, Json, Message, Slot
from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.core.usage import Usage
from gemma_gateway.wire.anthropic.messages_stream import SKIP, MessagesStream, error_doc, read_usage
from gemma_gateway.wire.openai import openai
from gemma_gateway.wire.walk import Table, asides, content_texts, free_texts, other_texts, place

ROLES = frozenset({"user", "assistant", "system"})  # system inside messages: as vLLM takes it
CUT_BLOCKS = frozenset({"text", "thinking"})  # blocks that still make sense when cut short
TABLE = Table(
    shown=("tools", "tool_choice", "output_config.format", "chat_template_kwargs"),
    binding=("structured_outputs", "stop_sequences"),
)


class Messages:
    """The Messages dialect; see Dialect."""

    name = "messages"
    path = "/v1/messages"
    generates = True
    # vLLM's AnthropicMessagesRequest has no repetition_penalty.
    sampling = frozenset({"temperature", "top_p"})

    def messages(self, body: Json) -> list[Message]:
        """See Dialect."""
        found: list[Message] = []
        if body.get("system") is not None:
            found.append(Message("system", "system", content_texts(body, "", "system", "system")))
        turns = body.get("messages")
        if not isinstance(turns, list):
            raise openai.invalid("messages must be a list.", "messages")
        for i, turn in enumerate(turns):
            where = f"messages.{i}"
            if not isinstance(turn, dict):
                raise openai.invalid("A message must be an object.", where)
            role = turn.get("role")
            if not isinstance(role, str) or role not in ROLES:
                known = ", ".join(sorted(ROLES))
                raise openai.invalid(f"role must be one of {known}.", place((where, "role")))
            # The engine puts all system texts together into one.
            channel = "system" if role == "system" else where
            slots = content_texts(turn, where, channel) + other_texts(turn, where)
            found.append(Message(where, role, slots))
        return found + asides(body, TABLE)

    def max_tokens_key(self, body: Json) -> str:
        return "max_tokens"

    def ask_usage(self, body: Json) -> bool:
        """Usage stands in ``message_delta`` anyway."""
        return False

    def answer(self, doc: Json) -> list[Slot]:
        found: list[Slot] = []
        content = doc.get("content")
        for i, block in enumerate(content if isinstance(content, list) else ()):
            if isinstance(block, dict):
                # Tool input is free-form: every string in it, whatever its key.
                own = {key: value for key, value in block.items() if key != "input"}
                slots = openai.leaves(own, f"content.{i}", SKIP)
                for slot in slots:
                    if slot.container is own:
                        slot.container = block
                if isinstance(block.get("input"), dict | list):
                    slots += free_texts(block["input"], f"content.{i}.input")
                found += slots
        return found

    def usage(self, doc: Json) -> Usage | None:
        return read_usage(doc)

    def finish(self, doc: Json) -> str:
        return openai.short_name(doc.get("stop_reason"))

    def refuse(self, doc: Json, slot: Slot) -> None:
        """See Dialect. A tool use that is cut is removed: half a call must not run."""
        index = int(place(slot.where).split(".")[1])
        content = doc["content"]
        del content[index + 1 :]
        if slot.container is content[index] and slot.key in CUT_BLOCKS:
            content[index].pop("citations", None)
        else:
            content.pop()
        doc["stop_reason"] = "refusal"
        doc["stop_sequence"] = None
        doc["code"] = Code.RESPONSE_FILTERED.name

    def stream(self, hide_usage: bool) -> AnswerStream:
        return MessagesStream()

    def error(self, error: GatewayError, request_id: str) -> bytes:
        return orjson.dumps(error_doc(error, request_id))
