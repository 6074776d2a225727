"""What to do about a model server that is of no use, as ``doctor`` and the start-up text say it."""

from __future__ import annotations

from gemma_gateway.core.trouble import KEY_REFUSED, NO_MODEL, NO_NAME, NOT_COMPATIBLE, STATUS, TLS

# By what a trouble begins with.
ADVICE = {
    KEY_REFUSED: "set {key_place} to a key of that server",
    NOT_COMPATIBLE: "correct its address in {place}: it must end in /v1",
    NO_MODEL: "load one there",
    NO_NAME: "correct the name in {place}, or start its servers (Kubernetes: a headless Service "
    "lists ready pods only)",
    STATUS: "see that server's own log",
    TLS: "correct its address in {place} (http or https?), or have its certificate trusted here "
    "(SSL_CERT_FILE)",
}
OTHERWISE = "start that server, or correct its address in {place}"


def advice(trouble: str, place: str, key_place: str) -> str:
    """What to do.

    Args:
        trouble: of ``core.trouble``, or any other reason for which a server can't be reached.
        place: which setting names the server.
        key_place: which setting gives its key.
    """
    found = (text for begin, text in ADVICE.items() if trouble.startswith(begin))
    return next(found, OTHERWISE).format(place=place, key_place=key_place)
