"""Which upstream takes the next call: choice, ejection, return. No I/O but the log in here."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from types import MappingProxyType

from gemma_gateway.core.engine import ServerState, short_name

# How many more calls than the least loaded server the affine one may hold. A prefix-cache hit
# saves one prefill, which is worth waiting behind a few calls in a continuous batch; without a
# bound every call of a shared system prompt would pile up on one server.
AFFINITY_SLACK = 2
NOT_TOLD: Mapping[str, int] = MappingProxyType({})
MOST_LEARNED = 64  # names remembered of a server that doesn't list its models

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Upstream:
    """One model server. Only its pool changes it."""

    url: str
    root: str = ""  # what paths are appended to: the base URL without its /v1
    name: str = ""  # host:port
    bare: bool = False  # the base URL has no /v1, as Vertex AI's: paths lose theirs
    outstanding: int = 0
    models: tuple[str, ...] | None = None
    lengths: Mapping[str, int] = field(default_factory=dict)  # max_model_len of those that tell it
    call_failures: int = 0
    check_failures: int = 0
    ejections: int = 0
    tries: int = 0
    errors: int = 0
    trial_at: float = 0.0  # ejected: when a call may try it again (clock seconds); 0: not ejected
    ejected_at: float = 0.0  # ejected: when it was (clock seconds)
    silent_since: float = 0.0  # first of the checks in a row that failed (clock seconds); 0: none
    gone: bool = False  # its address is no longer one of its name's: it gets no more calls
    unreachable: bool = False  # why it was ejected: nobody there, or calls that failed
    trouble: str = ""  # the same in words; or why it is of no use though it answers
    learned: set[str] = field(default_factory=set)  # models it answered for, if it lists none
    _key: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        self.root = self.url.removesuffix("/v1")
        self.name = short_name(self.url)
        self.bare = self.root == self.url
        self._key = blake2b(self.url.encode(), digest_size=16).digest()

    def serves(self, model: str) -> bool:
        return not model or self.models is None or model in self.models

    @property
    def reachable(self) -> bool:
        """Whether it answers its checks."""
        return not self.trial_at or not self.unreachable

    def path(self, path: str) -> str:
        """Where this server has a route of the protocol, such as ``/v1/chat/completions``."""
        return path.removeprefix("/v1") if self.bare else path

    def rank(self, affinity: bytes) -> bytes:
        """Weight of this server for a prefix: the highest wins (rendezvous hashing), so each
        prefix has the same order of servers in every gateway process, whoever is away."""
        return blake2b(affinity, key=self._key, digest_size=8).digest()

    def state(self, now: float = 0.0) -> ServerState:
        """How it is; ``now`` in clock seconds."""
        failures = max(self.call_failures, self.check_failures)
        return ServerState(
            self.url,
            self.outstanding,
            self.trial_at > 0,
            self.models,
            failures,
            self.ejections,
            self.tries,
            self.errors,
            self.reachable,
            self.trouble,
            max(0.0, now - self.ejected_at) if self.trial_at else 0.0,
        )


class Pool:
    """The upstreams and what is known of each.

    Args:
        urls: base URLs, ending in /v1.
        eject_after: failures in a row that eject an upstream; calls and checks count apart, since
            a server whose model list answers may still fail every call.
        eject_seconds: from ejection to the first trial call, and between trial calls.
        models: names that upstreams without a model list serve; empty: any.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        eject_after: int = 3,
        eject_seconds: float = 5.0,
        models: tuple[str, ...] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        bases = dict.fromkeys(url.rstrip("/") for url in urls)
        self.upstreams = tuple(Upstream(base) for base in bases)
        self._eject_after = eject_after
        self._eject_seconds = eject_seconds
        self._clock = clock
        self._turn = 0
        self._unlisted = models or None
        self._models: tuple[str, ...] = ()

    def add(self, url: str) -> Upstream:
        """One more upstream."""
        upstream = Upstream(url)
        self.upstreams = (*self.upstreams, upstream)
        return upstream

    def remove(self, upstream: Upstream) -> None:
        """It gets no more calls; those that it holds go on."""
        upstream.gone = True
        self.upstreams = tuple(u for u in self.upstreams if u is not upstream)
        self._list_models()

    def _list_models(self) -> None:
        self._models = tuple(dict.fromkeys(name for u in self.upstreams for name in u.models or ()))

    # ---- choice

    def take(
        self, model: str = "", affinity: str = "", skip: Collection[Upstream] = ()
    ) -> Upstream | None:
        """An upstream for one call, which it then holds until ``release``.

        The least outstanding wins. ``affinity`` picks among those within ``AFFINITY_SLACK`` of the
        least; without it, equals take turns. An ejected upstream takes part once its trial is due,
        with one call each ``eject_seconds`` until it answers.

        Where all that serve ``model`` are ejected, those whose checks pass are tried all the same,
        the least bad first: some calls that kill their server are nobody else's outage. Source:
        Envoy's panic threshold, at 0 %.

        Returns:
            None when no upstream that serves ``model`` can be tried.
        """
        now = self._clock()
        serving = [u for u in self.upstreams if not model or u.serves(model)]
        able = [u for u in serving if u.trial_at <= now and u not in skip]
        if able:
            chosen = able[0] if len(able) == 1 else self._best(able, affinity)
        else:
            left = [u for u in serving if u.trial_at and not u.unreachable and u not in skip]
            if not left or not all(u.trial_at for u in serving):
                return None
            chosen = min(left, key=lambda u: (u.call_failures, u.outstanding))
        if chosen.trial_at:
            chosen.trial_at = now + self._eject_seconds
        chosen.outstanding += 1
        chosen.tries += 1
        return chosen

    def _best(self, able: list[Upstream], affinity: str) -> Upstream:
        least = min(u.outstanding for u in able)
        if affinity:
            near = [u for u in able if u.outstanding <= least + AFFINITY_SLACK]
            prefix = affinity.encode()
            return max(near, key=lambda u: u.rank(prefix))
        equals = [u for u in able if u.outstanding == least]
        self._turn += 1
        return equals[self._turn % len(equals)]

    @staticmethod
    def release(upstream: Upstream) -> None:
        """The call is over, however it ended."""
        upstream.outstanding -= 1

    # ---- what calls tell

    def answered(self, upstream: Upstream, *, error: bool = False) -> None:
        """It began an answer: it is back if it was ejected, but a stream may still die. ``error``:
        that it can't answer this one call (500), which says nothing of others."""
        upstream.errors += error
        upstream.check_failures = 0
        upstream.silent_since = 0.0
        if upstream.trial_at:
            self._restore(upstream)

    @staticmethod
    def completed(upstream: Upstream) -> None:
        """A whole answer came."""
        upstream.call_failures = 0

    def failed(
        self, upstream: Upstream, why: str = "calls fail", *, unreachable: bool = False
    ) -> None:
        """A call could not connect, timed out, was cut short, or got 502, 503 or 504."""
        upstream.errors += 1
        upstream.call_failures += 1
        if upstream.call_failures >= self._eject_after or upstream.trial_at:
            self._eject(upstream, why, unreachable)

    # ---- what checks tell

    def check_passed(
        self,
        upstream: Upstream,
        models: tuple[str, ...] | None,
        lengths: Mapping[str, int] = NOT_TOLD,
        trouble: str = "",
    ) -> None:
        """It answered the active check. One that nobody could reach is back at once; one whose
        calls failed first sits out its ``eject_seconds``.

        Args:
            models: that it lists; None: it lists none.
            trouble: why it is of no use all the same, as far as its answer tells.
        """
        upstream.check_failures = 0
        upstream.silent_since = 0.0
        upstream.lengths = lengths
        if models is None:
            models = self._unlisted
        if models != upstream.models:
            upstream.models = models
            self._list_models()
        if upstream.trial_at and (upstream.unreachable or upstream.trial_at <= self._clock()):
            self._restore(upstream)
        if not upstream.trial_at:
            upstream.trouble = trouble

    def check_failed(
        self, upstream: Upstream, why: str = "checks fail", *, at_once: bool = False
    ) -> None:
        """It didn't answer the active check. ``at_once``: it has never been seen to work."""
        upstream.check_failures += 1
        upstream.silent_since = upstream.silent_since or self._clock()
        if at_once or upstream.check_failures >= self._eject_after or upstream.trial_at:
            self._eject(upstream, why, True)

    def _eject(self, upstream: Upstream, why: str, unreachable: bool) -> None:
        now = self._clock()
        if not upstream.trial_at:
            upstream.ejections += 1
            upstream.ejected_at = now
            log.warning("upstream %s ejected: %s", upstream.name, why)
        upstream.trial_at = now + self._eject_seconds
        upstream.unreachable, upstream.trouble = unreachable, why

    def _restore(self, upstream: Upstream) -> None:
        seconds = self._clock() - upstream.ejected_at
        log.warning("upstream %s is back after %.0f s", upstream.name, seconds)
        upstream.trial_at, upstream.trouble = 0.0, ""
        # On probation: its next failure in a row ejects it again.
        upstream.call_failures = min(upstream.call_failures, self._eject_after - 1)

    # ---- what is known

    @staticmethod
    def learn(upstream: Upstream, model: str) -> None:
        """It has answered for this model. Only of interest where it doesn't list its models."""
        if upstream.models is None and len(upstream.learned) < MOST_LEARNED:
            upstream.learned.add(model)

    def known(self, model: str) -> bool:
        """Whether this name is listed by an upstream, or one has answered for it: then it is no
        invention of a client's, and may be told in metrics."""
        return model in self._models or any(model in u.learned for u in self.upstreams)

    def models(self) -> tuple[str, ...]:
        """Names served by any upstream, ejected ones too: their models are away, not unknown."""
        return self._models

    def max_model_len(self, model: str) -> int | None:
        """Tokens that any of its servers has room for; None where none tells."""
        shortest: int | None = None
        for upstream in self.upstreams:
            length = upstream.lengths.get(model)
            if length is not None and (shortest is None or length < shortest):
                shortest = length
        return shortest

    def states(self) -> tuple[ServerState, ...]:
        now = self._clock()
        return tuple(u.state(now) for u in self.upstreams)
