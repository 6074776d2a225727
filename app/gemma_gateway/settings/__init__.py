"""What an operator may set, and where it is read from."""

from gemma_gateway.settings.settings import (
    CONTROL_TEXT,
    LOOPBACK,
    MOST_REQUESTS,
    MOST_TOKENS,
    SECRETS_VARIABLE,
    Contradiction,
    KeyEntry,
    Price,
    Settings,
    Tier,
    Window,
)

__all__ = [
    "CONTROL_TEXT",
    "LOOPBACK",
    "MOST_REQUESTS",
    "MOST_TOKENS",
    "SECRETS_VARIABLE",
    "Contradiction",
    "KeyEntry",
    "Price",
    "Settings",
    "Tier",
    "Window",
]
