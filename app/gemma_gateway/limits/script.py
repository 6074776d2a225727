"""The window scripts' calls and replies (``window.lua``, ``give_back.lua``)."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256

from gemma_gateway.limits.admission import Admission, WindowState
from gemma_gateway.settings import Window
from gemma_gateway.storage import Prepared, Script, lua, prepare

SCRIPT = Script(lua("gemma_gateway.limits", "window"))
GIVE_BACK = Script(lua("gemma_gateway.limits", "give_back"))
HOUR = 3600  # seconds; /v1/usage tells the requests of the last hour
MAX_ENTRIES = 1_000_000  # the largest limit of the settings; 8 MB in the store
TRIALS = 100  # requests a second that a scratch key lets through; there are two
TRIAL_LIFE = 10  # seconds
_HEX = re.compile(r"[0-9a-f]{64}")


def key_name(prefix: str, key_id: str, name: str) -> str:
    """A store key of one caller; all of them share a hash tag (one slot of a Redis Cluster).

    Raises:
        ValueError: ``key_id`` isn't a hex digest, the only thing that may become part of a name.
    """
    if not _HEX.fullmatch(key_id):
        raise ValueError("key_id is not the hex digest of a key")
    return f"{prefix}:{{{key_id}}}:{name}"


def entries(windows: tuple[Window, ...]) -> int:
    """How many requests a log must hold.

    The largest limit decides. Only where every window is shorter than an hour is it more: what
    those windows let through in one hour, so that the requests of the last hour are exact, too
    (of at most a million; then the count stops there).
    """
    in_an_hour = min(w.limit * -(-HOUR // w.seconds) for w in windows)
    return max(*(w.limit for w in windows), min(in_an_hour, MAX_ENTRIES))


def trial(prefix: str) -> Callable[[int], Prepared]:
    """What shows whether the store works: a request that is always admitted, so that it is
    written, too, on a scratch key that lives for some seconds.

    Returns:
        Makes one for each number from 0 on; their keys are all over the slots of a Redis Cluster.
    """
    token = secrets.token_hex(8)  # each process has its own: others' requests would fill the window

    @lru_cache
    def make(number: int) -> Prepared:
        key = f"{prefix}:{{trial-{token}-{number}}}:log"
        return prepare(SCRIPT, [key], [1, TRIALS, TRIAL_LIFE, TRIALS, 1])

    return make


@dataclass(frozen=True, slots=True)
class Calls:
    """The script calls for some windows of one caller, those that most requests need packed once.

    Args:
        windows: of the caller's tier, or of what is counted apart.
        caller: whose they are in this process; what is counted apart has logs of its own.
        key: name of the caller's log in the store.
        capacity: requests that the caller's log holds, see :func:`entries`.
        shape: the script's arguments behind the first.
        admit: records the request where every window has room.
        look: records nothing; it has one more window, the last hour.
    """

    windows: tuple[Window, ...]
    caller: str
    key: str
    capacity: int
    shape: tuple[int, ...]
    admit: Prepared
    look: Prepared

    @classmethod
    def make(cls, prefix: str, key_id: str, windows: tuple[Window, ...], apart: str = "") -> Calls:
        """Pack both calls.

        Args:
            prefix: of the store's key names.
            key_id: of the caller.
            windows: to decide by.
            apart: name of what they count apart; empty: the tier's own. Names of models may hold
                anything, so the store's key has a digest of it.
        """
        digest = f":{sha256(apart.encode()).hexdigest()[:16]}" if apart else ""
        key = key_name(prefix, key_id, f"log{digest}")
        life = max(HOUR, *(w.seconds for w in windows))
        pairs = [n for w in windows for n in (w.limit, w.seconds)]
        capacity = entries(windows)
        shape = (capacity, life, *pairs)
        return cls(
            windows,
            key_id + digest,
            key,
            capacity,
            shape,
            prepare(SCRIPT, [key], [1, *shape]),
            # A limit that no log reaches: this window only counts.
            prepare(SCRIPT, [key], [0, *shape, 2 * MAX_ENTRIES, HOUR]),
        )

    def admit_as(self, count: int) -> Prepared:
        """The same as ``admit`` for a request that counts as several.

        Raises:
            ValueError: no window could ever have room for so many.
        """
        if not 0 < count <= min(window.limit for window in self.windows):
            raise ValueError(f"{count} never fit these windows")
        return prepare(SCRIPT, [self.key], [count, *self.shape])

    def give_back(self, stored_at: int, count: int = 1) -> Prepared:
        """The call that takes one admitted request, which counted as ``count``, out of the log
        again."""
        return prepare(GIVE_BACK, [self.key], [stored_at, count])

    def read(
        self, reply: list[int], stored_at: int | None = None, noted_at: float | None = None
    ) -> Admission:
        """The decision in a reply of ``admit`` or ``look``.

        Args:
            reply: of the script.
            stored_at: see :class:`Admission`, as ``noted_at``.
        """
        index = 3
        states = []
        for window in self.windows:
            limit = window.limit
            left = limit - reply[index]
            reset = reply[index + 1] / 1e6
            states.append(WindowState(limit, left if left > 0 else 0, reset, window.seconds))
            index += 2
        retry_after = reply[1] / 1e6
        return Admission(reply[0] == 1, tuple(states), retry_after, False, stored_at, noted_at)
