"""API keys: who is calling.

Keys of the settings are all known here; those made at run time are looked up by
:class:`access.managed.ManagedKeys`.

Keys are 32 random bytes, so they are kept as plain SHA-256: a slow password hash (bcrypt, argon2)
protects guessable secrets, and nobody can guess 256 random bits; it would only add milliseconds of
CPU to every call, and a way to overload the server.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import re
import secrets
import stat
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path

from gemma_gateway.access.managed import ManagedKeys
from gemma_gateway.access.throttle import BURST, Throttle
from gemma_gateway.core.call import Principal
from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.settings import KeyEntry, LimitSettings, Settings

PREFIX = "gg-"
MAX_HEADER_BYTES = 512  # no key is longer; hashing megabytes for a stranger costs CPU
ANONYMOUS_ID = "0" * 64  # no key has this digest (it would be a SHA-256 preimage)
NONE: frozenset[str] = frozenset()
OPERATOR = frozenset({"operator"})
_GENERATED = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{43}}".encode())

Header = str | bytes | None


@dataclass(frozen=True, slots=True)
class Key:
    """One key that may call.

    Args:
        digest: SHA-256 of the key, 32 bytes.
        principal: who calls with it.
        expires: seconds since the epoch after which it is refused; None: never.
    """

    digest: bytes
    principal: Principal
    expires: float | None = None


class UnknownKey(GatewayError):
    """A key that could be one made at run time, and isn't known in this process.

    Args:
        digest: its SHA-256, 32 bytes.
    """

    def __init__(self, digest: bytes) -> None:
        super().__init__(Code.INVALID_API_KEY)
        self.digest = digest


class KeyRing:
    """The keys of this gateway, looked up by digest.

    Args:
        keys: every key of the settings; two with the same digest are a configuration error.
        anonymous: who a caller without credentials is; None: such calls are refused.
        managed: the keys made at run time; None: there are none.

    Raises:
        ValueError: two entries hold the same key.
    """

    def __init__(
        self,
        keys: Iterable[Key],
        anonymous: Principal | None = None,
        managed: ManagedKeys | None = None,
    ) -> None:
        self._keys: dict[bytes, Key] = {}
        self._anonymous = anonymous
        self._managed = managed
        self.throttle = Throttle()
        # Of a thousand guesses at once, those after the first 2 * BURST are told by the throttle.
        self._looking = asyncio.Semaphore(BURST)
        for key in keys:
            twin = self._keys.setdefault(key.digest, key)
            if twin is not key:
                names = f"{twin.principal.name!r} and {key.principal.name!r}"
                raise ValueError(f"keys {names} are the same key")

    @classmethod
    def from_settings(
        cls,
        settings: Settings,
        further: Iterable[str] = (),
        managed: ManagedKeys | None = None,
    ) -> KeyRing:
        """All keys of the settings.

        Args:
            settings: ``keys`` (hashed) and ``api_keys`` (in the clear; only digests are kept).
            further: more keys in the clear with operator scope and the tier ``open``, such as the
                one of :func:`first_key`.
            managed: the keys made at run time.

        Raises:
            ValueError: two entries hold the same key.
        """
        access, limits = settings.access, settings.limits
        keys = [_from_entry(entry, limits) for entry in access.keys]
        clear = {text: (f"env-{n}", NONE, "default") for n, text in enumerate(access.api_keys, 1)}
        clear |= {text: (f"generated-{n}", OPERATOR, "open") for n, text in enumerate(further, 1)}
        clear |= {
            text: (f"operator-{n}", OPERATOR, "default")
            for n, text in enumerate(access.operator_keys, 1)
        }
        keys += [_in_the_clear(text, *who, limits) for text, who in clear.items()]
        anonymous = None
        if access.allow_anonymous:
            anonymous = Principal(ANONYMOUS_ID, "anonymous", "default", limits.tier("default"))
        return cls(keys, anonymous, managed)

    def __len__(self) -> int:
        return len(self._keys)

    def of_settings(self) -> list[Key]:
        """The keys of the settings."""
        return list(self._keys.values())

    async def identify(
        self, authorization: Header, x_api_key: Header, address: str = ""
    ) -> Principal:
        """Who is calling. It waits for the store only where the key isn't known in this process.

        Args:
            authorization: see :meth:`authenticate`.
            x_api_key: the same.
            address: of the client; one with too many failed keys hears RATE_LIMIT_EXCEEDED.
                Empty: not known.

        Raises:
            GatewayError: INVALID_API_KEY, API_KEY_EXPIRED, API_KEY_REVOKED, RATE_LIMIT_EXCEEDED, or
                KEY_STORE_UNAVAILABLE: whether the key is valid can't be said now.
        """
        try:
            return self.authenticate(authorization, x_api_key)
        except UnknownKey as unknown:
            digest = unknown.digest
        except GatewayError:
            if authorization is None and x_api_key is None:
                raise  # no key at all: nobody guesses
            if wait := self.throttle.failed(address):
                raise self.throttle.refusal(address, wait) from None
            raise
        return await self._look_up(digest, address)

    def authenticate(self, authorization: Header, x_api_key: Header) -> Principal:
        """Who is calling, if that is known in this process.

        The key is found by its digest. The time of that look-up tells nothing: a caller can't
        choose a digest (that takes a preimage of SHA-256), so how much of one matches says nothing
        about any key. The found digest is still compared in constant time.

        Args:
            authorization: the ``Authorization`` header, ``Bearer KEY``.
            x_api_key: the ``x-api-key`` header, ``KEY``. Where both hold one they must agree:
                which of them is billed must not depend on who reads them.

        Raises:
            UnknownKey: an INVALID_API_KEY that only the store can tell more of.
            GatewayError: INVALID_API_KEY, API_KEY_EXPIRED or API_KEY_REVOKED.
        """
        if authorization is None and x_api_key is None:
            if self._anonymous is None:
                raise GatewayError(Code.INVALID_API_KEY)
            return self._anonymous
        token = b"" if authorization is None else _bearer(_raw(authorization))
        other = b"" if x_api_key is None else _raw(x_api_key).strip()
        if token and other and not hmac.compare_digest(token, other):
            raise GatewayError(
                Code.INVALID_API_KEY, "The Authorization and x-api-key headers differ."
            )
        token = token or other
        if not token:
            raise GatewayError(Code.INVALID_API_KEY)
        digest = hashlib.sha256(token).digest()
        key = self._keys.get(digest)
        if key is None or not hmac.compare_digest(key.digest, digest):
            return self._elsewhere(token, digest)
        if key.expires is not None and time.time() >= key.expires:
            raise GatewayError(Code.API_KEY_EXPIRED)
        return key.principal

    async def _look_up(self, digest: bytes, address: str) -> Principal:
        assert self._managed is not None
        async with self._looking:
            wait = self.throttle.wait(address)
            if wait and not (self._managed.remembers(digest) or self.throttle.may_look_up(address)):
                raise self.throttle.refusal(address, wait)
            try:
                return await self._managed.find(digest) or self._stranger()
            except GatewayError as error:
                if error.code is Code.KEY_STORE_UNAVAILABLE:
                    raise
                if wait := self.throttle.failed(address):
                    raise self.throttle.refusal(address, wait) from None
                raise

    def _elsewhere(self, token: bytes, digest: bytes) -> Principal:
        """Who calls with a key that isn't of the settings."""
        if self._managed is None:
            return self._stranger()
        known = self._managed.known(digest)
        if known is not None:
            return known
        if _GENERATED.fullmatch(token):  # all that are made at run time; others aren't asked for
            raise UnknownKey(digest)
        return self._stranger()

    def _stranger(self) -> Principal:
        """Who calls with a key that is nobody's."""
        # SDKs always send some key: without any key of ours, it says nothing about the caller.
        if self._anonymous is not None and not self._keys:
            return self._anonymous
        raise GatewayError(Code.INVALID_API_KEY)


