"""The command line."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
import yaml
from scripts import settings_table

from gemma_gateway import __version__
from gemma_gateway.access.keys import KeyRing
from gemma_gateway.cli import serve
from gemma_gateway.cli.greeting import summary
from gemma_gateway.cli.main import main
from gemma_gateway.settings import Settings, config
from gemma_gateway.settings.source import Source


def test_config_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text("port: 8001\n")
    bad.write_text("port: 8001\nhots: a\n")
    assert main(["config", "check", str(good)]) == 0
    assert main(["config", "check", str(bad)]) == 2
    assert f"{bad}:2: hots: " in capsys.readouterr().err


def test_config_check_takes_the_file_that_serve_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["config", "check"]) == 2
    assert "there is no gateway.yaml here" in capsys.readouterr().err
    Path("gateway.yaml").write_text("port: 8001\n")
    assert main(["config", "check"]) == 0
    assert capsys.readouterr().out == "gateway.yaml: valid\n"


MISSPELT = {
    "a setting": ("hots: a\n", ":1: hots: ", "host"),
    "a field of a tier": (
        "tiers:\n  gold:\n    windwos: []\n",
        ":3: tiers.gold.windwos: ",
        "windows",
    ),
    "a field of a window": (
        "tiers: {gold: {windows: [{limt: 1, seconds: 1}]}}\n",
        ":1: tiers.gold.windows.0.limt: ",
        "limit",
    ),
    "a field of a model": ("models:\n  - upsteams: []\n", ":2: models.0.upsteams: ", "upstreams"),
    "a field of a key": ("keys:\n  - nam: a\n", ":2: keys.0.nam: ", "name"),
    "a setting in its section": ("store:\n  redis_ulr: a\n", ":2: store.redis_ulr: ", "redis_url"),
    "a section": ("stoer:\n  redis_url: a\n", ":1: stoer: ", "store"),
    "a policy's field": ("categories:\n  - trems: [a]\n", ":2: categories.0.trems: ", "terms"),
}


@pytest.mark.parametrize(("text", "place", "meant"), MISSPELT.values(), ids=MISSPELT)
def test_a_misspelt_field_is_met_with_the_right_one(
    text: str, place: str, meant: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "some.yaml"
    file.write_text(text)
    assert main(["config", "check", str(file)]) == 2
    assert f"{file}{place}unknown field: did you mean {meant}?" in capsys.readouterr().err


def test_a_policy_is_checked_by_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("categories: []\n")
    assert main(["config", "check", str(file)]) == 0
    assert capsys.readouterr().out == f"{file}: valid\n"


def test_config_check_reads_the_policy_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy, file = tmp_path / "policy.yaml", tmp_path / "gateway.yaml"
    policy.write_text("categories:\n  - name: a\n    terms: ['\u200b']\n")
    file.write_text(f"policy_file: {policy}\n")
    assert main(["config", "check", str(file)]) == 2
    assert f"{policy}:3" in capsys.readouterr().err


def test_key_new_prints_an_entry_that_fits_the_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["key", "new", "--name", "team-a", "--tier", "gold"]) == 0
    printed = capsys.readouterr()
    key = printed.err.split()[-1]
    (entry,) = yaml.safe_load(printed.out)
    assert entry == {
        "name": "team-a",
        "tier": "gold",
        "sha256": hashlib.sha256(key.encode()).hexdigest(),
    }


def test_key_new_knows_the_tiers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("gateway.yaml").write_text("tiers:\n  gold: {}\n")
    assert main(["key", "new", "--name", "a", "--tier", "glod"]) == 0
    assert "gateway.yaml has no tier 'glod'; it has " in capsys.readouterr().err
    assert main(["key", "new", "--name", "a", "--tier", "gold"]) == 0
    assert "warning" not in capsys.readouterr().err


def test_key_new_makes_operators(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The printed entry is one that the gateway reads, whatever the name."""
    assert main(["key", "new", "--name", "a: 'b' # ü", "--operator"]) == 0
    printed = capsys.readouterr()
    file = tmp_path / "gateway.yaml"
    file.write_text("keys:\n" + printed.out, encoding="utf-8")
    ring = KeyRing.from_settings(config.load(file))
    found = ring.authenticate(None, printed.err.split()[-1])
    assert (found.name, found.scopes) == ("a: 'b' # ü", {"operator"})
    for name in ("x" * 65, "", "two\nlines", " a"):
        assert main(["key", "new", "--name", name]) == 2
        printed = capsys.readouterr()
        assert printed.err.startswith("--name: ")
        assert not printed.out


