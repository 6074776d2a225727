"""Schemas, grammars and expressions for tests and benchmarks: ordinary ones, and ones that hurt.

Each is an object as ``structured_outputs`` takes it: {"json": ...}, {"grammar": ...}, ....
"""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]
TEXT: Json = {"type": "string"}
NUMBER: Json = {"type": "number"}
WHOLE: Json = {"type": "integer"}


def thing(properties: Json, *, optional: bool = False, **more: Any) -> Json:
    """An object schema as OpenAI's strict mode wants it, or with all properties optional."""
    found = {"type": "object", "properties": properties, "additionalProperties": False, **more}
    return found if optional else {**found, "required": list(properties)}


def many(items: Json, **more: Any) -> Json:
    return {"type": "array", "items": items, **more}


def calls(tools: list[Json]) -> Json:
    """What vLLM makes of ``tools`` for ``tool_choice: required``."""
    shapes = [
        {
            "type": "object",
            "properties": {
                "name": {"type": "string", "enum": [tool["function"]["name"]]},
                "parameters": tool["function"]["parameters"],
            },
            "required": ["name", "parameters"],
        }
        for tool in tools
    ]
    return many({"type": "object", "anyOf": shapes}, minItems=1)


def tool(name: str, properties: Json, **more: Any) -> Json:
    parameters = {"type": "object", "properties": properties, "required": list(properties)[:1]}
    return {
        "type": "function",
        "function": {
            "name": name,
            "description": f"Use it to {name.replace('_', ' ')}.",
            "parameters": {**parameters, **more},
        },
    }


