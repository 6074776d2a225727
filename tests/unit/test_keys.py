"""Keys: found, refused, expired, generated."""

from __future__ import annotations

import multiprocessing
import os
import re
import stat
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_gateway.access.keys import MAX_HEADER_BYTES, KeyRing, first_key, generate_key
from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.settings import KeyEntry, Settings, Tier, Window

KEY = "gg-" + "k" * 43
OTHER = "gg-" + "o" * 43


def digest(key: str) -> str:
    return sha256(key.encode()).hexdigest()


def ring(**settings: object) -> KeyRing:
    return KeyRing.from_settings(Settings(**settings))  # type: ignore[arg-type]


def refusal(
    keys: KeyRing, authorization: str | bytes | None, x_api_key: str | bytes | None
) -> Code:
    with pytest.raises(GatewayError) as refused:
        keys.authenticate(authorization, x_api_key)
    assert refused.value.status == 401
    assert KEY not in refused.value.message
    return refused.value.code


@pytest.mark.parametrize(
    ("authorization", "x_api_key"),
    [
        (f"Bearer {KEY}", None),
        (f"bearer {KEY}".encode(), None),
        (f"BEARER   {KEY}  ", None),
        (None, KEY),
        (None, f" {KEY} ".encode()),
        (f"Bearer {KEY}", KEY),
        # a header that holds nothing says nothing
        (f"Bearer {KEY}", ""),
        (f"Bearer {KEY}", b" "),
        ("Bearer ", KEY),
        ("Bearer", KEY),
    ],
)
def test_a_key_is_found(authorization: str | bytes | None, x_api_key: str | bytes | None) -> None:
    found = ring(api_keys=(OTHER, KEY)).authenticate(authorization, x_api_key)
    assert (found.key_id, found.name, found.tier_name) == (digest(KEY), "env-2", "default")
    assert found.tier.windows == (Window(limit=100, seconds=3600),)
    assert found.models == frozenset()


@pytest.mark.parametrize(
    ("authorization", "x_api_key"),
    [
        (None, None),
        ("", None),
        (None, ""),
        ("Bearer", None),
        ("Bearer ", None),
        (KEY, None),
        (f"Basic {KEY}", None),
        (f"Bearer{KEY}", None),
        (f"Bearer {KEY}x", None),
        (f"Bearer {KEY[:-1]}", None),
        (f"Bearer {KEY.upper()}", None),
        (f"Bearer {KEY} {KEY}", None),
        (f"Bearer {KEY}\x00", None),
        (f"Bearer {digest(KEY)}", None),  # the stored digest is no key
        (None, f"Bearer {KEY}"),
        (f"Bearer {KEY}", OTHER),  # both valid, but who is it?
        (f"Basic {KEY}", KEY),
        ("Bearer schlüssel", None),
        (b"Bearer \xff\xfe", None),
        (None, "\ud800"),
        ("Bearer " + "x" * 1_000_000, None),
        (None, b"x" * (MAX_HEADER_BYTES + 1)),
    ],
)
def test_anything_else_is_refused(
    authorization: str | bytes | None, x_api_key: str | bytes | None
) -> None:
    keys = ring(api_keys=(KEY, OTHER))
    assert refusal(keys, authorization, x_api_key) is Code.INVALID_API_KEY


header = st.none() | st.text(max_size=600) | st.binary(max_size=600)


@given(header, header)
def test_no_header_is_anything_but_a_401(
    authorization: str | bytes | None, x_api_key: str | bytes | None
) -> None:
    assert refusal(ring(api_keys=(KEY,)), authorization, x_api_key) is Code.INVALID_API_KEY


def test_an_entry_brings_its_tier_models_and_name() -> None:
    tier = Tier(windows=(Window(limit=3, seconds=1),))
    entry = KeyEntry(name="team", sha256=digest(KEY), tier="gold", models=("gemma",))
    found = ring(keys=(entry,), tiers={"gold": tier}).authenticate(f"Bearer {KEY}", None)
    assert (found.name, found.tier_name, found.models) == ("team", "gold", {"gemma"})
    assert found.tier == tier


