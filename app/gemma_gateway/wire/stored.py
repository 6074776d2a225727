"""What a request may not point to: things that some service keeps, or would connect to.

Nothing is kept here between two calls, and nothing behind this gateway connects anywhere on a
client's behalf, so that such a part would be left out of the prompt in silence, or refused by an
engine in words of its own. Sources: OpenAI's and Anthropic's API references.
"""

from __future__ import annotations

from typing import Any

from gemma_gateway.core.dialect import Json, Where
from gemma_gateway.wire.media import check_source
from gemma_gateway.wire.openai.openai import invalid
from gemma_gateway.wire.place import place

_RESEND = "no answer is kept here: send the item itself, as clients do with store: false"
_FILE = "no file is kept here: send its content, in base64"
_RUNS = "no code runs here: run it in the client, and send tools"
_SEARCH = "no file is kept here to search: search in the client, and send tools"
_CONNECT = "no MCP server is called here: call it in the client, and send tools"
_SEALED = (
    "content that another service encrypted can't be read here: leave the item out, and don't ask "
    "for reasoning.encrypted_content"
)
# Fields of messages, items and parts.
FIELDS = {
    "file_id": _FILE,
    "file_ids": _FILE,
    "container_id": _RUNS,
    "vector_store_ids": _SEARCH,
    "encrypted_content": _SEALED,
}
# Their types.
TYPES = {
    "item_reference": _RESEND,
    "image_generation_call": "no image is kept here: send it as input_image, a data: URL",
    "compaction": _SEALED,
    "container_upload": _FILE,
    "mcp_approval_response": _CONNECT,
}
# Types of tools.
TOOLS = {
    "mcp": _CONNECT,
    "mcp_toolset": _CONNECT,
    "file_search": _SEARCH,
    "code_interpreter": _RUNS,
}
_FIELDS = frozenset(FIELDS)
_TYPES = frozenset({*TYPES, "image"})


def check_part(node: Json, where: Where) -> None:
    """Raise VALIDATION_ERROR where a message, an item or a part points to what isn't in it."""
    if not _FIELDS.isdisjoint(node):
        for name in node:
            if name in FIELDS and node[name]:
                raise invalid(f"{name}: {FIELDS[name]}.", place((where, name)))
    kind = node.get("type")
    if kind.__class__ is str and kind in _TYPES:
        if kind == "image":
            return check_source(node, where)
        raise invalid(f"{kind}: {TYPES[kind]}.", place(where))


def check_tools(tools: Any) -> None:
    """Raise VALIDATION_ERROR for a tool that another service would run, or look something up for;
    a namespace holds further tools."""
    stack: list[tuple[Any, Where]] = [(tools, "tools")]
    while stack:
        listed, at = stack.pop()
        for number, tool in enumerate(listed if listed.__class__ is list else ()):
            if tool.__class__ is not dict:
                continue
            where: Where = (at, number)
            kind = tool.get("type")
            if kind.__class__ is str and kind in TOOLS:
                raise invalid(f"{kind}: {TOOLS[kind]}.", place(where))
            if tool.get("server_url") or tool.get("connector_id"):
                raise invalid(f"{_CONNECT[0].upper()}{_CONNECT[1:]}.", place(where))
            stack.append((tool.get("tools"), (where, "tools")))
