"""Which calls an operator looks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gemma_gateway.core.record import Record

Kind = Literal["all", "ok", "refused", "failed", "client_closed"]


def kind_of(record: Record) -> Kind:
    """What a call's outcome amounts to."""
    if record.success:
        return "ok"
    if record.outcome == "client_closed":
        return "client_closed"
    return "failed" if record.failed else "refused"


@dataclass(frozen=True, slots=True)
class Search:
    """What calls have to be like.

    Args:
        text: words, each of which stands somewhere in the names and ids of a call; any case.
        kind: what their outcome amounts to.
        start: earliest end of a call, seconds since the epoch, inclusive.
        end: the same for the latest, exclusive.
    """

    text: str = ""
    kind: Kind = "all"
    start: float = 0.0
    end: float = float("inf")

    def fits(self, record: Record, key_name: str) -> bool:
        """Whether a call is like that."""
        if not self.start <= record.time < self.end:
            return False
        if self.kind not in ("all", kind_of(record)):
            return False
        if not self.text:
            return True
        r = record
        names = (r.request_id, r.id, r.key_id, key_name, r.model, r.route, r.tier, r.outcome)
        said = " ".join((*names, r.upstream)).lower()
        return all(word in said for word in self.text.lower().split())
