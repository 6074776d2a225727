"""Write the console's API types from the gateway's OpenAPI document (``--check``: only compare)."""

from __future__ import annotations

import asyncio
import json
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

from tests.road import Road

from scripts.generated import ROOT, put

FILE = ROOT / "console" / "src" / "api" / "types.ts"
HEAD = """\
// What the gateway's own routes take and answer. Times are ISO 8601 in UTC; durations are seconds.
// Generated from its OpenAPI document: don't edit it, run 'make generated'.
"""
WIDTH = 100

Schema = dict[str, Any]


def text() -> str:
    """The whole file: an interface for each model, by name."""
    document = asyncio.run(Road().get("/openapi.json")).json()
    known = document["components"]["schemas"]
    found: dict[str, str] = {}
    waiting: list[tuple[str, Schema, bool]] = list(_roots(document))
    while waiting:
        name, schema, asked = waiting.pop()
        if name not in found:
            found[name] = _interface(name, schema, asked)
            waiting += [(inner, known[inner], asked) for inner in _references(schema)]
    return "\n".join([HEAD, *(found[name] for name in sorted(found))])


def _roots(document: Schema) -> Iterator[tuple[str, Schema, bool]]:
    """Bodies of requests and answers of all routes that don't go to an engine: the model's name,
    its schema, and whether it is a request's."""
    known = document["components"]["schemas"]
    for operation in (o for item in document["paths"].values() for o in item.values()):
        if "engine" in operation["tags"]:
            continue
        for schema in _bodies([operation.get("requestBody", {})]):
            yield schema["title"], schema, True
        for schema in _bodies(operation["responses"].values()):
            for name in _references(schema):
                yield name, known[name], False


def _bodies(messages: Any) -> Iterator[Schema]:
    for message in messages:
        if body := message.get("content", {}).get("application/json"):
            yield body["schema"]


def _references(schema: Any) -> Iterator[str]:
    """Names of the models that a schema speaks of."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            yield _name(schema["$ref"])
        schema = list(schema.values())
    if isinstance(schema, list):
        for part in schema:
            yield from _references(part)


def _interface(name: str, schema: Schema, asked: bool) -> str:
    """A model. An answer has all of its fields; a request may leave out those with a default."""
    lines = [*_comment(schema, ""), f"export interface {name} {{"]
    for field, value in schema["properties"].items():
        optional = asked and field not in schema.get("required", ())
        line = f"  {field}{'?' if optional else ''}: {_type(value)};"
        if len(line) > WIDTH:  # as the formatter has it
            line = line.replace(" | ", "\n    | ").replace(": ", ":\n    | ", 1)
        lines += [*_comment(value, "  "), line]
    return "\n".join([*lines, "}", ""])


def _type(schema: Schema) -> str:
    """TypeScript's type; ValueError for a schema of a kind that no model had so far."""
    match schema:
        case {"$ref": reference}:
            found = _name(reference)
        case {"enum": values}:
            found = " | ".join(map(json.dumps, values))
        case {"const": value}:
            found = json.dumps(value)
        case {"anyOf": schemas}:
            found = " | ".join(map(_type, schemas))
        case {"type": "array", "items": items}:
            inner = _type(items)
            found = f"({inner})[]" if " | " in inner else f"{inner}[]"
        case {"type": "object", "additionalProperties": {**values}} if values:
            found = f"Record<string, {_type(values)}>"
        case {"type": "object", "properties": _}:
            raise ValueError(f"a model without a name: {schema}")
        case {"type": "object"}:
            found = "Record<string, unknown>"
        case {"type": "integer"}:
            found = "number"
        case {"type": "number" | "string" | "boolean" | "null" as name}:
            found = str(name)
        case _:
            raise ValueError(f"no TypeScript type is known for {schema}")
    return found


def _name(reference: str) -> str:
    return reference.rpartition("/")[2]


def _comment(schema: Schema, indent: str) -> list[str]:
    said = " ".join(schema.get("description", "").split())
    if not said:
        return []
    line = f"{indent}/** {said} */"
    if len(line) <= WIDTH:
        return [line]
    start = f"{indent} * "
    wrapped = textwrap.wrap(said, WIDTH, initial_indent=start, subsequent_indent=start)
    return [f"{indent}/**", *wrapped, f"{indent} */"]


if __name__ == "__main__":
    sys.exit(put(FILE, text()))
