"""The settings of a process: environment, secret files, a YAML file, defaults, in this order."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError
from pydantic_settings.exceptions import SettingsError

from gemma_gateway.settings import SECRETS_VARIABLE, Settings
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
    found = _find() if file is None else YamlFile(file)
    values = {} if found is None or found.values is None else found.values
    if not isinstance(values, dict):
        raise ConfigError(f"{found.file if found else ''}:1: the file must be a mapping")
    _check_secrets()
    if odd := [name for name in values if not isinstance(name, str)]:
        raise ConfigError(_told([((str(odd[0]),), "no name of a setting")], found))
    try:
        return Settings(**values)
    except ValidationError as error:
        raise ConfigError(_told(faults(error), found)) from None
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
    return _told(faults, _find() if file is None else YamlFile(file))


def unknown_variables() -> list[str]:
    """GATEWAY_ variables and secret files that name no setting: most likely misspelt."""
    known = {f"GATEWAY_{name.upper()}" for name in Settings.model_fields}
    return sorted(name for name in _names() if name.partition("__")[0].upper() not in known)


def _check_secrets() -> None:
    folder = os.environ.get(SECRETS_VARIABLE)
    if folder and not Path(folder).is_dir():
        raise ConfigError(f"{SECRETS_VARIABLE}: {folder} is not a folder")


def _find() -> YamlFile | None:
    named = os.environ.get(FILE_VARIABLE)
    if named:
        return YamlFile(Path(named))
    return YamlFile(DEFAULT_FILE) if DEFAULT_FILE.exists() else None


def _told(faults: Iterable[tuple[Place, str]], found: YamlFile | None) -> str:
    return "\n".join(f"{_where(place, found)}: {why}" for place, why in faults)


def _where(place: Place, found: YamlFile | None) -> str:
    variables = ["__".join(["gateway", *map(str, place[:n])]) for n in range(len(place), 0, -1)]
    given = {name.lower().replace("gateway_", "gateway__", 1): name for name in _names()}
    for variable in variables:
        if variable.lower() in given:
            return f"environment: {given[variable.lower()].upper()}"
    line = found.line(place) if found is not None else None
    if found is not None and line is not None:
        return f"{found.file}:{line}: {field(place)}"
    if place:
        return f"environment: GATEWAY_{'__'.join(str(part) for part in place).upper()}"
    return str(found.file) if found else "environment"


def _names() -> set[str]:
    """Variables of the environment, and secret files."""
    names = set(os.environ) - {FILE_VARIABLE, SECRETS_VARIABLE}
    if folder := os.environ.get(SECRETS_VARIABLE):
        names.update(os.listdir(folder))
    return {name for name in names if name.upper().startswith("GATEWAY_")}
