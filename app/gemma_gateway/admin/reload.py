"""The configuration of a running gateway: read again when its file changes, or at a signal."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal

from gemma_gateway.core.periodic import Periodic
from gemma_gateway.core.reload import Reloadable
from gemma_gateway.settings import Contradiction, Model, Settings, config
from gemma_gateway.settings.fields import Fault
from gemma_gateway.settings.source import Snapshot, Source
from gemma_gateway.settings.yamlfile import ConfigError
from gemma_gateway.telemetry import log

PAUSE = 2.0  # seconds between two looks at the files
PATIENCE = 30.0  # seconds until all that a change needs must be ready
LIVE = frozenset({"models", "prompts_file"})  # settings that need no restart
Outcome = Literal["success", "unchanged", "failure"]


class Reload:
    """Takes up changed models and prompt presets while the gateway runs; any other setting needs a
    restart.

    What can't be used changes nothing: the log says what is wrong, and the gateway goes on with
    what it had.

    Args:
        source: of the settings.
        reloadables: who goes over to them, made ready in this order; none: nobody can, so they
            need a restart, too.
        pause: seconds between two looks at the files.
        patience: seconds that all of ``reloadables`` may take together.

    Attributes:
        outcomes: attempts, by how they ended.
        successful: whether the last attempt was; true at the start.
        succeeded: when that last was so, seconds since the epoch.
    """

    def __init__(
        self,
        source: Source,
        reloadables: Sequence[Reloadable],
        *,
        pause: float = PAUSE,
        patience: float = PATIENCE,
    ) -> None:
        self._source = source
        self._reloadables = reloadables
        self._patience = patience
        self._running = source.first
        self._watched = source.first.settings
        self._tried = self._seen = source.first.digests
        self._asked = False
        self._periodic = Periodic(self._look, pause, "the configuration could not be reloaded")
        self.outcomes: dict[str, int] = {"success": 0, "unchanged": 0, "failure": 0}
        self.successful = True
        self.succeeded = time.time()
        self.models_digest = _models_digest(self._running.settings)

    async def start(self) -> None:
        """See ``Part.start``."""
        await self._periodic.start()

    async def stop(self) -> None:
        """See ``Part.stop``."""
        await self._periodic.stop()

    def now(self) -> None:
        """Reload at once, whether or not a file has changed; during a reload: once more."""
        self._asked = True
        self._periodic.wake()

    async def _look(self) -> None:
        """Reload if that was asked for, or if files have changed and are the same at two looks:
        not every editor renames a whole file over the old one."""
        asked, self._asked = self._asked, False
        seen = await asyncio.to_thread(self._source.look, self._watched)
        settled, self._seen = seen == self._seen, seen
        if asked or (settled and seen != self._tried):
            self._tried = seen
            await self._reload()

    async def _reload(self) -> None:
        outcome: Outcome = "failure"
        try:
            outcome = await self._take_up()
            self.succeeded = time.time()
        except (ConfigError, OSError) as error:
            for line in str(error).splitlines():
                log.logger.error("configuration not reloaded: %s", line)
        finally:
            self.outcomes[outcome] += 1
            self.successful = outcome != "failure"

    async def _take_up(self) -> Outcome:
        """Go over to what the files say now.

        Raises:
            ConfigError: that can't be; nothing has changed.
        """
        old = self._running
        new = await asyncio.to_thread(self._source.load)
        self._tried, self._watched = new.digests, new.settings
        restart = await asyncio.to_thread(_others, old.settings, new.settings)
        change = Change.between(old, new)
        # Without models, before or after, it is another engine.
        live = bool(self._reloadables and old.settings.models and new.settings.models)
        if change and not live:
            restart.append("models")
        prompts = _prompts(old) != _prompts(new)
        if prompts and not self._reloadables:
            restart.append("prompts_file")
            prompts = False
        if restart:
            log.logger.warning("changed, needs a restart: %s", ", ".join(sorted(restart)))
        if not (prompts or (change and live)):
            log.logger.info("configuration read again: models unchanged")
            return "unchanged"
        models = new.settings.models if change and live else old.settings.models
        if faults := await asyncio.to_thread(lambda: list(_key_faults(models))):
            raise await self._refused(faults)
        settings, applies = await self._prepare(models, new.settings.prompts.prompts_file)
        for apply in applies:
            apply()
        keys = {model.api_key_file for model in models}  # of models that stay, whatever is written
        kept = {file: digest for file, digest in old.digests.items() if file in keys}
        self._running = Snapshot(settings, kept | new.digests)
        self.models_digest = _models_digest(settings)
        if change and live:
            log.logger.info("models reloaded: %s", change)
        if prompts:
            log.logger.info("prompt presets reloaded")
        return "success"

    async def _prepare(
        self, models: tuple[Model, ...], prompts_file: Path | None
    ) -> tuple[Settings, list[Callable[[], None]]]:
        """The running settings with other models and presets, and what goes over to them."""
        faults: list[Fault]
        try:
            settings = await asyncio.to_thread(
                self._running.settings.reloaded, models, prompts_file
            )
            async with asyncio.timeout(self._patience):
                return settings, [await each.prepare(settings) for each in self._reloadables]
        except Contradiction as error:
            faults = error.faults
        except TimeoutError:
            faults = [(("models",), f"not ready within {self._patience:g} seconds")]
        except ConfigError:  # which says the place itself
            raise
        except (ValueError, OSError) as error:
            faults = [(("models",), str(error))]
        raise await self._refused(faults)

    async def _refused(self, faults: list[Fault]) -> ConfigError:
        """Faults by file and line."""
        return ConfigError(await asyncio.to_thread(config.told, faults, self._source.file))


@dataclass(frozen=True)
class Change:
    """How one list of models differs from another, by their names; false: in nothing.

    Args:
        moved: they are the same, in another order.
    """

    added: list[str]
    removed: list[str]
    changed: list[str]
    moved: bool

    @classmethod
    def between(cls, old: Snapshot, new: Snapshot) -> Change:
        """A model has changed, too, where the file of its key holds another one."""
        before, after = _versions(old), _versions(new)
        added = [name for name in after if name not in before]
        removed = [name for name in before if name not in after]
        changed = [n for n, version in after.items() if before.get(n, version) != version]
        moved = before == after and list(before) != list(after)
        return cls(added, removed, changed, moved)

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed or self.moved)

    def __str__(self) -> str:
        named = {"added": self.added, "removed": self.removed, "changed": self.changed}
        told = [f"{what} {', '.join(names)}" for what, names in named.items() if names]
        return "; ".join(told) or "in another order"


def _versions(snapshot: Snapshot) -> dict[str, tuple[Model, str]]:
    """Each model, and the digest of its key's file."""
    digests = snapshot.digests
    return {
        model.name: (model, digests[model.api_key_file] if model.api_key_file else "")
        for model in snapshot.settings.models
    }


def _prompts(snapshot: Snapshot) -> tuple[Path | None, dict[Path, str]]:
    """Where the presets are, and the digest of each of their files."""
    settings, digests = snapshot.settings, snapshot.digests
    path = settings.prompts.prompts_file
    files = () if path is None else (path, *(file for file in digests if file.parent == path))
    return path, {file: digests[file] for file in files if file in digests}


def _others(old: Settings, new: Settings) -> list[str]:
    """Names of the settings that differ, but for those that can."""
    names = [name for name in Settings.model_fields if name not in LIVE]
    return [name for name in names if getattr(old, name) != getattr(new, name)]


def _key_faults(models: Sequence[Model]) -> Iterator[Fault]:
    for n, model in enumerate(models):
        try:
            model.key()
        except (OSError, ValueError) as error:
            yield ("models", n, "api_key_file"), str(error)


def _models_digest(settings: Settings) -> str:
    """What tells two lists of models apart; it holds no key, so that anybody may see it."""
    shown = [
        model.model_dump(mode="json", exclude={"api_key"}, exclude_defaults=True)
        for model in settings.models
    ]
    return sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()[:16]