DESCRIBED: Json = {"type": "string", "description": "What it is, in a sentence or two."}
CALENDAR = thing({"name": TEXT, "date": TEXT, "participants": many(TEXT)})
MATHS = thing({"steps": many(thing({"explanation": TEXT, "output": TEXT})), "final_answer": TEXT})
PAPER = thing({"title": TEXT, "authors": many(TEXT), "abstract": TEXT, "keywords": many(TEXT)})
MODERATION = thing(
    {
        "is_violating": {"type": "boolean"},
        "category": {"type": ["string", "null"], "enum": ["violence", "sexual", "self_harm", None]},
        "explanation_if_violating": {"type": ["string", "null"]},
    }
)
PAGE = {
    **thing(
        {
            "type": {
                "type": "string",
                "enum": ["div", "button", "header", "section", "field", "form"],
            },
            "label": DESCRIBED,
            "children": many({"$ref": "#"}),
            "attributes": many(thing({"name": TEXT, "value": TEXT})),
        }
    ),
    "$schema": "http://json-schema.org/draft-07/schema#",
}
LIST = {
    **thing({"linked_list": {"$ref": "#/$defs/node"}}),
    "$defs": {
        "node": thing(
            {"value": NUMBER, "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}}
        )
    },
}
UNION = thing(
    {
        "item": {
            "anyOf": [
                thing({"name": DESCRIBED, "age": NUMBER}),
                thing({"number": TEXT, "street": TEXT, "city": TEXT}),
            ]
        }
    }
)
ADDRESS = thing(
    {
        "street": TEXT,
        "city": TEXT,
        "region": {"type": ["string", "null"]},
        "postal_code": {"type": "string", "pattern": "^[A-Z0-9 -]{3,10}$"},
        "country": {"type": "string", "pattern": "^[A-Z]{2}$"},
    }
)
MONEY = thing(
    {
        "amount": {"type": "string", "pattern": r"^-?\d{1,12}(\.\d{1,4})?$"},
        "currency": {"type": "string", "enum": ["EUR", "USD", "GBP", "CHF", "JPY"]},
    }
)
PARTY = thing(
    {
        "name": TEXT,
        "tax_id": {"type": ["string", "null"]},
        "address": ADDRESS,
        "email": {"type": "string", "format": "email"},
    }
)
INVOICE = thing(
    {
        "number": {"type": "string", "minLength": 1, "maxLength": 40},
        "issued": {"type": "string", "format": "date"},
        "due": {"type": "string", "format": "date"},
        "seller": PARTY,
        "buyer": PARTY,
        "lines": many(
            thing(
                {
                    "description": TEXT,
                    "quantity": {"type": "number", "minimum": 0},
                    "unit_price": MONEY,
                    "tax_rate": {"type": "number", "minimum": 0, "maximum": 100},
                    "total": MONEY,
                }
            ),
            minItems=1,
            maxItems=50,
        ),
        "total": MONEY,
        "notes": {"type": ["string", "null"]},
    }
)
FORM = thing({f"field_{i}": DESCRIBED for i in range(60)})
LOOSE = thing({f"field_{i}": DESCRIBED for i in range(40)}, optional=True)
STATES = [f"{a}{b}" for a in "ABCDEFGHIJ" for b in "KLMNOPQRST"]
CLASSES = thing({"label": {"type": "string", "enum": [f"category {i:03d}" for i in range(250)]}})
PATTERNS = thing(
    {
        "id": {"type": "string", "format": "uuid"},
        "phone": {"type": "string", "pattern": r"^\+[1-9]\d{1,14}$"},
        "when": {"type": "string", "format": "date-time"},
        "day": {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}$"},
        "slug": {"type": "string", "pattern": "^[a-z0-9]+(-[a-z0-9]+)*$"},
        "colour": {"type": "string", "pattern": "^#[0-9a-fA-F]{6}$"},
        "version": {"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
        "state": {"type": "string", "enum": STATES},
        "score": {"type": "integer", "minimum": 1, "maximum": 10},
        "summary": {"type": "string", "maxLength": 500},
    }
)
OPEN = {"type": "object", "properties": {"tags": {"type": "object", "additionalProperties": TEXT}}}
WEATHER = tool("get_weather", {"city": DESCRIBED, "unit": {"type": "string", "enum": ["c", "f"]}})
_KINDS = ("search", "read", "write", "list", "delete", "update", "create", "move")
_THINGS = ("file", "issue", "page", "message", "table")
MCP = [
    tool(
        f"{kind}_{what}",
        {
            "path": DESCRIBED,
            "query": DESCRIBED,
            "limit": {"type": "integer", "minimum": 1, "maximum": 100},
            "recursive": {"type": "boolean", "default": False},
            "format": {"type": "string", "enum": ["json", "text", "html"]},
            "labels": many(TEXT),
            "range": {"type": "object", "properties": {"start": WHOLE, "end": WHOLE}},
        },
        additionalProperties=False,
    )
    for kind in _KINDS
    for what in _THINGS
]

ORDINARY: dict[str, Json] = {
    "calendar event": {"json": CALENDAR},
    "mathematical steps": {"json": MATHS},
    "research paper": {"json": PAPER},
    "moderation": {"json": MODERATION},
    "recursive page": {"json": PAGE},
    "linked list": {"json": LIST},
    "union": {"json": UNION},
    "nested invoice": {"json": INVOICE},
    "list of invoices": {"json": many(INVOICE)},
    "form of 60 fields": {"json": FORM},
    "40 optional fields": {"json": LOOSE},
    "250 classes": {"json": CLASSES},
    "patterns and formats": {"json": PATTERNS},
    "open object": {"json": OPEN},
    "any object": {"json": {"type": "object"}},
    "one tool": {"json": calls([WEATHER])},
    "40 MCP tools": {"json": calls(MCP)},
    "choice": {"choice": ["positive", "neutral", "negative"]},
    "JSON object": {"json_object": True},
}


def nested(depth: int, schema: Json) -> Json:
    for _ in range(depth):
        schema = thing({"a": schema})
    return schema


def fields(number: int, schema: Json, *, optional: bool = False) -> Json:
    return {"json": thing({f"p{i}": schema for i in range(number)}, optional=optional)}


def text(**more: Any) -> Json:
    return {"json": thing({"a": {"type": "string", **more}})}


def ladder(rungs: int, wide: int) -> Json:
    """Definitions of which each uses the next several times over."""
    definitions = {f"d{i}": {"anyOf": [{"$ref": f"#/$defs/d{i + 1}"}] * wide} for i in range(rungs)}
    return {"$ref": "#/$defs/d0", "$defs": {**definitions, f"d{rungs}": TEXT}}


# Nothing that anybody would write, and as large as the gateway's bounds allow.
EXTREME: dict[str, Json] = {
    "1,000 properties": fields(1000, TEXT),
    "5 objects of 200 optional properties": {
        "json": thing({f"o{i}": fields(199, TEXT, optional=True)["json"] for i in range(5)})
    },
    "2,000 values of an enum": {"json": {"type": "string", "enum": [f"v{i}" for i in range(2000)]}},
    "600 alternatives": {"json": {"anyOf": [thing({f"k{i}": TEXT}) for i in range(600)]}},
    "300 equal alternatives": {"json": {"anyOf": [thing({"a": TEXT, "b": many(TEXT)})] * 300}},
    "150 ranges": fields(150, {"type": "integer", "minimum": 17, "maximum": 10**17}),
    "4 patterns of 1,000 pieces": fields(4, {"type": "string", "pattern": "^.{1,990}$"}),
    "40 patterns of 100 pieces": fields(40, {"type": "string", "pattern": "^[a-z ]{0,98}$"}),
    "nested repeats in patterns": fields(10, {"type": "string", "pattern": "^([a-f]{1,9}x){1,9}$"}),
    "optional repeats in a pattern": text(pattern="^(a?){1,240}b$"),
    "400 lengths": fields(400, {"type": "string", "maxLength": 3000}),
    "lengths of 100,000": fields(20, {"type": "string", "minLength": 99_000, "maxLength": 100_000}),
    "150 formats": fields(150, {"type": "string", "format": "date-time"}),
    "5 arrays of 500 objects": fields(5, many(thing({"a": TEXT, "b": TEXT}), maxItems=500)),
    "2,500 items": {"json": many(TEXT, minItems=2500)},
    "nested arrays": {"json": many(many(many(TEXT, maxItems=500), maxItems=500), maxItems=500)},
    "recursive alternatives": {
        "json": {
            "$defs": {"a": {"anyOf": [many({"$ref": "#/$defs/a"})] * 8 + [TEXT] * 8}},
            "$ref": "#/$defs/a",
        }
    },
    "ladder of references": {"json": ladder(12, 8)},
    "all at once": {
        "json": thing(
            {
                "ranges": fields(150, {"type": "integer", "minimum": 17, "maximum": 10**17})[
                    "json"
                ],
                "formats": fields(150, {"type": "string", "format": "date-time"})["json"],
                "items": fields(5, many(thing({"a": TEXT, "b": TEXT}), maxItems=500))["json"],
                "patterns": fields(39, {"type": "string", "pattern": "^[a-z ]{0,98}$"})["json"],
                "optional": fields(199, TEXT, optional=True)["json"],
                "values": {"type": "string", "enum": [f"v{i}" for i in range(1900)]},
            }
        )
    },
    "30 objects deep": {"json": nested(30, TEXT)},
    "1,500 choices": {"choice": [f"choice number {i:04d}" for i in range(1500)]},
    "choices of 1,000 characters": {"choice": [f"{i}" + "x" * 990 for i in range(30)]},
    "250 tools": {"json": calls([tool(f"t{i}", {"a": TEXT}) for i in range(250)])},
    "60 pattern properties": {
        "json": {"type": "object", "patternProperties": {f"^x{i}_": TEXT for i in range(60)}}
    },
    "regex of 1,000 pieces": {"regex": "[a-z ]{1,998}x"},
    "regex with a star of a plus": {"regex": "(.+)*(.+)*(.+)*x"},
    "regex of 44 alternatives": {
        "regex": "(" + "|".join(f"a{{1,{i}}}" for i in range(1, 44)) + ")*"
    },
    "grammar of 1,000 pieces": {
        "grammar": 'root ::= word{1,17} end\nword ::= [a-z ]{1,8} | [0-9]{1,6}\nend ::= "x" | "."'
    },
}

HOSTILE: dict[str, Json] = {
    "grammar, ambiguous recursion": {"grammar": 'root ::= x{1,200}\nx ::= x x | [^"]* | ""'},
    "grammar, root root": {"grammar": 'root ::= root root | [a-z]* | ""'},
    "grammar, left recursion": {"grammar": 'root ::= root "a" | [a-z]+'},
    "grammar, hidden left recursion": {"grammar": 'root ::= e root "a" | [a-z]+\ne ::= "" | " "'},
    "grammar, repeat of a repeat": {"grammar": "root ::= ([a-z]{1,300}){1,300}"},
    "regex, three repeats nested": {"regex": "((a{1,1000}){1,1000}){1,1000}"},
    "regex, optional repeats": {"regex": "(a?){1,1000}b"},
    "regex, long classes": {"regex": "[a-z ]{1,20000}"},
    "regex, alternatives": {"regex": "(" + "|".join(f"a{{1,{i}}}" for i in range(1, 200)) + ")*"},
    "pattern, three repeats nested": text(pattern="((a{1,1000}){1,1000}){1,1000}"),
    "pattern, optional repeats": text(pattern="(a?){1,1000}b"),
    "pattern, long": text(pattern="^" + "(a|b)" * 600 + "$"),
    "pattern, one large repeat": text(pattern="^[a-z ]{1,20000}$"),
    "pattern, 50 repeats": text(pattern="^" + "[a-z ]{0,100}" * 50 + "$"),
    "1,900 properties": {"json": thing({f"p{i}": TEXT for i in range(1900)})},
    "1,900 optional properties": {
        "json": thing({f"p{i}": TEXT for i in range(1900)}, optional=True)
    },
    "300 optional properties": {"json": thing({f"p{i}": TEXT for i in range(300)}, optional=True)},
    "5,000 enum values": {"json": {"type": "string", "enum": [f"v{i}" for i in range(5000)]}},
    "1,100 alternatives": {"json": {"anyOf": [thing({f"k{i}": TEXT}) for i in range(1100)]}},
    "minItems": {"json": many(TEXT, minItems=50_000)},
    "maxItems of objects": {"json": many(thing({"a": TEXT, "b": TEXT}), maxItems=50_000)},
    "maxLength": text(maxLength=1_000_000),
    "minLength": text(minLength=150_000, maxLength=200_000),
    "minProperties": {
        "json": {"type": "object", "additionalProperties": TEXT, "minProperties": 50_000}
    },
    "pattern properties": {
        "json": {
            "type": "object",
            "patternProperties": {f"^{'(a?)' * 40}{i}$": TEXT for i in range(110)},
        }
    },
    "property names": {
        "json": {"type": "object", "propertyNames": {"pattern": "^((a{1,500}){1,500}){1,9}$"}}
    },
    "400 ranges": fields(400, {"type": "integer", "minimum": 17, "maximum": 10**17}),
    "tuple": {"json": {"type": "array", "prefixItems": [TEXT] * 2000}},
    "choices": {"choice": [f"choice number {i} of a very long list" for i in range(3000)]},
    "one long choice": {"choice": ["x" * 60_000]},
    "300 tools": {"json": calls([tool(f"t{i}", {"a": TEXT, "b": NUMBER}) for i in range(300)])},
    "structural tag": {
        "structural_tag": '{"type":"structural_tag","format":{"type":"regex","pattern":'
        '"((a{1,1000}){1,1000}){1,1000}"}}'
    },
}