@pytest.mark.parametrize("zone", [UTC, None])
def test_expiry_is_checked_on_every_call(zone: object, monkeypatch: pytest.MonkeyPatch) -> None:
    expires = datetime.now(UTC) + timedelta(seconds=30)
    entry = KeyEntry(
        name="guest",
        sha256=digest(KEY),
        expires=expires if zone else expires.replace(tzinfo=None),
    )
    keys = ring(keys=(entry,))
    keys.authenticate(None, KEY)
    monkeypatch.setattr("time.time", lambda: expires.timestamp() - 0.001)
    keys.authenticate(None, KEY)
    monkeypatch.setattr("time.time", expires.timestamp)
    assert refusal(keys, None, KEY) is Code.API_KEY_EXPIRED


def test_the_same_key_twice_is_a_configuration_error() -> None:
    entry = KeyEntry(name="team", sha256=digest(KEY))
    with pytest.raises(ValueError, match=r"'team' and 'env-1'"):
        ring(keys=(entry,), api_keys=(KEY,))
    assert len(ring(api_keys=(KEY, KEY))) == 1
    assert len(KeyRing.from_settings(Settings(api_keys=(KEY,)), [KEY, OTHER])) == 2


def test_the_first_key_has_the_open_tier_and_all_others_in_the_clear_the_default_one() -> None:
    keys = KeyRing.from_settings(Settings(api_keys=(KEY,)), [OTHER])
    first, given = keys.authenticate(None, OTHER), keys.authenticate(None, KEY)
    assert (first.tier_name, first.tier.policy, first.scopes) == ("open", "flag", {"operator"})
    assert (given.tier_name, given.tier.policy) == ("default", "block")


def test_anonymous_callers_only_where_allowed() -> None:
    keys = ring(allow_anonymous=True, api_keys=(KEY,))
    assert keys.authenticate(None, None).name == "anonymous"
    assert keys.authenticate(None, KEY).name == "env-1"
    assert refusal(keys, None, OTHER) is Code.INVALID_API_KEY
    # without any keys, the one that every SDK must send means nothing
    assert ring(allow_anonymous=True).authenticate("Bearer sk-none", None).name == "anonymous"
    assert re.fullmatch("[0-9a-f]{64}", keys.authenticate(None, None).key_id)


def test_keys_in_the_clear_are_not_kept() -> None:
    keys = ring(api_keys=(KEY,))
    assert KEY not in repr(vars(keys))
    assert KEY not in repr(keys.authenticate(None, KEY))


def test_generated_keys_are_random_and_work() -> None:
    keys = {generate_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(re.fullmatch(r"gg-[A-Za-z0-9_-]{43}", key) for key in keys)
    made = keys.pop()
    assert ring(api_keys=(made,)).authenticate(f"Bearer {made}", None).key_id == digest(made)


def test_the_first_key_is_made_once_in_a_private_file(tmp_path: Path) -> None:
    path = tmp_path / "data" / "api-key"
    old = os.umask(0)
    try:
        key = first_key(path)
    finally:
        os.umask(old)
    assert first_key(path) == key
    assert path.read_text() == key + "\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o660])
def test_a_file_that_others_may_open_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "api-key"
    first_key(path)
    path.chmod(mode)
    with pytest.raises(PermissionError, match="chmod 600"):
        first_key(path)


@pytest.mark.parametrize("text", ["", "gg-short", "x" * 100_000, "gg-" + "ü" * 43])
def test_a_file_without_a_key_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "api-key"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(ValueError, match="delete it"):
        first_key(path)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    first_key(target)
    (tmp_path / "api-key").symlink_to(target)
    with pytest.raises(OSError, match="symbolic"):
        first_key(tmp_path / "api-key")


def test_processes_that_start_together_agree(tmp_path: Path) -> None:
    path = tmp_path / "data" / "api-key"
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        assert len(set(pool.map(first_key, [path] * 16, chunksize=1))) == 1
    assert list(path.parent.iterdir()) == [path]
