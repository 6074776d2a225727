"""All presets of a gateway, by id and version."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import cache, partial
from pathlib import Path

from gemma_gateway.core.errors import Code, GatewayError, quoted
from gemma_gateway.presets import file
from gemma_gateway.presets.preset import Preset
from gemma_gateway.settings import Settings

MOST_NAMES = 20  # in an error's text


class Shelf:
    """The versions of one preset.

    Args:
        presets: at least one, in their order.
        default: the one that is meant where none is named.
    """

    def __init__(self, presets: dict[str, Preset], default: Preset) -> None:
        self.presets = presets
        self.default = default

    @property
    def versions(self) -> list[str]:
        """Of all of them."""
        return list(self.presets)


class Library:
    """The presets that clients may use. It goes over to other ones at once (``Reloadable``).

    Args:
        shelves: by id.
    """

    def __init__(self, shelves: dict[str, Shelf]) -> None:
        self._shelves = shelves

    @classmethod
    def load(cls, path: Path | None = None) -> Library:
        """The built-in presets, and over them an operator's.

        Args:
            path: a YAML file or a folder of some; None: there are none.

        Raises:
            ConfigError: one of the presets can't be used.
        """
        return cls(_shelves(path))

    async def prepare(self, settings: Settings) -> Callable[[], None]:
        """See ``Reloadable``; raises ConfigError."""
        shelves = await asyncio.to_thread(_shelves, settings.prompts.prompts_file)
        return partial(setattr, self, "_shelves", shelves)

    def shelves(self) -> list[Shelf]:
        """All, by id."""
        return [shelf for _, shelf in sorted(self._shelves.items())]

    def shelf(self, name: str, param: str | None = None) -> Shelf:
        """The versions of one preset.

        Args:
            name: its id.
            param: where the client named it, for the error.

        Raises:
            GatewayError: PROMPT_NOT_FOUND, with the ids that there are.
        """
        found = self._shelves.get(name)
        if found is None:
            known = _some(sorted(self._shelves))
            raise GatewayError(
                Code.PROMPT_NOT_FOUND,
                f"There is no preset {quoted(name)}. There are {known} (GET /v1/prompts).",
                param=param,
            )
        return found

    def find(
        self, name: str, version: str | int | None, at: tuple[str | None, str] = (None, "version")
    ) -> Preset:
        """One version of a preset; the default where none is named.

        Args:
            name: its id.
            version: which; None: the default.
            at: where the client named both, for errors.

        Raises:
            GatewayError: PROMPT_NOT_FOUND, with the ids or versions that there are.
        """
        shelf = self.shelf(name, at[0])
        if version is None:
            return shelf.default
        found = shelf.presets.get(str(version))
        if found is None:
            raise GatewayError(
                Code.PROMPT_NOT_FOUND,
                f"The preset {name} has no version {quoted(str(version))}. It has "
                f"{_some(shelf.versions)}.",
                param=at[1],
            )
        return found


def _some(names: list[str]) -> str:
    more = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


@cache
def _built_in() -> dict[str, Shelf]:
    return _by_id(file.read(file.BUILT_IN, "built-in"))


def _shelves(path: Path | None) -> dict[str, Shelf]:
    return _built_in() | _by_id(() if path is None else file.read(path, "operator"))


def _by_id(found: Iterable[file.Read]) -> dict[str, Shelf]:
    """Presets on their shelves. The default is the one that says so, else the last."""
    versions: dict[str, dict[str, Preset]] = {}
    defaults: dict[str, Preset] = {}
    for each in found:
        preset = each.preset
        versions.setdefault(preset.id, {})[preset.version] = preset
        if each.entry.default:
            defaults[preset.id] = preset
    return {
        name: Shelf(presets, defaults.get(name) or [*presets.values()][-1])
        for name, presets in versions.items()
    }
