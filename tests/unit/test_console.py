"""The console's files in memory, and what is served where it isn't built."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi import FastAPI
from scripts import console_types
from starlette.types import Message, Scope

from gemma_gateway.api.errors import ErrorBodies
from gemma_gateway.api.routes import console
from gemma_gateway.console.site import Asset, Site


async def fetch(app: FastAPI, path: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of a GET."""
    said: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        said.append(message)

    scope: Scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "query_string": b"",
        "headers": [],
        "state": {"request_id": "req-1"},
    }
    await app(scope, receive, send)
    headers = {name.decode(): value.decode() for name, value in said[0]["headers"]}
    return said[0]["status"], headers, said[1]["body"]


async def test_a_console_that_is_not_built_says_so_and_how_to_build_it(tmp_path: Path) -> None:
    app = FastAPI(docs_url=None)
    ErrorBodies(()).install(app)
    app.include_router(console.router(Site(tmp_path / "nothing")))
    status, headers, body = await fetch(app, "/console")
    assert status == 404
    assert headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in headers["content-security-policy"]
    assert b"make console" in body
    status, headers, body = await fetch(app, "/docs")
    assert (status, headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "default-src 'none'" in headers["content-security-policy"]
    assert b"make console" in body
    assert b'href="openapi.json"' in body
    status, headers, _ = await fetch(app, "/console/licenses.txt")
    assert (status, headers["content-type"]) == (404, "application/json")


@pytest.mark.parametrize("page", ["console", "docs"])
async def test_a_slash_too_many_leads_to_the_page_wherever_the_client_says_it_is(
    tmp_path: Path, page: str
) -> None:
    app = FastAPI(docs_url=None)
    app.include_router(console.router(Site(tmp_path / "nothing")))
    status, headers, _ = await fetch(app, f"/{page}/")
    assert (status, headers["location"]) == (307, f"../{page}")


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", "identity"),
        ("gzip, deflate, br", "br"),
        ("GZIP;q=0.5", "gzip"),
        ("br;q=0, gzip", "gzip"),
        ("br; q=0.000, gzip;q=0", "identity"),
        ("brotli, xgzip", "identity"),
    ],
)
def test_the_smallest_form_that_a_client_takes(tmp_path: Path, accept: str, chosen: str) -> None:
    for suffix, text in (("", "whole"), (".gz", "zipped"), (".br", "b")):
        (tmp_path / f"a.js{suffix}").write_text(text)
    asset = Asset.read(tmp_path / "a.js")
    assert asset.encoded(accept) == (chosen, asset.bodies[chosen])
    assert asset.media_type.startswith("text/javascript")


def test_a_copy_that_is_missing_is_never_named(tmp_path: Path) -> None:
    (tmp_path / "a.css").write_text("a {}")
    assert Asset.read(tmp_path / "a.css").encoded("br, gzip") == ("identity", b"a {}")


def test_the_consoles_types_are_those_of_the_openapi_document() -> None:
    assert console_types.FILE.read_text() == console_types.text()
