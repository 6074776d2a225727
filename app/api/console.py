"""The web console's page and what it loads."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from app.console.site import ABSENT, FOREVER, GUARDS, Asset, Site
from app.errors import Code, GatewayError

METHODS = ["GET", "HEAD"]
ASK_AGAIN = "no-cache"  # kept, but asked for at each visit: a new build shows at once


def router(site: Site) -> APIRouter:
    """Routes below ``/console``. They need no key: the page itself asks for one."""
    routes = APIRouter(prefix="/console", include_in_schema=False)

    @routes.api_route("", methods=METHODS)
    async def page(request: Request) -> Response:
        """The page, or how to get it."""
        if site.page is None:
            return Response(ABSENT, 404, GUARDS, media_type="text/html")
        return _respond(request, site.page, ASK_AGAIN)

    @routes.api_route("/assets/{name}", methods=METHODS)
    async def asset(name: str, request: Request) -> Response:
        """A script, a style sheet or the icon; its name changes with its content."""
        if name not in site.assets:
            raise GatewayError(Code.NOT_FOUND)
        return _respond(request, site.assets[name], FOREVER)

    @routes.api_route("/licenses.txt", methods=METHODS)
    async def licenses(request: Request) -> Response:
        """The licences of the packages inside the page."""
        if site.licenses is None:
            raise GatewayError(Code.NOT_FOUND)
        return _respond(request, site.licenses, ASK_AGAIN)

    return routes


def _respond(request: Request, asset: Asset, caching: str) -> Response:
    headers = {
        **GUARDS,
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
