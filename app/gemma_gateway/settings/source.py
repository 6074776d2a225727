"""Where a process has its settings from, and whether that has changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from gemma_gateway.settings.settings import Settings
from gemma_gateway.settings.yamlfile import yaml_files

Digests = dict[Path, str]


@dataclass(frozen=True)
class Snapshot:
    """Settings as they were read at one time.

    Args:
        settings: what was read.
        digests: of the files it was read from, see :meth:`Source.look`.
    """

    settings: Settings
    digests: Digests


class Source:
    """Reads settings, as often as it is asked. All of it blocks.

    Args:
        read: gives the settings, checked; raises ConfigError.
        file: the YAML file that it reads; None: there is none.

    Attributes:
        first: as the process started with them.

    Raises:
        ConfigError: the settings can't be used.
    """

    def __init__(self, read: Callable[[], Settings], file: Path | None = None) -> None:
        self.file = file
        self._read = read
        self.first = self.load()

    def load(self) -> Snapshot:
        """Read the settings anew.

        Raises:
            ConfigError: they can't be used.
        """
        before = self.look()  # a change while it is being read shows at the next look
        settings = self._read()
        return Snapshot(settings, self.look(settings) | before)

    def look(self, settings: Settings | None = None) -> Digests:
        """SHA-256 of the file, and of those that settings name and that are read again: the keys'
        files of models, and prompt presets. Empty: one can't be read."""
        files = {self.file}
        if settings is not None:
            files |= {model.api_key_file for model in settings.models}
            files |= set(prompt_files(settings))
        return {file: _digest(file) for file in files if file is not None}


def prompt_files(settings: Settings) -> list[Path]:
    """The files of prompt presets."""
    path = settings.prompts.prompts_file
    return [] if path is None else yaml_files(path)


def _digest(file: Path) -> str:
    try:
        return sha256(file.read_bytes()).hexdigest()
    except OSError:
        return ""
