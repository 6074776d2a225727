"""The settings of a process: the environment over a YAML file over the defaults."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError
from pydantic_settings.exceptions import SettingsError

from app.settings import Settings
from app.yamlfile import ConfigError, YamlFile, faults, field

DEFAULT_FILE = Path("gateway.yaml")
FILE_VARIABLE = "GATEWAY_CONFIG"


def load(file: Path | None = None) -> Settings:
    """Settings from the environment over ``file``.

    Args:
        file: YAML file; by default the one that GATEWAY_CONFIG names, or ``gateway.yaml`` here.

    Raises:
        ConfigError: a file that is missing or isn't YAML, or a wrong or unknown setting.
    """
    found = _find() if file is None else YamlFile(file)
    values = {} if found is None or found.values is None else found.values
    if not isinstance(values, dict):
        raise ConfigError(f"{found.file if found else ''}:1: the file must be a mapping")
    try:
        return Settings(**values)
    except ValidationError as error:
        raise ConfigError("\n".join(_told(error, found))) from None
    except SettingsError as error:
        raise ConfigError(f"environment: {error}") from None


def unknown_variables() -> list[str]:
    """GATEWAY_ variables that name no setting: most likely misspelt."""
    known = {f"GATEWAY_{name.upper()}" for name in Settings.model_fields} | {FILE_VARIABLE}
    mine = (name for name in os.environ if name.startswith("GATEWAY_"))
    return sorted(name for name in mine if name.partition("__")[0] not in known)


def _find() -> YamlFile | None:
    named = os.environ.get(FILE_VARIABLE)
    if named:
        return YamlFile(Path(named))
    return YamlFile(DEFAULT_FILE) if DEFAULT_FILE.exists() else None


def _told(error: ValidationError, found: YamlFile | None) -> Iterator[str]:
    for place, why in faults(error):
        line = found.line(place) if found is not None else None
        if found is not None and line is not None:
            yield f"{found.file}:{line}: {field(place)}: {why}"
        elif place:
            yield f"environment: GATEWAY_{'__'.join(str(part) for part in place).upper()}: {why}"
        else:
            yield f"{found.file if found else 'environment'}: {why}"
