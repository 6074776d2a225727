"""The configuration: sources, and faults named by file, line and field."""

from __future__ import annotations

from pathlib import Path

import pytest

from gemma_gateway.settings import Settings, Tier, Window, config
from gemma_gateway.settings.yamlfile import ConfigError


def write(folder: Path, text: str) -> Path:
    file = folder / "gateway.yaml"
    file.write_text(text)
    return file


def test_defaults_are_the_documented_ones(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    settings = config.load()
    tier = settings.tier("default")
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert [(w.limit, w.seconds) for w in tier.windows] == [(100, 3600)]
    assert (tier.max_tokens_default, tier.max_tokens_cap) == (512, 1024)
    assert (tier.temperature, tier.top_p, tier.repetition_penalty) == (0.7, 0.9, 1.05)
    assert (tier.max_messages, tier.max_message_chars) == (50, 8192)


def test_the_environment_wins_over_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = write(tmp_path, "port: 9000\nrequests_per_hour: 7\n")
    monkeypatch.setenv("GATEWAY_PORT", "9001")
    monkeypatch.setenv("GATEWAY_API_KEYS", "one, two,")
    monkeypatch.setenv("GATEWAY_UPSTREAMS", "http://a/v1,http://b/v1/")
    settings = config.load(file)
    assert settings.port == 9001
    assert settings.requests_per_hour == 7
    assert settings.api_keys == ("one", "two")
    assert settings.upstreams == ("http://a/v1", "http://b/v1")


def test_the_file_may_be_named_by_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GATEWAY_CONFIG", str(write(tmp_path, "port: 9002\n")))
    assert config.load().port == 9002


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("port: eight\n", ":1: port: "),
        ("host: a\n\nprot: 8\n", ":3: prot: "),
        ("tiers:\n  gold:\n    windows:\n      - limit: 5\n        seconds: 0\n",
         ":5: tiers.gold.windows.0.seconds: "),
        ("keys:\n  - name: a\n    sha256: xyz\n", ":3: keys.0.sha256: "),
        ("upstreams: [ftp://x/v1]\n", ":1: upstreams: "),
        ("- a\n", ":1: the file must be a mapping"),
        ("a: [\n", ":2: "),
        ("a: !!python/object:os.system {}\n", ":1: "),
    ],
)  # fmt: skip
def test_faults_are_named_by_line_and_field(tmp_path: Path, text: str, fault: str) -> None:
    file = write(tmp_path, text)
    with pytest.raises(ConfigError) as error:
        config.load(file)
    assert f"{file}{fault}" in str(error.value)


def test_every_fault_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        config.load(write(tmp_path, "port: x\nstore_failure: maybe\n"))
    assert len(str(error.value).splitlines()) == 2


@pytest.mark.parametrize(
    "text",
    [
        "allow_anonymous: true\nhost: 0.0.0.0\n",
        "tiers: {a: {max_tokens_default: 9, max_tokens_cap: 8}}\n",
        f"keys: [{{name: a, sha256: {'0' * 64}, tier: gold}}]\n",
    ],
)
def test_contradictions_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError):
        config.load(write(tmp_path, text))


def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GATEWAY_PORT", "tcp://10.0.0.1:80")
    with pytest.raises(ConfigError, match="environment: GATEWAY_PORT: "):
        config.load()


@pytest.mark.parametrize("name", ["absent.yaml", "."])
def test_a_file_that_can_t_be_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError):
        config.load(tmp_path / name)


def test_secrets_stay_out_of_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_UPSTREAM_API_KEY", "sesame")
    monkeypatch.setenv("GATEWAY_API_KEYS", "sesame")
    monkeypatch.setenv("GATEWAY_REDIS_URL", "redis://:sesame@h")
    assert "sesame" not in repr(Settings())


def test_misspelt_variables_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_REDIS_ULR", "redis://h")
    monkeypatch.setenv("GATEWAY_PORT", "8000")
    monkeypatch.setenv("GATEWAY_TIERS__default__max_messages", "5")
    assert config.unknown_variables() == ["GATEWAY_REDIS_ULR"]


def secrets(folder: Path, monkeypatch: pytest.MonkeyPatch, **files: str) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("GATEWAY_SECRETS_DIR", str(folder))
    for name, text in files.items():
        (folder / name).write_text(text)


