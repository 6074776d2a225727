"""The clients in ``examples/`` get an answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from tests import images, loopback, sounds
from tests.conftest import absent
from tests.examples import EXAMPLES, Shell, module, node
from tests.integration.conftest import require
from tests.process import KEY, Engine, Gateway, Process, free_port

QUESTION = 'echo: "sea"'
CLIENTS = ["Chat.java", "ai_sdk_chat.mjs", "anthropic_chat.py", "chat.sh", "langchain_chat.py",
           "openai_chat.mjs", "openai_chat.py"]  # fmt: skip
MEDIA = ["ai_sdk_media.mjs", "anthropic_media.py", "langchain_media.py", "openai_media.mjs",
         "openai_media.py"]  # fmt: skip
ELSEWHERE = {"browser.html", "claude_code.sh", "codex.sh", "continue.yaml", "open_webui.sh",
             "n8n.json"}  # fmt: skip
NEEDS = {"anthropic": "anthropic", "langchain": "langchain_openai", "openai": "openai"}


OPEN_WEBUI = """
import json, os, sys, urllib.request
assert sys.argv[1:] == ["serve", "--host", "127.0.0.1", "--port", "3000"]
headers = {"authorization": "Bearer " + os.environ["OPENAI_API_KEY"],
           "content-type": "application/json", "x-openwebui-user-name": "Ada"}
def ask(path, body=None):
    url = os.environ["OPENAI_API_BASE_URL"] + path
    request = urllib.request.Request(url, body and json.dumps(body).encode(), headers)
    return urllib.request.urlopen(request).read().decode()
models = ask("/models")
print(models)
print(ask("/chat/completions", {"model": json.loads(models)["data"][0]["id"], "stream": True,
    "messages": [{"role": "user", "content": "echo: the sea"}]}))
"""


def test_each_example_is_run() -> None:
    found = {p.name for p in EXAMPLES.iterdir() if p.is_file()}
    assert found - {"README.md", "package.json", "package-lock.json", ".npmrc"} == (
        set(CLIENTS) | set(MEDIA) | ELSEWHERE
    )


def command(example: str) -> list[str]:
    """What runs a client."""
    path = str(EXAMPLES / example)
    match Path(example).suffix:
        case ".sh":
            require("curl")
            return ["sh", path]
        case ".java":
            require("javac")
            return ["java", path]
        case ".mjs":
            module("openai")
            return [node(), path]
    if find_spec(needed := NEEDS[example.partition("_")[0]]) is None:
        absent(needed)
    return [sys.executable, path]


@pytest.mark.parametrize("example", CLIENTS)
def test_a_client_prints_the_answer(example: str, gateway: Gateway) -> None:
    done = subprocess.run(
        [*command(example), QUESTION],
        env={**os.environ, "GATEWAY_URL": gateway.url, "GATEWAY_API_KEY": KEY},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "sea" in done.stdout


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, Engine]]:
    """A gateway, and an engine whose model asks for the weather of Paris."""
    folder = tmp_path_factory.mktemp("media")
    with (
        Engine(folder) as engine,
        Gateway(folder / "gateway", upstreams=engine.url + "/v1") as gateway,
    ):
        script = {"call": ["get_weather", '{"city": "Paris"}']}
        urllib.request.urlopen(engine.url + "/_script", json.dumps(script).encode(), 60).close()
        yield gateway, engine


@pytest.mark.parametrize("example", MEDIA)
def test_a_client_shows_a_picture_a_recording_and_a_tool(
    example: str, seen: tuple[Gateway, Engine], tmp_path: Path
) -> None:
    gateway, engine = seen
    (tmp_path / "a.jpg").write_bytes(images.photo())
    (tmp_path / "a.wav").write_bytes(sounds.wav(0.5, 44_100, 2))
    done = subprocess.run(
        [*command(example), str(tmp_path / "a.jpg"), str(tmp_path / "a.wav")],
        env={**os.environ, "GATEWAY_URL": gateway.url, "GATEWAY_API_KEY": KEY},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    *answers, weather = done.stdout.splitlines()
    asked = 1 if example.startswith("anthropic") else 3 if example.startswith("openai") else 2
    assert answers == [loopback.SENTENCE] * asked
    assert weather == "18 degrees in Paris"
    with urllib.request.urlopen(engine.url + "/_state", timeout=60) as reply:
        given = json.load(reply)["media"][-asked:]
    assert given == ["image/jpeg", "audio/wav", "form"][:asked]


@pytest.mark.asyncio(loop_scope="session")
async def test_a_page_of_another_origin_shows_the_answer(
    browser: Browser, engine: Engine, tmp_path: Path
) -> None:
    port = free_port()
    serve = ["-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", str(EXAMPLES)]
    origin = f"http://127.0.0.1:{port}"
    settings = {"upstreams": engine.url + "/v1", "cors_origins": origin}
    with (
        Process(serve, dict(os.environ), tmp_path / "page.log", port, "/browser.html", 20),
        Gateway(tmp_path, **settings) as gateway,
    ):
        page = await browser.new_page()
        await page.goto(f"{origin}/browser.html")
        await page.get_by_label("Gateway").fill(gateway.url)
        await page.get_by_label("API key").fill(KEY)
        await page.get_by_label("Question").fill(QUESTION)
        await page.get_by_role("button").click()
        await expect(page.locator("output")).to_have_text('"sea"')
        await page.get_by_label("API key").fill("of nobody's")
        await page.get_by_role("button").click()
        await expect(page.locator("output")).to_contain_text("Send a valid API key")
        await page.close()


async def test_open_webui_finds_the_models_and_streams(gateway: Gateway, tmp_path: Path) -> None:
    """With the two calls that it makes, by the variables that it reads: it is 7 GB itself."""
    program = tmp_path / "open-webui"
    program.write_text(f"#!{sys.executable}\n{OPEN_WEBUI}", "utf-8")
    program.chmod(0o755)
    shell = Shell(gateway.url, KEY, tmp_path)
    printed = await shell.run("sh", str(EXAMPLES / "open_webui.sh"), OPEN_WEBUI=str(program))
    assert "gemma-3-270m" in printed
    assert '"content":" sea"' in printed


async def test_n8n_s_workflow_asks_gemma(gateway: Gateway) -> None:
    """With LangChain, which n8n's nodes stand on, and their parameters: n8n is 2 GB itself."""
    from langchain_openai import ChatOpenAI

    workflow = json.loads((EXAMPLES / "n8n.json").read_text("utf-8"))
    nodes = {node["name"]: node for node in workflow["nodes"]}
    for source, links in workflow["connections"].items():
        assert source in nodes
        assert all(link["node"] in nodes for way in links.values() for (link,) in way)
    (ask,) = [node for node in nodes.values() if node["type"].endswith(".chainLlm")]
    (model,) = [node for node in nodes.values() if node["type"].endswith(".lmChatOpenAi")]
    chat = ChatOpenAI(
        base_url=gateway.url + "/v1", api_key=KEY, model=model["parameters"]["model"]["value"]
    )
    assert (await chat.ainvoke(ask["parameters"]["text"])).text == loopback.SENTENCE
