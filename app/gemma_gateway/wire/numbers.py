"""Whole numbers in a request. JSON has one kind of number (RFC 8259, 6): ``100.0`` is 100."""

from __future__ import annotations

from typing import Any

from gemma_gateway.wire.openai.openai import invalid

MAX_TOKENS = 131_072  # token ids in one call: Gemma's longest context
MAX_TOKEN_ID = 2**31 - 1


def integral(value: Any) -> int | None:
    """A JSON number as an integer; None: it is none."""
    if value.__class__ is float and value.is_integer():
        return int(value)
    return value if value.__class__ is int else None


def token_ids(value: Any, where: str, most: int = MAX_TOKENS) -> list[int]:
    """A list of token ids.

    Args:
        value: what stands there.
        where: its path.
        most: ids that it may hold.

    Raises:
        GatewayError: VALIDATION_ERROR with the place of what is none.
    """
    if value.__class__ is not list:
        raise invalid(f"{where} must be a list of token ids.", where)
    if len(value) > most:
        raise invalid(f"{where} may hold {most} token ids, and holds {len(value)}.", where)
    ids: list[int] = []
    for place, token in enumerate(value):
        whole = integral(token)
        if whole is None or not 0 <= whole <= MAX_TOKEN_ID:
            raise invalid("A token id must be an integer from 0.", f"{where}.{place}")
        ids.append(whole)
    return ids
