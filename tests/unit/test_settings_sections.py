"""A setting stands by itself or within its section: in the file, in variables, in secret files."""

from __future__ import annotations

from pathlib import Path

import pytest

from gemma_gateway.cli.doctor import configuration
from gemma_gateway.cli.main import main
from gemma_gateway.settings import SECTIONS, Settings, config
from gemma_gateway.settings.yamlfile import ConfigError

A = "a" * 64


def write(folder: Path, text: str) -> Path:
    file = folder / "gateway.yaml"
    file.write_text(text)
    return file


def faults(file: Path) -> list[str]:
    with pytest.raises(ConfigError) as error:
        config.load(file)
    return str(error.value).splitlines()


@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_is_the_settings_seen_by_one_part(section: str) -> None:
    settings = Settings()
    part = getattr(settings, section)
    assert isinstance(part, SECTIONS[section])
    for name in SECTIONS[section].model_fields:
        assert getattr(part, name) == getattr(settings, name)


def test_no_two_settings_have_one_name() -> None:
    names = [name for part in SECTIONS.values() for name in part.model_fields]
    assert sorted([*names, "alerts"]) == sorted(Settings.model_fields)
    assert not set(SECTIONS) & set(Settings.model_fields)


def test_the_file_may_hold_sections(tmp_path: Path) -> None:
    by_itself = (
        "port: 9000\nredis_url: redis://h\ntiers: {gold: {max_messages: 3}}\nlog_level: error\n"
    )
    within = (
        "server: {port: 9000}\nstore:\n  redis_url: redis://h\n"
        "limits: {tiers: {gold: {max_messages: 3}}}\ntelemetry: {log_level: error}\n"
    )
    settings = config.load(write(tmp_path, within))
    assert settings == config.load(write(tmp_path, by_itself))
    assert (settings.server.port, settings.store.redis_url) == (9000, "redis://h")
    assert settings.limits.tier("gold").max_messages == 3
    assert "store_timeout" not in settings.store.model_fields_set


def test_arguments_may_hold_sections() -> None:
    assert Settings(server={"port": 1}, redis_url="redis://h") == Settings(
        port=1, store={"redis_url": "redis://h"}
    )


