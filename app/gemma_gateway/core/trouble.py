"""Why a model server is of no use now, in words for operators; what to do: ``cli.advice``."""

from __future__ import annotations

import os
import re
import socket
import ssl

NO_MODEL = "it lists no model"
NOT_COMPATIBLE = "it answers, but not like an OpenAI-compatible server"
TLS = "TLS: "
NO_NAME = "name not found"
KEY_REFUSED = "it refuses the key"
STATUS = "status "
_NUMBER = re.compile(r"\[Errno (-?\d+)\]")


def unreached(error: Exception) -> str:
    """Why there is no connection: a few plain words, without address and name.

    Args:
        error: what connecting raised: OSError (time-outs, names, TLS among them), UnicodeError.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        return TLS + error.verify_message.partition(",")[0]  # ", not valid for 'NAME'"
    if isinstance(error, ssl.SSLError):
        return TLS + (getattr(error, "reason", None) or "it failed").replace("_", " ").lower()
    if isinstance(error, socket.gaierror | UnicodeError):
        return NO_NAME
    if isinstance(error, TimeoutError):
        return "no connection in time"
    # asyncio puts its own text into strerror, and of a name with several addresses only a text.
    number = getattr(error, "errno", None) or int((_NUMBER.findall(str(error)) or ["0"])[0])
    text = os.strerror(number) if number else "no connection"
    return text[:1].lower() + text[1:]