def test_secret_files_stand_between_the_environment_and_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    secrets(
        tmp_path,
        monkeypatch,
        gateway_api_keys="one,two\n",
        gateway_redis_url="redis://:sesame@h\n",
        gateway_upstream_api_key="from-file",
        others_password="not ours",
    )
    file = write(tmp_path, "redis_url: redis://elsewhere\nport: 9000\n")
    monkeypatch.setenv("GATEWAY_UPSTREAM_API_KEY", "from-environment")
    settings = config.load(file)
    assert settings.api_keys == ("one", "two")
    assert settings.redis_url == "redis://:sesame@h"
    assert settings.upstream_api_key == "from-environment"
    assert settings.port == 9000
    assert config.unknown_variables() == []


def test_what_gives_way_to_the_environment_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    secrets(tmp_path, monkeypatch, gateway_server__data_dir="/data")
    monkeypatch.setenv("GATEWAY_HOST", "::")
    monkeypatch.setenv("GATEWAY_TIERS__default__max_messages", "5")
    text = "server:\n  host: 127.0.0.1\n  data_dir: here\nport: 9000\n"
    file = write(tmp_path, f"{text}tiers: {{default: {{max_stop: 2}}}}\n")
    assert sorted(config.given_way(file)) == [
        f"{file}:2: server.host: gives way to GATEWAY_HOST",
        f"{file}:3: server.data_dir: gives way to GATEWAY_SERVER__DATA_DIR",
    ]
    monkeypatch.chdir("/")
    assert config.given_way() == []


def test_a_misspelt_secret_file_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secrets(tmp_path, monkeypatch, gateway_api_key="one")
    assert config.unknown_variables() == ["gateway_api_key"]


def test_a_folder_of_secrets_that_is_absent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    secrets(tmp_path, monkeypatch)
    monkeypatch.setenv("GATEWAY_SECRETS_DIR", str(tmp_path / "absent"))
    with pytest.raises(ConfigError, match=r"GATEWAY_SECRETS_DIR: .*absent is not a folder"):
        config.load()


def test_a_secret_that_can_t_be_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secrets(tmp_path, monkeypatch)
    (tmp_path / "gateway_api_keys").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"GATEWAY_SECRETS_DIR: .* can't decode"):
        config.load()


def test_a_wrong_secret_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secrets(tmp_path, monkeypatch, gateway_upstreams="ftp://x/v1")
    with pytest.raises(ConfigError, match="GATEWAY_UPSTREAMS: "):
        config.load()


def tiers(folder: Path, text: str) -> dict[str, Tier]:
    return config.load(write(folder, text)).tiers


def test_two_tiers_are_always_there(tmp_path: Path) -> None:
    found = tiers(tmp_path, "tiers: {gold: {max_messages: 3}}\n")
    assert list(found) == ["default", "open", "gold"]
    assert found["default"] == Tier()
    assert (found["default"].sanitise, found["default"].policy) == ("strip", "block")
    opened = found["open"]
    assert (opened.sanitise, opened.policy) == ("off", "flag")
    assert (opened.max_message_chars, opened.max_messages, opened.max_tokens_cap) == (None,) * 3
    assert (opened.temperature, opened.top_p, opened.repetition_penalty) == (None,) * 3
    assert opened.windows == (Window(limit=100_000, seconds=3600),)
    assert opened.grammars is False
    key = "keys: [{name: a, tier: open, sha256: " + "a" * 64 + "}]\n"
    assert tiers(tmp_path, key)["open"] == opened


def test_a_built_in_tier_that_is_set_changes_what_it_names(tmp_path: Path) -> None:
    found = tiers(
        tmp_path, "tiers: {open: {max_tokens_cap: 9, policy: block}, default: {top_p: 1}}"
    )
    opened, default = found["open"], found["default"]
    assert (opened.max_tokens_cap, opened.policy) == (9, "block")
    assert (opened.sanitise, opened.max_messages) == ("off", None)
    assert (default.top_p, default.max_tokens_cap) == (1, 1024)


def test_a_bare_off_is_no_boolean(tmp_path: Path) -> None:
    found = tiers(tmp_path, "tiers: {a: {sanitise: off, policy: off}, b: {policy: flag}}\n")
    assert (found["a"].sanitise, found["a"].policy) == ("off", "off")
    assert found["b"].policy == "flag"
    with pytest.raises(ConfigError):
        tiers(tmp_path, "tiers: {a: {policy: on}}\n")
