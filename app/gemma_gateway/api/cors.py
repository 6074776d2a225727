"""Pages of other origins: what their browsers are told, so that scripts may call the gateway."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware

from gemma_gateway.api.app import GatewayApp

METHODS = ("GET", "HEAD", "POST", "PATCH", "DELETE")
# Answers' headers that a script may read. A browser takes the star as it is where no cookies are
# sent, and no route here knows any: it stands for what is not named.
EXPOSED = (
    *("x-request-id", "request-id", "retry-after", "retry-after-ms", "x-should-retry"),
    *("x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
    *("x-served-model", "x-gateway-ignored", "x-gateway-changed", "*"),
)
MAX_AGE = 7200  # seconds that a preflight holds; Chromium's own bound


class Cors(CORSMiddleware):
    """The application, for pages of some origins: preflights are answered here, and all answers say
    who may read them. Headers of requests are not chosen from: keys and the SDKs' own ones pass.

    Args:
        app: the application.
        origins: ``scheme://host[:port]``, or ``*`` for all.
    """

    def __init__(self, app: GatewayApp, origins: Sequence[str]) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=METHODS,
            allow_headers=("*",),
            expose_headers=EXPOSED,
            allow_private_network=True,
            max_age=MAX_AGE,
        )
        self.errors = app.errors
        self.stop = app.stop

    def headers(self, asked: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """What an answer says that doesn't come from the application.

        Args:
            asked: the request's headers.
        """
        origin = Headers(raw=list(asked)).get("origin")
        found = MutableHeaders({"vary": "Origin"})
        if origin is not None:
            found.update(self.simple_headers)
            if not self.allow_all_origins and self.is_allowed_origin(origin):
                found["access-control-allow-origin"] = origin
        return found.raw