def generate_key() -> str:
    """A new random key: ``gg-`` and 32 random bytes in URL-safe base64 (43 characters)."""
    return PREFIX + secrets.token_urlsafe(32)


def first_key(path: Path) -> str:
    """The key in a private file, made on the first call and reused afterwards.

    Args:
        path: the file; made with mode 0600, its missing folder with 0700. Processes that start
            together agree on one key.

    Raises:
        PermissionError: others may read or write the file.
        ValueError: the file doesn't hold a generated key.
    """
    try:
        return _read_private(path)
    except FileNotFoundError:
        pass
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(file, "w", encoding="ascii") as out:
            out.write(generate_key() + "\n")
            out.flush()
            os.fsync(out.fileno())
        # A link appears whole or not at all, and never replaces another process's key.
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    return _read_private(path)


def _read_private(path: Path) -> str:
    file = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    with open(file, "rb") as content:
        mode = stat.S_IMODE(os.fstat(file).st_mode)
        if os.name == "posix" and mode & 0o077:
            raise PermissionError(
                f"{path} holds an API key but others can open it (mode {mode:04o}): "
                f"run chmod 600 {path}, or delete it for a new key"
            )
        key = content.read(MAX_HEADER_BYTES).strip()
    if not _GENERATED.fullmatch(key):
        raise ValueError(f"{path} doesn't hold an API key: delete it for a new one")
    return key.decode("ascii")


def _raw(header: str | bytes) -> bytes:
    """The header's bytes; only printable ASCII of a sane length can hold a key."""
    if len(header) > MAX_HEADER_BYTES or not header.isascii():
        raise GatewayError(Code.INVALID_API_KEY)
    return header if isinstance(header, bytes) else header.encode("ascii")


def _bearer(header: bytes) -> bytes:
    scheme, _, token = header.strip().partition(b" ")
    if scheme.lower() != b"bearer":  # RFC 9110: schemes are case-insensitive
        raise GatewayError(Code.INVALID_API_KEY)
    return token.strip()


def _from_entry(entry: KeyEntry, limits: LimitSettings) -> Key:
    expires = entry.expires
    if expires is not None and expires.tzinfo is None:
        expires = expires.replace(tzinfo=UTC)  # a time without a zone is UTC on every machine
    principal = Principal(
        entry.sha256,
        entry.name,
        entry.tier,
        limits.tier(entry.tier),
        frozenset(entry.models),
        frozenset(entry.scopes),
    )
    stamp = None if expires is None else expires.timestamp()
    return Key(bytes.fromhex(entry.sha256), principal, stamp)


def _in_the_clear(
    text: str, name: str, scopes: frozenset[str], tier: str, limits: LimitSettings
) -> Key:
    digest = hashlib.sha256(text.encode()).digest()
    return Key(digest, Principal(digest.hex(), name, tier, limits.tier(tier), scopes=scopes))
