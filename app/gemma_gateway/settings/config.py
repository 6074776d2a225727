"""The settings of a process: environment, secret files, a YAML file, defaults, in this order."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings.exceptions import SettingsError

from gemma_gateway.settings import SECRETS_VARIABLE, SECTIONS, Settings, hint
from gemma_gateway.settings.settings import DELIMITER, PREFIX
from gemma_gateway.settings.yamlfile import ConfigError, Place, YamlFile, faults, field

DEFAULT_FILE = Path("gateway.yaml")
FILE_VARIABLE = "GATEWAY_CONFIG"


def load(file: Path | None = None) -> Settings:
    """Settings from the environment over secret files over ``file``.

    Args:
        file: YAML file; by default the one that GATEWAY_CONFIG names, or ``gateway.yaml`` here.

    Raises:
        ConfigError: a file that is missing, can't be read or isn't YAML, or a wrong or unknown
            setting.
    """
    found = _read(file)
    values = {} if found is None or found.values is None else found.values
    if not isinstance(values, dict):
        raise ConfigError(f"{found.file if found else ''}:1: the file must be a mapping")
    _check_secrets()
    if odd := [name for name in values if not isinstance(name, str)]:
        raise ConfigError(_told([((str(odd[0]),), "not the name of a setting")], found))
    try:
        return Settings(**values)
    except ValidationError as error:
        raise ConfigError(_told(faults(error, _names_at), found)) from None
    except SettingsError as error:
        cause = error.__cause__  # for a secret file: no permission, not UTF-8
        why = f"{SECRETS_VARIABLE}: {cause}" if isinstance(cause, OSError | UnicodeError) else error
        raise ConfigError(f"environment: {why}") from None


def told(faults: Iterable[tuple[Place, str]], file: Path | None = None) -> str:
    """Faults of valid settings, one a line, by file, line and field, or by variable.

    Args:
        faults: place and reason of each.
        file: as given to :func:`load`.
    """
    return _told(faults, _read(file))


def find(file: Path | None = None) -> Path | None:
    """The file that settings are read from; None: there is none.

    Args:
        file: as given to :func:`load`.
    """
    if file is not None:
        return file
    named = os.environ.get(FILE_VARIABLE)
    if named:
        return Path(named)
    return DEFAULT_FILE if DEFAULT_FILE.exists() else None


def unknown_variables() -> list[str]:
    """GATEWAY_ variables and secret files that name no setting: most likely misspelt."""
    return sorted(name for name in _names() if not _known(name))


def unknown(name: str) -> str:
    """What to say of one of them."""
    known = [*Settings.model_fields, *SECTIONS]
    known += [f"{section}{DELIMITER}{n}" for section in SECTIONS for n in _names_at((section, ""))]
    variables = [f"{PREFIX}{setting.upper()}" for setting in known]
    return f"{name} is not a known setting{hint.meant(name.upper(), variables)}"


def given_way(file: Path | None = None) -> list[str]:
    """Settings of the file that count for nothing, because a variable or a secret file has them.

    Args:
        file: as given to :func:`load`.

    Returns:
        A line for each.
    """
    found, told = _read(file), []
    for name in Settings.model_fields if found is not None else ():
        places: list[Place] = [(name,)]
        places += [(section, name) for section, p in SECTIONS.items() if name in p.model_fields]
        line = next(filter(None, (_line(place, found) for place in places)), None)
        variable = next(filter(None, map(_variable, places)), None)
        if line and variable:
            told.append(f"{line}: gives way to {variable.removeprefix('environment: ')}")
    return told


def _names_at(place: Place) -> Iterable[str]:
    """The settings that may stand at a place."""
    section = str(place[0]).partition(".")[0]
    if section in SECTIONS:
        return SECTIONS[section].model_fields
    return [*hint.names(Settings, place[:-1]), *(SECTIONS if len(place) == 1 else ())]


def _check_secrets() -> None:
    folder = os.environ.get(SECRETS_VARIABLE)
    if folder and not Path(folder).is_dir():
        raise ConfigError(f"{SECRETS_VARIABLE}: {folder} is not a folder")


def _read(file: Path | None) -> YamlFile | None:
    found = find(file)
    return None if found is None else YamlFile(found)


def _told(faults: Iterable[tuple[Place, str]], found: YamlFile | None) -> str:
    return "\n".join(_fault(place, why, found) for place, why in faults)


def _fault(place: Place, why: str, found: YamlFile | None) -> str:
    """A fault in one line; what :func:`settings.flat` left in a section is one, too."""
    section, dot, name = str(place[0]).partition(".") if place else ("", "", "")
    written = dot and _line(place, found)  # store.redis_url: as a name by itself
    if section not in SECTIONS or written:
        return f"{_where(place, found)}: {why}"
    if not dot:
        return f"{_where(place, found)}: a section is a mapping of settings"
    place = (section, name, *place[1:])
    for here, there in (
        (_variable(place), _variable((name,))),
        (_line(place, found), _line((name,), found)),
    ):
        if here and there:
            return f"{here}: not the same as {there}"
    return f"{_where(place, found)}: {why}"


def _where(place: Place, found: YamlFile | None) -> str:
    """The place of a setting as it was written: by itself or within its section."""
    spellings = [place]
    if place:
        spellings += [
            (name, *place) for name, part in SECTIONS.items() if place[0] in part.model_fields
        ]
    for given in (*map(_variable, spellings), *(_line(each, found) for each in spellings)):
        if given:
            return given
    if place:
        return f"environment: GATEWAY_{'__'.join(str(part) for part in place).upper()}"
    return str(found.file) if found else "environment"


def _variable(place: Place) -> str | None:
    """The variable or secret file that gives a place, or what is around it."""
    given = {name.lower().replace("gateway_", "gateway__", 1): name for name in _names()}
    for n in range(len(place), _depth(place) - 1, -1):
        name = given.get("__".join(["gateway", *map(str, place[:n])]).lower())
        if name is not None:
            return f"environment: {name.upper()}"
    return None


def _line(place: Place, found: YamlFile | None) -> str | None:
    """The line of a file that gives a place, or what is around it."""
    inner: Any = found.values if found is not None else None
    for name in map(str, place[: _depth(place)]):
        names = {str(key): value for key, value in inner.items()} if isinstance(inner, dict) else {}
        if name not in names:
            return None
        inner = names[name]
    line = found.line(place) if found is not None and place else None
    return None if found is None or line is None else f"{found.file}:{line}: {field(place)}"


def _depth(place: Place) -> int:
    """How many names lead to a setting."""
    return 2 if len(place) > 1 and place[0] in SECTIONS else 1


def _known(name: str) -> bool:
    first, *rest = name.lower().removeprefix("gateway_").split("__")
    within = SECTIONS[first].model_fields if first in SECTIONS else {}
    return first in Settings.model_fields or bool(rest and rest[0] in within)


def _names() -> set[str]:
    """Variables of the environment, and secret files."""
    names = set(os.environ) - {FILE_VARIABLE, SECRETS_VARIABLE}
    if folder := os.environ.get(SECRETS_VARIABLE):
        names.update(os.listdir(folder))
    return {name for name in names if name.upper().startswith("GATEWAY_")}
