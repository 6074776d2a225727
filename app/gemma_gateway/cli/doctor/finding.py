"""What the doctor says: one line a finding, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

Status = Literal["ok", "warning", "problem"]
Findings = Iterator["Finding"]
_LOGIN = re.compile(r"//[^/@\s]+@")


@dataclass(frozen=True)
class Finding:
    """One finding.

    Args:
        check: what was looked at, one word.
        status: ``ok``; ``warning``: works, but not as it should; ``problem``: doesn't work.
        message: what was found.
        advice: what to do; empty where there is nothing to do.
    """

    check: str
    status: Status
    message: str
    advice: str = ""

    def without_secrets(self) -> Finding:
        """The same with user and password taken out of every address in the message."""
        return replace(self, message=_LOGIN.sub("//***@", self.message))


def ok(check: str, message: str) -> Finding:
    """A finding that asks for nothing."""
    return Finding(check, "ok", message)


def warning(check: str, message: str, advice: str) -> Finding:
    """Something works, but not as it should."""
    return Finding(check, "warning", message, advice)


def problem(check: str, message: str, advice: str) -> Finding:
    """Something doesn't work."""
    return Finding(check, "problem", message, advice)
