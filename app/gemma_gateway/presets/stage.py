"""The step that puts a preset's messages in place of the ``prompt`` that names it."""

from __future__ import annotations

from typing import Any, NamedTuple

from gemma_gateway.core.call import Call, Change
from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.core.prompt import UsedPrompt
from gemma_gateway.presets.library import Library

FIELD = "prompt"
_KNOWN = ("id", "version", "variables")


class Asked(NamedTuple):
    """What a ``prompt`` asks for.

    Args:
        id: of a preset.
        version: None: its default.
        variables: as the client sent them.
    """

    id: str
    version: str | int | None
    variables: Any


class Expand:
    """Renders the preset that a request names. What comes after it sees its messages as if the
    client had sent them; the engine gets them, and no ``prompt``.

    Args:
        library: the presets.
    """

    name = "validation"

    def __init__(self, library: Library) -> None:
        self._library = library

    def run(self, call: Call) -> None:
        """See ``Step``; raises VALIDATION_ERROR or PROMPT_NOT_FOUND with ``param`` naming the
        place in ``prompt``."""
        if call.dialect.presets and FIELD in call.request.body:
            self._expand(call, call.request.body.pop(FIELD))

    def _expand(self, call: Call, prompt: Any) -> None:
        if not prompt:  # clients that send every field of their own model send it as null
            return
        asked, request = _asked(prompt), call.request
        at = (f"{FIELD}.id", f"{FIELD}.version")
        preset = self._library.find(asked.id, asked.version, at)
        call.notes[UsedPrompt] = UsedPrompt(preset.id, preset.version)
        rendered = preset.render(asked.variables, f"{FIELD}.variables")
        places = call.dialect.prepend(request.body, request.messages, rendered.messages)
        call.notes[UsedPrompt] = UsedPrompt(preset.id, preset.version, places)
        request.changes += [
            Change(f"{FIELD}.variables.{name}", "replaced") for name in rendered.replaced
        ]


def _asked(prompt: Any) -> Asked:
    if not isinstance(prompt, dict):
        raise _invalid("must be an object with the id of a preset", FIELD)
    for name, value in prompt.items():
        if name not in _KNOWN and value is not None:
            raise _invalid(f"takes {', '.join(_KNOWN)}", f"{FIELD}.{name}", subject=FIELD)
    name, version = prompt.get("id"), prompt.get("version")
    if not isinstance(name, str):
        raise _invalid("must be the id of a preset", f"{FIELD}.id")
    if version is not None and type(version) not in (str, int):
        raise _invalid("must be a version of the preset", f"{FIELD}.version")
    return Asked(name, version, prompt.get("variables"))


def _invalid(why: str, param: str, subject: str = "") -> GatewayError:
    return GatewayError(
        Code.VALIDATION_ERROR, f"{subject or param} {why}.", param=param, reason="invalid_value"
    )
