"""The models that the settings list, by each of their names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from gemma_gateway.settings import Model, Settings


class Catalogue:
    """What is known of the listed models. An empty one knows nothing, and every name is its own.

    Args:
        models: of the settings; names are unique among them.

    Attributes:
        empty: no model is listed.
    """

    def __init__(self, models: Sequence[Model] = ()) -> None:
        self.replace(models)

    def replace(self, models: Sequence[Model]) -> None:
        """Go over to another list, at once."""
        self.empty = not models
        self._models = {name: model for model in models for name in model.names}
        self._aliases = {alias: model.name for model in models for alias in model.aliases}

    async def prepare(self, settings: Settings) -> Callable[[], None]:
        """See ``Reloadable``."""
        return partial(self.replace, settings.engine.models)

    def aliases(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(self._aliases)

    def resolve(self, name: str) -> str:
        """The name that stands behind an alias; any other name is its own."""
        return self._aliases.get(name, name)

    def find(self, name: str) -> Model | None:
        """The model of a resolved name, its own or an adapter's; None where none is listed."""
        return self._models.get(name)

    def admits(self, allowed: Iterable[str], name: str) -> bool:
        """Whether a list of names, aliases among them, holds a model. An empty one holds all."""
        allowed = frozenset(allowed)
        wanted = self.resolve(name)
        return not allowed or wanted in allowed or any(self.resolve(a) == wanted for a in allowed)
