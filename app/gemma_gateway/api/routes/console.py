"""The web console, the page of the API, and what they load."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from gemma_gateway.console.site import (
    ABSENT,
    DOCS_ABSENT,
    DOCS_GUARDS,
    FOREVER,
    GUARDS,
    Asset,
    Site,
)
from gemma_gateway.core.errors import Code, GatewayError

ASK_AGAIN = "no-cache"  # kept, but asked for at each visit: a new build shows at once


def router(site: Site) -> APIRouter:
    """``/docs`` and routes below ``/console``. They need no key: the page itself asks for one."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/docs")
    async def docs(request: Request) -> Response:
        """The page of the API, or how to get it."""
        if site.docs is None:
            return Response(DOCS_ABSENT, 404, DOCS_GUARDS, media_type="text/html")
        return _respond(request, site.docs, ASK_AGAIN, DOCS_GUARDS)

    @routes.get("/console/")
    @routes.get("/docs/")
    async def slash(request: Request) -> Response:
        """To the page, whose addresses are relative; so is this one."""
        name = request.url.path.rstrip("/").rpartition("/")[2]
        return Response(None, 307, {"location": f"../{name}", **GUARDS})

    @routes.get("/console")
    async def page(request: Request) -> Response:
        """The page, or how to get it."""
        if site.page is None:
            return Response(ABSENT, 404, GUARDS, media_type="text/html")
        return _respond(request, site.page, ASK_AGAIN)

    @routes.get("/console/assets/{name}")
    async def asset(name: str, request: Request) -> Response:
        """A script, a style sheet or the icon; its name changes with its content."""
        if name not in site.assets:
            raise GatewayError(Code.NOT_FOUND)
        return _respond(request, site.assets[name], FOREVER)

    @routes.get("/favicon.ico")
    async def icon(request: Request) -> Response:
        """The console's icon, for browsers that ask here whatever a page says."""
        if site.icon is None:
            raise GatewayError(Code.NOT_FOUND)
        return _respond(request, site.icon, ASK_AGAIN)

    @routes.get("/console/licenses.txt")
    async def licenses(request: Request) -> Response:
        """The licences of the packages inside the page."""
        if site.licenses is None:
            raise GatewayError(Code.NOT_FOUND)
        return _respond(request, site.licenses, ASK_AGAIN)

    return routes


def _respond(
    request: Request, asset: Asset, caching: str, guards: dict[str, str] = GUARDS
) -> Response:
    headers = {
        **guards,
        "cache-control": caching,
        "etag": asset.etag,
        "vary": "accept-encoding",
    }
    if asset.etag in request.headers.get("if-none-match", ""):
        return Response(None, 304, headers)
    encoding, body = asset.encoded(request.headers.get("accept-encoding", ""))
    if encoding != "identity":
        headers["content-encoding"] = encoding
    return Response(body, 200, headers, media_type=asset.media_type)
