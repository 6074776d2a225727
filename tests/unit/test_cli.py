"""The command line."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import yaml
from scripts import settings_table

from gemma_gateway.access.keys import KeyRing
from gemma_gateway.cli.main import main
from gemma_gateway.cli.serve import banner
from gemma_gateway.settings import Settings, config


def test_config_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text("port: 8001\n")
    bad.write_text("port: 8001\nhots: a\n")
    assert main(["config", "check", str(good)]) == 0
    assert main(["config", "check", str(bad)]) == 2
    assert f"{bad}:2: hots: " in capsys.readouterr().err


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


def test_key_new_makes_operators(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The printed entry is one that the gateway reads, whatever the name."""
    assert main(["key", "new", "--name", "a: 'b' # ü", "--operator"]) == 0
    printed = capsys.readouterr()
    file = tmp_path / "gateway.yaml"
    file.write_text("keys:\n" + printed.out, encoding="utf-8")
    ring = KeyRing.from_settings(config.load(file))
    found = ring.authenticate(None, printed.err.split()[-1])
    assert (found.name, found.scopes) == ("a: 'b' # ü", {"operator"})
    assert main(["key", "new", "--name", "x" * 65]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("--name: ")
    assert not printed.out


def test_unknown_words_are_refused() -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["sing"])
    assert stopped.value.code == 2


def test_the_banner_never_shows_a_key(tmp_path: Path) -> None:
    text = banner(Settings(port=8123), ("gemma-3-270m",), tmp_path / "api_key")
    assert f"$(cat {tmp_path / 'api_key'})" in text
    assert "http://127.0.0.1:8123/v1" in text
    assert "tier open" in text
    text = banner(Settings(host="::1", api_keys=("sesame",)), ("gemma",), None)
    assert "sesame" not in text
    assert "tier open" not in text
    assert "http://[::1]:8000" in text


def test_the_tables_of_settings_are_current() -> None:
    assert settings_table.table() in settings_table.PAGE.read_text()


def test_every_setting_is_documented() -> None:
    assert all(field.description for field in Settings.model_fields.values())