def test_variables_may_name_the_section(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_STORE__REDIS_URL", "redis://h")
    monkeypatch.setenv("GATEWAY_ENGINE__UPSTREAMS", "http://a/v1,http://b/v1/")
    monkeypatch.setenv("GATEWAY_ACCESS__KEYS", f'[{{"name": "a", "sha256": "{A}"}}]')
    monkeypatch.setenv("GATEWAY_LIMITS__TIERS__gold__max_messages", "3")
    monkeypatch.setenv("GATEWAY_PORT", "9001")
    settings = Settings()
    assert settings.store.redis_url == "redis://h"
    assert settings.engine.upstreams == ("http://a/v1", "http://b/v1")
    assert settings.access.keys[0].name == "a"
    assert settings.limits.tiers["gold"].max_messages == 3
    assert settings.server.port == 9001
    assert config.unknown_variables() == []


def secrets(folder: Path, monkeypatch: pytest.MonkeyPatch, **files: str) -> None:
    monkeypatch.setenv("GATEWAY_SECRETS_DIR", str(folder))
    for name, text in files.items():
        (folder / name).write_text(text)


def test_secret_files_may_name_the_section(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secrets(
        tmp_path,
        monkeypatch,
        gateway_access__api_keys="one,two\n",
        gateway_store__redis_url="redis://:sesame@h\n",
        gateway_upstream_api_key="from-file",
    )
    settings = Settings()
    assert settings.access.api_keys == ("one", "two")
    assert settings.store.redis_url == "redis://:sesame@h"
    assert settings.engine.upstream_api_key == "from-file"
    assert config.unknown_variables() == []


@pytest.mark.parametrize("environment", ["GATEWAY_REDIS_URL", "GATEWAY_STORE__REDIS_URL"])
@pytest.mark.parametrize("file", ["redis_url: redis://f\n", "store: {redis_url: redis://f}\n"])
@pytest.mark.parametrize("secret", ["gateway_redis_url", "gateway_store__redis_url"])
def test_the_order_of_sources_is_the_same_for_both(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, environment: str, file: str, secret: str
) -> None:
    given = write(tmp_path, file)
    assert config.load(given).redis_url == "redis://f"
    secrets(tmp_path, monkeypatch, **{secret: "redis://s"})
    assert config.load(given).redis_url == "redis://s"
    monkeypatch.setenv(environment, "redis://e")
    assert config.load(given).redis_url == "redis://e"


def test_parts_of_a_setting_may_come_from_several_sources(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GATEWAY_TIERS__gold__max_messages", "3")
    file = write(tmp_path, "limits: {tiers: {gold: {max_messages: 9, max_choices: 2}}}\n")
    gold = config.load(file).limits.tiers["gold"]
    assert (gold.max_messages, gold.max_choices) == (3, 2)


def test_both_ways_with_one_value_are_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GATEWAY_PORT", "9000")
    monkeypatch.setenv("GATEWAY_SERVER__PORT", "9000")
    settings = config.load(write(tmp_path, "host: localhost\nserver: {host: localhost}\n"))
    assert (settings.server.host, settings.server.port) == ("localhost", 9000)


@pytest.mark.parametrize("text", ["port: 1\nserver:\n  port: 2\n", "server:\n  port: 2\nport: 1\n"])
def test_both_ways_with_two_values_are_a_fault_of_the_file(tmp_path: Path, text: str) -> None:
    file = write(tmp_path, f"log_level: maybe\n{text}")
    lines = {name: n for n, name in enumerate(file.read_text().split("\n"), 1)}
    assert sorted(faults(file)) == sorted(
        [
            f"{file}:1: log_level: Input should be 'debug', 'info', 'warning' or 'error'",
            f"{file}:{lines['  port: 2']}: server.port: "
            f"not the same as {file}:{lines['port: 1']}: port",
        ]
    )


def test_both_ways_with_two_values_are_a_fault_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GATEWAY_API_KEYS", "sesame")
    monkeypatch.setenv("GATEWAY_ACCESS__API_KEYS", "sesam")
    assert faults(write(tmp_path, "")) == [
        "environment: GATEWAY_ACCESS__API_KEYS: not the same as environment: GATEWAY_API_KEYS"
    ]


def test_both_ways_with_two_values_are_a_fault_of_secret_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    secrets(tmp_path, monkeypatch, gateway_api_keys="sesame", gateway_access__api_keys="sesam")
    assert faults(write(tmp_path, "")) == [
        "environment: GATEWAY_ACCESS__API_KEYS: not the same as environment: GATEWAY_API_KEYS"
    ]


FAULTS = {
    "value": ("server:\n  port: eight\n", ":2: server.port: "),
    "list": ("engine:\n  upstreams: [ftp://x/v1]\n", ":2: engine.upstreams: "),
    "depth": ("limits:\n  tiers:\n    a:\n      windows:\n        - {limit: 0, seconds: 1}\n",
              ":5: limits.tiers.a.windows.0.limit: "),
    "what is missing": ("access:\n  keys:\n    - name: a\n", ":3: access.keys.0.sha256: "),
    "unknown name": ("\nstore:\n  redis_ulr: redis://h\n", ":3: store.redis_ulr: unknown field"),
    "another section's name": ("store: {port: 1}\n", ":1: store.port: unknown field"),
    "no name": ("store:\n  1: redis://h\n", ":2: store.1: unknown field"),
    "a name with a dot": ("store.redis_url: redis://h\n", ":1: store.redis_url: unknown field"),
    "unknown section": ("stroe: {redis_url: redis://h}\n", ":1: stroe: unknown field"),
    "twice": ("store:\n  redis_url: a\n  redis_url: b\n",
              ":3: 'redis_url' is already set in line 2"),
    "no mapping": ("port: 1\nstore: redis://h\n", ":2: store: a section is a mapping"),
    "nothing in it": ("store:\n", ":1: store: a section is a mapping"),
    # between settings
    "anonymous": ("server: {host: 0.0.0.0}\naccess:\n  allow_anonymous: true\n",
                  ":3: access.allow_anonymous: works only on"),
    "default above cap": ("limits:\n  tiers:\n    a: {max_tokens_default: 9, max_tokens_cap: 8}\n",
                          ":3: limits.tiers.a.max_tokens_default: is above max_tokens_cap"),
    "unknown tier": (f"access:\n  keys:\n    - {{name: a, sha256: {A}, tier: gold}}\n",
                     ":3: access.keys.0.tier: a: no tier 'gold'"),
    # what they refer to
    "store's port": ("store:\n  redis_url: redis://h:port/0\n", ":2: store.redis_url: its port"),
    "model": ("engine:\n  model: /no/such/folder\n", ":2: engine.model: '/no/such/folder'"),
    "parameter": ("validation:\n  allow_engine_parameters: [chat_tmplate]\n",
                  ":2: validation.allow_engine_parameters.0: no engine has"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "words"), FAULTS.values(), ids=list(FAULTS))
def test_faults_are_named_as_they_are_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, words: str
) -> None:
    file = write(tmp_path, text)
    assert main(["config", "check", str(file)]) == 2
    assert f"{file}{words}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("GATEWAY_SERVER__PORT", "eight", ": Input should be"),
        ("GATEWAY_STORE__REDIS_URL", "redis://h:port", ": its port is not a number"),
        ("GATEWAY_LIMITS__TIERS__A__MAX_MESSAGES", "0", ": Input should be"),
        ("GATEWAY_ENGINE__UPSTREAMS", "http://me:sesame@h/v1", ": user and password"),
    ],
)
def test_a_variable_is_named_as_it_is_written(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variable: str,
    value: str,
    words: str,
) -> None:
    file = write(tmp_path, "port: 1\nredis_url: redis://h\nengine: {upstreams: ['http://h/v1']}\n")
    monkeypatch.setenv(variable, value)
    assert main(["config", "check", str(file)]) == 2
    told = capsys.readouterr().err
    assert f"environment: {variable}{words}" in told
    assert "sesame" not in told


def test_a_doubt_is_named_as_it_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path, "store:\n  redis_url: redis://h?socket_timeout=3\n")
    assert main(["config", "check", str(file)]) == 0
    words = "its query parameter 'socket_timeout' does nothing"
    assert capsys.readouterr().err == f"warning: {file}:2: store.redis_url: {words}\n"


def test_misspelt_variables_are_found_within_sections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_STORE__REDIS_URL", "redis://h")
    unknown = ["GATEWAY_STORE", "GATEWAY_STORE__REDIS_ULR", "GATEWAY_STROE__REDIS_URL"]
    for name in unknown:
        monkeypatch.setenv(name, "redis://h")
    assert config.unknown_variables() == unknown
    assert Settings().store.redis_url == "redis://h"


def test_doctor_knows_what_was_meant_within_a_section(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, (fault,) = configuration.load(write(tmp_path, "store: {redis_ulr: redis://h}\n"))
    assert "did you mean redis_url?" in fault.message
    monkeypatch.setenv("GATEWAY_STORE__REDIS_ULR", "redis://h")
    file = write(tmp_path, "")
    told = " ".join(found.message for found in configuration.look(config.load(file), file))
    assert "did you mean GATEWAY_STORE__REDIS_URL?" in told