@pytest.mark.parametrize(
    ("words", "meant"),
    [(["servee"], "serve"), (["config", "chek"], "check"), (["completion", "bsh"], "bash")],
)
def test_a_misspelt_command_is_met_with_the_right_one(
    words: list[str], meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == 2
    assert f"did you mean {meant}?" in capsys.readouterr().err


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_knows_every_command(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(word in script for word in ("serve", "chat", "--key-file", "--upstream"))


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0
    gateway, engine, python = capsys.readouterr().out.splitlines()
    assert gateway == f"gemma-gateway {__version__}"
    assert engine.startswith("vLLM ")
    assert python.startswith("Python ")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--port", "abc"], "--port: Input should be a valid integer"),
        (["--upstream", "ftp://h"], "--upstream: 'ftp://h' is not a base URL"),
        (["--model", "no such/model/x"], "--model: 'no such/model/x' is neither"),
        (["--host", "h", "--port", "0x"], "--port: "),
    ],
)
def test_options_of_serve_are_settings(
    words: list[str],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """They win over variables, in either spelling, and are named in what is wrong with them."""
    monkeypatch.setattr(os, "environ", {**os.environ, "GATEWAY_SERVER__PORT": "1"})
    assert main(["serve", *words]) == 2
    assert capsys.readouterr().err.startswith(told)


def test_upstreams_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    served: list[Source] = []
    monkeypatch.setattr(serve, "serve", lambda source: served.append(source) or 0)
    urls = ["http://a:1/v1", "http://b:2/v1"]
    assert main(["serve", "--port", "81", *(f"--upstream={url}" for url in urls)]) == 0
    settings = served[0].first.settings
    assert (settings.server.port, list(settings.engine.upstreams)) == (81, urls)


def test_the_summary_never_shows_a_key(tmp_path: Path) -> None:
    key = tmp_path / "api_key"
    text = summary(Settings(port=8123), ("gemma-3-270m",), key_file=key)
    assert f"$(cat {key})" in text
    assert "http://127.0.0.1:8123/v1" in text
    assert "tier open: 100,000 requests an hour, answers to the context's end" in text
    secrets = Settings(host="::1", api_keys=("sesame",), redis_url="redis://:sesame@h:1/0")
    text = summary(secrets, ("gemma",))
    assert "sesame" not in text
    assert "http://[::1]:8000" in text
    assert "tier default: 100 requests an hour, answers up to 1,024 tokens" in text
    assert "h:1/0" in text


def test_the_summary_fits_on_a_screen_and_says_what_runs(tmp_path: Path) -> None:
    text = summary(
        Settings(),
        ("gemma-3-270m",),
        context=2048,
        key_file=Path("key"),
        file=Path("gateway.yaml"),
        engine_log=Path("engine.log"),
    )
    assert len(text.splitlines()) <= 32
    for said in (
        "A base model of 270 million parameters",
        "google/gemma-3-4b-it",
        "2,048 tokens of context",
        "only notes, and lets pass, the four built-in words",
        "embedded Valkey",
        "gateway.yaml and ",
        "vLLM's in engine.log",
        "Ctrl-C stops it",
        __version__,
    ):
        assert said in text
    for other in ({"model": str(tmp_path)}, {"upstreams": ("http://h:1/v1",)}):
        assert "base model" not in summary(Settings(**other), ("gemma",))  # type: ignore[arg-type]


def test_the_tables_of_settings_are_current() -> None:
    assert settings_table.table() in settings_table.PAGE.read_text()


def test_every_setting_is_documented() -> None:
    assert all(field.description for field in Settings.model_fields.values())
