"""What ``config check`` finds, ``serve`` refuses in the same words, by file, line and field."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from gemma_gateway.cli.main import main

A, B = "a" * 64, "b" * 64
# SHA-256 of "sesame", which is also given in the clear below
SESAME = "d0c04f4b1951e4aeaaec8223ed2039e542f3aae805a6fa7f6d794e5afff5d272"


def keys(*entries: str) -> str:
    return "keys:\n" + "".join(f"  - {{{entry}}}\n" for entry in entries)


FAULTS = {
    # YAML: a key that stands twice, at each depth
    "keys twice": (keys(f"name: a, sha256: {A}") + keys(f"name: b, sha256: {B}"),
                   ":3: 'keys' is already set in line 1"),
    "setting twice": ("port: 1\nhost: a\nport: 2\n", ":3: 'port' is already set in line 1"),
    "tier twice": ("tiers:\n  a: {}\n  a: {}\n", ":3: 'a' is already set in line 2"),
    "field twice": ("tiers:\n  a:\n    top_p: 1\n    top_p: 1\n",
                    ":4: 'top_p' is already set in line 3"),
    "twice in one line": (keys(f"name: a, name: b, sha256: {A}"),
                          ":2: 'name' is already set in line 2"),
    "rule twice": ("alerts:\n  rules:\n    memory: {}\n    memory: {}\n",
                   ":4: 'memory' is already set"),
    # YAML: what isn't one, or no value
    "no mapping": ("- a\n", ":1: the file must be a mapping"),
    "no name": ("8000: port\n", ":1: 8000: not the name of a setting"),
    "null name": ("port: 1\nnull: 2\n", "not the name of a setting"),
    "no day": (keys(f"name: a, sha256: {A}, expires: 2027-02-31"), ":2: '2027-02-31' can't be"),
    "no integer": ("port: !!int many\n", ":1: 'many' can't be read"),
    "alias of itself": ("prices: &a {x: *a}\n", ":1: prices.x"),
    "unknown tag": ("port: !env PORT\n", ":1: could not determine a constructor"),
    # keys
    "one hash twice": (keys(f"name: a, sha256: {A}", f"name: b, sha256: {A}"),
                       ":3: keys.1.sha256: 'b' and 'a' are the same key"),
    "one hash three times": (keys(*(f"name: {n}, sha256: {A}" for n in "abc")),
                             ":4: keys.2.sha256: 'c' and 'b' are the same key"),
    "hash of one in the clear": ("api_keys: [b, sesame]\n" + keys(f"name: a, sha256: {SESAME}"),
                                 ":3: keys.0.sha256: 'a' and 'env-2' are the same key"),
    "hash of an operator's": ("operator_keys: sesame\n" + keys(f"name: a, sha256: {SESAME}"),
                              ":3: keys.0.sha256: 'a' and 'operator-1' are the same key"),
    "unknown tier": (keys(f"name: a, sha256: {A}", f"name: b, sha256: {B}, tier: gold"),
                     ":3: keys.1.tier: b: no tier 'gold'"),
    "upper-case hash": (keys(f"name: a, sha256: {A.upper()}"), ":2: keys.0.sha256: "),
    "no name of a key": (keys(f"sha256: {A}"), ":2: keys.0.name: "),
    "unknown scope": (keys(f"name: a, sha256: {A}, scopes: [admin]"), ":2: keys.0.scopes.0: "),
    # images
    "images of everywhere": ("media:\n  media_urls: ['https://*']\n",
                             ":2: media.media_urls: 'https://*' is not a pattern of URLs"),
    "no text": ("models:\n  - {name: a, upstreams: ['http://a/v1'], modalities: [image]}\n",
                ":2: models.0.modalities: has no text"),
    # numbers out of range
    "too many requests": ("requests_per_hour: 2_000_000\n", ":1: requests_per_hour: "),
    "no requests": ("requests_per_hour: 0\n", ":1: requests_per_hour: "),
    "window too large": ("tiers:\n  a:\n    windows:\n      - {limit: 2000000, seconds: 1}\n",
                         ":4: tiers.a.windows.0.limit: "),
    "audio window of requests": ("tiers: {a: {audio_windows: [{limit: 1, seconds: 1}]}}\n",
                                 ":1: tiers.a.audio_windows.0.audio_seconds: "),
    "audio window of no time": ("tiers: {a: {audio_windows: [{audio_seconds: 1, seconds: 0}]}}\n",
                              ":1: tiers.a.audio_windows.0.seconds: "),
    "window too long": ("tiers: {a: {windows: [{limit: 1, seconds: 99999999}]}}\n",
                        ":1: tiers.a.windows.0.seconds: "),
    "default above cap": ("tiers:\n  a:\n    max_tokens_default: 9\n    max_tokens_cap: 8\n",
                          ":3: tiers.a.max_tokens_default: is above max_tokens_cap"),
    "cap beyond numbers": ("tiers:\n  a: {max_tokens_cap: 1000000000000000000000}\n",
                           ":2: tiers.a.max_tokens_cap: "),
    "calls in flight": ("tiers:\n  a: {max_in_flight: -1}\n", ":2: tiers.a.max_in_flight: "),
    "not a number": ("request_timeout: .nan\n", ":1: request_timeout: "),
    "for ever": ("drain_seconds: .inf\n", ":1: drain_seconds: "),
    "too long": ("idle_timeout: 1e300\n", ":1: idle_timeout: "),
    "nan in a rule": ("alerts: {interval_seconds: .nan}\n", ":1: alerts.interval_seconds: "),
    "port": ("port: 65536\n", ":1: port: "),
    # addresses
    "store's port": ("redis_url: redis://h:port/0\n", ":1: redis_url: its port is not a number"),
    "store's high port": ("redis_url: redis://h:99999\n",
                          ":1: redis_url: its port is not a number"),
    "store's scheme": ("redis_url: http://h\n", ":1: redis_url: it must begin with redis://"),
    "store's database": ("redis_url: redis://h/zero\n",
                         ":1: redis_url: only the number of a database"),
    "store without a path": ("redis_url: unix://\n", ":1: redis_url: a Unix socket has a path"),
    "cluster's database": ("redis_url: redis+cluster://a,b/3\n", ":1: redis_url: a Redis Cluster"),
    "sentinel's name": ("redis_url: redis+sentinel://a\n", ":1: redis_url: /name-of-the-master"),
    "store's authority": ("redis_url: rediss://h?ssl_ca_certs=/no.pem\n", ":1: redis_url: /no.pem"),
    "upstream's port": ("upstreams: ['http://h:port/v1']\n", ":1: upstreams: "),
    "upstream's high port": ("upstreams:\n  - http://h:99999/v1\n", ":1: upstreams: "),
    "upstream's brackets": ("upstreams: ['http://[::1/v1']\n", ":1: upstreams: "),
    "upstream without host": ("upstreams: ['http:///v1']\n", ":1: upstreams: "),
    "upstream's query": ("upstreams: ['http://h/v1?key=sesame']\n", ":1: upstreams: "),
    "upstream's path": ("upstreams: ['http://h/']\n", ":1: upstreams: "),
    "upstream's login": ("upstreams: ['https://me:sesame@h/v1']\n", ":1: upstreams: user and pass"),
    "webhook's login": ("alerts:\n  webhooks:\n    - {name: a, url: 'https://me:sesame@h/x'}\n",
                        ":3: alerts.webhooks.0.url: user and password"),
    "proxies": ("trusted_proxies: [10.0.0.0/8, nginx]\n", ":1: trusted_proxies: 'nginx'"),
    "everybody": ("trusted_proxies: 0.0.0.0/0\n", ":1: trusted_proxies: '0.0.0.0/0' is everybody"),
    "anonymous": ("host: 0.0.0.0\nallow_anonymous: true\n", ":2: allow_anonymous: works only on"),
    # names of other things
    "parameter": ("allow_engine_parameters:\n  - chat_tmplate\n",
                  ":2: allow_engine_parameters.0: no engine has a parameter 'chat_tmplate': "
                  "did you mean chat_template?"),
    "no parameter": ("allow_engine_parameters: ['chat template']\n",
                     ":1: allow_engine_parameters.0: 'chat template' is not a parameter's name"),
    "model": ("model: /no/such/folder\n", ":1: model: '/no/such/folder' is neither"),
    "a parser for servers": ("models:\n  - {name: a, parser: hermes, upstreams: 'http://h/v1'}\n",
                             ":2: models.0.parser: the gateway has gemma for servers"),
    "no name of a parser": ("models:\n  - {name: a, parser: '--trust-remote-code'}\n",
                            ":2: models.0.parser: "),
    "one of several models": ("models:\n  - {name: a, model: /no/such/folder}\n",
                              ":2: models.0.model: '/no/such/folder' is neither"),
    "setting": ("hots: a\n", ":1: hots: "),
    "policy": ("policy_file: /no/such/policy.yaml\n", "/no/such/policy.yaml: No such file"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "words"), FAULTS.values(), ids=list(FAULTS))
def test_a_fault_is_told_by_both(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, words: str
) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(text)
    told = []
    for command in (["config", "check", str(file)], ["serve", "--config", str(file)]):
        assert main(command) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        told.append(printed.err)
    assert told[0] == told[1]
    assert words in told[0]
    assert words[0] != ":" or f"{file}{words}" in told[0]
    assert "sesame" not in told[0]


MODELS = "models: [{name: a, aliases: [b], adapters: [c], upstreams: 'http://h/v1'}]\n"
DOUBTS = {
    "expired": (keys(f"name: old, sha256: {A}, expires: 2020-01-01"),
                ":2: keys.0.expires: old has expired"),
    "one name": (keys(f"name: team, sha256: {A}", f"name: team, sha256: {B}"),
                 ":3: keys.1.name: another key has the name 'team': only ids differ"),
    "model of a key": (keys(f"name: a, sha256: {A}, models: [gemma]"), ":2: keys.0.models: a: no"),
    "price": ("prices:\n  gemma: {input_per_million: 1, output_per_million: 1}\n",
              ":2: prices.gemma: no model of this name"),
    "model of a key, of several": (MODELS + keys(f"name: a, sha256: {A}, models: [a, b, c, d]"),
                                   ":3: keys.0.models: a: no model 'd' is served"),
    "price, of several": (MODELS + "prices:\n  b: &p {input_per_million: 1, output_per_million: 1}"
                          "\n  d: *p\n", ":4: prices.d: no model of this name"),
    "query": ("redis_url: redis://h?socket_timeout=3\n",
              ":1: redis_url: its query parameter 'socket_timeout' does nothing"),
    "no limit": ("tiers:\n  a: {max_in_flight: 0}\n", ":2: tiers.a.max_in_flight: one key could"),
    "high limit": ("max_in_flight: 100\ntiers:\n  a: {max_in_flight: 100}\n",
                   ":3: tiers.a.max_in_flight: one key could use all 100 places"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "words"), DOUBTS.values(), ids=list(DOUBTS))
def test_a_doubt_is_told_and_no_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, words: str
) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(text)
    assert main(["config", "check", str(file)]) == 0
    printed = capsys.readouterr()
    assert f"warning: {file}{words}" in printed.err
    assert len(printed.err.splitlines()) == 1
    assert printed.out == f"{file}: valid\n"


WELL = {
    "nothing": "",
    "comments alone": "# later\n",
    "merged": "tiers:\n  a: &a {top_p: 0.5, max_messages: 3}\n  b: {<<: *a, max_messages: 4}\n",
    "same words in two places": "tiers:\n  a: {top_p: 1}\n  b: {top_p: 1}\n",
    "text and number": "prices: {}\nserved_model_name: '1'\n",
    "upstreams": "upstreams: ['http://h:8000/v1', 'dns+https://h/v1/', 'https://v.googleapis.com/"
    "v1/projects/p/locations/l/endpoints/openapi']\n",
    "stores": "redis_url: redis+sentinel://u:p@a,b:7000/mymaster/4?sentinel_password=q\n",
    "proxies": "trusted_proxies: 10.0.0.0/8, ::1\n",
    "a parameter": "allow_engine_parameters: [chat_template, priority]\n",
    "one key in two settings": "api_keys: [sesame, sesame]\noperator_keys: [sesame]\n",
}


@pytest.mark.parametrize("text", WELL.values(), ids=list(WELL))
def test_what_is_well(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(text)
    assert main(["config", "check", str(file)]) == 0, capsys.readouterr().err
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("GATEWAY_REQUESTS_PER_HOUR", "2000000", "GATEWAY_REQUESTS_PER_HOUR: "),
        ("GATEWAY_REDIS_URL", "redis://h:port", "GATEWAY_REDIS_URL: its port is not a number"),
        ("GATEWAY_UPSTREAMS", "http://me:sesame@h/v1", "GATEWAY_UPSTREAMS: user and password"),
        ("GATEWAY_TRUSTED_PROXIES", "10.0.0.1,nginx", "GATEWAY_TRUSTED_PROXIES: 'nginx'"),
        ("GATEWAY_ALLOW_ENGINE_PARAMETERS", "cache_slat", "did you mean cache_salt?"),
        ("GATEWAY_TIERS__A__MAX_IN_FLIGHT", "-1", "GATEWAY_TIERS__A__MAX_IN_FLIGHT: "),
        ("GATEWAY_PORT", "tcp://10.0.0.1:80", "GATEWAY_PORT: "),
    ],
)
def test_a_variable_is_named_also_where_the_file_has_the_field(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    value: str,
    words: str,
) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text("port: 8000\nredis_url: redis://h\nupstreams: ['http://h/v1']\n")
    monkeypatch.setenv(variable, value)
    told = []
    for command in (["config", "check", str(file)], ["serve", "--config", str(file)]):
        assert main(command) == 2
        told.append(capsys.readouterr().err)
    assert told[0] == told[1]
    assert told[0].startswith("environment: ")
    assert words in told[0]
    assert "sesame" not in told[0]


def test_a_policy_s_keys_stand_once_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy, file = tmp_path / "policy.yaml", tmp_path / "gateway.yaml"
    policy.write_text("categories:\n  - name: a\n    terms: [b]\n    terms: [c]\n")
    file.write_text(f"policy_file: {policy}\n")
    assert main(["config", "check", str(file)]) == 2
    assert f"{policy}:4: 'terms' is already set in line 3" in capsys.readouterr().err
    policy.write_text("categories: []\ncategories: []\n")
    assert main(["serve", "--config", str(file)]) == 2
    assert f"{policy}:2: 'categories' is already set in line 1" in capsys.readouterr().err


def test_images_by_url_need_their_extra(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text("media:\n  media_urls: https://images.example.com/*\n")
    assert main(["config", "check", str(file)]) == 0
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "aiohttp" else found(name)
    )
    capsys.readouterr()
    for command in (["config", "check", str(file)], ["serve", "--config", str(file)]):
        assert main(command) == 2
        assert capsys.readouterr().err.startswith(
            f"{file}:2: media.media_urls: needs the extra 'media': python -m pip install "
        )
