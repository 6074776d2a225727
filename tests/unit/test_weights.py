"""Where models come from, and what is said when they don't."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from gemma_gateway.engines.local import convert, weights
from gemma_gateway.settings import Settings

ROOT = Path(__file__).parents[2]


def folder(path: Path, **config: str) -> Path:
    path.mkdir()
    (path / "config.json").write_text(json.dumps(config))
    return path


def test_a_folder_is_used_as_it_is(tmp_path: Path) -> None:
    model = folder(tmp_path / "my-gemma", model_type="gemma3")
    assert weights.prepare(str(model), tmp_path, print) == model
    assert weights.served_name(str(model)) == "my-gemma"


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(weights.ModelUnavailable, match=r"no config\.json"):
        weights.prepare(str(tmp_path), tmp_path, print)


HERE: Any = {"name": "here", "aliases": ["small"]}
THERE: Any = {"name": "there", "upstreams": "http://h:1/v1"}


@pytest.mark.parametrize(
    ("given", "name", "bundled"),
    [
        ({}, "gemma-3-270m", True),
        ({}, "an-adapter", False),
        ({"served_model_name": "mine"}, "mine", True),
        ({"served_model_name": "mine"}, "gemma-3-270m", False),
        ({"model": "google/gemma-3-4b-it"}, "google/gemma-3-4b-it", False),
        ({"model": "/models/gemma-3-270m"}, "gemma-3-270m", False),
        ({"upstreams": "http://h:1/v1"}, "gemma-3-270m", False),
        ({"models": [THERE, HERE]}, "here", True),
        ({"models": [THERE, HERE]}, "there", False),
        ({"models": [HERE | {"model": "google/gemma-3-4b-it"}]}, "here", False),
    ],
)
def test_the_bundled_model_alone_is_described(
    given: dict[str, Any], name: str, bundled: bool
) -> None:
    said = weights.description(Settings(**given).engine, name)
    assert said == (weights.BUNDLED if bundled else None)


@pytest.mark.parametrize("name", ["gemma", "a/b/c", "http://x/y", "../etc/passwd", "a b/c"])
def test_what_is_neither_folder_nor_hub_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(weights.ModelUnavailable, match="neither a folder nor a hub name"):
        weights.prepare(name, tmp_path, print)


def test_a_prepared_bundle_is_not_made_again(tmp_path: Path) -> None:
    target = tmp_path / "models" / weights.BUNDLED_NAME
    target.mkdir(parents=True)
    (target / convert.MARKER).write_text(json.dumps({"recipe": convert.RECIPE}))
    lines: list[str] = []
    assert weights.prepare("", tmp_path, lines.append) == target
    assert lines == []


def test_names_that_clients_use() -> None:
    assert weights.served_name("") == "gemma-3-270m"
    assert weights.served_name("google/gemma-3-4b-it") == "google/gemma-3-4b-it"


class Hub(BaseHTTPRequestHandler):
    """A model hub that answers as the real one does for repositories one may not read."""

    def do_GET(self) -> None:
        code = "GatedRepo" if "gated" in self.path else "RepoNotFound"
        self.send_response(403 if "gated" in self.path else 401)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", "Access is restricted.")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("name", "reachable", "said"),
    [
        ("google/gated-gemma", True, "accept the license at https://huggingface.co/google/gated"),
        ("google/no-gemma", True, "no model named google/no-gemma"),
        ("google/gemma", False, "not on this machine and can't be downloaded"),
    ],
)
def test_a_hub_model_that_cant_be_had_is_explained(
    tmp_path: Path, hub: str, name: str, reachable: bool, said: str
) -> None:
    pytest.importorskip("huggingface_hub", reason="no hub client in the core install")
    code = (
        "import sys; from pathlib import Path; from gemma_gateway.engines.local import weights\n"
        "try: weights.prepare(sys.argv[1], Path(sys.argv[2]), lambda line: None)\n"
        "except weights.ModelUnavailable as error: print(error)"
    )
    environment = {
        "HF_HOME": str(tmp_path),
        "HF_ENDPOINT": hub if reachable else "http://127.0.0.1:1",
        "HF_HUB_ETAG_TIMEOUT": "1",
        "PATH": "/usr/bin:/bin",
    }
    done = subprocess.run(
        [sys.executable, "-c", code, name, str(tmp_path)],
        env=environment, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert said in done.stdout
    assert "Traceback" not in done.stdout


def test_other_weights_than_the_pinned_ones_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF, but another")
    with pytest.raises(ValueError, match=f"expected {convert.SHA256[:16]}"):
        convert.verify(file)
