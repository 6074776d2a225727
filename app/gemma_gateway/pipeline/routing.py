"""Which model a call goes to."""

from __future__ import annotations

from gemma_gateway.core.call import Call, Principal
from gemma_gateway.core.engine import Engine
from gemma_gateway.core.errors import Code, GatewayError


class Routing:
    """The step that chooses the model, and what each caller may choose from.

    Args:
        engine: knows what is served.
    """

    name = "validation"

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def models(self, principal: Principal) -> list[str]:
        """Names of the served models that this caller may use."""
        return [m for m in self._engine.models() if not principal.models or m in principal.models]

    def run(self, call: Call) -> None:
        """See ``Step``; raises MODEL_NOT_ALLOWED, MODEL_NOT_FOUND or ENGINE_UNAVAILABLE."""
        principal, body = call.principal, call.request.body
        assert principal is not None  # the first stage knows
        call.request.model = body["model"] = self._route(body.get("model"), principal)

    def _route(self, wanted: str | None, principal: Principal) -> str:
        """The model to use: the one asked for, or the first served one when none was named."""
        if wanted is None:
            if not (served := self._engine.models()):
                raise GatewayError(Code.ENGINE_UNAVAILABLE, headers={"retry-after": "5"})
            allowed = self.models(principal)
            wanted = allowed[0] if allowed else served[0]
        if principal.models and wanted not in principal.models:
            raise GatewayError(Code.MODEL_NOT_ALLOWED, param="model")
        if not self._engine.serves(wanted):
            raise GatewayError(Code.MODEL_NOT_FOUND, param="model")
        return wanted
