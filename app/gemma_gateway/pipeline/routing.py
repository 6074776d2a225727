"""Which model a call goes to, and where else it may go."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from functools import lru_cache

from gemma_gateway.core.call import Call, Principal
from gemma_gateway.core.catalogue import Catalogue
from gemma_gateway.core.engine import Engine
from gemma_gateway.core.errors import Code, GatewayError, quoted
from gemma_gateway.telemetry.log import logger

# Names of hub models, folders and adapters; nothing that means something in a URL or a log line.
_NAME = re.compile(r"[A-Za-z0-9/._][A-Za-z0-9/._:@+-]{0,255}")
MOST_NAMES = 5  # in an error's text
SERVED = "x-served-model"  # response header: which model answered


@lru_cache(256)  # of as many names there are few
def _is_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None


class Routing:
    """The step that chooses the model, and what each caller may choose from.

    Args:
        engine: knows what is served.
        catalogue: knows its other names, and its fallbacks.
        reserve: takes what a call needs of the limits of another model; raises GatewayError where
            there isn't so much left.
        count: told of each call that goes on to another model: its own, the other, and why.
    """

    name = "validation"

    def __init__(
        self,
        engine: Engine,
        catalogue: Catalogue,
        reserve: Callable[[Call, str], Awaitable[None]],
        count: Callable[[str, str, str], None],
    ) -> None:
        self._engine = engine
        self._catalogue = catalogue
        self._reserve = reserve
        self._count = count

    def models(self, principal: Principal) -> list[str]:
        """Names, aliases among them, of the served models that this caller may use."""
        names = (*self._engine.models(), *self._catalogue.aliases())
        return [name for name in names if self._catalogue.admits(principal.models, name)]

    def run(self, call: Call) -> None:
        """See ``Step``; raises MODEL_NOT_ALLOWED, MODEL_NOT_FOUND or ENGINE_UNAVAILABLE."""
        principal, asked = call.principal, call.request
        assert principal is not None  # the first stage knows
        name = self._route(asked.body.get("model"), principal)
        asked.model = asked.body["model"] = name
        if self._catalogue.empty:
            return
        call.answer.headers[SERVED] = name
        model = self._catalogue.find(name)
        if model is not None and model.fallbacks:
            others = [self._catalogue.resolve(other) for other in model.fallbacks]
            allowed = [o for o in others if self._catalogue.admits(principal.models, o)]
            if allowed:
                asked.route = Fallbacks(
                    call, allowed, model.queue_timeout, self._reserve, self._count
                )

    def _route(self, wanted: str | None, principal: Principal) -> str:
        """The model to use: the one asked for, or the first served one when none was named."""
        if wanted is None:
            if not (served := self._engine.models()):
                raise GatewayError(Code.ENGINE_UNAVAILABLE, wait=5)
            allowed = self.models(principal)
            wanted = allowed[0] if allowed else served[0]
        name = wanted if self._catalogue.empty else self._catalogue.resolve(wanted)
        if principal.models and not self._catalogue.admits(principal.models, wanted):
            raise self.unknown(wanted, principal, Code.MODEL_NOT_ALLOWED)
        # A server that lists no models is asked for any name, but for one that can't be a name.
        if not self._engine.serves(name) or (self._catalogue.empty and not _is_name(name)):
            raise self.unknown(wanted, principal)
        return name

    def unknown(
        self, wanted: str, principal: Principal, code: Code = Code.MODEL_NOT_FOUND
    ) -> GatewayError:
        """What a caller hears who asks for a model that isn't there, or not for this key."""
        allowed = self.models(principal)
        names = ", ".join(map(quoted, allowed[:MOST_NAMES]))
        more = f" and {len(allowed) - MOST_NAMES} more" if len(allowed) > MOST_NAMES else ""
        may = f"This key may use {names}{more}" if names else "No model is listed"
        what = (
            "does not exist" if code is Code.MODEL_NOT_FOUND else "is not one that this key may use"
        )
        return GatewayError(
            code,
            f"The model {quoted(wanted)} {what}. {may} (GET /v1/models); an operator can make "
            "further names aliases of a model.",
            param="model",
        )


class Fallbacks:
    """Where else one call may go: ``core.engine.Route``.

    Args:
        call: the call.
        models: in order; the caller may use them all.
        patience: see ``Route``.
        reserve: see ``Routing``, as ``count``.
    """

    def __init__(
        self,
        call: Call,
        models: list[str],
        patience: float | None,
        reserve: Callable[[Call, str], Awaitable[None]],
        count: Callable[[str, str, str], None],
    ) -> None:
        self.patience = patience
        self._call = call
        self._left = models
        self._reserve = reserve
        self._count = count

    def keep(self, fits: Callable[[str], bool]) -> None:
        """See ``Route``."""
        self._left = [name for name in self._left if fits(name)]
        if not self._left:
            self.patience = None

    async def further(self, reason: str) -> str | None:
        """See ``Route``; a model whose limits have no room is left out."""
        asked, name = self._call.request, None
        while self._left and name is None:
            name = self._left.pop(0)
            try:
                await self._reserve(self._call, name)
            except GatewayError:
                name = None
        if not self._left:
            self.patience = None  # there is nowhere else to go
        if name is not None:
            logger.info(
                "call %s goes on from %s to %s: %s",
                self._call.engine_id, asked.model, name, reason,
            )  # fmt: skip
            self._count(asked.model, name, reason)
            asked.model = self._call.answer.headers[SERVED] = name
        return name
