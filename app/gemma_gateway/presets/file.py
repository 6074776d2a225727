"""Files of presets, the built-in ones and operators' own: read, checked, compiled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from gemma_gateway.presets.keywords import SchemaFault
from gemma_gateway.presets.preset import Origin, Preset, Slot, Turn
from gemma_gateway.presets.sandbox import Template
from gemma_gateway.presets.schema import Schema
from gemma_gateway.presets.syntax import TemplateFault
from gemma_gateway.settings import hint
from gemma_gateway.settings.yamlfile import (
    SUFFIXES,
    ConfigError,
    Place,
    YamlFile,
    faults,
    field,
    yaml_files,
)

MOST_PRESETS = 500  # versions, in all files together
MOST_FILES = 200
MOST_MESSAGES = 32
BUILT_IN = Path(__file__).with_name("builtin")

_Id = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$")]
_Version = Annotated[
    str,
    BeforeValidator(lambda value: str(value) if type(value) is int else value),
    StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,30}[A-Za-z0-9])?$"),
]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Part(_Strict):
    type: Literal["text", "image", "file"]
    text: str | None = None
    variable: str | None = None

    @model_validator(mode="after")
    def _whole(self) -> _Part:
        needed, other = ("text", "variable") if self.type == "text" else ("variable", "text")
        if getattr(self, needed) is None or getattr(self, other) is not None:
            raise ValueError(f"a part of type {self.type} has {needed}, and no {other}")
        return self


def _parts(content: Any) -> Any:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


class _Message(_Strict):
    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[tuple[_Part, ...], BeforeValidator(_parts), Field(min_length=1)]

    @model_validator(mode="after")
    def _of_user(self) -> _Message:
        if self.role != "user" and any(part.type != "text" for part in self.content):
            raise ValueError("only a message of the user's has images or files")
        return self


class Entry(_Strict):
    """One version of a preset, as it is written."""

    id: _Id
    version: _Version = "1"
    default: bool = False
    description: str = Field("", max_length=1000)
    variables: dict[str, Any] = {}
    messages: tuple[_Message, ...] = Field(min_length=1, max_length=MOST_MESSAGES)


class _File(_Strict):
    prompts: tuple[Entry, ...] = Field(max_length=MOST_PRESETS)


class Read:
    """A preset that was read.

    Args:
        entry: as it is written.
        preset: ready to be used.
        place: where it stands, ``file:line``.
    """

    def __init__(self, entry: Entry, preset: Preset, place: str) -> None:
        self.entry = entry
        self.preset = preset
        self.place = place


def read(path: Path, origin: Origin) -> list[Read]:
    """All presets of a file, or of the files in a folder.

    Raises:
        ConfigError: one of them can't be used; every fault by file, line and field.
    """
    listed = yaml_files(path)
    if not listed:
        raise ConfigError(f"{path}: no {' or '.join(SUFFIXES)} file can be read there")
    if len(listed) > MOST_FILES:
        raise ConfigError(f"{path}: more than {MOST_FILES} files")
    found: list[Read] = []
    told: list[str] = []
    for file in listed:
        try:
            found += _read(file, origin)
        except ConfigError as error:
            told.append(str(error))
    if not told and len(found) > MOST_PRESETS:
        told.append(f"{path}: more than {MOST_PRESETS} presets")
    told += _twice(found)
    if told:
        raise ConfigError("\n".join(told))
    return found


def _read(file: Path, origin: Origin) -> list[Read]:
    source = YamlFile(file)
    try:
        entries = _File.model_validate(source.values).prompts
    except ValidationError as error:
        known = faults(error, lambda place: hint.names(_File, place[:-1]))
        raise ConfigError("\n".join(_told(source, fault, why) for fault, why in known)) from None
    found: list[Read] = []
    told: list[str] = []
    for number, entry in enumerate(entries):
        at: Place = ("prompts", number)
        wrong: list[tuple[Place, str]] = []
        preset = _made(entry, origin, at, wrong)
        told += [_told(source, place, f"preset {entry.id}: {why}") for place, why in wrong]
        if preset is not None:
            found.append(Read(entry, preset, f"{file}:{source.line(at)}"))
    if told:
        raise ConfigError("\n".join(told))
    return found


def _told(source: YamlFile, place: Place, why: str) -> str:
    return f"{source.file}:{source.line(place) or 1}: {field(place) or 'the file'}: {why}"


def _made(entry: Entry, origin: Origin, at: Place, wrong: list[tuple[Place, str]]) -> Preset | None:
    """The preset of an entry; None where something is ``wrong`` with it."""
    try:
        schema = Schema(entry.variables)
    except SchemaFault as fault:
        wrong.append(((*at, "variables", *fault.place), fault.why))
        return None
    turns = []
    for number, message in enumerate(entry.messages):
        parts: list[Template | Slot] = []
        for n, written in enumerate(message.content):
            here = (*at, "messages", number, "content", n)
            part = _part(written, here, wrong)
            if part is None:
                continue
            parts.append(part)
            names = {part.variable} if isinstance(part, Slot) else part.names
            unknown = sorted(names - schema.names)
            wrong += [(here, f"{name} is not in variables.properties") for name in unknown]
            if isinstance(part, Slot) and part.variable in schema.names:
                wrong += _slot_faults(schema, part, (*at, "variables", "properties"))
        turns.append(Turn(message.role, tuple(parts)))
    if wrong:
        return None
    return Preset(entry.id, entry.version, entry.description, schema, tuple(turns), origin)


def _part(written: _Part, here: Place, wrong: list[tuple[Place, str]]) -> Template | Slot | None:
    if written.type != "text":
        return Slot(written.type, written.variable or "")
    try:
        return Template(written.text or "")
    except TemplateFault as fault:
        wrong.append((here, str(fault)))
        return None


def _slot_faults(schema: Schema, slot: Slot, at: Place) -> Iterator[tuple[Place, str]]:
    one = schema.document["properties"][slot.variable]
    if isinstance(one, dict) and ("default" in one or "fallback" in one):
        yield (*at, slot.variable), f"a variable with the {slot.kind} has no default or fallback"
    if not schema.fits(slot.variable, "attached"):
        yield (*at, slot.variable), f"a variable with the {slot.kind} may be a string"


def _twice(found: list[Read]) -> Iterator[str]:
    """Versions, or defaults of one preset, that stand twice."""
    versions: dict[tuple[str, str], Read] = {}
    defaults: dict[str, Read] = {}
    for each in found:
        entry = each.entry
        if before := versions.get((entry.id, entry.version)):
            yield (
                f"{each.place}: preset {entry.id}: version {entry.version} is already in "
                f"{before.place}"
            )
        versions[entry.id, entry.version] = each
        if entry.default:
            if earlier := defaults.get(entry.id):
                yield f"{each.place}: preset {entry.id}: its default is already in {earlier.place}"
            defaults[entry.id] = each
