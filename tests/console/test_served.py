"""What goes over the wire: sizes, encodings, caching, and what the page may do."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from http.client import HTTPResponse
from pathlib import Path

import pytest

from gemma_gateway.console.site import Site
from tests.conftest import absent
from tests.process import Gateway

ROOT = Path(__file__).parents[2]
LIMIT = 300_000  # bytes, compressed


@pytest.fixture(autouse=True)
def built() -> None:
    """All of this is about the built console."""
    if Site.installed().page is None:
        absent("the built console (make console)")


def get(gateway: Gateway, path: str, method: str = "GET", **headers: str) -> HTTPResponse:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(gateway.url + path, headers=named, method=method)
    reply = urllib.request.urlopen(request, timeout=60)
    assert isinstance(reply, HTTPResponse)
    return reply


def loaded(gateway: Gateway) -> list[str]:
    """Paths of all that the page loads."""
    html = get(gateway, "/console").read().decode()
    return ["/" + path for path in re.findall(r'(?:src|href)="([^"]+)"', html)]


@pytest.mark.parametrize("encoding", ["br", "gzip"])
def test_the_page_is_small(site: Gateway, encoding: str) -> None:
    paths = ["/console", *loaded(site)]
    assert len(paths) == 5
    size = 0
    for path in paths:
        reply = get(site, path, accept_encoding=f"{encoding}, *;q=0.1")
        assert reply.headers["content-encoding"] == encoding
        assert reply.headers["vary"] == "accept-encoding"
        body = reply.read()
        size += len(body)
        if encoding == "gzip":
            assert gzip.decompress(body) == get(site, path).read()
    print(f"{encoding}: {size} bytes")
    assert size < LIMIT


def test_the_policy_allows_nothing_inline_and_nothing_from_elsewhere(site: Gateway) -> None:
    for path in ["/console", *loaded(site), "/console/licenses.txt"]:
        headers = get(site, path).headers
        policy = headers["content-security-policy"]
        assert "unsafe" not in policy
        assert "http" not in policy
        parts = dict(part.split(" ", 1) for part in policy.split("; "))
        assert parts["default-src"] == "'none'"
        assert {parts[f"{kind}-src"] for kind in ("script", "style", "connect")} == {"'self'"}
        assert (parts["img-src"], parts["media-src"]) == ("'self' blob:", "blob:")
        for name in ("frame-ancestors", "base-uri", "form-action"):
            assert parts[name] == "'none'"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
    html = get(site, "/console").read().decode()
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\son\w+=", html)
    assert "//" not in html.replace("<!doctype", "")


def test_assets_are_kept_for_ever_and_the_page_is_asked_for_again(site: Gateway) -> None:
    page = get(site, "/console")
    assert page.headers["cache-control"] == "no-cache"
    with pytest.raises(urllib.error.HTTPError) as unchanged:
        get(site, "/console", if_none_match=page.headers["etag"])
    assert unchanged.value.code == 304
    for path in loaded(site):
        reply = get(site, path)
        assert "immutable" in reply.headers["cache-control"]
        assert hashlib.sha256(reply.read()).hexdigest()[:12] in path
        head = get(site, path, "HEAD")
        assert int(head.headers["content-length"]) > 0
        assert head.read() == b""


@pytest.mark.parametrize(
    "path", ["index.html", "..%2findex.html", "%2e%2e/index.html", "x.js", "main.js.br", ""]
)
def test_only_the_page_s_own_files_are_served(site: Gateway, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as error:
        get(site, f"/console/assets/{path}")
    assert error.value.code == 404
    assert json.loads(error.value.read())["error"]["gateway_code"] == "NOT_FOUND"


def test_a_slash_too_many_leads_to_the_page(site: Gateway) -> None:
    assert get(site, "/console/").url == site.url + "/console"


def test_the_licences_of_what_is_inside_are_told(site: Gateway) -> None:
    text = get(site, "/console/licenses.txt").read().decode()
    wanted = json.loads((ROOT / "console" / "package.json").read_text())["dependencies"]
    for name in wanted.keys() - {"esbuild"}:  # which builds it, and stays outside
        assert re.search(rf"^{re.escape(name)} \d", text, re.MULTILINE), name
    assert text.count("Permission is hereby granted") >= 5  # whole texts


def test_the_lock_file_is_in_step(tmp_path: Path) -> None:
    for name in ("package.json", "package-lock.json", ".npmrc"):
        shutil.copy(ROOT / "console" / name, tmp_path)
    lock = json.loads((tmp_path / "package-lock.json").read_text())
    packages = [package for name, package in lock["packages"].items() if name]
    assert all("integrity" in package for package in packages)
    assert not any("resolved" in package for package in packages)  # your registry, not ours
    command = ["sh", str(ROOT / "scripts" / "npm.sh"), sys.executable, "--prefix", str(tmp_path)]
    done = subprocess.run(
        [*command, "ci", "--dry-run"], capture_output=True, text=True, check=False, timeout=120
    )
    if "no Node.js" in done.stderr:
        absent("Node.js (make console)")
    assert done.returncode == 0, done.stderr
